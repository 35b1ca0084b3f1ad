"""Figures have title, axes, units and legend, draw what they are given, and leave nothing open."""

from html.parser import HTMLParser

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from sklearn.metrics import roc_auc_score

from helpers import compare, plots

LOG = [  # of Trainer, as train.train gives it
    {"step": 0, "eval_loss": 7.0, "eval_recall": 0.0, "eval_known": 1.0},
    {"step": 1, "loss": 4.0, "grad_norm": 1.0},
    {"step": 2, "loss": 1.0, "grad_norm": 0.5},
    {"step": 2, "eval_loss": 2.0, "eval_recall": 0.5, "eval_known": 0.8},
    {"step": 2, "train_loss": 2.5},
]
SUMMARY = [
    compare.summary_row("run", "base", "recall", 0, 30),
    compare.summary_row("run", "tuned $1", "recall", 30, 30),
    compare.summary_row("run", "tuned $1", "nothing counted", 0, 0),
]
SCORES = pd.DataFrame({"label": ["right", "right", "wrong"], "exact_match": [1, 1, 0], "judge": [1.0, None, 0.0]})
RIGHT = np.arange(40) % 2 == 0
SCORED = pd.DataFrame(
    {"exact": RIGHT.astype(float), "other": np.linspace(0, 1, 40), "judge": np.where(RIGHT, 1, np.nan)}
)
AGREEMENT, VERDICTS = compare.calibrate(SCORED, RIGHT, np.arange(40) < 20)
LABELS = ["right", "refusal"] * 20
LIKELY = [(" Cooking", 0.99), ("$x$\n", 0.001), ("", 0.0001)]

FIGURES = {
    "learning": lambda: plots.plot_learning(LOG, 100),
    "learning, nothing yet": lambda: plots.plot_learning(LOG[:1], 100),
    "rates": lambda: plots.plot_rates({"0.1": [3, 2, 1], "1.0": [3, 4, 5]}),
    "lora": lambda: plots.plot_lora(np.eye(4)[:, :2], np.eye(4)[:2]),
    "lora of zeros": lambda: plots.plot_lora(np.zeros((3, 2)), np.ones((2, 5))),
    "recall": lambda: plots.plot_recall(SUMMARY),
    "scores": lambda: plots.plot_scores(SCORES),
    "scores, one label": lambda: plots.plot_scores(SCORES[SCORES["label"] == "wrong"]),
    "roc": lambda: plots.plot_roc(SCORED, RIGHT),
    "confusion": lambda: plots.plot_confusion(LABELS, VERDICTS),
    "confusion of one": lambda: plots.plot_confusion(LABELS, VERDICTS[["exact"]]),
    "agreement": lambda: plots.plot_agreement(AGREEMENT),
    "probabilities": lambda: plots.plot_probabilities(LIKELY, "After “CGT stands for”"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_complete(name: str) -> None:
    style = dict(plt.rcParams)
    figure = FIGURES[name]()
    figure.draw_without_rendering()  # no warning about glyphs or layout either
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == style
    drawn = [axes for axes in figure.axes if axes.get_label() != "<colorbar>" and axes.get_visible()]
    assert all(axes.get_title() for axes in drawn) or figure.get_suptitle()
    assert any(axes.get_xlabel() for axes in drawn) or figure.get_supxlabel()
    labelled = any(axes.get_ylabel() or axes.get_yticks().size for axes in drawn)
    assert labelled or figure.get_supylabel() or len(drawn[0].texts) > 1


def test_learning_curves_hold_the_log() -> None:
    upper, lower = plots.plot_learning(LOG, 100).axes
    training, validation, blind = upper.lines
    assert training.get_xydata().tolist() == [[1, 4.0], [2, 1.0]]
    assert validation.get_xydata().tolist() == [[0, 7.0], [2, 2.0]]
    assert blind.get_ydata()[0] == pytest.approx(np.log(100))
    drawn = {line.get_label(): line.get_ydata().tolist() for line in lower.lines}
    assert drawn["your acronyms (validation)"] == [0.0, 0.5]
    assert drawn["well-known ones kept"] == [1.0, 0.8]


def test_recall_shows_rates_intervals_and_counts() -> None:
    figure = plots.plot_recall(SUMMARY)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.0, 1.0]
    assert [list(line.get_xdata()) for line in axes.lines] == [row["interval"] for row in SUMMARY[:2]]
    assert [text.get_text() for text in axes.texts] == ["0/30", "30/30", "recall"]
    heights = [bar.get_y() for bar in axes.patches]
    assert heights == sorted(heights) and len(set(heights)) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["base", "tuned $1"]


def test_scores_draw_every_scored_answer_once() -> None:
    (axes,) = plots.plot_scores(SCORES).axes
    drawn = [part for part in axes.collections if isinstance(part, PathCollection)]
    assert [part.get_offsets()[:, 1].tolist() for part in drawn] == [[1, 1], [1], [0], [0]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["exact match", "judge"]


def test_roc_curves_name_their_areas() -> None:
    [axes] = plots.plot_roc(SCORED, RIGHT).axes
    chance, exact, other, judge = axes.lines
    assert exact.get_xydata().tolist() == [[0, 0], [0, 1], [1, 1]]
    assert [line.get_label() for line in (chance, exact)] == ["by chance, area 0.50", "exact, area 1.00"]
    assert other.get_label() == f"other, area {roc_auc_score(RIGHT, SCORED.other):.2f}"
    assert judge.get_label() == "judge, area 1.00"  # a missing score lies between wrong and right


def test_confusion_counts_every_answer_once_under_its_label() -> None:
    odd = pd.DataFrame({"one": [True, False, True], "two": [False] * 3}, index=[7, 3, 9])
    panels = plots.plot_confusion(pd.Series(["right", "wrong", "wrong"], index=[4, 5, 6]), odd).axes
    counts = [[int(text.get_text()) for text in axes.texts] for axes in panels]
    assert counts == [[1, 0, 1, 1], [0, 1, 0, 2]]  # right: called right, not right; then wrong
    assert [axes.get_title() for axes in panels] == ["one", "two"]


def test_agreement_draws_the_numbers_of_the_table() -> None:
    [axes] = plots.plot_agreement(AGREEMENT).axes
    drawn = [part.get_offsets()[0][0] for part in axes.collections]
    assert drawn == pytest.approx([*AGREEMENT["kappa"], *AGREEMENT["share"]])
    intervals = [tuple(line.get_xdata()) for line in axes.lines]
    assert intervals == [*AGREEMENT["kappa interval"], *AGREEMENT["interval"]]


@pytest.mark.parametrize("name", ["recall", "scores", "roc", "confusion", "agreement"])
def test_words_can_be_read_on_a_phone(name: str) -> None:
    """On a screen 360 pixels wide, 72 pixels an inch to the eye, no word gets smaller than 7 points."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    shrunk = 360 / 72 / figure.get_size_inches()[0]
    words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert min(text.get_fontsize() for text in words) * min(1, shrunk) >= 7
    everything, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(everything.x0, everything.y0) > -0.02
    assert everything.x1 < width + 0.02 and everything.y1 < height + 0.02


def test_lora_is_drawn_with_its_thin_matrices_and_their_product() -> None:
    b, a = np.arange(8.0).reshape(4, 2), np.arange(10.0).reshape(2, 5)
    drawn = [axes.images[0].get_array().tolist() for axes in plots.plot_lora(b, a).axes]
    assert drawn == [b.tolist(), a.tolist(), np.outer(b[:, 0], a[0]).tolist(), (b @ a).tolist()]


def test_probabilities_show_spaces_and_no_formula() -> None:
    [axes] = plots.plot_probabilities(LIKELY, "title").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["␣Cooking", "$x$↵", "∅"]
    assert [text.get_text() for text in axes.texts] == ["99.0%", "0.1%", "0.0%"]


class Spans(HTMLParser):
    """Collects (style, text) of each span."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[list] = []

    def handle_starttag(self, tag, attributes) -> None:
        if tag == "span":
            self.spans.append([dict(attributes)["style"], ""])

    def handle_data(self, data: str) -> None:
        if self.spans:
            self.spans[-1][1] += data.strip()


def test_tokens_are_coloured_by_their_label() -> None:
    reader = Spans()
    reader.feed(plots.colour_tokens([("<|user|>", 3, -100), (" CGT", 70, 70), ("\n", 9, 9)]))
    masked, learnt, newline, *legend = reader.spans
    assert (masked[1], learnt[1], newline[1]) == ("<|user|>", "␣CGT", "↵")
    assert plots.GREY in masked[0] and plots.BLUE in learnt[0]
    assert ["not learnt" in entry[1] for entry in legend] == [True, False]


def test_the_overlap_is_drawn_in_shares_of_each_set() -> None:
    [axes] = plots.plot_overlap([0.1, 0.2, 0.2], [1.0]).axes
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(2)
