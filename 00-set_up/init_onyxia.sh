#!/usr/bin/env bash
# Gets an Onyxia service ready (chart jupyter-pytorch or jupyter-pytorch-gpu). Onyxia runs it before JupyterLab
# starts: init.personalInit is the raw address of this file, init.personalInitArgs the address of the repository.
# By hand, in a clone: bash 00-set_up/init_onyxia.sh
#
# A failure here does not stop JupyterLab: what happened is told in work/init_onyxia.log.
set -euo pipefail

# Onyxia pipes this file into bash: it is one function, so that bash has read it whole before anything runs.
main() {
    if [ -n "${1:-}" ]; then
        cd "$HOME/work"
        repository=$(basename "$1" .git)
        # What is there already, with the reader's own work, is left as it is.
        [ -e "$repository/00-set_up/set_up.py" ] || git clone "$1" "$repository"
        cd "$repository"
    fi
    python3 00-set_up/set_up.py --platform onyxia
}

mkdir -p "$HOME/work"
main "$@" </dev/null 2>&1 | tee "$HOME/work/init_onyxia.log"
