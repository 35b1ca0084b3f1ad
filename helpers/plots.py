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

# Okabe and Ito's colours, which colour-blind people tell apart.
GREY, BLUE, ORANGE, GREEN, PURPLE = SERIES = ("#6E6E6E", "#0072B2", "#E69F00", "#009E73", "#CC79A7")
STYLE = {"axes.spines.top": False, "axes.spines.right": False}
BAR = 0.34  # height of a bar in inches


def plot_report(kept: Sequence[int], rejected: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw the conversations kept and rejected of each acronym; of a long list, how many acronyms have how many."""
    figure, axes = _figure(8, 3.4)
    if len(names) <= 40:
        axes.bar(names, kept, color=BLUE, label="kept")
        axes.bar(names, rejected, bottom=kept, color=ORANGE, hatch="//", label="rejected")
        axes.tick_params(axis="x", rotation=90 if len(names) > 12 else 0)
        axes.set(title="What came out, acronym by acronym", ylabel="conversations")
    else:
        bins = np.arange(max([*kept, *rejected]) + 2) - 0.5
        axes.hist([kept, rejected], bins, color=[BLUE, ORANGE], label=["kept", "rejected"])
        axes.set(title="What came out", xlabel="conversations of an acronym", ylabel="acronyms")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_overlap(apart: Sequence[float], together: Sequence[float]) -> Figure:
    """Draw how near test questions are to training ones: split by intent, and taken from one call."""
    figure, axes = _figure(8, 3.4)
    bins = np.linspace(0, 1, 21)
    looks = ((apart, BLUE, "other intents, copies removed (ours)"), (together, ORANGE, "train and test from one call"))
    for values, colour, label in looks:
        share = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(values, bins, weights=share, color=colour, alpha=0.65, label=f"{label}: {len(values)} questions")
    axes.set(title="How much each test question resembles a training question", xlim=(0, 1))
    axes.set(xlabel="share of common words with the nearest one (1: the same question)", ylabel="share of questions")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_learning(history: Sequence[dict[str, Any]]) -> Figure:
    """Draw loss and held-out recall over the seconds of training, from `train`'s history."""
    figure, (upper, lower) = _figure(7, 4.6, rows=2, sharex=True)
    table = pd.DataFrame(history).set_index("seconds").astype(float)
    upper.plot(table["loss"].dropna(), color=ORANGE, marker="o", label="training answers")
    upper.set(title="How wrong: loss on the training answers", ylabel="loss (nats a token)", ylim=(0, None))
    lower.plot(table["recall"].dropna(), color=BLUE, marker="o", label="held-out questions, exact match")
    lower.set(title="How much is known: recall on held-out questions", xlabel="training time (seconds)")
    lower.set(ylabel="right answers", ylim=(-0.04, 1.04))
    lower.yaxis.set_major_formatter(PercentFormatter(1))
    upper.legend(loc="upper right", frameon=False)
    lower.legend(loc="upper left", frameon=False)
    return figure


def plot_recall(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the share of right answers of each summary row, with its 95 % interval and its count."""
    rows = [row for row in rows if row["total"]]
    models = list(dict.fromkeys((row["run"], row["model"]) for row in rows))
    figure, axes = _figure(8, 1.3 + BAR * (len(rows) + len(models)))
    for place, row in enumerate(rows):
        colour = SERIES[models.index((row["run"], row["model"])) % len(SERIES)]
        axes.barh(place, row["rate"], color=colour)
        axes.plot(row["interval"], [place, place], color="black", linewidth=1.2, marker="|")
        axes.text(1.04, place, f"{row['correct']}/{row['total']}", va="center")
    axes.set_yticks(range(len(rows)), [row["measure"] for row in rows])
    axes.set(xlim=(0, 1.18), xlabel="share of answers (black line: 95 % interval by Wilson's method)")
    axes.set(title="Answers counted, model by model", xticks=np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.invert_yaxis()
    marks = [plt.Rectangle((0, 0), 1, 1, color=SERIES[i % len(SERIES)]) for i in range(len(models))]
    figure.legend(marks, [name for _, name in models], loc="outside lower center", ncols=3, frameon=False)
    return figure


def plot_scores(frame: pd.DataFrame) -> Figure:
    """Draw each scorer's scores of right and of wrong answers; "right" is one column, each other a scorer."""
    scorers, jitter = [name for name in frame.columns if name != "right"], np.random.default_rng(0)
    figure, axes = _figure(8, 4.2)
    for value, colour, marker, shift in ((True, BLUE, "o", -0.21), (False, ORANGE, "x", 0.21)):
        chosen = frame[frame["right"].astype(bool) == value]
        label = f"{'right' if value else 'wrong'} answers ({len(chosen)})"
        for place, name in enumerate(scorers):
            scores = pd.to_numeric(chosen[name]).dropna()
            spread = place + shift + jitter.uniform(-0.14, 0.14, len(scores))
            dots = axes.scatter(spread, scores, color=colour, marker=marker, s=22, alpha=0.6)
            if len(scores):
                axes.hlines(scores.median(), place + shift - 0.18, place + shift + 0.18, "black", linewidth=2)
        dots.set_label(label)
    axes.set_xticks(range(len(scorers)), [name.replace("_", " ") for name in scorers])
    axes.set(title="What each scorer gives to right and to wrong answers", xlabel="scorer")
    axes.set(ylabel="score (black line: median)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
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
