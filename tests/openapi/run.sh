#!/usr/bin/env bash
# Asks both local interfaces what a generator makes of openapi.yaml, right and wrong, and holds the answers against
# it. Without arguments it runs, or says what it lacks; --install brings that. It asks the same each time: EXAMPLES
# says how much, SEED asks something else, and with SECONDS_EACH it goes on for so long.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
place=$target/openapi

install() {
    mkdir -p "$place" && python3 -m venv "$place/python" &&
        "$place/python/bin/pip" install --quiet --requirement requirements.txt
}

if [[ ${1:-} == --install ]]; then
    install || printf 'the installation failed\n'
fi
if [[ ! -x $place/python/bin/schemathesis ]]; then
    printf 'skipped: openapi: schemathesis is not installed here; tests/openapi/run.sh --install brings it\n'
    exit 0
fi

export AUTHCODED=$target/debug/authcoded
cargo build --quiet
exec "$place/python/bin/python" -B ask.py ../../openapi.yaml "$place"
