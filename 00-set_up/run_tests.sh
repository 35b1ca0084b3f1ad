#!/bin/sh
# Installs what is missing, with the tools for development, and checks the project.
# What follows the command goes to pytest: bash 00-set_up/run_tests.sh tests/test_config.py -k yaml
set -eu
unset PYTHONDONTWRITEBYTECODE # with it, each process compiles torch again: 7 seconds
cd -- "$(dirname -- "$0")/.."
python3 00-set_up/set_up.py --dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# All of them: in two processes, each test file in one of them.
[ $# -gt 0 ] || set -- -n 2 --dist loadfile --no-loadscope-reorder
.venv/bin/python -m pytest "$@"
