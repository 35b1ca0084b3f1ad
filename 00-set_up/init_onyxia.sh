#!/usr/bin/env bash
# Gets an Onyxia service ready (chart jupyter-pytorch or jupyter-pytorch-gpu). Onyxia runs it before JupyterLab
# starts: init.personalInit is the raw address of this file, init.personalInitArgs the address of the repository.
# By hand, in a clone: bash 00-set_up/init_onyxia.sh
#
# A failure here does not stop JupyterLab: what happened is told in work/init_onyxia.log.
set -euo pipefail

# Onyxia pipes this file into bash: it is one function, so that bash has read it whole before anything runs.
main() {
    local work=$HOME/work repository=$PWD settings=$HOME/.jupyter/jupyter_server_config.py page
    if [ -n "${1:-}" ]; then
        repository=$work/$(basename "$1" .git)
        [ -d "$repository" ] || git clone "$1" "$repository"
    fi
    cd "$repository"

    # Only the work folder outlives the service.
    export HF_HOME=$work/.cache/huggingface
    mkdir -p "$HF_HOME"
    if [ ! -e conf/conf.yaml ]; then
        (umask 077 && cp conf/example_conf.yaml conf/conf.yaml)
        # The user's AI provider, which newer charts put into the environment.
        if [ -z "${OWUI_URL:-}" ] && [ -n "${OPENAI_BASE_URL:-}" ]; then
            printf '\nOWUI_URL: "%s"\nOWUI_TOKEN: "%s"\n' "$OPENAI_BASE_URL" "${OPENAI_API_KEY:-}" >>conf/conf.yaml
        fi
    fi
    bash 00-set_up/install.sh --datalab

    page="c.LabApp.default_url = '/lab/tree/$(basename "$repository")/README.md'"
    mkdir -p "$(dirname "$settings")"
    grep -qsxF "$page" "$settings" || echo "$page" >>"$settings"
    if [ "$(id -u)" = 0 ] && id onyxia >/dev/null 2>&1; then
        chown -R onyxia:users "$repository" "$work/.cache" "$HOME/.jupyter"
    fi
    echo "Ready: open README.md and the three notebooks."
}

mkdir -p "$HOME/work"
main "$@" </dev/null 2>&1 | tee "$HOME/work/init_onyxia.log"
