#!/usr/bin/env bash
# May this code run? Asks authcoded, and goes by the last lease while authcoded is away.
#
#   entitlement.sh CODE                            exit 0 allow, 1 deny, 2 cannot tell
#   entitlement.sh --check-lease LEASE JWKS CODE   exit 0 the lease holds, 1 refused
#
# Needs curl, jq and OpenSSL 3. The settings are those of examples/README.md.
set -euo pipefail
export LC_ALL=C

url=${AUTHCODED_URL:-http://127.0.0.1:8652}
socket=${AUTHCODED_SOCKET:-}
token_file=${AUTHCODED_TOKEN_FILE:-/etc/authcoded/software-token}
folder=${AUTHCODED_FOLDER:-authcoded-lease}

main() {
    local told
    if (($# == 4)) && [[ $1 == --check-lease ]]; then
        told=$(check_lease "$2" "$3" "$4") || { echo "refused: $told"; return 1; }
        echo "allow $told"
    elif (($# == 1)); then
        ask "$1"
    else
        echo "${0##*/} CODE | --check-lease LEASE JWKS CODE" >&2
        return 2
    fi
}

ask() {
    local code=$1 reason
    # Anything but a yes or a no: nobody listens, too slow, 5xx, a wrong token.
    if ! get "/v1/entitlements/$(jq -rn --arg code "$code" '$code | @uri')" >"$scratch/answer" ||
        ! reason=$(jq -er 'select(.decision == "allow" or .decision == "deny").reason' "$scratch/answer"); then
        go_by_the_lease "$code"
    elif [[ $(jq -r .decision "$scratch/answer") == deny ]]; then
        rm -f "$folder/lease.jwt"
        echo "deny $reason"
        return 1
    else
        keep "$code" || echo 'the lease was not kept' >&2
        echo "allow $reason"
    fi
}

go_by_the_lease() {
    local told
    echo 'no answer from authcoded' >&2
    if told=$(check_lease "$folder/lease.jwt" "$folder/jwks.json" "$1"); then
        echo "allow $told (lease)"
    else
        # Your product's own choice: stop, ask the user for patience, or go on for a day, say.
        echo "cannot tell: $told"
        return 2
    fi
}

# Keeps a lease that holds. The key set is fetched when the kept one does not know its key. The files
# come whole or not at all, because mv replaces them: a reader never sees half of one.
keep() {
    local fresh
    mkdir -p "$folder" && fresh=$(mktemp -d "$folder/fresh-XXXXXX") || return
    jq -jr .lease "$scratch/answer" >"$fresh/lease.jwt" &&
        { check_lease "$fresh/lease.jwt" "$folder/jwks.json" "$1" >/dev/null ||
            { get /.well-known/jwks.json >"$fresh/jwks.json" &&
                check_lease "$fresh/lease.jwt" "$fresh/jwks.json" "$1" >&2 &&
                mv "$fresh/jwks.json" "$folder"; }; } &&
        mv "$fresh/lease.jwt" "$folder"
    local status=$?
    rm -rf "$fresh"
    return "$status"
}

# Prints the reason that a lease gives, if it holds now, for this code, under one of these keys; else
# what is wrong with it.
check_lease() {
    local lease keys=$2 code=$3 header payload signature kid
    lease=$(cat "$1" 2>/dev/null) || { echo 'no lease'; return 1; }
    IFS=. read -r header payload signature <<<"$lease"
    kid=$(decode "$header" | jq -er 'select(.alg == "EdDSA").kid | strings' 2>/dev/null) ||
        { echo 'not signed with EdDSA, or not a JWT'; return 1; }
    public_key "$keys" "$kid" >"$scratch/key" || { echo "no such key: $kid"; return 1; }
    printf '%s.%s' "$header" "$payload" >"$scratch/signed"
    decode "$signature" >"$scratch/signature" || { echo 'the signature is not base64url'; return 1; }
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$scratch/key" -rawin -in "$scratch/signed" \
        -sigfile "$scratch/signature" >"$scratch/openssl" 2>&1 || { echo 'the signature is wrong'; return 1; }
    decode "$payload" | jq -er --arg code "$code" --argjson now "$(date +%s)" '
        select(.iss == "authcoded" and .sub == $code and .decision == "allow"
               and (.nbf | numbers) <= $now and $now < (.exp | numbers)).reason' 2>/dev/null ||
        { echo 'for another code, not from authcoded, or not now'; return 1; }
}

# The key in DER: what every Ed25519 key begins with (RFC 8410), and its 32 bytes.
public_key() {
    local x
    x=$(jq -er --arg kid "$2" 'first(.keys[] | select(.kid == $kid and .crv == "Ed25519")).x' "$1" 2>/dev/null) &&
        printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00' && decode "$x"
}

# base64url without padding.
decode() {
    local text=${1//-/+}
    text=${text//_//}
    while ((${#text} % 4)); do text+='='; done
    base64 -d <<<"$text" 2>/dev/null
}

# The token goes through a pipe, so that no list of processes shows it.
get() {
    local curl=(curl -q -sS --fail --max-time 2 --noproxy '*')
    if [[ $socket ]]; then
        "${curl[@]}" --unix-socket "$socket" "http://localhost$1"
    else
        "${curl[@]}" -H @<(printf 'Authorization: Bearer %s\n' "$(<"$token_file")") "$url$1"
    fi
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
main "$@"
