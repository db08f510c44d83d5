#!/usr/bin/env bash
# Set up as demo.sh does, then check style and types and run the tests; arguments go to pytest (-m "not slow", -n 0).
# Two processes share the files of tests, each with one thread, which two cores do faster than two threads do.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh dev
bash scripts/tools.sh
export PATH="$PWD/.venv/bin:$PATH" MPLBACKEND=Agg OMP_NUM_THREADS=1
ruff check .
ruff format --check .
mypy common scripts
exec python -m pytest -n 2 --dist loadfile "$@"
