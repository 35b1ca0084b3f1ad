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
LINES = "line-height:2;max-width:60em;font-family:monospace"  # of HTML that shows pieces of text
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
    figure, (upper, lower) = _figure(8, 5.6, rows=2, sharex=True)
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


def plot_rates(curves: dict[str, Sequence[float]]) -> Figure:
    """Draw the loss of each step for several learning rates."""
    figure, axes = _figure(8, 3.4)
    smooth = pd.DataFrame(curves).rolling(5, min_periods=1).mean()
    smooth.plot(ax=axes, color=[GREY, BLUE, ORANGE])
    axes.set(title="The same steps at three learning rates", ylim=(0, None))
    axes.set(xlabel="steps of training", ylabel="loss per piece\n(mean of five steps)")
    axes.legend(title="learning rate", frameon=False)
    return figure


def plot_lora(b: np.ndarray, a: np.ndarray) -> Figure:
    """Draw B and A, the product of one column and one row, and the sum of all: what LoRA adds."""
    outputs, rank = b.shape
    one = np.outer(b[:, 0], a[0])
    parts = {"B": b, "A": a, "one column × one row": one, f"B × A, the sum of {rank}": b @ a}
    widths = {"width_ratios": [0.3, 1, 1, 1]}
    figure, panels = _figure(10, 3.4, columns=4, gridspec_kw=widths)
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
    figure, axes = _figure(6, 1.2 + BAR * len(pairs))
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
