#!/usr/bin/env bash
# Make .venv-deploy, an environment of its own for the MONAI Deploy application; a second run skips what is done.
# Usage: bash scripts/deploy/setup.sh [--share]
#   --share   take the libraries of .venv instead of installing them again: a quarter of a minute instead of minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

stamp=".venv-deploy/.installed-$(cat requirements.txt scripts/deploy/requirements.txt | cksum | cut -d' ' -f1)${1:-}"
if [ -e "$stamp" ]; then
    exit
fi
if [ "${1:-}" = --share ]; then
    .venv/bin/python -m venv --clear .venv-deploy
    libraries="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
    own="$(.venv-deploy/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
    echo "$libraries" > "$own/_libraries.pth"
    # the SDK lives inside the package 'monai', which therefore has to lie in the same folder as it
    monai="$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("monai"))')"
    again=(--no-deps --force-reinstall "monai==$monai")
else
    bash scripts/setup.sh
    .venv/bin/python -m venv --clear .venv-deploy
    again=(-r requirements.txt)
fi
for packages in "-r scripts/deploy/requirements.txt" "${again[*]}" "--no-deps --editable ."; do
    # shellcheck disable=SC2086
    .venv-deploy/bin/python -m pip install --quiet --quiet --no-compile --disable-pip-version-check $packages
done
touch "$stamp"
