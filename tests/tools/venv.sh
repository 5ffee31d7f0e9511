#!/usr/bin/env bash
# Makes the Python environment of the tests and the demo in the cache folder, and prints its
# path.
#
# Called by `make venv`. A repeat is instant: a stamp holds the digest of the pinned list. An
# environment that exists already is brought up to the list in place, because tests may be
# using it. MIZAR_VENV names another place; MIZAR_PYTHON another interpreter (3.11 or newer).
set -euo pipefail

say() { printf '==> %s\n' "$*" >&2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${MIZAR_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/mizar/venv}
stamp=$venv/mizar-requirements.sha256
digest=$(sha256sum <"$here/requirements.txt")

if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ]; then
    echo "$venv"
    exit 0
fi

# Prints the first interpreter that is new enough and can make an environment.
python() {
    local candidate
    for candidate in ${MIZAR_PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "no Python 3.11 or newer with the venv module: install one and name it in MIZAR_PYTHON"
    return 1
}

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    say "making the Python environment $venv"
    interpreter=$(python)
    mkdir -p "$(dirname "$venv")"
    "$interpreter" -m venv --clear "$venv" >&2
fi
say "installing the pinned Python modules"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --requirement "$here/requirements.txt" >&2
"$venv/bin/python" -c 'import cftime, confluent_kafka, dask.array, flox, h5py, moto.server, netCDF4, onnx, onnxruntime, oscar_python.client, prov.model, xarray, zarr'
printf '%s\n' "$digest" >"$stamp"
echo "$venv"
