#!/usr/bin/env bash
# Makes sure that there is a cargo-nextest, the program that runs the tests.
#
# Called by `make test`. One that is installed is used; otherwise it is compiled once, into the
# cache folder, which the Makefile puts on the PATH. That takes some minutes, so it says so.
set -euo pipefail

version=0.9.143
tools=${XDG_CACHE_HOME:-$HOME/.cache}/mizar/tools

if ! command -v cargo >/dev/null; then
    echo "==> Rust is needed, 1.95 or newer: https://rustup.rs" >&2
    exit 1
fi
if cargo nextest --version >/dev/null 2>&1; then
    exit 0
fi
echo "==> compiling cargo-nextest $version into $tools, once (about ten minutes on two cores)" >&2
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
CARGO_TARGET_DIR=$build cargo install --quiet --locked --root "$tools" --version "$version" cargo-nextest
