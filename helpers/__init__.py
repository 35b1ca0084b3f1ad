"""The small module that the three notebooks share.

It imports nothing, so that stage 1 stays light. It only sets what must be set before torch is
imported.
"""

import os

# OpenMP threads that spin while they wait slow a busy machine down thirtyfold: let them sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# The tokenizer's own threads are of no use on short texts, and it warns when a process forks after
# them.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Libraries below report their use over the network: this tutorial also runs where there is none.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
