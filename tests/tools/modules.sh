#!/usr/bin/env bash
# Brings both programs that read modulefiles, for the test that loads ours with each.
#
# Called by `make test`. Debian lets only one of lmod and environment-modules be installed. The
# second is one Tcl script: its package is unpacked into the cache folder, where it changes
# nothing else. Without apt the test skips what is not there, and says so.
set -euo pipefail

folder=${XDG_CACHE_HOME:-$HOME/.cache}/mizar/environment-modules
[ ! -e "$folder/modulecmd.tcl" ] || exit 0
if command -v modulecmd >/dev/null || ! command -v apt-get >/dev/null; then exit 0; fi

echo "==> unpacking environment-modules into $folder" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download environment-modules >&2 ||
    { echo "==> not available: its test will be skipped" >&2; exit 0; }
dpkg-deb -x environment-modules_*.deb unpacked
mkdir -p "$folder"
find unpacked -name modulecmd.tcl -exec cp {} "$folder/.new" \;
mv "$folder/.new" "$folder/modulecmd.tcl"
