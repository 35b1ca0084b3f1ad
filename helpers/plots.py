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
PHONE = 4.4  # width in inches of a figure whose words can be read on a phone


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


def plot_recall(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the share of each summary row, with its 95 % interval and its count, measure by measure."""
    rows = [row for row in rows if row["total"]]
    models, measures = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "measure"))
    places = {pair: n for n, pair in enumerate((m, model) for m in measures for model in ("", *models))}
    figure, axes = _figure(PHONE, 1.3 + 0.6 * BAR * len(places))
    for row in rows:
        place = places[row["measure"], row["model"]]
        axes.barh(place, row["rate"], color=SERIES[models.index(row["model"]) % len(SERIES)])
        axes.plot(row["interval"], [place, place], color="black", linewidth=1.2, marker="|")
        axes.text(1.03, place, f"{row['correct']}/{row['total']}", va="center", fontsize=9)
    for measure in measures:  # above its bars: so they have the whole width
        axes.text(0, places[measure, ""] + 0.1, measure, va="center", fontweight="bold", fontsize=9, parse_math=False)
    axes.set(xlim=(0, 1.25), xticks=np.linspace(0, 1, 6), yticks=[], ylim=(len(places) - 0.4, -0.6))
    axes.set(title="Answers counted, model by model", xlabel="share of answers (line: 95 % interval)")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.spines["left"].set_visible(False)
    marks = [plt.Rectangle((0, 0), 1, 1, color=SERIES[i % len(SERIES)]) for i in range(len(models))]
    legend = figure.legend(marks, models, loc="outside lower center", ncols=2, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def plot_scores(frame: pd.DataFrame) -> Figure:
    """Draw each scorer's scores, label by label; "label" is one column, each other a scorer."""
    scorers, labels = [name for name in frame.columns if name != "label"], list(frame["label"].unique())
    jitter, step = np.random.default_rng(0), 0.8 / len(labels)
    figure, axes = _figure(PHONE, 4.4)
    for number, label in enumerate(labels):
        chosen = frame[frame["label"] == label]
        colour, marker = (BLUE, ORANGE, GREEN, PURPLE, GREY)[number % 5], "oxs^+"[number % 5]
        for place, name in enumerate(scorers):
            scores = pd.to_numeric(chosen[name]).dropna()
            middle = place + (number - (len(labels) - 1) / 2) * step
            spread = middle + jitter.uniform(-0.35, 0.35, len(scores)) * step
            dots = axes.scatter(spread, scores, color=colour, marker=marker, s=14, alpha=0.6, linewidths=0.9)
            if len(scores):
                axes.hlines(scores.median(), middle - step * 0.45, middle + step * 0.45, "black", linewidth=2)
        dots.set_label(f"{label} ({len(chosen)})")
    axes.set_xticks(range(len(scorers)), [name.replace("_", " ") for name in scorers])
    axes.tick_params(axis="x", labelsize=8)
    axes.set(title="Scores by label", ylabel="score (black line: median)", xlabel="scorer")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_roc(scores: pd.DataFrame, right: Sequence[bool]) -> Figure:
    """Draw, for every threshold, the right answers that a scorer accepts against the others that it accepts too."""
    from sklearn.metrics import auc, roc_curve  # slow to import: only where it is used

    figure, axes = _figure(PHONE, 4.8)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="by chance, area 0.50")
    for number, (name, column) in enumerate(scores.items()):
        false, true, _ = roc_curve(right, column.astype(float).fillna(0.5))
        look = {"color": SERIES[1:][number % 4], "linestyle": ("-", "--", "-.", ":")[number % 4]}
        axes.plot(false, true, label=f"{name}, area {auc(false, true):.2f}", **look)
    axes.set(title="Every threshold of each scorer", xlabel="share of the other answers accepted")
    axes.set(ylabel="share of the right answers accepted", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def plot_confusion(labels: Sequence[str], verdicts: pd.DataFrame) -> Figure:
    """Count for each scorer how many answers of each label it calls right and not right."""
    names, half = list(dict.fromkeys(labels)), (len(verdicts.columns) + 1) // 2
    figure, panels = _figure(PHONE, 0.9 + 2.3 * half, rows=half, columns=2, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, verdicts.columns, strict=False):
        counts = pd.crosstab(np.array(labels), verdicts[name].to_numpy(dtype=bool))
        counts = counts.reindex(index=names, columns=[True, False], fill_value=0).to_numpy()
        axes.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=2, aspect="auto")
        for (row, column), count in np.ndenumerate(counts):
            axes.text(column, row, count, ha="center", va="center")
        axes.set_xticks([0, 1], ["right", "not right"])
        axes.set_yticks(range(len(names)), names)
        axes.set(title=name, xlabel="called")
    for axes in list(panels.flat)[len(verdicts.columns) :]:
        axes.set_visible(False)
    figure.supylabel("label", fontsize=10)
    figure.suptitle("What each scorer calls the answers\n(their number; the darker, the more of the row)", fontsize=11)
    return figure


def plot_agreement(table: pd.DataFrame) -> Figure:
    """Draw each scorer's kappa and share of agreement with the labels, with intervals, from `calibrate`'s table."""
    figure, axes = _figure(PHONE, 1.4 + 2 * BAR * len(table))
    looks = (("kappa", "kappa interval", BLUE, "o", -0.12), ("share", "interval", ORANGE, "s", 0.12))
    for column, interval, colour, marker, shift in looks:
        for place, (value, (low, high)) in enumerate(zip(table[column], table[interval], strict=True)):
            axes.plot([low, high], [place + shift] * 2, color=colour)
            dots = axes.scatter(value, place + shift, color=colour, marker=marker)
        dots.set_label("Cohen's kappa" if column == "kappa" else "share of equal verdicts")
    axes.set_yticks(range(len(table)), table.index)
    axes.set(title="Agreement with the labels", xlim=(min(0, axes.get_xlim()[0]), 1.02))
    axes.set(xlabel="1: always, kappa 0: as by chance\n(line: 95 % interval)", ylabel="scorer")
    axes.invert_yaxis()
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
