"""Draw the README's figure from a summary: recall, invention and forgetting of each candidate.

python figures/draw_comparison.py [bucket/tests/summary.json]
"""

import sys
from pathlib import Path

from helpers.config import REPOSITORY, load_config
from helpers.files import read_list
from helpers.plots import plot_summary


def main() -> None:
    config = load_config()
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else config.summary_path
    figure = plot_summary(read_list(path))
    figure.suptitle(config.stand_ins(), fontsize=7)
    figure.savefig(REPOSITORY / "figures/comparison.png", dpi=150)


if __name__ == "__main__":
    main()
