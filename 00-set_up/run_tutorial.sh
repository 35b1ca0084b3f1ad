#!/bin/sh
# Installs what is missing, runs the three notebooks in order and prints the summary: --help tells the options.
exec python3 "$(dirname -- "$0")/run_tutorial.py" "$@"
