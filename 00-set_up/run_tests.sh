#!/usr/bin/env bash
# Installs what is missing, with the tools for development, and checks the project.
# What follows the command goes to pytest: bash 00-set_up/run_tests.sh tests/test_config.py -k yaml
set -euo pipefail
# shellcheck source=00-set_up/install.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/install.sh"
install --dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/python -m pytest "$@"
