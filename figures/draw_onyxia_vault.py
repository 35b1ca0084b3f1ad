"""Draw 00-set_up/onyxia_vault.png: how a secret of Onyxia's vault reaches the notebooks."""

from draw_pipeline import BLUE, FAINT, INK, ORANGE, PAPER, draw_arrow
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

from helpers.config import REPOSITORY

SECRET = """\
Key             Value

OWUI_URL        https://llm.lab.sspcloud.fr
OWUI_TOKEN      sk-••••••••••••
OWUI_FAV_MODEL  a name from its list
HF_TOKEN        hf_••••••••••••"""
SERVICE = """\
Vault tab, or the launch link:
secret = acronym-tutorial

each key becomes an
environment variable"""
NOTEBOOK = """\
OWUI_TOKEN  set (hidden)
HF_TOKEN    set (hidden)

shown as set,
never read out"""


def draw_box(axes, left: float, width: float, title: str, text: str, colour: str) -> None:
    shape = FancyBboxPatch((left, 0.4), width, 2.4, boxstyle="round,pad=0.05")
    shape.set(facecolor="white", edgecolor=colour, linewidth=2)
    axes.add_patch(shape)
    axes.text(left + 0.1, 2.55, title, weight="bold", color=colour, fontsize=12)
    look = {"va": "center", "family": "monospace", "linespacing": 1.5, "color": INK}
    axes.text(left + 0.1, 1.35, text, fontsize=9.5, **look)


def main() -> None:
    figure, axes = plt.subplots(figsize=(11, 3), facecolor=PAPER)
    figure.subplots_adjust(0, 0, 1, 1)
    axes.set(xlim=(0, 11), ylim=(0, 3))
    axes.axis("off")
    draw_box(axes, 0.2, 4.1, "1. My Secrets: acronym-tutorial", SECRET, BLUE)
    draw_box(axes, 5.0, 2.7, "2. The service", SERVICE, ORANGE)
    draw_box(axes, 8.4, 2.4, "3. The notebook", NOTEBOOK, BLUE)
    draw_arrow(axes, (4.4, 1.6), (4.9, 1.6))
    draw_arrow(axes, (7.8, 1.6), (8.3, 1.6))
    note = "A drawing of our own; the pages look a little different."
    axes.text(0.2, 0.1, note, color=FAINT, fontsize=9)
    figure.savefig(REPOSITORY / "00-set_up/onyxia_vault.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
