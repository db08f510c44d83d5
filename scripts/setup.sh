#!/usr/bin/env bash
# Make .venv and install everything into it; a second run skips what is done. Sourced by demo.sh and test.sh.
# Usage: bash scripts/setup.sh [dev]    (dev adds what the tests need)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11, 3.12 or 3.13 with its venv module is needed; none was found. Name one by PYTHON=…" >&2
    return 1
}

setup() {
    local extra="${1:+[$1]}" stamp
    stamp=".venv/.installed-$(cat requirements.txt pyproject.toml | cksum | cut -d' ' -f1)${1:+-$1}"
    if [ -e "$stamp" ]; then
        return
    fi
    if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        "$(find_python)" -m venv --clear .venv
    fi
    echo "Installing into .venv (some 5 GB with PyTorch; minutes the first time) ..."
    .venv/bin/python -m pip install --quiet --quiet --no-compile --disable-pip-version-check --editable ".$extra"
    .venv/bin/python -m pip check --disable-pip-version-check >/dev/null || echo "pip reports conflicts: .venv/bin/pip check" >&2
    touch "$stamp"
}

setup "${1:-}"
