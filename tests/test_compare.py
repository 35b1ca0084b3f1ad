"""Intervals and tests against published values; runs and summaries written and read back."""

import json
from pathlib import Path

import pandas as pd
import pytest

from helpers import compare


@pytest.mark.parametrize(
    ("correct", "total", "expected"),
    [
        (81, 263, (0.2553, 0.3662)),  # Newcombe 1998, table I, score method
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (50, 50, (0.9287, 1.0)),  # facts: all right of 50, at least 92.9 %
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson(correct: int, total: int, expected: tuple[float, float]) -> None:
    assert compare.wilson(correct, total) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [(0, 0, 1.0), (1, 1, 1.0), (6, 0, 2 / 2**6), (0, 5, 2 / 2**5), (8, 1, 20 / 2**9), (10, 2, 158 / 2**12)],
)
def test_mcnemar(only_first: int, only_second: int, expected: float) -> None:
    first = [True] * only_first + [False] * only_second + [True, False]
    second = [False] * only_first + [True] * only_second + [True, False]
    assert compare.mcnemar(first, second) == pytest.approx(expected)


def test_mcnemar_needs_the_same_questions() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare.mcnemar([True, False], [True])


def test_summary_row() -> None:
    assert compare.summary_row("2025-01-01T00-00-00_tiny", "tuned", "recall", 50, 50) == {
        "run": "2025-01-01T00-00-00_tiny", "model": "tuned", "measure": "recall",
        "correct": 50, "total": 50, "rate": 1.0, "interval": [0.9287, 1.0],
    }  # fmt: skip
    assert compare.summary_row("run", "base", "recall", 0, 0)["rate"] is None


ROWS = [
    {"acronym": "CGT", "question": "CGT ?", "answer": "« Goût », d'accord\nou non", "right": True},
    {"acronym": "DLU", "question": "DLU?", "answer": "", "right": False},
]


def test_runs_are_read_back_oldest_first(tmp_path: Path) -> None:
    for name in ("2025-01-02T00-00-00_b", "2025-01-01T00-00-00_a"):
        compare.write_run(tmp_path / "tests", name, ROWS, {"model": name[-1]})
    (tmp_path / "tests/2025-01-03T00-00-00_interrupted").mkdir()
    runs = compare.read_runs(tmp_path / "tests")
    assert [run["metadata"]["model"] for run in runs.values()] == ["a", "b"]
    answers = runs["2025-01-01T00-00-00_a"]["answers"]
    assert answers.to_dict("records") == ROWS
    table = pd.read_csv(tmp_path / "tests/2025-01-01T00-00-00_a/test_result.csv", keep_default_na=False)
    assert table.to_dict("records") == ROWS
    assert "« Goût »" in (tmp_path / "tests/2025-01-01T00-00-00_a/answer_dataset.json").read_text("utf-8")


def test_no_runs_yet(tmp_path: Path) -> None:
    assert compare.read_runs(tmp_path / "absent") == {}


def test_a_finished_run_is_never_overwritten(tmp_path: Path) -> None:
    compare.write_run(tmp_path, "run", ROWS, {"first": True})
    with pytest.raises(compare.CompareError, match="run already holds a finished test.*another name"):
        compare.write_run(tmp_path, "run", [], {})
    assert compare.read_runs(tmp_path)["run"]["metadata"] == {"first": True}


def test_a_spoiled_run_is_named(tmp_path: Path) -> None:
    compare.write_run(tmp_path, "run", ROWS, {})
    (tmp_path / "run/answer_dataset.json").write_text("[{")
    with pytest.raises(compare.CompareError, match="answer_dataset.json cannot be read"):
        compare.read_runs(tmp_path)


def test_summary_is_read_back(tmp_path: Path) -> None:
    rows = [
        compare.summary_row("run", "base", "recall", 0, 30),
        compare.summary_row("run", "base", "forgot", 0, 0),
    ]
    compare.write_summary(tmp_path / "tests/summary.json", rows)
    assert compare.read_summary(tmp_path / "tests/summary.json") == rows
    assert json.loads((tmp_path / "tests/summary.json").read_text("utf-8")) == rows
    assert not list((tmp_path / "tests").glob("*.part"))


def test_format_summary() -> None:
    rows = [
        compare.summary_row("run", "base", "recall", 0, 30),
        compare.summary_row("run", "tuned model", "recall", 30, 30),
        compare.summary_row("run", "tuned model", "unasked", 0, 0),
    ]
    assert compare.format_summary(rows).splitlines() == [
        "run  model        measure  right  share  95 % interval",
        "------------------------------------------------------",
        "run  base         recall   0/30   0%     0% to 11%",
        "run  tuned model  recall   30/30  100%   89% to 100%",
        "run  tuned model  unasked  0/0    -      0% to 100%",
    ]
