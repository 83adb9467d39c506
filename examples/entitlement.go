// May this code run? Asks authcoded, and goes by the last lease while authcoded is away.
//
//	entitlement CODE                            exit 0 allow, 1 deny, 2 cannot tell
//	entitlement --check-lease LEASE JWKS CODE   exit 0 the lease holds, 1 refused
//
// Build: go build entitlement.go (standard library only). The settings are those of examples/README.md.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	allow      = 0
	deny       = 1
	cannotTell = 2
)

var (
	baseURL   = setting("AUTHCODED_URL", "http://127.0.0.1:8652")
	socket    = setting("AUTHCODED_SOCKET", "")
	tokenFile = setting("AUTHCODED_TOKEN_FILE", "/etc/authcoded/software-token")
	folder    = setting("AUTHCODED_FOLDER", "authcoded-lease")
	leaseFile = filepath.Join(folder, "lease.jwt")
	keysFile  = filepath.Join(folder, "jwks.json")
)

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 4 && args[0] == "--check-lease":
		reason, err := checkFiles(args[1], args[2], args[3])
		if err != nil {
			fmt.Println("refused:", err)
			os.Exit(deny)
		}
		fmt.Println("allow", reason)
	case len(args) == 1:
		os.Exit(ask(args[0]))
	default:
		fmt.Fprintln(os.Stderr, "entitlement CODE | --check-lease LEASE JWKS CODE")
		os.Exit(cannotTell)
	}
}

func ask(code string) int {
	var answer struct{ Decision, Reason, Lease string }
	body, err := get("/v1/entitlements/" + url.PathEscape(code))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err == nil && answer.Decision != "allow" && answer.Decision != "deny" {
		err = errors.New("no decision in the answer")
	}
	if err != nil {
		// Neither a yes nor a no: nobody listens, too slow, 5xx, a wrong token.
		return goByTheLease(code, err)
	}
	if answer.Decision == "deny" {
		os.Remove(leaseFile)
		fmt.Println("deny", answer.Reason)
		return deny
	}
	if err := keep(answer.Lease, code); err != nil {
		fmt.Fprintln(os.Stderr, "the lease was not kept:", err)
	}
	fmt.Println("allow", answer.Reason)
	return allow
}

func goByTheLease(code string, why error) int {
	fmt.Fprintln(os.Stderr, "no answer from authcoded:", why)
	reason, err := checkFiles(leaseFile, keysFile, code)
	if err != nil {
		// Your product's own choice: stop, ask the user for patience, or go on for a day, say.
		fmt.Println("cannot tell:", err)
		return cannotTell
	}
	fmt.Println("allow", reason, "(lease)")
	return allow
}

// keep keeps a lease that holds. The key set is fetched when the kept one does not know its key.
func keep(lease, code string) error {
	keys, err := os.ReadFile(keysFile)
	if err == nil {
		_, err = checkLease(lease, keys, code)
	}
	if err != nil {
		if keys, err = get("/.well-known/jwks.json"); err != nil {
			return err
		}
		if _, err = checkLease(lease, keys, code); err != nil {
			return err
		}
		if err = store(keysFile, keys); err != nil {
			return err
		}
	}
	return store(leaseFile, []byte(lease))
}

func checkFiles(leaseFile, keysFile, code string) (string, error) {
	lease, err := os.ReadFile(leaseFile)
	if err != nil {
		return "", err
	}
	keys, err := os.ReadFile(keysFile)
	if err != nil {
		return "", err
	}
	return checkLease(strings.TrimSpace(string(lease)), keys, code)
}

// checkLease tells the reason that the lease gives, if it holds now, for this code, under one of these keys.
func checkLease(lease string, keys []byte, code string) (string, error) {
	parts := strings.Split(lease, ".")
	if len(parts) != 3 {
		return "", errors.New("not a JWT")
	}
	var header struct{ Alg, Kid string }
	if err := decode(parts[0], &header); err != nil {
		return "", err
	}
	if header.Alg != "EdDSA" {
		return "", fmt.Errorf("signed with %q, not with EdDSA", header.Alg)
	}
	key, err := findKey(keys, header.Kid)
	if err != nil {
		return "", err
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return "", err
	}
	if !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return "", errors.New("the signature is wrong")
	}
	var claims struct {
		Iss, Sub, Decision, Reason string
		Nbf, Exp                   *int64
	}
	if err := decode(parts[1], &claims); err != nil {
		return "", err
	}
	now := time.Now().Unix()
	switch {
	case claims.Iss != "authcoded":
		return "", errors.New("not from authcoded")
	case claims.Sub != code:
		return "", errors.New("for another code")
	case claims.Decision != "allow":
		return "", errors.New("it does not allow anything")
	case claims.Nbf == nil || now < *claims.Nbf:
		return "", errors.New("it does not hold yet")
	case claims.Exp == nil || now >= *claims.Exp:
		return "", errors.New("it has ended")
	}
	return claims.Reason, nil
}

func findKey(keys []byte, kid string) (ed25519.PublicKey, error) {
	var set struct {
		Keys []struct{ Kid, Kty, Crv, X string }
	}
	if err := json.Unmarshal(keys, &set); err != nil {
		return nil, err
	}
	for _, key := range set.Keys {
		if key.Kid == kid && key.Kty == "OKP" && key.Crv == "Ed25519" {
			x, err := base64.RawURLEncoding.DecodeString(key.X)
			if err == nil && len(x) == ed25519.PublicKeySize {
				return x, nil
			}
		}
	}
	return nil, fmt.Errorf("no such key: %q", kid)
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func get(path string) ([]byte, error) {
	request, err := http.NewRequest(http.MethodGet, baseURL+path, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{} // takes no proxy from the environment
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	} else {
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	client := http.Client{Transport: transport, Timeout: 2 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s", response.Status, body)
	}
	return body, err
}

// store writes a file whole or not at all: a reader never sees half of it.
func store(file string, text []byte) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	fresh, err := os.CreateTemp(folder, "fresh-*")
	if err != nil {
		return err
	}
	if _, err = fresh.Write(text); err != nil {
		return err
	}
	if err = fresh.Close(); err != nil {
		return err
	}
	return os.Rename(fresh.Name(), file)
}
