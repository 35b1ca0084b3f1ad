#!/usr/bin/env bash
# Gets a GCP datalab or Vertex Workbench ready. Its default terminal is dash, where "source" fails, so:
#
#   bash 00-set_up/init_gcp.sh
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if [ -d /opt/conda/bin ]; then export PATH="/opt/conda/bin:$PATH"; fi

if [ ! -e conf/conf.yaml ]; then
    cp conf/example_conf.yaml conf/conf.yaml
    if [ -d ../bucket ]; then echo "BUCKET: ../bucket" >>conf/conf.yaml; fi # mounted beside the repository
fi
bash 00-set_up/install.sh --datalab
echo "Ready: open README.md and the three notebooks."
