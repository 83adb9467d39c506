#!/usr/bin/env bash
# Builds what is shipped from the repository alone: the Debian package, and on request the others.
#
#   packaging/build.sh [--rpm] [--musl] [--sbom]
#   packaging/build.sh --debug      the Debian package around the debug build: quick, to look at the package
#
# Needs: cargo install cargo-deb (and cargo-generate-rpm, cargo-cyclonedx for --rpm and --sbom);
# for --musl: rustup target add x86_64-unknown-linux-musl, and musl-tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The same sources give the same bytes: no path of this machine, no time of today.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
ship=$target/package

if [[ ${1:-} == --debug ]]; then
    shift
    # The one that the tests drive: after them there is nothing left to build.
    cargo test --locked --no-run
    program=$target/debug/authcoded
    # `cargo deb` knows release builds only, so it is given a folder in which this one looks like that.
    mkdir -p "$target/debug-package/release"
    ln -f "$program" "$target/debug-package/release/"
    deb=(env CARGO_TARGET_DIR="$target/debug-package" cargo deb --strip --fast)
else
    export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=/authcoded --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    cargo build --release --locked
    program=$target/release/authcoded
    deb=(cargo deb)
fi
rm -rf "$ship"
mkdir -p "$ship/man"
"$program" man "$ship/man"
gzip -9n "$ship"/man/*
gzip -9nc CHANGELOG.md >"$ship/changelog.gz"
for shell in bash zsh fish; do
    "$program" completions "$shell" >"$ship/authcoded.$shell"
done
# Where the assets of Cargo.toml look for it, whatever the target folder is.
if [[ $target != "$PWD/target" ]]; then
    mkdir -p target
    rm -rf target/package
    cp -r "$ship" target/package
fi
"${deb[@]}" --no-build --locked

for wanted in "$@"; do
    case $wanted in
    --rpm) cargo generate-rpm ;;
    --musl) cargo build --release --locked --target x86_64-unknown-linux-musl ;;
    --sbom) cargo cyclonedx --format json --spec-version 1.5 ;;
    *)
        printf 'unknown: %s\n' "$wanted" >&2
        exit 2
        ;;
    esac
done
