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
    .venv/bin/python -m venv --clear .venv-openwebui
    torch=$(grep '^torch==' 00-set_up/constraints.txt)
    index=$(find_torch_index)
    # Torch first and pinned: Open WebUI alone would bring another one, with CUDA.
    for package in "$torch" "$open_webui"; do
        .venv-openwebui/bin/python -m pip install --disable-pip-version-check "$torch" "$package" \
            ${index:+--extra-index-url "$index"}
    done
    echo "$open_webui" >.venv-openwebui/installed.txt
fi
.venv/bin/python -m pytest -m openwebui tests/test_open_webui.py "$@"
