#!/bin/sh
# Gets a GCP datalab or Vertex Workbench ready. Its default terminal is dash, where "source" fails, so:
#
#   sh 00-set_up/init_gcp.sh
PATH="${CONDA_DIR:-/opt/conda}/bin:$PATH" exec python3 "$(dirname -- "$0")/set_up.py" --platform gcp
