#!/usr/bin/env bash
# The Debian package under a real systemd: built, installed with apt into a Debian 12 that is made by
# debootstrap and booted by systemd-nspawn, set up against the simulated marketplace, restarted a hundred
# times under calls, stopped dead, upgraded, restored, removed, purged. Then README's install section, word
# for word, in a second clean root, and the time that takes.
#
#   sudo tests/package/run.sh [--package FILE] [--previous FILE] [--base FOLDER] [--restarts N]
#
#   --package   the package to try; otherwise packaging/build.sh builds it (a release build)
#   --previous  the released package to upgrade from; otherwise the same program under a lower version
#   --base      keep the bare Debian in this folder, and take it from there the next time
#
# Needs root on Debian or a relative, and brings what it lacks (debootstrap, systemd-container, curl, jq;
# cargo-deb by cargo). It takes packages from the mirror that this machine's apt uses. The roots lie in a
# temporary folder, have a network of their own with nothing but loopback, and are removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/package/root.sh
source tests/package/market.sh
source tests/package/checks.sh
source tests/package/readme.sh

main() {
    local package='' previous='' base='' restarts=100
    while (($#)); do
        case $1 in
        --package) package=$(realpath "$2") ;;
        --previous) previous=$(realpath "$2") ;;
        --base) base=$2 ;;
        --restarts) restarts=$2 ;;
        *) die 'usage: tests/package/run.sh [--package FILE] [--previous FILE] [--base FOLDER] [--restarts N]' ;;
        esac
        shift 2
    done
    ((EUID == 0)) || die 'run it as root: it makes and boots a root of its own'
    scratch=$(mktemp -d)
    trap clean_up EXIT
    bring_tools
    [[ $package ]] || build_package
    # `cargo deb` clears away what it made before.
    cp "$package" "$scratch/new.deb"
    [[ $previous ]] || build_previous
    cp "$previous" "$scratch/previous.deb"
    ! command -v lintian >/dev/null || must 'lintian finds no error' lintian --fail-on error "$scratch/new.deb"
    make_base "${base:-$scratch/base}"

    begin_root installed
    boot
    install_and_set_up
    runs_hardened
    keeps_its_secrets
    takes_encrypted_credentials
    answers_over_restarts "$restarts"
    is_replaced_when_stopped
    keeps_its_data_over_an_upgrade
    restores_a_backup
    goes_and_leaves_nothing
    end_root

    begin_root by-the-readme
    boot
    follow_the_readme
    end_root
    printf '%d passed, 0 failed\n' "$passed"
}

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

bring_tools() {
    local command packages=()
    local -A from=([debootstrap]=debootstrap [systemd-nspawn]=systemd-container [curl]=curl [jq]=jq [script]=bsdutils)
    for command in "${!from[@]}"; do
        command -v "$command" >/dev/null || packages+=("${from[$command]}")
    done
    ((${#packages[@]} == 0)) || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; }
    [[ $package && $previous ]] || command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
}

build_package() {
    packaging/build.sh
    package=$(newest target/debian)
}

# The same program, and the files of this checkout: it proves the package's scripts, not a schema's step.
build_previous() {
    [[ -d target/package ]] || die 'target/package is not there: packaging/build.sh makes it, or name a --previous'
    previous=$scratch/built.deb
    cargo deb --quiet --fast --no-build --locked --deb-version 0.0.1-1 --output "$previous"
}

newest() { find "$1" -name 'authcoded_*.deb' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-; }

passed=0
# holds WORDS: what was just looked at is as it must be.
holds() {
    passed=$((passed + 1))
    printf 'ok      %s\n' "$*"
}

# fails WORDS: it is not; the journal says more.
fails() {
    printf 'FAILED  %s\n' "$*"
    if [[ ${leader:-} ]]; then
        inside journalctl --no-pager --unit authcoded.service --unit authcoded-callback.socket --lines 40 || true
    fi
    exit 1
}

# must WORDS COMMAND...: the command succeeds.
must() {
    local words=$1 told
    shift
    if told=$("$@" 2>&1); then holds "$words"; else fails "$words: $* said: $told"; fi
}

# wait_until WORDS COMMAND...: for 60 s at most.
wait_until() {
    local words=$1 until=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fails "this did not come true within 60 s: $words"
        sleep 0.1
    done
}

main "$@"
