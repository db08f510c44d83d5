#!/usr/bin/env bash
# Set up as demo.sh does, then check style and types and run the tests; arguments go to pytest (-m "not slow").
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh dev
export PATH="$PWD/.venv/bin:$PATH" MPLBACKEND=Agg
ruff check .
ruff format --check .
mypy common scripts
exec python -m pytest "$@"
