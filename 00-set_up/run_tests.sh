#!/bin/sh
# Installs what is missing, with the tools for development, and checks the project.
# What follows the command goes to pytest: bash 00-set_up/run_tests.sh tests/test_config.py -k yaml
# With `fast` first, what trains, installs or starts processes is left out.
set -eu
unset PYTHONDONTWRITEBYTECODE # with it, each process compiles torch again: 7 seconds
cd -- "$(dirname -- "$0")/.."
is_fast=
if [ "${1:-}" = fast ]; then
    is_fast=yes
    shift
fi
python3 00-set_up/set_up.py --dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# All of them: in two processes, each test file in one of them.
[ $# -gt 0 ] || set -- -n 2 --dist loadfile --no-loadscope-reorder
[ -z "$is_fast" ] || set -- "$@" -m "not long and not openwebui and not llamacpp and not slow"
.venv/bin/python -m pytest "$@"
if [ -n "$is_fast" ]; then
    echo "Left out: what is marked long in $(grep -l "mark.long" tests/test_*.py | tr '\n' ' ')"
    echo "bash 00-set_up/run_tests.sh runs all."
fi
