"""The benchmark of the stages computes what it says, and the pages show its tables."""

import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch

from helpers import dataset, train
from helpers.acronyms import Acronym
from helpers.config import EXAMPLE_DATA, REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
ROWS = train.make_rows(dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json"))[:4]
LIST = [Acronym("ZMW", ("Zero Meeting Wednesday",)), Acronym("CGT", ("Cooking Gourmet Taste",))]


@pytest.fixture(scope="module")
def stages():
    sys.path.insert(0, str(BENCHMARKS))
    import stages

    return stages


@pytest.fixture(scope="module")
def ways(stages):
    import ways

    return ways


def run(module, monkeypatch, *given: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *given])
    module.main()


def between(page: str, marks: tuple[str, str]) -> list[list[str]]:
    """The cells of the table that stands between the marks."""
    lines = page.partition(marks[0])[2].partition(marks[1])[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


# The stages


def test_the_command_writes_its_table_between_the_marks_and_nothing_else(stages, monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{stages.MARKS[0]}\nold\n{stages.MARKS[1]}\nafter\n", encoding="utf-8")
    run(stages, monkeypatch, "--small", "--rounds", "1", "--delay", "0.05", "--page", str(page))
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{stages.MARKS[0]}\n") and text.endswith(f"{stages.MARKS[1]}\nafter\n")
    header, _, *lines = between(text, stages.MARKS)
    assert header == list(stages.COLUMNS) and [line[0][0] for line in lines] == ["1", "2", "2", "3", "3", "3"]
    assert "old" not in text and stages.processor() in text and "0.05 s for each reply" in text
    assert text.partition(stages.MARKS[1])[0].partition("\n| stage")[2].strip() in capsys.readouterr().out


def test_ratios_are_those_of_the_rounds(stages):
    rounds = [(2.0, 1.0, 0.5), (4.0, 1.0, 0.25), (6.0, 2.0, 0.5)]
    *_, line = stages.table({"work": rounds})
    assert line == "| work | 4 s | 1 s | 3.00 (2.00 – 4.00) | 0.5 s | 4.00 (2.00 – 4.00) |"


def test_the_rounds_of_runs_that_are_alike_are_put_together(stages, monkeypatch, tmp_path):
    page, runs = tmp_path / "page.md", tmp_path / "runs.json"
    page.write_text("\n".join(stages.MARKS), encoding="utf-8")
    rounds = iter([(2.0, 1.0, 1.0), (3.0, 1.0, 1.0), (9.0, 1.0, 1.0), (4.0, 1.0, 0.5)])
    monkeypatch.setattr(stages, "works", lambda *_: [("work", lambda: next(rounds))])
    for delay in ("1", "1", "2", "1"):  # the third is not like the others
        run(stages, monkeypatch, "--small", "--rounds", "1", "--delay", delay, "--page", str(page), "--runs", str(runs))
    text = page.read_text(encoding="utf-8")
    assert "| 3.00 (2.00 – 4.00) |" in text and "median of 3 rounds (3 run(s)" in text and "1.00 (1.00 – 2.00)" in text
    assert len(json.loads(runs.read_text())) == 4


def test_waiting_is_measured_against_the_delay_over_the_requests_at_once(ways):
    six = [Acronym(f"ZM{letter}", (f"Zero Meeting {letter}day",)) for letter in "ABCDEF"]
    original, ours, bound = ways.conversations(six, 0.05)
    assert bound == 2 * 0.05 and original > 6 * 0.05 and bound < ours < original
    rows = [{"question": "What is ZMW?", "answer": f"{n} things", "definitions": ["x"]} for n in range(5)]
    original, ours, bound = ways.judging(rows, 0.05)
    assert bound == 2 * 0.05 and original > 5 * 0.05 and bound < ours < original


def test_the_bound_of_training_counts_the_products_that_the_rows_need(ways, monkeypatch, tmp_path):
    monkeypatch.setattr(ways, "matmul_rate", lambda *_: 1.0)  # one operation a second
    monkeypatch.setattr(ways, "original_trainer", lambda *arguments: Fake(arguments[-1]))
    monkeypatch.setattr(ways, "time_step", lambda *_: 2.0)
    original, ours, bound = ways.training(lambda: ways.random_model("small"), ROWS, 8)()
    assert original == 3.0 * len(ROWS) and ours == 2.0
    base, tokenizer = ways.random_model("small")
    knobs = ways.knobs_for(base)
    data = ways.our_trainer(ways.random_model("small")[0], tokenizer, ROWS, knobs, str(tmp_path)).train_dataset
    tokens = sum(len(row["input_ids"]) for row in data)
    learnt = sum(label != -100 for row in data for label in row["labels"])
    linear = [m for name, m in base.named_modules() if isinstance(m, torch.nn.Linear) and name != "lm_head"]
    frozen = sum(m.weight.numel() for m in linear)
    adapter = knobs.rank * sum(m.in_features + m.out_features for m in linear)
    expected = tokens * (4 * frozen + 6 * adapter) + learnt * 4 * base.lm_head.weight.numel()
    # A little less: nothing flows back through the first layer's inputs.
    assert 0.95 * expected < bound <= expected


class Fake:
    def __init__(self, timer) -> None:
        self.timer = timer

    def train(self) -> None:
        self.timer.step = 3.0


def test_the_bound_of_answering_is_the_longer_of_reading_and_multiplying(ways, monkeypatch):
    load = lambda: ways.random_model("small")  # noqa: E731
    parameters, bounds = load()[0].num_parameters(), []
    for rates in ((1.0, math.inf), (math.inf, 1.0)):
        monkeypatch.setattr(ways, "matmul_rate", lambda *_, rate=rates[0]: rate)
        monkeypatch.setattr(ways, "reading", lambda _, rate=rates[1]: rate)
        bounds.append(ways.answering(load, ["What is ZMW?", "And what is CGT, please?"], 5, 8)()[2])
    assert bounds[1] == parameters * 5  # its weights, once a token: random ones never end an answer
    assert bounds[0] > 2 * parameters * 2 * 5  # two operations a weight, for two answers of five tokens and more


def test_reading_is_a_rate(ways):
    assert 1e7 < ways.reading(1 << 20) < 1e12


def test_check_says_what_lies_outside_of_the_stated_spread(stages, capsys):
    stated = "| a | 1 s | 1 s | 2.00 (1.90 – 2.10) | 1 s | 3.00 (2.00 – 4.00) |"
    stages.check(stated, stated.replace("2.00 (1.90 – 2.10)", "2.09 (1.00 – 9.00)"))
    assert "states: a" in capsys.readouterr().out
    for other in (stated.replace("2.00 (1.9", "2.11 (1.9"), stated.replace("3.00 (", "1.99 ("), "| b" + stated[3:]):
        with pytest.raises(SystemExit, match="Outside: [ab]"):
            stages.check(stated, other)
    with pytest.raises(SystemExit, match="Outside: b. The page's are of A, these of B .AVX2.: its ratios"):
        stages.check(f"{stated}\nOne core of a shared A; x", f"| b{stated[3:]}\nOne core of a shared B (AVX2); x")


def test_a_page_without_a_place_is_refused(stages, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place for the table"):
        stages.write(page, "table", stages.MARKS)
    assert page.read_text() == "text"


def test_the_page_shows_the_table_and_names_the_device(stages):
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    header, _, *lines = between(page, stages.MARKS)
    assert header == list(stages.COLUMNS) and len(lines) == 6
    assert all(len(stages._RATIO.findall(" | ".join(line))) == 2 for line in lines)
    assert re.search(r"One core of a shared \w+.*; median of \d+ rounds", page) and "stand-in" in page


# Growth


def test_growth_lays_out_sizes_and_marks_what_was_not_measured(stages, monkeypatch, tmp_path):
    def measure(stage, size: int, small: bool) -> dict[str, float]:
        return {"requests": 3 * size + 1, "~waiting": 60.0 * size, "peak memory, MB": 50.0}

    page = tmp_path / "page.md"
    page.write_text("\n".join(stages.GROWTH_MARKS), encoding="utf-8")
    monkeypatch.setattr(stages, "in_own_process", measure)
    run(stages, monkeypatch, "--growth", "--small", "--page", str(page))
    header, _, *lines = between(page.read_text(encoding="utf-8"), stages.GROWTH_MARKS)
    assert header == ["acronyms", "2", "4", "8"]
    assert lines[0] == ["stage 1: requests", "7", "13", "25"]
    assert lines[3:5] == [
        ["stage 2: requests", "7", "13", "~25"],
        ["stage 2: waiting", "~2.0 min", "~4.0 min", "~8.0 min"],
    ]
    assert lines[5] == ["stage 2: peak memory, MB", "50", "50", "-"]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (9.5, "9.5 s"), (119, "119 s"), (120, "2.0 min"), (7200, "2.0 h"),
                              (86400 * 30, "30 d")]
)  # fmt: skip
def test_span(stages, seconds, expected):
    assert stages.span(seconds) == expected


def test_growth_measures_stage_one_whole(stages, tmp_path):
    found = stages._with_memory(stages.stage_one, 3, True)
    train_set, test_set = stages.build(stages.invent(3), stages.reply_to, tmp_path)
    assert [len(record["conversation"]) for record in train_set + test_set] == [48] * 3 + [12] * 3
    assert found["requests"] >= 3 * (4 + 1 + 1) and found["~waiting for an LLM"] == math.ceil(found["requests"] / 4) * 2
    assert found["files, MB"] > 0 and 20 < found["peak memory, MB"] < 100_000 and found["our own work"] > 0


def test_growth_multiplies_what_it_measured_of_the_other_stages(stages, tmp_path):
    found = stages.stage_two(2, tmp_path, True)
    assert found["steps"] % math.ceil(found["rows"] / 16) == 0 and found["~training"] > 0
    for path in tmp_path.iterdir():
        path.unlink()
    found = stages.stage_three(2, tmp_path, True)
    assert found["~an LLM judge on all"] == 2 * math.ceil(2 * 12 / 4) and found["~answering"] > 0


def test_invented_acronyms_are_as_many_as_asked_for_and_always_the_same(stages):
    acronyms = stages.invent(300)
    assert len({acronym.name for acronym in acronyms}) == 300 and acronyms == stages.invent(300)


def test_the_page_of_the_benchmarks_shows_the_growth_and_names_every_command(stages):
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    header, _, *lines = between(page, stages.GROWTH_MARKS)
    assert header == ["acronyms", "10", "100", "1,000", "10,000"] and len(lines) > 10
    assert any("~" in cell for line in lines for cell in line)
    commands = {Path(name).name for name in re.findall(r"`python benchmarks/(\w+\.py)", page)}
    assert commands == {path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
