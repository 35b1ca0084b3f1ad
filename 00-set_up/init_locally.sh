# shellcheck shell=bash disable=SC1091
# Gets this shell ready to step through the notebooks by hand, in bash or zsh:
#
#   source 00-set_up/init_locally.sh
#
# The work is done by another process, so that nothing but the active environment is left in this shell.
if python3 "$(dirname -- "${BASH_SOURCE[0]:-$0}")/set_up.py"; then
    . "$(dirname -- "${BASH_SOURCE[0]:-$0}")/../.venv/bin/activate"
    echo "Ready. Settings are in conf/conf.yaml. Next: jupyter lab README.md"
else
    false
fi
