"""Statistics against published values; answers collected and resumed; runs and summaries written and read back."""

import json
import re
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score

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


@pytest.mark.parametrize(("total", "gained", "lost"), [(400, 0.15, 0.08), (1000, 0.06, 0.03), (300, 0.3, 0.19)])
def test_power_is_near_connor_s_formula(total: int, gained: float, lost: float) -> None:
    """Connor, Biometrics 43 (1987), p. 209: a normal approximation, which exact tests nearly reach on many pairs."""
    change, gap = gained + lost, gained - lost
    reached = (gap * total**0.5 - norm.ppf(0.975) * change**0.5) / (change - gap**2) ** 0.5
    assert compare.mcnemar_power(total, gained, lost) == pytest.approx(norm.cdf(reached), abs=0.03)


def test_without_a_difference_the_level_is_kept() -> None:
    assert all(compare.mcnemar_power(total, 0.2, 0.2) <= 0.05 for total in (5, 50, 500))


def test_power_is_what_simulated_tests_find() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.choice(3, size=(2000, 40), p=[0.25, 0.05, 0.7])
    found = [compare.mcnemar(row == 0, row == 1) < 0.05 for row in drawn]
    assert np.mean(found) == pytest.approx(compare.mcnemar_power(40, 0.25, 0.05), abs=0.035)


@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_smallest_difference_is_found_four_times_out_of_five(lost: float) -> None:
    smallest = compare.smallest_difference(100, lost=lost)
    assert compare.mcnemar_power(100, smallest + lost, lost) == pytest.approx(0.8, abs=2e-3)
    assert compare.mcnemar_power(100, smallest + lost - 0.02, lost) < 0.8
    assert compare.smallest_difference(400, lost=lost) < smallest


def test_too_few_questions_show_nothing() -> None:
    assert compare.smallest_difference(5) is None  # five out of five: p = 0.0625
    assert compare.smallest_difference(6) is not None


def test_paired_interval_is_that_of_a_bootstrap_over_groups() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(120) < 0.4, rng.random(120) < 0.7
    groups = [f"A{number // 3}" for number in range(120)]
    low, high = compare.paired_interval(first, second, groups)
    gains = (second.astype(float) - first).reshape(40, 3).mean(axis=1)
    drawn = gains[rng.integers(40, size=(4000, 40))].mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.02)
    assert compare.paired_interval(first, second, groups) == (low, high)


def test_questions_of_one_acronym_are_drawn_together() -> None:
    first, second = [False] * 40, [True] * 20 + [False] * 20
    few = compare.paired_interval(first, second, ["A"] * 20 + ["B"] * 20)
    many = compare.paired_interval(first, second, [str(number) for number in range(40)])
    assert few == (0.0, 1.0) and 0.3 < many[0] < many[1] < 0.7
    assert compare.paired_interval(first, second, ["A"] * 40) == (-1.0, 1.0)


def test_a_judge_s_share_has_bounds() -> None:
    counted = compare.bounds([True, True, None, False, None])
    assert counted == {"right": 2, "unscored": 2, "total": 5, "low": 2 / 5, "high": 4 / 5}
    assert compare.bounds([]) == {"right": 0, "unscored": 0, "total": 0, "low": None, "high": None}


def test_summary_row() -> None:
    assert compare.summary_row("2025-01-01T00-00-00_tiny", "tuned", "recall", 50, 50) == {
        "run": "2025-01-01T00-00-00_tiny", "model": "tuned", "measure": "recall",
        "correct": 50, "total": 50, "rate": 1.0, "interval": [0.9287, 1.0],
    }  # fmt: skip
    assert compare.summary_row("run", "base", "recall", 0, 0)["rate"] is None


# Answers and runs


EXAM = [
    {"measure": "recall", "question": f"{'very ' * (n % 7)}A{n}?", "expected": f"Definition {n}", "acronym": f"A{n}"}
    for n in range(200)
]
MADE_BY = {"candidate": "base", "model": "tiny", "weights": "0"}


def echo(questions: list[str]) -> list[str]:
    return [question.upper() for question in questions]


def test_answers_are_those_of_the_questions(tmp_path: Path) -> None:
    run_dir, done = compare.open_run(tmp_path, "run", MADE_BY, EXAM), []
    rows = compare.collect_answers(run_dir, EXAM, echo, progress=done.append)
    assert rows == [row | {"answer": row["question"].upper()} for row in EXAM] == compare.read_answers(run_dir)
    assert sum(done) == len(EXAM)


def test_an_interruption_loses_at_most_a_chunk(tmp_path: Path) -> None:
    asked: list[str] = []

    def until_it_breaks(questions: list[str]) -> list[str]:
        if len(asked) >= 2 * compare.CHUNK:
            raise KeyboardInterrupt
        asked.extend(questions)
        return echo(questions)

    run_dir = compare.open_run(tmp_path, "run", MADE_BY, EXAM)
    with pytest.raises(KeyboardInterrupt):
        compare.collect_answers(run_dir, EXAM, until_it_breaks)
    assert compare.read_runs(tmp_path) == {}
    with (run_dir / "answers.jsonl").open("a") as file:
        file.write('["torn off in the mid')
    before = asked.copy()

    def go_on(questions: list[str]) -> list[str]:
        asked.extend(questions)
        return echo(questions)

    again = compare.open_run(tmp_path, "another name", MADE_BY, EXAM)
    assert again == run_dir
    rows = compare.collect_answers(again, EXAM, go_on)
    assert len(before) == 2 * compare.CHUNK and sorted(asked) == sorted(row["question"] for row in EXAM)
    assert rows == [row | {"answer": row["question"].upper()} for row in EXAM]
    asked.clear()
    assert compare.collect_answers(run_dir, EXAM, go_on) == rows and asked == []
    assert [path.name for path in run_dir.iterdir() if path.suffix == ".jsonl"] == []


def test_a_question_that_comes_twice_is_asked_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask_many(questions: list[str]) -> list[str]:
        asked.extend(questions)
        return echo(questions)

    exam = [EXAM[0], EXAM[1], EXAM[0] | {"measure": "again"}]
    rows = compare.collect_answers(compare.open_run(tmp_path, "run", MADE_BY, exam), exam, ask_many)
    assert len(asked) == 2 and [row["measure"] for row in rows] == ["recall", "recall", "again"]


@pytest.mark.parametrize(
    ("made_by", "exam"), [(MADE_BY | {"weights": "1"}, EXAM), (MADE_BY, EXAM[1:]), (MADE_BY | {"glossary": "x"}, EXAM)]
)
def test_what_is_made_otherwise_is_another_run(tmp_path: Path, made_by: dict, exam: list[dict]) -> None:
    first = compare.open_run(tmp_path, "first", MADE_BY, EXAM)
    compare.collect_answers(first, EXAM, echo)
    second = compare.open_run(tmp_path, "second/with:odd name", made_by, exam)
    assert second == tmp_path / "second-with-odd-name"
    answers = compare.collect_answers(second, exam, lambda questions: ["new"] * len(questions))
    assert {row["answer"] for row in answers} == {"new"}
    with pytest.raises(compare.CompareError, match="first holds another test"):
        compare.open_run(tmp_path, "first", MADE_BY | {"weights": "2"}, EXAM)


def test_too_few_answers_are_an_error(tmp_path: Path) -> None:
    run_dir = compare.open_run(tmp_path, "run", MADE_BY, EXAM)
    with pytest.raises(ValueError, match="shorter"):
        compare.collect_answers(run_dir, EXAM, lambda questions: ["one"])
    assert not (run_dir / "answer_dataset.json").exists()


def test_questions_go_to_a_server_in_parallel_and_come_back_in_order() -> None:
    import threading

    together = threading.Barrier(4, timeout=10)

    def ask(question: str) -> str:
        together.wait()
        return question[::-1]

    assert compare.in_threads(ask, workers=4)(["ab", "cd", "ef", "gh"]) == ["ba", "dc", "fe", "hg"]


def test_a_model_is_known_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = compare.identify(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert compare.identify(tmp_path) == first and first["model"] == tmp_path.name
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert compare.identify(tmp_path) != first
    assert compare.identify("org/name") == {"model": "org/name", "weights": None}


def test_a_journal_keeps_what_it_is_told(tmp_path: Path) -> None:
    journal = compare.Journal(tmp_path / "journal.jsonl")
    journal["é\n"] = True
    journal.update({"b": [1]})
    assert dict(compare.Journal(tmp_path / "journal.jsonl")) == {"é\n": True, "b": [1]} == dict(journal)
    (tmp_path / "journal.jsonl").write_text("nonsense\n")
    with pytest.raises(compare.CompareError, match="journal.jsonl cannot be read.*Delete it"):
        compare.Journal(tmp_path / "journal.jsonl")


def make_run(tests_dir: Path, name: str, candidate: str, right: list[bool], exam: list[dict] = EXAM) -> Path:
    """A finished run whose first answers are right or not, as told."""
    made_by = MADE_BY | {"candidate": candidate, "weights": name}
    run_dir = compare.open_run(tests_dir, name, made_by, exam[: len(right)])
    rows = compare.collect_answers(run_dir, exam[: len(right)], echo)
    rows = [
        row | {"right": value, "answer": "« Goût », d'accord\nou non"} for row, value in zip(rows, right, strict=True)
    ]
    compare.write_run(run_dir, rows, {"judge": "nobody"})
    return run_dir


def test_runs_are_read_back_base_first_then_the_oldest(tmp_path: Path) -> None:
    make_run(tmp_path, "2025-01-03T00-00-00_tiny_tuned", "tuned", [True, True])
    make_run(tmp_path, "2025-01-01T00-00-00_tiny_tuned", "tuned", [True, False])
    run_dir = make_run(tmp_path, "2025-01-02T00-00-00_tiny_base", "base", [False, False])
    compare.open_run(tmp_path, "2025-01-04T00-00-00_interrupted", MADE_BY, EXAM[:2])
    runs = compare.read_runs(tmp_path)
    assert list(runs) == ["base", "tuned 2025-01-01T00-00-00", "tuned 2025-01-03T00-00-00"]
    assert runs["base"]["run"] == run_dir.name and runs["base"]["rows"] == compare.read_answers(run_dir)
    metadata = runs["base"]["metadata"]
    assert metadata["made_by"] == MADE_BY | {"weights": run_dir.name} and metadata["judge"] == "nobody"
    table = pd.read_csv(run_dir / "test_result.csv", keep_default_na=False)
    assert table.to_dict("records") == runs["base"]["rows"]
    assert "« Goût »" in (run_dir / "answer_dataset.json").read_text("utf-8")


def test_runs_of_another_exam_are_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, "2025-01-01T00-00-00_a", "base", [True] * 2)
    make_run(tmp_path, "2025-01-02T00-00-00_b", "tuned", [True] * 3)
    assert list(compare.read_runs(tmp_path)) == ["tuned"]
    assert list(compare.read_runs(tmp_path, like="2025-01-01T00-00-00_a")) == ["base"]


def test_no_runs_yet(tmp_path: Path) -> None:
    assert compare.read_runs(tmp_path / "absent") == {}


def test_a_run_can_be_scored_again(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "run", "base", [True, False])
    rows = [row | {"judge": None} for row in compare.read_answers(run_dir)]
    compare.write_run(run_dir, rows, {"judge": "another"})
    [run] = compare.read_runs(tmp_path).values()
    assert run["rows"] == rows and run["metadata"]["judge"] == "another"
    assert compare.collect_answers(run_dir, EXAM[:2], echo)[0]["answer"] == rows[0]["answer"]


def test_a_spoiled_run_is_named(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "run", "base", [True])
    (run_dir / "answer_dataset.json").write_text("[{")
    with pytest.raises(compare.CompareError, match="answer_dataset.json cannot be read"):
        compare.read_runs(tmp_path)


def test_every_two_runs_are_compared_on_their_common_questions(tmp_path: Path) -> None:
    marks = {"base": [False] * 30 + [True] * 10, "one": [True] * 38 + [False] * 2, "two": [True] * 40}
    for number, (name, right) in enumerate(marks.items()):
        make_run(tmp_path, f"2025-01-0{number + 1}T00-00-00_{name}", name, right)
    table = compare.compare_pairs(compare.read_runs(tmp_path), ["recall"])
    assert list(zip(table["first"], table["second"], strict=True)) == list(combinations(marks, 2))
    first, _, last = table.to_dict("records")
    counts = {key: first[key] for key in ("questions", "gained", "lost", "difference", "p", "smallest")}
    assert counts == {
        "questions": 40, "gained": 30, "lost": 2, "difference": 28 / 40,
        "p": pytest.approx(compare.mcnemar(marks["base"], marks["one"])),
        "smallest": pytest.approx(compare.smallest_difference(40, lost=2 / 40)),
    }  # fmt: skip
    assert first["low"] < 28 / 40 < first["high"]
    assert (last["gained"], last["lost"], last["p"]) == (2, 0, 0.5)
    nothing = compare.compare_pairs(compare.read_runs(tmp_path), ["no such measure"])
    assert nothing["questions"].eq(0).all() and nothing["difference"].isna().all()


def test_summary_is_read_back(tmp_path: Path) -> None:
    rows = [
        compare.summary_row("run", "base", "recall", 0, 30),
        compare.summary_row("run", "base", "forgot", 0, 0),
    ]
    compare.write_summary(tmp_path / "tests/summary.json", rows)
    assert compare.read_summary(tmp_path / "tests/summary.json") == rows
    assert json.loads((tmp_path / "tests/summary.json").read_text("utf-8")) == rows
    assert not list((tmp_path / "tests").glob("*.part"))


ROWS = [
    compare.summary_row("run", "tuned", "recall", 30, 30),
    compare.summary_row("run", "tuned", "unasked", 0, 0),
    compare.summary_row("run", "base", "recall", 0, 30),
]


def test_the_summary_has_a_row_a_model_in_the_given_order() -> None:
    table = compare.summary_table(ROWS)
    assert list(table.index) == ["tuned", "base"] and list(table.columns) == ["recall", "unasked"]
    assert table.loc["tuned"].tolist() == ["30/30 100% (89%-100%)", "-"]
    assert table.loc["base"].tolist() == ["0/30 0% (0%-11%)", "-"]


def test_format_summary() -> None:
    lines = [re.split(r"\s{2,}", line.strip()) for line in compare.format_summary(ROWS).splitlines()]
    assert lines == [
        ["measure", "tuned", "base"],
        ["recall", "30/30 100% (89%-100%)", "0/30 0% (0%-11%)"],
        ["unasked", "-", "-"],
    ]


# Scorers beside labels


def test_halves_have_the_same_kinds() -> None:
    kinds = ["a", "b", "a", "a", "b", "a", "c"]
    assert compare.halve(kinds).tolist() == [True, True, False, True, False, False, True]


def test_kappa_is_sklearn_s_and_that_of_a_worked_example() -> None:
    # https://www.easycalculation.com/statistics/learn-cohens-kappa-index.php: 12, 2, 4, 2 of 20, kappa 0.21
    first, second = np.repeat([1, 1, 0, 0], [12, 2, 4, 2]), np.repeat([1, 0, 1, 0], [12, 2, 4, 2])
    assert compare.kappa(first, second) == pytest.approx(0.21, abs=0.005)
    assert compare.kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    rng = np.random.default_rng(0)
    table = rng.random((2, 5, 60)) < 0.6
    expected = [cohen_kappa_score(*pair) for pair in zip(*table, strict=True)]
    assert compare.kappa(*table).tolist() == pytest.approx(expected)
    assert np.isnan(compare.kappa([1, 1], [1, 1]))


def test_a_threshold_is_chosen_on_one_half_and_judged_on_the_other() -> None:
    chosen = np.arange(200) < 100
    right = np.arange(200) % 2 == 0
    perfect = np.where(right, 0.8, 0.2)
    deceiving = np.where(chosen, perfect, 1 - perfect)  # perfect where the threshold is chosen, and only there
    missing = pd.Series(np.where(right, 1.0, 0.0)).where(np.arange(200) % 10 > 0)
    scores = pd.DataFrame({"perfect": perfect, "deceiving": deceiving, "some missing": missing})
    table, verdicts = compare.calibrate(scores, right, chosen)
    assert table.loc["perfect", ["AUC", "threshold", "agrees", "precision", "recall", "kappa"]].tolist() == [
        1, 0.8, 100, 1, 1, 1,
    ]  # fmt: skip
    assert table.loc["deceiving", ["AUC", "threshold", "agrees", "kappa"]].tolist() == [0, 0.8, 0, -1]
    assert table.loc["perfect", "interval"] == compare.wilson(100, 100)
    assert verdicts["perfect"].tolist() == right.tolist()
    assert 90 <= table.loc["some missing", "agrees"] <= 100 and table.total.eq(100).all()


def test_the_bootstrap_of_a_long_list_takes_little_memory() -> None:
    groups = [str(number) for number in range(10_000)]
    right = np.random.default_rng(0).random((2, len(groups))) < 0.9
    tracemalloc.start()
    low, high = compare.paired_interval(*right, groups)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low < high and peak < 200e6  # all resamples at once: 960 MB


def test_the_interval_of_kappa_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(240) < 0.4
    given = np.where(rng.random(240) < 0.8, right, ~right)
    chosen = compare.halve([""] * 240)
    table, _ = compare.calibrate(pd.DataFrame({"scorer": given.astype(float)}), right, chosen)
    truth, verdicts = right[~chosen], given[~chosen]
    drawn = [rng.integers(120, size=120) for _ in range(500)]
    kappas = [cohen_kappa_score(truth[places], verdicts[places]) for places in drawn]
    assert table.loc["scorer", "kappa interval"] == pytest.approx(tuple(np.percentile(kappas, [2.5, 97.5])), abs=0.04)
    agrees = int((truth == verdicts).sum())
    shown = compare.format_calibration(table).loc["scorer"]
    assert shown["agrees"].startswith(f"{agrees}/120 (")
    assert shown["kappa"].startswith(f"{cohen_kappa_score(truth, verdicts):.2f} (")


def test_the_sentence_says_no_more_than_the_intervals() -> None:
    def table(*kappas: tuple[float, tuple[float, float]]) -> pd.DataFrame:
        rows = [{"kappa": k, "kappa interval": i, "agrees": 9, "total": 10} for k, i in kappas]
        return pd.DataFrame(rows, index=[f"scorer {number}" for number in range(len(rows))])

    near = compare.say_which(table((0.5, (0.3, 0.7)), (0.6, (0.4, 0.8))))
    assert near.startswith("scorer 1 agrees best") and "do not set it apart" in near
    far = compare.say_which(table((0.1, (0.0, 0.2)), (0.6, (0.4, 0.8)), (0.5, (0.3, 0.7))))
    assert far.endswith("clearly better than scorer 0.")
