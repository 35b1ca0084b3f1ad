"""Draw figures/pipeline.png, the way from a list of acronyms to a tested model.

It has a background of its own, so that it can be read on a dark page and on a light one.
"""

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

INK, PAPER, FAINT = "#1a1a1a", "#f4f1ea", "#6b6b6b"
BLUE, GREEN, ORANGE = "#0072B2", "#007A5A", "#B34700"
WIDTH, HEIGHT, GAP, MARGIN = 2.72, 1.3, 0.42, 0.2  # of a box, between two, around all; in inches
LEFTS = [MARGIN + column * (WIDTH + GAP) for column in range(3)]
TOPS = (7.0, 4.6, 2.2)  # of the three rows
ROWS = (  # the name and the colour of a stage; what goes in, what is done, what comes out
    (
        "1 · Create the data",
        BLUE,
        ("your list", "ZMW: Zero Meeting\nWednesday"),
        ("an LLM writes", "conversations;\na gate checks them"),
        ("conversations", "to learn from,\nand to test with"),
    ),
    (
        "2 · Fine-tune",
        GREEN,
        ("a small model", "that has never\nheard of ZMW"),
        ("LoRA trains", "small matrices\nbeside its weights"),
        ("a tuned model", "that answers\nwithout the list"),
    ),
    (
        "3 · Test",
        ORANGE,
        ("new questions", "that it was not\ntrained on"),
        ("same exam", "for base, lookup\nand tuned"),
        ("a comparison", "what it learned,\nforgot, makes up"),
    ),
)


def draw_box(axes, left: float, bottom: float, title: str, text: str, colour: str) -> None:
    """Draw a box with a title and two lines below it."""
    shape = FancyBboxPatch((left, bottom), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08")
    shape.set(facecolor="white", edgecolor=colour, linewidth=2.5)
    axes.add_patch(shape)
    middle = left + WIDTH / 2
    axes.text(middle, bottom + 1.04, title, ha="center", va="center", weight="bold", fontsize=17)
    axes.text(middle, bottom + 0.43, text, ha="center", va="center", fontsize=17, color=INK)


def draw_arrow(axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow between two boxes."""
    look = {"arrowstyle": "-|>,head_width=0.5,head_length=0.7", "color": FAINT, "lw": 3}
    axes.annotate("", end, start, arrowprops=look | {"shrinkA": 0, "shrinkB": 0})


def main() -> None:
    """Draw the three rows, and write the picture."""
    width, height = LEFTS[2] + WIDTH + MARGIN, TOPS[0] + MARGIN
    figure, axes = plt.subplots(figsize=(width, height), facecolor=PAPER)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    for top, (name, colour, *boxes) in zip(TOPS, ROWS, strict=True):
        bottom = top - 0.6 - HEIGHT
        axes.text(MARGIN, top - 0.4, name, weight="bold", fontsize=20, color=colour)
        for left, (title, text) in zip(LEFTS, boxes, strict=True):
            draw_box(axes, left, bottom, title, text, colour)
        for left in LEFTS[1:]:
            draw_arrow(axes, (left - GAP, bottom + HEIGHT / 2), (left, bottom + HEIGHT / 2))
        if top != TOPS[-1]:  # what comes out is used in the middle of the next row
            below = (LEFTS[1] + WIDTH * 0.75, bottom - 2.4 + HEIGHT)
            draw_arrow(axes, (LEFTS[2] + WIDTH * 0.25, bottom), below)
    path = Path(__file__).with_name("pipeline.png")
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
