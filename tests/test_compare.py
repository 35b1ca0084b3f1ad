"""Answers collected and resumed, runs read back, statistics against published values."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from helpers import compare

EXAM = [
    {"measure": measure, "question": f"{'very ' * (n % 7)}A{n}?", "acronym": f"A{n % 20}"}
    for n, measure in enumerate(["recall"] * 40 + ["facts kept"] * 160)
]
MADE_BY = {"candidate": "base", "model": "tiny", "weights": "0"}


# ---------------------------------------------------------------------------------------- runs


def test_an_interruption_loses_at_most_a_chunk(tmp_path):
    asked, told, exam = [], [], [*EXAM, EXAM[0] | {"measure": "again"}]

    def ask_many(questions):
        if len(asked) == 2 * compare.CHUNK and not told:
            raise KeyboardInterrupt
        asked.extend(questions)
        return [question.upper() for question in questions]

    run_dir = compare.open_run(tmp_path, "run", MADE_BY, exam)
    with pytest.raises(KeyboardInterrupt):
        compare.collect_answers(run_dir, exam, ask_many)
    assert compare.read_runs(tmp_path) == {}
    with (run_dir / compare.JOURNAL_FILE).open("a") as file:
        file.write('\n{"question": "torn off in the mid')
    told.append(0)
    assert compare.open_run(tmp_path, "another name", MADE_BY, exam) == run_dir
    rows = compare.collect_answers(run_dir, exam, ask_many, progress=told.append)
    assert rows == [row | {"answer": row["question"].upper()} for row in exam]
    assert sorted(asked) == sorted(row["question"] for row in EXAM), "twice or again: asked once"
    assert sum(told) == len(EXAM)


def test_what_is_made_otherwise_is_another_run(tmp_path):
    compare.open_run(tmp_path, "first", MADE_BY, EXAM)
    for name, made_by, exam in (("a", MADE_BY | {"lookup": True}, EXAM), ("b", MADE_BY, EXAM[1:])):
        run_dir = compare.open_run(tmp_path, f"{name}/with:odd name", made_by, exam)
        assert run_dir == tmp_path / f"{name}-with-odd-name"


def test_new_weights_have_another_name(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = compare.identify(str(tmp_path))
    assert compare.identify(str(tmp_path)) == first and tmp_path.name in first
    os.utime(tmp_path / "model.safetensors", (1, 1))
    assert compare.identify(str(tmp_path)) != first
    assert compare.identify("org/name") == "org/name"


def make_run(tests_dir: Path, name: str, candidate: str, right: list[bool]) -> list[dict]:
    """Write a run whose first answers are right or not, as told."""
    exam = EXAM[: len(right)]
    run_dir = compare.open_run(tests_dir, name, {"candidate": candidate, "number": name}, exam)
    said = {"answer": "« Goût », d'accord\nou non"}
    rows = [row | said | {"right": value} for row, value in zip(exam, right, strict=True)]
    compare.write_run(run_dir, rows)
    return rows


def test_runs_are_read_back_base_first_the_newest_by_its_plain_name(tmp_path):
    make_run(tmp_path, "2025-01-01T00-00-00_tiny_tuned", "tuned", [True, False])
    rows = make_run(tmp_path, "2025-01-02T00-00-00_tiny_base", "base", [False, False])
    make_run(tmp_path, "2025-01-03T00-00-00_tiny_tuned", "tuned", [True, True])
    make_run(tmp_path, "2025-01-04T00-00-00_tiny_other", "of another exam", [True] * 3)
    compare.open_run(tmp_path, "2025-01-05T00-00-00_interrupted", MADE_BY, EXAM[:2])
    base_dir = tmp_path / "2025-01-02T00-00-00_tiny_base"
    runs = compare.read_runs(tmp_path, like=base_dir)
    assert list(runs) == ["base", "tuned", "tuned 2025-01-01T00-00-00"]
    assert runs["base"] == {"run": base_dir.name, "rows": rows}
    assert runs["tuned"]["run"].startswith("2025-01-03")
    compare.write_run(tmp_path / "2025-01-01T00-00-00_tiny_tuned", rows)  # tested again
    again = compare.read_runs(tmp_path, like=base_dir)
    assert len(again) == 3 and again["tuned"]["run"].startswith("2025-01-01")
    assert list(compare.read_runs(tmp_path)) == ["of another exam"]
    table = pd.read_csv(base_dir / compare.TABLE_FILE)
    assert table.to_dict("records") == rows


# --------------------------------------------------------------------------- how sure a number is


def test_intervals_and_paired_tests_are_the_published_ones():
    # Newcombe 1998, table I, score method.
    assert compare.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert compare.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert compare.wilson(0, 0) == (0.0, 1.0)
    for gained, lost, p in ((0, 0, 1.0), (0, 5, 2 / 2**5), (8, 1, 20 / 2**9)):
        assert compare.mcnemar(gained, lost) == pytest.approx(p)


def test_questions_of_one_acronym_are_drawn_together():
    first, second = [False] * 40, [True] * 20 + [False] * 20
    few = compare.paired_interval(first, second, ["A"] * 20 + ["B"] * 20)
    many = compare.paired_interval(first, second, [str(number) for number in range(40)])
    assert few == (0.0, 1.0)
    assert many == pytest.approx((0.35, 0.65), abs=0.01)  # 0.5 ± 1.96 standard errors of 0.08


def test_every_two_runs_are_compared(tmp_path):
    marks = {"base": [False] * 30 + [True] * 20, "one": [True] * 38 + [False] * 12}
    for name, right in marks.items():
        make_run(tmp_path, f"2025-01-01T00-00-00_{name}", name, right)
    [row] = compare.compare_pairs(compare.read_runs(tmp_path), ["recall"]).to_dict("records")
    assert (row["pair"], row["questions"], row["gained"], row["lost"]) == ("base → one", 40, 30, 2)
    assert float(row["p"]) == pytest.approx(compare.mcnemar(30, 2), rel=0.1)
    interval = compare.paired_interval(
        *(right[:40] for right in marks.values()), [row["acronym"] for row in EXAM[:40]]
    )
    assert row["difference"] == "{:+.0%} to {:+.0%}".format(*interval)


# -------------------------------------------------------------------------------- the summary


def test_the_summary_has_one_column_per_model():
    counts = [
        ("tuned $1", "recall", 30, 30),
        ("tuned $1", "unasked", 0, 0),
        ("base", "recall", 0, 30),
    ]
    rows = [compare.summary_row("run", *count) for count in counts]
    assert rows[0]["rate"] == 1 and rows[0]["interval"] == [0.8865, 1.0] and rows[1]["rate"] is None
    table = compare.summary_table(rows)
    assert list(table.columns) == ["tuned $1", "base"]
    assert table.loc["recall"].tolist() == ["30/30 (89% to 100%)", "0/30 (0% to 11%)"]
    assert table.loc["unasked", "base"] == "-"


# ---------------------------------------------------------------------- scorers beside labels


def test_kappa_is_sklearn_s():
    first, second = np.random.default_rng(0).random((2, 60)) < 0.6
    assert compare.kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert np.isnan(compare.kappa([1, 1], [1, 1]))


def test_a_threshold_is_chosen_on_one_half_and_judged_on_the_other():
    chosen, right = np.arange(200) < 100, np.arange(200) % 2 == 0
    perfect = np.where(right, 0.8, 0.2)
    deceiving = np.where(chosen, perfect, 1 - perfect)  # perfect where its threshold is chosen
    missing = np.where(np.arange(200) % 10 > 0, right, np.nan)
    scores = pd.DataFrame({"perfect": perfect, "deceiving": deceiving, "some missing": missing})
    table, verdicts = compare.calibrate(scores, right, chosen)
    assert table.loc["perfect", "agrees"] == "100/100" and table.loc["perfect", "threshold"] == 0.8
    assert table.loc["perfect", "kappa"] == "1.00 (1.00 to 1.00)"
    assert table.loc["deceiving", "agrees"] == "0/100"
    assert table.loc["deceiving", "wrong called right"] == 50
    assert verdicts["perfect"].tolist() == right.tolist()
    assert table.loc["some missing", "agrees"] in ("90/100", "100/100")
