#!/usr/bin/env bash
# Installs what is missing, runs the three notebooks in order and prints the summary.
set -euo pipefail

usage="Usage: bash 00-set_up/run_tutorial.sh [--acronyms PATH] [--bucket DIR]

  --acronyms PATH  your own list, JSON or CSV (example_data/acronym.json if not given)
  --bucket DIR     where everything is written (the BUCKET of conf/conf.yaml, or bucket/, if not given)
  --help           this text

PATH and DIR are relative to the current folder."

make_absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

acronyms=""
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) echo "$usage" && exit ;;
    --acronyms | --bucket)
        if [ -z "${2:-}" ]; then echo "$1 needs a value. $usage" >&2 && exit 2; fi
        if [ "$1" = --bucket ]; then BUCKET=$(make_absolute "$2") && export BUCKET; fi
        if [ "$1" = --acronyms ]; then acronyms=$(make_absolute "$2"); fi
        shift 2
        ;;
    *) echo "Unknown option: $1. $usage" >&2 && exit 2 ;;
    esac
done

# shellcheck source=00-set_up/install.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/install.sh"
cd -- "$repository"

# A mistake in the list is told now, before anything long.
if [ -n "$acronyms" ]; then
    python=.venv/bin/python
    [ -x $python ] || python=$(find_python)
    $python -c 'import sys, pathlib; sys.tracebacklimit = 0
import helpers.acronyms as a; a.read_acronyms(pathlib.Path(sys.argv[1]))' "$acronyms"
fi

install
.venv/bin/python 00-set_up/run_notebooks.py ${acronyms:+"$acronyms"}
echo "The whole took $SECONDS seconds."
