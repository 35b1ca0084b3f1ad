"""Draw 00-set_up/onyxia_vault.png: how a secret of Onyxia's vault reaches the notebooks."""

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

INK, FAINT, BLUE, ORANGE = "#1a1a1a", "#8a8a8a", "#0072B2", "#D55E00"
KEYS = (
    ("OWUI_URL", "https://llm.lab.sspcloud.fr"),
    ("OWUI_TOKEN", "sk-••••••••••••"),
    ("OWUI_FAV_MODEL", "a name from its list"),
    ("HF_TOKEN", "hf_••••••••••••"),
)


def draw_box(axes, left: float, width: float, title: str, colour: str) -> None:
    box = FancyBboxPatch(
        (left, 0.4),
        width,
        4.3,
        boxstyle="round,pad=0.05",
        facecolor="white",
        edgecolor=colour,
        lw=2,
    )
    axes.add_patch(box)
    axes.text(
        left + width / 2,
        4.35,
        title,
        ha="center",
        va="center",
        weight="bold",
        color=colour,
        fontsize=12,
    )


def write_lines(axes, middle: float, lines: tuple[str, ...], *, code: str, size: float) -> None:
    """Write lines into a box; those that hold `code` in a monospaced font."""
    for row, line in enumerate(lines):
        family = "monospace" if code in line else None
        look = {"ha": "center", "va": "center", "fontsize": size, "family": family, "color": INK}
        axes.text(middle, 3.45 - 0.5 * row, line, **look)


def main() -> None:
    figure, axes = plt.subplots(figsize=(11, 4.2), facecolor="white", layout="constrained")
    axes.set(xlim=(0, 15.6), ylim=(-0.4, 5), aspect="equal")
    axes.axis("off")
    draw_box(axes, 0.2, 6.2, "1. My Secrets: acronym-tutorial", BLUE)
    for row, (key, value) in enumerate((("Key", "Value"), *KEYS)):
        height, is_head = 3.55 - 0.62 * row, row == 0
        look = {"fontsize": 9.5, "va": "center", "color": FAINT if is_head else INK}
        axes.text(0.5, height, key, family=None if is_head else "monospace", **look)
        axes.text(3.0, height, value, family=None if is_head else "monospace", **look)
        axes.plot([0.45, 6.2], [height - 0.31] * 2, color="#dddddd", lw=1)
    draw_box(axes, 7.6, 3.3, "2. The service", ORANGE)
    lines = (
        "Vault tab, or the launch link:",
        "secret = acronym-tutorial",
        "",
        "each key becomes an",
        "environment variable",
    )
    write_lines(axes, 9.25, lines, code="=", size=9.5)
    draw_box(axes, 12.1, 3.3, "3. The notebook", BLUE)
    lines = (
        "OWUI_TOKEN   set (hidden)",
        "HF_TOKEN     set (hidden)",
        "",
        "shown as set, never read out",
    )
    write_lines(axes, 13.75, lines, code="set (", size=8.6)
    for start, end in ((6.5, 7.5), (11.0, 12.0)):
        axes.annotate(
            "", (end, 2.5), (start, 2.5), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 2}
        )
    axes.text(
        7.8,
        -0.15,
        "A drawing of our own; the pages look a little different.",
        ha="center",
        color=FAINT,
        fontsize=9,
    )
    figure.savefig(
        Path(__file__).parents[1] / "00-set_up/onyxia_vault.png",
        dpi=110,
        metadata={"Software": None},
    )


if __name__ == "__main__":
    main()
