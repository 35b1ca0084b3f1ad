#!/usr/bin/env bash
# Installs a real Open WebUI in .venv-openwebui (once: a few minutes, 3 GB), and runs the test that needs it.
# It serves on loopback alone, with a fresh folder, and ends with the test.
set -euo pipefail
# shellcheck source=00-set_up/install.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../00-set_up/install.sh"
open_webui=open-webui==0.12.4
install --dev

if ! grep -qsx "$open_webui" .venv-openwebui/installed.txt; then
    echo "Installing $open_webui in .venv-openwebui: once, a few minutes."
    for python in .venv/bin/python python3.12 python3.11 ""; do  # it does not know 3.13 yet
        if [ -z "$python" ]; then
            echo "Open WebUI needs Python 3.11 or 3.12, and none was found." >&2
            exit 1
        fi
        if "$python" -c 'import sys; sys.exit(sys.version_info[:2] > (3, 12))' 2>/dev/null; then break; fi
    done
    "$python" -m venv --clear .venv-openwebui
    torch=$(grep '^torch==' 00-set_up/constraints.txt)
    index=$(find_torch_index)
    pip=(.venv-openwebui/bin/python -m pip install --quiet --disable-pip-version-check)
    # Torch first and pinned: Open WebUI alone would bring another one, with CUDA.
    "${pip[@]}" "$torch" ${index:+--extra-index-url "$index"}
    "${pip[@]}" "$torch" "$open_webui"
    echo "$open_webui" >.venv-openwebui/installed.txt
fi
.venv/bin/python -m pytest -m openwebui tests/test_open_webui.py "$@"
