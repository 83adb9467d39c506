#!/usr/bin/env bash
# Runs every example against a daemon and a simulated marketplace, and feeds it leases that must hold and
# leases that must not. A language that is not installed here is skipped, and the last lines say so.
#
#   examples/test.sh [LANGUAGE…]             fetches PyJWT and jose into a temporary folder, changes nothing else
#   examples/test.sh --install [LANGUAGE…]   as root on Debian: installs what is missing with apt-get before
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly ALL=(python node java go c shell rust)
# An example answers within 2 s; a machine may be slow.
patience=(timeout 20)

scratch=$(mktemp -d)
started=()
trap clean_up EXIT
mkdir "$scratch"/{bin,results,build,leases,state}
umask 077

clean_up() {
    local pid
    for pid in "${started[@]}"; do
        kill -CONT "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$scratch"
}

main() {
    local install=no
    if [[ ${1:-} == --install ]]; then install=yes && shift; fi
    languages=("${@:-${ALL[@]}}")
    check_names
    [[ $install == no ]] || install_languages
    skip_without curl jq openssl base64
    find_programs
    build_examples
    start_marketplace
    start_daemon
    buy_codes
    each_in_turn while_the_daemon_answers
    freeze_a_code
    rotate_the_key
    take_a_lease
    each_in_turn after_a_freeze_and_a_new_key
    with_a_wrong_token
    with_a_broken_daemon
    with_a_hanging_daemon
    stop_daemon
    each_in_turn while_nobody_listens
    forge_leases
    all_at_once with_a_lease_at_hand
    report
}

# --- What is needed -------------------------------------------------------------------------------------

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

check_names() {
    local language
    for language in "${languages[@]}"; do
        [[ " ${ALL[*]} " == *" $language "* ]] || die "usage: examples/test.sh [--install] [LANGUAGE…]; one of: ${ALL[*]}"
    done
}

skip_without() {
    local name
    for name; do
        if ! command -v "$name" >/dev/null; then
            printf 'skipped: all examples: %s is not installed here\n0 passed, 0 failed, %d skipped\n' "$name" ${#languages[@]}
            exit 0
        fi
    done
}

# Only what is missing: a language that came another way stays as it is.
install_languages() {
    local command packages=()
    local -A from=([curl]=curl [jq]=jq [openssl]=openssl [pip3]=python3-pip [node]=nodejs [npm]=npm
        [javac]=openjdk-17-jdk-headless [go]=golang-go)
    for command in "${!from[@]}"; do
        command -v "$command" >/dev/null || packages+=("${from[$command]}")
    done
    c_has_its_headers || packages+=(gcc libc6-dev libcurl4-openssl-dev libssl-dev libjansson-dev)
    ((${#packages[@]} == 0)) || { apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"; }
}

c_has_its_headers() {
    cc -E -o /dev/null -include curl/curl.h -include openssl/evp.h -include jansson.h -x c /dev/null 2>/dev/null
}

find_programs() {
    local folder
    folder=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/debug
    program=$folder/authcoded rust=$folder/examples/entitlement
    cargo build --quiet --bin authcoded --example entitlement
}

# What stands between this machine and an example; nothing if it can be built.
lacks() {
    case $1 in
    python)
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo 'Python 3.10'; return; }
        python3 -c 'import cryptography, jwt; assert tuple(map(int, jwt.__version__.split(".")[:2])) >= (2, 10)' 2>/dev/null ||
            timeout 90 python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore \
                --target "$scratch/build/python" 'PyJWT[crypto]>=2.10,<3' >&2 || echo 'PyJWT: it could not be fetched'
        ;;
    node)
        command -v node npm >/dev/null || { echo 'node and npm'; return; }
        timeout 90 npm install --silent --no-audit --no-fund --prefix "$scratch/build/node" jose@6 >&2 ||
            echo 'jose: it could not be fetched'
        ;;
    java) [[ $(javac -version 2>&1) =~ ^javac\ (1[7-9]|[2-9][0-9]) ]] || echo 'a JDK of version 17' ;;
    go) command -v go >/dev/null || echo 'go' ;;
    c) c_has_its_headers || echo 'a C compiler, or the headers of libcurl, OpenSSL and Jansson' ;;
    shell) [[ $(openssl version) =~ ^OpenSSL\ [3-9] ]] || echo 'OpenSSL 3' ;;
    rust) ;;
    esac
}

# Builds an example, and makes a program of its language's name that runs it.
build() {
    local out=$scratch/build/$1
    mkdir -p "$out"
    case $1 in
    python)
        # The interpreter itself: what stands in PATH may be a script that looks for it each time.
        runs python env PYTHONPATH="$out" "$(python3 -c 'import sys; print(sys.executable)')" "$PWD/examples/entitlement.py"
        ;;
    node)
        cp examples/entitlement.mjs "$out"
        runs node node "$out/entitlement.mjs"
        ;;
    java)
        javac -d "$out" examples/Entitlement.java || return
        runs java java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$out" Entitlement
        ;;
    go)
        GO111MODULE=off go build -o "$out/entitlement" examples/entitlement.go || return
        runs go "$out/entitlement"
        ;;
    c)
        cc -std=c11 -O1 -Wall -Wextra -Werror -o "$out/entitlement" examples/entitlement.c -lcurl -lcrypto -ljansson || return
        runs c "$out/entitlement"
        ;;
    shell) runs shell bash "$PWD/examples/entitlement.sh" ;;
    rust) runs rust "$rust" ;;
    esac
}

runs() {
    local name=$scratch/bin/$1
    shift
    printf '#!/bin/sh\nexec %s "$@"\n' "${*@Q}" >"$name"
    chmod +x "$name"
}

build_examples() {
    local language lacking
    built=() skipped=()
    for language in "${languages[@]}"; do
        lacking=$(lacks "$language")
        if [[ $lacking ]]; then
            skipped+=("$language")
            printf 'skipped: %s: not here: %s\n' "$language" "$lacking"
        else
            build "$language" || die "the example in $language does not build"
            built+=("$language")
        fi
    done
}

# --- The other sides ------------------------------------------------------------------------------------

# Waits until a command succeeds, for 20 s at most.
wait_until() {
    local what=$1 tries
    shift
    for ((tries = 0; tries < 200; tries++)); do
        if "$@"; then return; fi
        sleep 0.1
    done
    die "this did not come true within 20 s: $what" "$(tail -n 5 "$scratch"/*.log)"
}

start_marketplace() {
    : >"$scratch/simulator.log"
    "$program" simulate --listen 127.0.0.1:0 --no-dial-tests --data-dir "$scratch/simulator" >"$scratch/simulator.log" 2>&1 &
    started+=($!)
    wait_until 'the marketplace is up' grep -q '^  SK' "$scratch/simulator.log"
    marketplace=$(grep -o 'http://127[^/ ]*' "$scratch/simulator.log" | head -n 1)
    "$program" token new >"$scratch/admin-token"
    "$program" token new >"$scratch/software-token"
    cat >"$scratch/authcoded.toml" <<END
data-dir = "data"
[callback]
listen = "127.0.0.1:0"
access-key-files = ["simulator/access-key"]
[marketplace]
endpoints = ["$marketplace"]
ak-file = "simulator/ak"
sk-file = "simulator/sk"
[admin]
listen = "127.0.0.1:0"
token-file = "admin-token"
[software]
listen = "127.0.0.1:0"
socket = "software.sock"
token-file = "software-token"
END
}

# The kernel chooses the ports, so the callback's is told to the marketplace and the operators' to the
# configuration that the command line reads.
start_daemon() {
    : >"$scratch/daemon.log"
    "$program" --config "$scratch/authcoded.toml" serve >/dev/null 2>"$scratch/daemon.log" &
    daemon=$!
    started+=("$daemon")
    wait_until 'the daemon is ready' grep -q '"message":"ready"' "$scratch/daemon.log"
    local ready
    ready=$(grep '"message":"ready"' "$scratch/daemon.log")
    url=http://$(jq -r .software <<<"$ready")
    admin=http://$(jq -r .admin <<<"$ready")
    console PUT callback-url "{\"url\":\"http://$(jq -r .callback <<<"$ready")/koogallery/callback\"}" >/dev/null
}

stop_daemon() {
    kill "$daemon"
    wait "$daemon"
    started=("${started[0]}")
}

console() { curl -q -sS --fail --max-time 10 --noproxy '*' -X "$1" -d "${3:-}" "$marketplace/console/$2"; }

order() {
    curl -q -sS --fail --max-time 10 --noproxy '*' -H "Authorization: Bearer $(<"$scratch/admin-token")" \
        -H 'Content-Type: application/json' -d "${2:-}" "$admin$1" >/dev/null
}

says() {
    curl -q -sS --max-time 10 --noproxy '*' --unix-socket "$scratch/software.sock" "http://localhost/v1/entitlements/$1" |
        jq -e --arg reason "$2" '.reason == $reason' >/dev/null
}

buy_codes() {
    local code
    read -r paid ended < <(console POST codes '{"count":2,"received":true}' | jq -r '.licenses | join(" ")')
    for code in "$paid" "$ended"; do
        order /v1/licenses "{\"code\":\"$code\"}"
        wait_until "$code is active" says "$code" active
    done
}

freeze_a_code() {
    console POST "codes/$ended/freeze" >/dev/null
    wait_until "$ended is frozen" says "$ended" frozen
}

rotate_the_key() { order /v1/lease-keys/rotate '{"reason":"a test"}'; }

# A lease and the key set as the daemon gives them, for the checks that need no daemon.
take_a_lease() {
    local curl=(curl -q -sS --fail --max-time 10 --noproxy '*' --unix-socket "$scratch/software.sock")
    "${curl[@]}" "http://localhost/v1/entitlements/$paid" | jq -jr .lease >"$scratch/leases/daemon"
    "${curl[@]}" http://localhost/.well-known/jwks.json >"$scratch/daemon.json"
}

# --- Running an example ---------------------------------------------------------------------------------

each_in_turn() {
    for language in "${built[@]}"; do "$1"; done
}

all_at_once() {
    local job jobs=()
    for language in "${built[@]}"; do
        "$1" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job"; done
}

# check NAME STATUS WORDS ARGUMENT...: the example must end with this status, and print a line that begins
# with these words: a program that breaks down has a status, too.
check() {
    local name=$1 status=$2 words=$3 told ended_with=0
    shift 3
    told=$(AUTHCODED_URL=$url AUTHCODED_SOCKET=${socket:-} AUTHCODED_TOKEN_FILE=${token:-$scratch/software-token} \
        AUTHCODED_FOLDER=$scratch/state/${folder:-$language} \
        "${patience[@]}" "$scratch/bin/$language" "$@" 2>"$scratch/results/$language.stderr") || ended_with=$?
    if ((ended_with == status)) && [[ $told == "$words"* ]]; then
        verdict ok "$name"
    else
        verdict FAILED "$name"
        printf '    expected %d and "%s…", got %d and "%s"\n' "$status" "$words" "$ended_with" "$told" >&2
        sed 's/^/    /' "$scratch/results/$language.stderr" >&2
    fi
}

# holds NAME COMMAND...
holds() {
    local name=$1
    shift
    if "$@"; then verdict ok "$name"; else verdict FAILED "$name"; fi
}

verdict() {
    printf '%s %s\n' "$1" "$2" >>"$scratch/results/$language"
    [[ $1 == ok ]] || printf 'FAILED: %s: %s\n' "$language" "$2" >&2
}

while_the_daemon_answers() {
    check 'a paid code' 0 'allow active' "$paid"
    folder=$language-2 check 'a second code' 0 'allow active' "$ended"
    folder=none check 'a code that needs escaping' 1 'deny unknown_code' 'a/b?c#d%41 授权"\&+'
    # Java's own client knows no Unix sockets.
    if [[ $language != java ]]; then
        socket=$scratch/software.sock token=/nowhere folder=none check 'by the Unix socket' 0 'allow active' "$paid"
    fi
    check 'without a code' 2 ''
}

after_a_freeze_and_a_new_key() {
    folder=$language-2 check 'a frozen code' 1 'deny frozen' "$ended"
    holds 'a denial takes the lease away' test ! -e "$scratch/state/$language-2/lease.jwt"
    check 'a lease of a new key' 0 'allow active' "$paid"
    holds 'it is kept' grep -q "\"$(kid_of "$scratch/state/$language/lease.jwt")\"" "$scratch/state/$language/jwks.json"
    holds 'it is the new key' test "$(kid_of "$scratch/state/$language/lease.jwt")" = "$(kid_of "$scratch/leases/daemon")"
}

kid_of() { cut -d . -f 1 "$1" | from_base64url | jq -r .kid; }

on_the_lease() { check "$why" 0 'allow active (lease)' "$paid"; }

with_a_wrong_token() {
    local why='a wrong token' token=$scratch/admin-token
    each_in_turn on_the_lease
}

# 503 to everything, with a body that is none of an answer's business.
with_a_broken_daemon() {
    local why='a daemon that answers 503' url
    if ! command -v python3 >/dev/null; then
        printf 'skipped: a daemon that answers 503: python3 is not installed here\n'
        return
    fi
    python3 -u -c '
from http.server import BaseHTTPRequestHandler, HTTPServer
class Broken(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"{\"decision\":\"deny\",\"reason\":\"released\"}"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = HTTPServer(("127.0.0.1", 0), Broken)
print(server.server_port)
server.serve_forever()' >"$scratch/broken.port" 2>/dev/null &
    local broken=$!
    started+=("$broken")
    wait_until 'the broken daemon listens' test -s "$scratch/broken.port"
    url=http://127.0.0.1:$(<"$scratch/broken.port")
    each_in_turn on_the_lease
    kill "$broken"
}

with_a_hanging_daemon() {
    local why='a daemon that hangs'
    kill -STOP "$daemon"
    all_at_once on_the_lease
    kill -CONT "$daemon"
}

while_nobody_listens() {
    local why='nobody listens'
    on_the_lease
    check 'the lease of another code' 2 'cannot tell' "$ended"
    folder=$language-2 check 'no lease' 2 'cannot tell' "$ended"
}

# --- Leases ---------------------------------------------------------------------------------------------

base64url() { base64 -w 0 | tr '+/' '-_' | tr -d '='; }

from_base64url() {
    local text
    text=$(tr -- '-_' '+/')
    while ((${#text} % 4)); do text+='='; done
    base64 -d <<<"$text"
}

# forge NAME HEADER CLAIMS [KEY]: a lease signed by the key in that file, or by none.
forge() {
    local lease signature=''
    lease=$(printf '%s' "$2" | base64url).$(printf '%s' "$3" | base64url)
    if [[ ${4:-} ]]; then
        printf '%s' "$lease" >"$scratch/signed"
        signature=$(openssl pkeyutl -sign -inkey "$4" -rawin -in "$scratch/signed" | base64url)
    fi
    printf '%s.%s' "$lease" "$signature" >"$scratch/leases/$1"
}

# Two keys of our own: one that the key set names, and one that it does not. What the first signs holds
# or not by its claims alone.
forge_leases() {
    local ours=$scratch/ours.pem theirs=$scratch/theirs.pem name now x lease secret
    openssl genpkey -algorithm ed25519 -out "$ours"
    openssl genpkey -algorithm ed25519 -out "$theirs"
    now=$(date +%s)
    x=$(openssl pkey -in "$ours" -pubout -outform DER | tail -c 32 | base64url)
    # Before ours stands a key of RFC 8037, so that the id matters.
    jq -nc --arg x "$x" '{kty: "OKP", crv: "Ed25519", alg: "EdDSA", use: "sig"} |
        {keys: [. + {kid: "first", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}, . + {kid: "ours", x: $x}]}' >"$scratch/ours.json"
    local header='{"alg":"EdDSA","kid":"ours","typ":"JWT"}' claims
    claims=$(jq -nc --arg code "$paid" --argjson now "$now" '{iss: "authcoded", sub: $code, iat: ($now - 60),
        nbf: ($now - 60), exp: ($now + 3600), decision: "allow", reason: "active", state: "activated", expires_at: null}')
    with() { jq -c "$1" <<<"$claims"; }
    forge good "$header" "$claims" "$ours"
    forge 'bad: it has ended' "$header" "$(with '.nbf -= 3600 | .iat = .nbf | .exp -= 3601')" "$ours"
    forge 'bad: it does not hold yet' "$header" "$(with '.nbf += 1800 | .iat = .nbf')" "$ours"
    forge 'bad: it never ends' "$header" "$(with 'del(.exp)')" "$ours"
    forge 'bad: it never began' "$header" "$(with 'del(.nbf)')" "$ours"
    forge 'bad: of another issuer' "$header" "$(with '.iss = "somebody"')" "$ours"
    forge 'bad: of no code' "$header" "$(with 'del(.sub)')" "$ours"
    forge 'bad: it denies' "$header" "$(with '.decision = "deny"')" "$ours"
    forge 'bad: signed by another key' "$header" "$claims" "$theirs"
    forge 'bad: of a key that nobody knows' "${header/ours/theirs}" "$claims" "$theirs"
    forge 'bad: it names no key' '{"alg":"EdDSA","typ":"JWT"}' "$claims" "$ours"
    forge 'bad: alg none, not signed' '{"alg":"none","kid":"ours","typ":"JWT"}' "$claims"
    forge 'bad: alg none, signed' '{"alg":"none","kid":"ours","typ":"JWT"}' "$claims" "$ours"
    forge 'bad: alg RS256, signed with Ed25519' '{"alg":"RS256","kid":"ours","typ":"JWT"}' "$claims" "$ours"
    forge 'bad: not signed' "$header" "$claims"
    # The public key, which everybody has, taken for a secret.
    name='bad: alg HS256 under the public key'
    forge "$name" '{"alg":"HS256","kid":"ours","typ":"JWT"}' "$claims"
    lease=$(<"$scratch/leases/$name") secret=$(printf '%s' "$x" | from_base64url | od -An -tx1 | tr -d ' \n')
    printf '%s' "${lease%.}" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$secret" -binary |
        base64url >>"$scratch/leases/$name"
    printf 'a.b.c' >"$scratch/leases/bad: three letters"
    printf '' >"$scratch/leases/bad: empty"
    jq -c '.keys |= .[1:]' "$scratch/ours.json" >"$scratch/ours-alone.json"
    tamper
}

# The daemon's lease, changed by one who has no key.
tamper() {
    local lease header payload signature longer changed=A
    lease=$(<"$scratch/leases/daemon")
    IFS=. read -r header payload signature <<<"$lease"
    longer=$(printf '%s' "$payload" | from_base64url | jq -c '.exp += 1' | tr -d '\n' | base64url)
    [[ ${signature:40:1} != A ]] || changed=B
    printf '%s' "$header.$longer.$signature" >"$scratch/leases/tampered: its claims"
    printf '%s' "$header.$payload.${signature:0:40}$changed${signature:41}" >"$scratch/leases/tampered: its signature"
    printf '%s' "$header.$payload.${signature:0:43}" >"$scratch/leases/tampered: half a signature"
    # A key set that gives another key the id of the daemon's.
    jq -c --arg kid "$(kid_of "$scratch/leases/daemon")" '.keys[1].kid = $kid' "$scratch/ours.json" >"$scratch/usurped.json"
}

with_a_lease_at_hand() {
    local leases=$scratch/leases keys=$scratch/daemon.json lease
    check 'a lease of the daemon' 0 'allow active' --check-lease "$leases/daemon" "$keys" "$paid"
    check 'for another code' 1 refused: --check-lease "$leases/daemon" "$keys" "$ended"
    check 'under the keys of another daemon' 1 refused: --check-lease "$leases/daemon" "$scratch/ours.json" "$paid"
    check 'under a key that took its id' 1 refused: --check-lease "$leases/daemon" "$scratch/usurped.json" "$paid"
    for lease in "$leases"/tampered:*; do
        check "${lease##*/}" 1 refused: --check-lease "$lease" "$keys" "$paid"
    done
    check 'a lease of our own' 0 'allow active' --check-lease "$leases/good" "$scratch/ours.json" "$paid"
    for lease in "$leases"/bad:*; do
        check "${lease##*/}" 1 refused: --check-lease "$lease" "$scratch/ours.json" "$paid"
    done
    check 'it names no key, and there is only one' 1 refused: \
        --check-lease "$leases/bad: it names no key" "$scratch/ours-alone.json" "$paid"
    # The same key and code while nobody answers: what differs is the time.
    mkdir "$scratch/state/$language-3"
    cp "$scratch/ours.json" "$scratch/state/$language-3/jwks.json"
    cp "$leases/good" "$scratch/state/$language-3/lease.jwt"
    folder=$language-3 check 'away, before the end of the lease' 0 'allow active (lease)' "$paid"
    cp "$leases/bad: it has ended" "$scratch/state/$language-3/lease.jwt"
    folder=$language-3 check 'away, after the end of the lease' 2 'cannot tell' "$paid"
}

report() {
    local language passed failed all_passed=0 all_failed=0
    printf '%-10s %7s %7s\n' language passed failed
    for language in "${built[@]}"; do
        passed=$(grep -c '^ok ' "$scratch/results/$language" || true)
        failed=$(grep -c '^FAILED ' "$scratch/results/$language" || true)
        printf '%-10s %7d %7d\n' "$language" "$passed" "$failed"
        all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed))
    done
    for language in "${skipped[@]}"; do printf '%-10s skipped\n' "$language"; done
    printf '%d passed, %d failed, %d skipped\n' "$all_passed" "$all_failed" ${#skipped[@]}
    ((all_failed == 0))
}

main "$@"
