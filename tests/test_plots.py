"""Figures have title, axes, units and legend, draw what they are given, and leave nothing open."""

from html.parser import HTMLParser

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PathCollection

from helpers import compare, plots

HISTORY = [
    {"step": 0, "epoch": 0, "loss": 4.0, "recall": 0.0, "seconds": 0.1},
    {"step": 10, "epoch": 1, "loss": 1.0, "recall": 0.5, "seconds": 3.0},
    {"step": 20, "epoch": 2, "loss": 0.1, "recall": None, "seconds": 6.0},
]
SUMMARY = [
    compare.summary_row("run", model, measure, correct, 40)
    for model, correct in (("base", 0), (r"tuned $\frac$", 40))
    for _, measure, *_ in plots.PANELS
]
LABELS = ["right", "right", "wrong"]
SCORES = pd.DataFrame({"exact match": [1, 1, 0], "judge": [1.0, None, 0.0]})
BEFORE, AFTER = [(" the", 0.2), ("$x$\n", 0.1)], [(" Cooking", 0.99), ("", 0.001), ("é", 0.0001)]

FIGURES = {
    "learning": lambda: plots.plot_learning(HISTORY),
    "learning without recall": lambda: plots.plot_learning([row | {"recall": None} for row in HISTORY]),
    "summary": lambda: plots.plot_summary(SUMMARY),
    "scores": lambda: plots.plot_scores(SCORES, LABELS),
    "matrix": lambda: plots.plot_matrix(np.eye(4) - 0.5, "What LoRA adds to one layer"),
    "matrix of zeros": lambda: plots.plot_matrix(np.zeros((3, 5)), "Before training"),
    "probabilities": lambda: plots.plot_probabilities(BEFORE, AFTER),
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
    assert any(axes.get_xlabel() for axes in drawn)
    assert any(axes.get_ylabel() or axes.get_yticks().size for axes in drawn) or len(drawn[0].texts) > 1


def test_learning_curve_holds_the_history() -> None:
    upper, lower = plots.plot_learning(HISTORY).axes
    assert upper.lines[0].get_xydata().tolist() == [[0.1, 4.0], [3.0, 1.0], [6.0, 0.1]]
    assert lower.lines[0].get_xydata().tolist() == [[0.1, 0.0], [3.0, 0.5]]


def test_the_summary_s_figure_turns_what_is_better_low() -> None:
    recall, invention, forgetting = plots.plot_summary(SUMMARY).axes
    for axes, shares in ((recall, [0, 1]), (invention, [1, 0]), (forgetting, [1, 0])):
        assert [bar.get_width() for bar in axes.patches] == shares
        for share, line in zip(shares, axes.lines, strict=True):
            low, high = line.get_xdata()
            assert low <= share + 1e-9 and share - 1e-9 <= high and high - low < 0.1
    assert [text.get_text() for text in recall.texts] == ["0/40", "40/40"]


def test_scores_draw_every_scored_answer_once() -> None:
    panels = plots.plot_scores(SCORES, LABELS).axes
    drawn = [
        sorted(y for part in axes.collections if isinstance(part, PathCollection)
               for y in part.get_offsets()[:, 1])
        for axes in panels
    ]
    assert drawn == [[0, 1, 1], [0, 1]]


def test_matrix_colours_are_centred_on_zero() -> None:
    axes = plots.plot_matrix([[0.0, 3.0], [-1.0, 0.0]], "title").axes[0]
    assert axes.images[0].get_clim() == (-3.0, 3.0)


def test_probabilities_show_spaces_and_no_formula() -> None:
    before, after = plots.plot_probabilities(BEFORE, AFTER).axes
    assert [label.get_text() for label in before.get_yticklabels()] == ["␣the", "$x$↵"]
    assert [text.get_text() for text in after.texts] == ["99.0%", "0.1%", "0.0%"]


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
