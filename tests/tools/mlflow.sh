#!/usr/bin/env bash
# Makes a Python environment with MLflow (client and server) in the cache folder, and prints its
# path: the tests that read a store written by MLflow itself, or talk to a real server, use it and
# skip without it.
#
# Called by `make mlflow`. Apart from the other environment because it is 350 MB and a few tests
# alone need it. MIZAR_MLFLOW_VENV names another place.
set -euo pipefail

venv=${MIZAR_MLFLOW_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/mizar/mlflow-venv}
if [ ! -x "$venv/bin/mlflow" ] || ! "$venv/bin/python" -c 'import aiohttp' 2>/dev/null; then
    mkdir -p "$(dirname "$venv")"
    python3 -m venv --clear "$venv" >&2
    # The server's modules are named because MLflow's small package leaves them out.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        mlflow-skinny==3.17.2 aiohttp alembic cryptography docker flask flask-cors graphene \
        gunicorn huey numpy pandas sqlalchemy >&2
fi
echo "$venv"
