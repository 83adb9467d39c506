# The simulated marketplace inside the root, and callbacks from it. To be sourced by run.sh.

readonly MARKET=http://127.0.0.1:8660
readonly CALLBACK=http://127.0.0.1:8650/koogallery/callback
renewing=()

start_market() {
    inside systemd-run --quiet --unit=market --property=WorkingDirectory=/run \
        authcoded simulate --no-dial-tests --data-dir /run/market --callback-url "$CALLBACK" "$@"
    wait_until 'the simulated marketplace is up' console GET codes
}

# curl of this machine in the root's network: the root needs none.
console() {
    nsenter --target "$leader" --net -- curl -q -sS --fail --max-time 30 --noproxy '*' -X "$1" -d "${3:-}" "$MARKET/console/$2"
}

# Buys so many codes, hands them over, and waits until they run.
buy() {
    local code
    read -ra codes < <(console POST codes "{\"count\":$1,\"received\":true}" | jq -r '.licenses | join(" ")')
    for code in "${codes[@]}"; do
        inside authcoded license add "$code" >/dev/null
    done
    for code in "${codes[@]}"; do wait_until "$code is active" is_active "$code"; done
}

is_active() { inside authcoded license show "$1" --json | jq -e '.state == "activated" or .state == "renewed"'; }

# Renews codes without pause, in the background: each renewal is a callback.
start_renewing() {
    rm -f "$scratch/enough"
    renewing=()
    local code
    for code; do
        while [[ ! -e $scratch/enough ]]; do console POST "codes/$code/renew" >/dev/null || exit 1; done &
        renewing+=($!)
    done
}

stop_renewing() {
    local pid status=0
    touch "$scratch/enough"
    for pid in "${renewing[@]}"; do wait "$pid" || status=1; done
    renewing=()
    return $status
}

# Nothing is on its way any more.
all_tried() { console GET calls | jq -e '[.items[] | select(.attempts == [])] == []'; }

# each_call_answered CODE...: how many calls there were, all of them answered 000000 at the first attempt.
each_call_answered() {
    wait_until 'every call was tried' all_tried
    local code
    for code; do
        console GET "calls?license=$code&limit=1000" | jq -c '.items[]'
    done >"$scratch/calls"
    jq -es 'all(.[]; .state == "delivered" and (.attempts | length) == 1 and .attempts[0].result_code == "000000")' "$scratch/calls" >/dev/null ||
        fails "calls failed: $(jq -cs '[.[] | select(.state != "delivered" or (.attempts | length) != 1)] | (length, .[:3])' "$scratch/calls")"
    jq -rs '"\(length) calls, the slowest answered in \([.[].attempts[].latency_ms] | max) ms"' "$scratch/calls"
}
