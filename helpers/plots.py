"""Draw the figures of the three notebooks: plain values in, a Matplotlib figure or HTML out.

It knows nothing about where the values come from, and shows or saves nothing itself.
"""

import html
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.score import MEASURES, RECALL

# Okabe and Ito's colours, which colour-blind people tell apart.
GREY, BLUE, ORANGE, GREEN, PURPLE = SERIES = ("#6E6E6E", "#0072B2", "#E69F00", "#009E73", "#CC79A7")
STYLE = {"axes.spines.top": False, "axes.spines.right": False}
BAR = 0.34  # height of a bar in inches
LINES = "line-height:2;max-width:60em;font-family:monospace"  # of HTML that shows pieces of text

# ----------------------------------------------------------------------------- stages 1 and 3

# Of stage 3's figure: title, measure, what is counted, and whether that is the wrong answers.
PANELS = (
    ("Recall", RECALL, "your acronyms answered", False),
    ("Invention", MEASURES["unknown"], "made-up acronyms\ngiven a meaning", True),
    ("Forgetting", MEASURES["known"], "well-known acronyms\nnot answered", True),
)


def plot_overlap(held_out: Sequence[float], put_aside: Sequence[float]) -> Figure:
    """Draw how near the training questions are: to held-out ones, and to ones put aside."""
    figure, axes = make_figure(8, 3.4)
    parts = {
        "held out: other intents": held_out,
        "put aside: from the training intents": put_aside,
    }
    labels = [f"{name} ({len(part)} questions)" for name, part in parts.items()]
    shares = [np.full(len(part), 1 / max(len(part), 1)) for part in parts.values()]
    bins = np.linspace(0, 1, 21)
    axes.hist([*parts.values()], bins, weights=shares, color=[BLUE, ORANGE], label=labels)
    axes.set(title="How near is the nearest training question?", xlim=(0, 1))
    axes.set(xlabel="similarity: share of common words (1: the same words)")
    axes.set(ylabel="share of questions")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_summary(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw what training is for and what it costs, from the summary: models side by side."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, panels = make_figure(10, 1.8 + BAR * len(models), columns=3, sharey=True)
    for axes, (title, measure, counted, is_turned) in zip(panels, PANELS, strict=True):
        for row in (row for row in rows if row["measure"] == measure and row["total"]):
            count, (low, high) = row["correct"], row["interval"]
            if is_turned:
                count, low, high = row["total"] - count, 1 - high, 1 - low
            place = models.index(row["model"])
            axes.barh(place, count / row["total"], color=SERIES[place % len(SERIES)])
            axes.plot([low, high], [place, place], color="black", linewidth=1.2, marker="|")
            axes.text(1.04, place, f"{count}/{row['total']}", va="center", fontsize=9)
        axes.set(title=title, xlim=(0, 1.3), xticks=(0, 0.5, 1), xlabel=counted)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_yticks(range(len(models)), models, parse_math=False)
    panels[0].invert_yaxis()
    figure.supxlabel("share of the questions (line: 95 % interval)", fontsize=9)
    return figure


def plot_scores(scores: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Draw each scorer's scores of labelled answers as dots, label by label."""
    figure, panels = make_figure(10, 3.6, columns=len(scores.columns), sharey=True)
    names = list(dict.fromkeys(labels))
    for axes, (scorer, column) in zip(panels, scores.items(), strict=True):
        for place, name in enumerate(names):
            values = column[np.array(labels) == name].astype(float).dropna()
            spread = np.linspace(-0.3, 0.3, len(values))  # dots of one score lie side by side
            axes.scatter(place + spread, values, color=SERIES[place % len(SERIES)], s=12, alpha=0.6)
            axes.hlines(values.median(), place - 0.4, place + 0.4, "black", linewidth=2)
        axes.set(title=scorer, xlabel="label")
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    panels[0].set_ylabel("score (black line: median)")
    return figure


# ------------------------------------------------------------------- stage 2: how a model learns

LOSSES = {"loss": "training rows", "eval_loss": "validation"}
SHARES = {
    "eval_recall": "your acronyms (validation)",
    "eval_refused": "unknown ones refused",
    "eval_known": "well-known ones kept",
    "eval_facts": "facts kept",
}


def plot_learning(log: Sequence[dict[str, Any]], vocabulary: int) -> Figure:
    """Draw the losses, and what is right before and after each pass, from Trainer's log."""
    figure, (upper, lower) = make_figure(8, 5.6, rows=2, sharex=True)
    table = pd.DataFrame(log, columns=["step", *LOSSES, *SHARES]).set_index("step").astype(float)
    looks = zip(table, (ORANGE, BLUE, BLUE, ORANGE, GREEN, PURPLE), " oos^D", strict=True)
    for name, colour, marker in looks:
        axes = upper if name in LOSSES else lower
        label = (LOSSES | SHARES)[name]
        axes.plot(table[name].dropna(), color=colour, marker=marker, clip_on=False, label=label)
    blind = np.log(vocabulary)
    upper.axhline(blind, color="black", linestyle=":", label=f"blind guess: ln({vocabulary:,})")
    upper.set(title="Loss: the lower, the better", ylabel="loss per piece (nats)", ylim=(0, None))
    lower.set(title="Right answers to a sample, before and after each pass", ylim=(-0.03, 1.03))
    lower.set(xlabel="steps of training", ylabel="share of right answers")
    for axes in (upper, lower):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def plot_lora(b: np.ndarray, a: np.ndarray) -> Figure:
    """Draw B and A, the product of one column and one row, and the sum of all: what LoRA adds."""
    outputs, rank = b.shape
    one = np.outer(b[:, 0], a[0])
    parts = {"B": b, "A": a, "one column × one row": one, f"B × A, the sum of {rank}": b @ a}
    widths = {"width_ratios": [0.3, 1, 1, 1]}
    figure, panels = make_figure(10, 3.4, columns=4, gridspec_kw=widths)
    for axes, (title, values) in zip(panels, parts.items(), strict=True):
        limit = np.abs(values).max() / 2 or 1.0
        axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
        height, width = values.shape
        axes.set(title=f"{title}\n{height} × {width}", xticks=[], yticks=[])
    figure.supxlabel("orange: below 0 · white: 0 · purple: above 0, each panel on its own scale")
    figure.supylabel(f"outputs ({outputs})")
    return figure


def plot_probabilities(pairs: Sequence[tuple[str, float]], title: str) -> Figure:
    """Draw the likeliest next pieces, as (piece, probability) pairs."""
    figure, axes = make_figure(6, 1.2 + BAR * len(pairs))
    bars = axes.barh(range(len(pairs)), [share for _, share in pairs], color=BLUE)
    axes.bar_label(bars, fmt="{:.1%}", padding=3)
    labels = [_visible(piece) for piece, _ in pairs]
    axes.set_yticks(range(len(pairs)), labels, parse_math=False)
    axes.set(title=title, xlim=(0, 1.15), xlabel="probability", ylabel="next piece (␣: a space)")
    axes.invert_yaxis()
    return figure


def colour_tokens(inspected: Sequence[tuple[str, int, int]]) -> str:
    """Write pieces as HTML, from `inspect_row`: the learnt ones in colour, the masked ones grey."""
    spans = [_span(_visible(text), GREY if label == -100 else BLUE) for text, _, label in inspected]
    legend = _span("masked: read, not learnt", GREY) + _span("learnt: counts in the loss", BLUE)
    return f'<div style="{LINES}">{"".join(spans)}<br><small>{legend}</small></div>'


# --------------------------------------------------------------------------------------- shared


def make_figure(width: float, height: float, *, rows: int = 1, columns: int = 1, **options: Any):
    """Make (figure, axes) in our style; the figure is shown as the result of its cell."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), layout="constrained", **options
        )
    # pyplot forgets it, so that a notebook shows it once.
    plt.close(figure)
    return figure, axes


def _visible(token: str) -> str:
    return token.replace(" ", "␣").replace("\n", "↵") or "∅"


def _span(text: str, colour: str) -> str:
    box = f"background:{colour};color:white;border-radius:3px;padding:1px 4px;margin:1px"
    return f'<span style="{box}">{html.escape(text)}</span> '
