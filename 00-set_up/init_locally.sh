# shellcheck shell=bash disable=SC1091
# Gets this shell ready to step through the notebooks by hand, in bash or zsh:
#
#   source 00-set_up/init_locally.sh
#
# The environment is installed if it is missing and made active; conf/conf.yaml and the bucket are made if absent.
# The work is done by another process, so that nothing but the active environment is left in this shell.
if [ -n "${BASH_VERSION:-}${ZSH_VERSION:-}" ] && bash "$(dirname -- "${BASH_SOURCE[0]:-$0}")/install.sh"; then
    . "$(dirname -- "${BASH_SOURCE[0]:-$0}")/../.venv/bin/activate"
    echo "Ready. Settings are in conf/conf.yaml. Next: jupyter lab README.md"
else
    echo "The set-up did not end well: see above." >&2
    false
fi
