#!/usr/bin/env bash
# The admin page in a real Chromium. Without arguments it runs, or says what it lacks; --install brings that.
# Screenshots go to target/browser.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

install() {
    command -v chromium >/dev/null || {
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk
    }
    npm ci --no-audit --no-fund --ignore-scripts
}

if [[ ${1:-} == --install ]]; then
    install || printf 'the installation failed\n'
fi

lacking=()
command -v chromium >/dev/null || lacking+=(chromium)
command -v node >/dev/null || lacking+=(node)
[[ -d node_modules/playwright-core && -d node_modules/axe-core ]] || lacking+=('node modules')
if ((${#lacking[@]})); then
    printf 'skipped: browser: not installed here: %s; tests/browser/run.sh --install brings it\n' "${lacking[*]}"
    exit 0
fi

target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
export AUTHCODED=$target/debug/authcoded SCREENSHOTS=$target/browser
[[ -x $AUTHCODED ]] || cargo build
mkdir -p "$SCREENSHOTS"
exec node --test --test-concurrency=1 page.test.mjs
