#!/usr/bin/env bash
# Makes a Python environment with PyTorch in the cache folder, and prints its path: the tests of
# `mizar.ddp` and the benchmark of training use it and skip without it.
#
# Called by `make torch`. Apart from the other environment because PyTorch brings NVIDIA's libraries:
# several GB. MIZAR_TORCH_VENV names another place.
set -euo pipefail

venv=${MIZAR_TORCH_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/mizar/torch-venv}
if ! "$venv/bin/python" -c 'import torch, netCDF4' 2>/dev/null; then
    mkdir -p "$(dirname "$venv")"
    python3 -m venv --clear "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        torch==2.15.0 numpy==2.4.6 netCDF4==1.7.5.1.post1 >&2
fi
echo "$venv"
