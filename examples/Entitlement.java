// May this code run? Asks authcoded, and goes by the last lease while authcoded is away.
//
//   java Entitlement.java CODE                            exit 0 allow, 1 deny, 2 cannot tell
//   java Entitlement.java --check-lease LEASE JWKS CODE   exit 0 the lease holds, 1 refused
//
// Needs Java 17, nothing else. The settings are those of examples/README.md.

import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.regex.Pattern;

import static java.nio.charset.StandardCharsets.UTF_8;

public class Entitlement {
    static final String URL = setting("AUTHCODED_URL", "http://127.0.0.1:8652");
    static final Path TOKEN_FILE = Path.of(setting("AUTHCODED_TOKEN_FILE", "/etc/authcoded/software-token"));
    static final Path FOLDER = Path.of(setting("AUTHCODED_FOLDER", "authcoded-lease"));
    static final Path LEASE = FOLDER.resolve("lease.jwt");
    static final Path KEYS = FOLDER.resolve("jwks.json");
    static final Duration TIMEOUT = Duration.ofSeconds(2);

    static final int ALLOW = 0, DENY = 1, CANNOT_TELL = 2;

    /** What begins every Ed25519 key in DER (RFC 8410); the 32 bytes follow. */
    static final byte[] KEY_PREFIX = HexFormat.of().parseHex("302a300506032b6570032100");

    static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 4 && args[0].equals("--check-lease")) {
            System.exit(check(Path.of(args[1]), Path.of(args[2]), args[3]));
        } else if (args.length == 1) {
            System.exit(ask(args[0]));
        }
        System.err.println("Entitlement CODE | --check-lease LEASE JWKS CODE");
        System.exit(CANNOT_TELL);
    }

    static int check(Path lease, Path keys, String code) {
        try {
            System.out.println("allow " + checkLease(Files.readString(lease), Files.readString(keys), code));
            return ALLOW;
        } catch (SignatureException | IOException why) {
            System.out.println("refused: " + why.getMessage());
            return DENY;
        }
    }

    static int ask(String code) throws InterruptedException, IOException {
        Map<String, String> answer;
        try {
            answer = members(get("/v1/entitlements/" + URLEncoder.encode(code, UTF_8).replace("+", "%20")));
        } catch (IOException why) {
            // Neither a yes nor a no: nobody listens, too slow, 5xx, a wrong token.
            return goByTheLease(code, why.toString());
        }
        switch (answer.getOrDefault("decision", "")) {
            case "allow":
                try {
                    keep(answer.getOrDefault("lease", ""), code);
                } catch (SignatureException | IOException why) {
                    System.err.println("the lease was not kept: " + why);
                }
                System.out.println("allow " + answer.get("reason"));
                return ALLOW;
            case "deny":
                Files.deleteIfExists(LEASE);
                System.out.println("deny " + answer.get("reason"));
                return DENY;
            default:
                return goByTheLease(code, "no decision in the answer");
        }
    }

    static int goByTheLease(String code, String why) {
        System.err.println("no answer from authcoded: " + why);
        try {
            String reason = checkLease(Files.readString(LEASE), Files.readString(KEYS), code);
            System.out.println("allow " + reason + " (lease)");
            return ALLOW;
        } catch (SignatureException | IOException noLease) {
            // Your product's own choice: stop, ask the user for patience, or go on for a day, say.
            System.out.println("cannot tell: " + noLease);
            return CANNOT_TELL;
        }
    }

    /** Keeps a lease that holds. The key set is fetched when the kept one does not know its key. */
    static void keep(String lease, String code) throws SignatureException, IOException, InterruptedException {
        try {
            checkLease(lease, Files.readString(KEYS), code);
        } catch (SignatureException | IOException unknown) {
            String keys = get("/.well-known/jwks.json");
            checkLease(lease, keys, code);
            store(KEYS, keys);
        }
        store(LEASE, lease);
    }

    /** The reason that the lease gives, if it holds now, for this code, under one of these keys. */
    static String checkLease(String lease, String keys, String code) throws SignatureException {
        try {
            String[] parts = lease.strip().split("\\.", -1);
            require(parts.length == 3, "not a JWT");
            Map<String, String> header = members(decode(parts[0]));
            require("EdDSA".equals(header.get("alg")), "not signed with EdDSA");
            Signature signature = Signature.getInstance("Ed25519");
            signature.initVerify(findKey(keys, header.get("kid")));
            signature.update((parts[0] + "." + parts[1]).getBytes(UTF_8));
            require(signature.verify(Base64.getUrlDecoder().decode(parts[2])), "the signature is wrong");
            Map<String, String> claims = members(decode(parts[1]));
            long now = System.currentTimeMillis() / 1_000;
            require("authcoded".equals(claims.get("iss")), "not from authcoded");
            require(code.equals(claims.get("sub")), "for another code");
            require("allow".equals(claims.get("decision")), "it does not allow anything");
            require(Long.parseLong(claims.get("nbf")) <= now, "it does not hold yet");
            require(now < Long.parseLong(claims.get("exp")), "it has ended");
            return claims.get("reason");
        } catch (SignatureException wrong) {
            throw wrong;
        } catch (GeneralSecurityException | IllegalArgumentException malformed) {
            throw new SignatureException(malformed);
        }
    }

    static void require(boolean holds, String otherwise) throws SignatureException {
        if (!holds) {
            throw new SignatureException(otherwise);
        }
    }

    static PublicKey findKey(String keys, String kid) throws GeneralSecurityException {
        var each = Pattern.compile("\\{[^{}]*+\\}").matcher(keys);
        while (each.find()) {
            Map<String, String> key = members(each.group());
            if (key.containsKey("kid") && key.get("kid").equals(kid) && "Ed25519".equals(key.get("crv"))) {
                byte[] x = Base64.getUrlDecoder().decode(key.getOrDefault("x", ""));
                byte[] der = new byte[KEY_PREFIX.length + x.length];
                System.arraycopy(KEY_PREFIX, 0, der, 0, KEY_PREFIX.length);
                System.arraycopy(x, 0, der, KEY_PREFIX.length, x.length);
                return KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(der));
            }
        }
        throw new SignatureException("no such key: " + kid);
    }

    static String decode(String part) {
        return new String(Base64.getUrlDecoder().decode(part), UTF_8);
    }

    static final Pattern MEMBER = Pattern.compile(
            "\"(?<name>\\w++)\"\\s*+:\\s*+(?:\"(?<text>[^\"\\\\]*+(?:\\\\.[^\"\\\\]*+)*+)\"|(?<other>[^\"\\s,{}\\[\\]]++))");

    /**
     * The members of a flat JSON object, numbers as they are written. The JDK reads no JSON; if your product
     * has a library that does, take that. authcoded escapes nothing but quotes and backslashes.
     */
    static Map<String, String> members(String json) {
        Map<String, String> found = new HashMap<>();
        var each = MEMBER.matcher(json);
        while (each.find()) {
            String text = each.group("text");
            found.put(each.group("name"), text == null ? each.group("other") : text.replaceAll("\\\\(.)", "$1"));
        }
        return found;
    }

    static String get(String path) throws IOException, InterruptedException {
        HttpClient client = HttpClient.newBuilder().connectTimeout(TIMEOUT).proxy(HttpClient.Builder.NO_PROXY).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(URL + path)).timeout(TIMEOUT)
                .header("Authorization", "Bearer " + Files.readString(TOKEN_FILE).strip()).build();
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IOException(response.statusCode() + " " + response.body());
        }
        return response.body();
    }

    /** Whole or not at all: a reader never sees half a file. */
    static void store(Path file, String text) throws IOException {
        Files.createDirectories(FOLDER);
        Path fresh = Files.createTempFile(FOLDER, "fresh", "");
        Files.writeString(fresh, text);
        Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }
}
