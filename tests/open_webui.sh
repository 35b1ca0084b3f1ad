#!/usr/bin/env bash
# Installs a real Open WebUI in .venv-openwebui (once: a few minutes, 3 GB), and runs the test that needs it.
# It serves on loopback alone, with a fresh folder, and ends with the test.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
open_webui=open-webui==0.12.4

if ! grep -qsx "$open_webui" .venv-openwebui/installed.txt; then
    for python in python3 python3.12 python3.11 ""; do
        if [ -z "$python" ]; then
            echo "Open WebUI needs Python 3.11 or 3.12, and none was found." >&2
            exit 1
        fi
        if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then break; fi
    done
    echo "Installing $open_webui in .venv-openwebui: once, a few minutes."
    "$python" -m venv --clear .venv-openwebui
    torch=$(grep '^torch==' 00-set_up/constraints.txt)
    pip=(.venv-openwebui/bin/python -m pip install --quiet --disable-pip-version-check)
    # Torch first and pinned, for processors where there is no GPU: Open WebUI alone would bring another, with CUDA.
    if [ "$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then
        pip+=(--extra-index-url https://download.pytorch.org/whl/cpu --retries 1)
    fi
    "${pip[@]}" "$torch"
    "${pip[@]}" "$torch" "$open_webui"
    echo "$open_webui" >.venv-openwebui/installed.txt
fi
exec bash 00-set_up/run_tests.sh -m openwebui tests/test_open_webui.py "$@"
