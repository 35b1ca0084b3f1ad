"""Figures have title, axes, units and legend, draw what they are given, and leave nothing open."""

import re

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from helpers import compare, plots

LOG = [  # of Trainer, as train.train gives it
    {"step": 0, "eval_loss": 7.0, "eval_recall": 0.0, "eval_known": 1.0},
    {"step": 1, "loss": 4.0, "grad_norm": 1.0},
    {"step": 2, "loss": 1.0, "grad_norm": 0.5},
    {"step": 2, "eval_loss": 2.0, "eval_recall": 0.5, "eval_known": 0.8},
    {"step": 2, "train_loss": 2.5},
]
SUMMARY = [
    compare.summary_row("run", model, measure, correct, 40)
    for model, correct in (("base", 0), (r"tuned $\frac$", 40))
    for _, measure, *_ in plots.PANELS
]
SCORES = pd.DataFrame({"exact match": [1, 1, 0], "judge": [1.0, None, 0.0]})
LIKELY = [(" Cooking", 0.99), (r"$\frac$", 0.001), ("", 0.0001)]

FIGURES = {
    "overlap": lambda: plots.plot_overlap([0.1, 0.2, 0.2], [1.0]),
    "learning": lambda: plots.plot_learning(LOG, 100),
    "learning, nothing yet": lambda: plots.plot_learning(LOG[:1], 100),
    "lora": lambda: plots.plot_lora(np.eye(4)[:, :2], np.eye(4)[:2]),
    "summary": lambda: plots.plot_summary(SUMMARY),
    "scores": lambda: plots.plot_scores(SCORES, ["right", "right", "wrong"]),
    "probabilities": lambda: plots.plot_probabilities(LIKELY, "After “CGT stands for”"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_complete(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()  # no warning about glyphs or layout either
    assert plt.get_fignums() == []
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    assert all(axes.get_title() for axes in drawn)
    assert any(axes.get_xlabel() for axes in drawn) or figure.get_supxlabel()
    labelled = any(axes.get_ylabel() or axes.get_yticks().size for axes in drawn)
    assert labelled or figure.get_supylabel()


def test_learning_curves_hold_the_log():
    upper, lower = plots.plot_learning(LOG, 100).axes
    training, validation, blind = upper.lines
    assert training.get_xydata().tolist() == [[1, 4.0], [2, 1.0]]
    assert validation.get_xydata().tolist() == [[0, 7.0], [2, 2.0]]
    assert blind.get_ydata()[0] == pytest.approx(np.log(100))
    drawn = {line.get_label(): line.get_ydata().tolist() for line in lower.lines}
    assert drawn["your acronyms (validation)"] == [0.0, 0.5]
    assert drawn["well-known ones kept"] == [1.0, 0.8]


def test_the_summary_s_figure_turns_what_is_better_low():
    panels = plots.plot_summary(SUMMARY).axes
    for axes, shares in zip(panels, ([0, 1], [1, 0], [1, 0]), strict=True):
        assert [bar.get_width() for bar in axes.patches] == shares
        for share, line in zip(shares, axes.lines, strict=True):
            low, high = line.get_xdata()
            assert low <= share + 1e-9 and share - 1e-9 <= high and high - low < 0.1


def test_tokens_are_coloured_by_their_label():
    written = plots.colour_tokens([("<|user|>", 3, -100), (" CGT", 70, 70), ("\n", 9, 9)])
    spans = re.findall("<span.*?background:(#.{6}).*?>(.*?)</span>", written)
    assert spans[:2] == [(plots.GREY, "&lt;|user|&gt;"), (plots.BLUE, "␣CGT")]
    assert [colour for colour, _ in spans[2:]] == [plots.BLUE, plots.GREY, plots.BLUE]  # a legend
