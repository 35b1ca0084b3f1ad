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


# ----------------------------------------------------------------------------- stages 1 and 3

# Of stage 3's figure: measure, title, and whether the wrong answers are counted.
PANELS = (
    (RECALL, "Recall:\nyour acronyms, asked in new words", False),
    (MEASURES["unknown"], "Invention:\nmade-up acronyms given a meaning", True),
    (MEASURES["known"], "Forgetting:\nwell-known acronyms not answered", True),
)


def plot_overlap(held_out: Sequence[float], put_aside: Sequence[float]) -> Figure:
    """Draw how near questions are to training ones: held-out ones, and ones put aside from training."""
    figure, axes = _figure(8, 3.4)
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
    figure, panels = _figure(10, 1.6 + BAR * len(models), columns=3, sharey=True)
    for axes, (measure, title, is_turned) in zip(panels, PANELS, strict=True):
        for row in (row for row in rows if row["measure"] == measure and row["total"]):
            count, (low, high) = row["correct"], row["interval"]
            if is_turned:
                count, low, high = row["total"] - count, 1 - high, 1 - low
            place = models.index(row["model"])
            axes.barh(place, count / row["total"], color=SERIES[place % len(SERIES)])
            axes.plot([low, high], [place, place], color="black", linewidth=1.2, marker="|")
            axes.text(1.04, place, f"{count}/{row['total']}", va="center", fontsize=9)
        axes.set(title=title, xlim=(0, 1.3), xticks=(0, 0.5, 1), xlabel="share of answers")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_yticks(range(len(models)), models, parse_math=False)
    panels[0].invert_yaxis()
    return figure


def plot_scores(scores: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Draw each scorer's scores of labelled answers as dots, label by label."""
    jitter = np.random.default_rng(0)
    figure, panels = _figure(10, 3.6, columns=len(scores.columns), sharey=True)
    names = list(dict.fromkeys(labels))
    for axes, (scorer, column) in zip(panels, scores.items(), strict=True):
        for place, name in enumerate(names):
            values = column[np.array(labels) == name].astype(float).dropna()
            spread = place + jitter.uniform(-0.3, 0.3, len(values))
            axes.scatter(spread, values, color=SERIES[place % len(SERIES)], s=12, alpha=0.6)
            axes.hlines(values.median(), place - 0.4, place + 0.4, "black", linewidth=2)
        axes.set(title=scorer, xlabel="label")
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    panels[0].set_ylabel("score (black line: median)")
    return figure


# ---------------------------------------------------------------------------------- stage 2


def plot_learning(history: Sequence[dict[str, Any]]) -> Figure:
    """Draw loss and held-out recall over the seconds of training, from `train`'s history."""
    figure, (upper, lower) = _figure(7, 4.6, rows=2, sharex=True)
    table = pd.DataFrame(history).set_index("seconds").astype(float)
    upper.plot(table["loss"].dropna(), color=ORANGE, marker="o", clip_on=False, label="training answers")
    upper.set(title="How wrong: loss on the training answers", ylabel="loss (nats a token)", ylim=(0, None))
    lower.plot(table["recall"].dropna(), color=BLUE, marker="o", label="held-out questions, exact match")
    lower.set(title="How much is known: recall on held-out questions", xlabel="training time (seconds), one dot a pass")
    lower.set(ylabel="right answers", ylim=(-0.04, 1.04))
    lower.yaxis.set_major_formatter(PercentFormatter(1))
    upper.legend(loc="upper right", frameon=False)
    lower.legend(loc="lower right", frameon=False)
    return figure


def plot_matrix(matrix: Any, title: str) -> Figure:
    """Draw a matrix (outputs, inputs), such as a LoRA product, as a heat map around 0."""
    values = np.asarray(matrix, dtype=float)
    outputs, inputs = values.shape
    limit = float(np.abs(values).max()) or 1.0
    figure, axes = _figure(5.6, 4.4)
    image = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    axes.set(title=title, xlabel=f"input feature ({inputs})", ylabel=f"output feature ({outputs})")
    figure.colorbar(image, label="value")
    return figure


def plot_probabilities(before: Sequence[tuple[str, float]], after: Sequence[tuple[str, float]]) -> Figure:
    """Draw the likeliest next tokens before and after training, as (token, probability) pairs."""
    figure, panels = _figure(8, 1.5 + BAR * max(len(before), len(after)), columns=2)
    looks = ((before, GREY, "Before training"), (after, BLUE, "After training"))
    for axes, (pairs, colour, title) in zip(panels, looks, strict=True):
        bars = axes.barh(range(len(pairs)), [share for _, share in pairs], color=colour)
        axes.bar_label(bars, fmt="{:.1%}", padding=3)
        axes.set_yticks(range(len(pairs)), [_visible(token) for token, _ in pairs], parse_math=False)
        axes.set(title=title, xlim=(0, 1.25), xticks=(0, 0.5, 1), xlabel="probability of the next token")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.invert_yaxis()
    panels[0].set_ylabel("token (␣ is a space)")
    return figure


def colour_tokens(inspected: Sequence[tuple[str, int, int]]) -> str:
    """Write tokens as HTML from `inspect_row`: those that are learnt in colour, the masked ones grey."""
    spans = [_span(_visible(text), GREY if label == -100 else BLUE) for text, _, label in inspected]
    legend = _span("masked: read, not learnt", GREY) + _span("learnt: counts in the loss", BLUE)
    look = "line-height:2;max-width:60em;font-family:monospace"
    return f'<div style="{look}">{"".join(spans)}<br><small>{legend}</small></div>'


def _figure(width: float, height: float, *, rows: int = 1, columns: int = 1, **options: Any):
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    plt.close(figure)  # pyplot forgets it, so that a notebook shows it once: as the result of its cell
    return figure, axes


def _visible(token: str) -> str:
    return token.replace(" ", "␣").replace("\n", "↵") or "∅"


def _span(text: str, colour: str) -> str:
    box = f"background:{colour};color:white;border-radius:3px;padding:1px 4px;margin:1px"
    return f'<span style="{box}">{html.escape(text)}</span> '
