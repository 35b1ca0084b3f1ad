#!/usr/bin/env bash
# Makes .venv and installs the tested versions in it, once: a second run installs nothing, needs no network.
#
#   bash 00-set_up/install.sh              the environment, conf/conf.yaml if absent, the bucket's folders
#   bash 00-set_up/install.sh --datalab    the same where the platform brings its own torch: that one is kept
#   source 00-set_up/install.sh            only the functions, for the other scripts of this folder
set -euo pipefail
unset CDPATH
repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
pytorch_cpu_index=https://download.pytorch.org/whl/cpu

find_python() {
    local python
    for python in python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    echo "Python 3.11, 3.12 or 3.13 is needed, and none was found: install one from https://www.python.org." >&2
    return 1
}

# PyPI's torch for Linux brings 3 GB of CUDA packages. Without an NVIDIA GPU, PyTorch's own CPU wheel is taken
# instead, if its index answers within 5 seconds.
find_torch_index() {
    if [ "$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1 && timeout 5 .venv/bin/python -c \
        'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' $pytorch_cpu_index/torch/ 2>/dev/null; then
        echo $pytorch_cpu_index
    fi
}

# What the environment depends on: where it is (its scripts hold the path), its Python, and the three lists.
fingerprint() {
    echo "$repository $(.venv/bin/python -V 2>&1)" \
        "$(cat requirements.txt 00-set_up/constraints.txt pyproject.toml | cksum)"
}

# install [--dev | --datalab]: --dev adds the tools that check the project.
install() {
    local kind=${1:-} stamp=.venv/installed.txt constraints=00-set_up/constraints.txt
    local installed index pip python venv_options=(--clear)
    cd -- "$repository"
    installed=$(cat $stamp 2>/dev/null || true)
    case $installed in "$(fingerprint) $kind" | "$(fingerprint) --dev") return ;; esac

    echo "Installing the tested versions of the libraries in .venv: once, a few minutes."
    # An environment that is absent, was left halfway, or was moved with its folder is made afresh.
    if [ "$installed" = unfinished ] || ! grep -qsF "$repository/.venv" .venv/bin/activate ||
        ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        if [ "$kind" = --datalab ]; then venv_options+=(--system-site-packages); fi
        python=$(find_python)
        "$python" -m venv "${venv_options[@]}" .venv
    fi
    echo unfinished >$stamp
    if [ "$kind" = --datalab ]; then
        grep -v '^torch==' $constraints >.venv/constraints.txt
        constraints=.venv/constraints.txt
    fi
    index=$(find_torch_index)
    pip=(.venv/bin/python -m pip install --no-compile --disable-pip-version-check -c "$constraints")
    "${pip[@]}" torch ${index:+--extra-index-url "$index"}
    "${pip[@]}" -r requirements.txt
    if [ "$kind" = --dev ]; then "${pip[@]}" -e ".[dev]"; fi
    echo "$(fingerprint) $kind" >$stamp
}

# JupyterLab is the platform's: its kernel "python3", which the notebooks ask for, becomes the one of .venv.
replace_kernel() {
    local prefix
    prefix=$(python3 -c 'import sys; print(sys.prefix)')
    [ -w "$prefix" ] || prefix=$HOME/.local
    .venv/bin/python -m ipykernel install --prefix "$prefix" --name python3 --display-name "Python 3 (tutorial)" \
        --env HF_HOME "${HF_HOME:-$HOME/.cache/huggingface}"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    install "$@"
    if [ "${1:-}" = --datalab ]; then replace_kernel; fi
    [ -e conf/conf.yaml ] || cp conf/example_conf.yaml conf/conf.yaml
    .venv/bin/python -c 'import sys; sys.tracebacklimit = 0; import helpers.config as c; c.load_config().make_dirs()'
fi
