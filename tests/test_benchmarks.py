"""The benchmark of the stages computes what it says, and the pages show its tables."""

import re
import sys
from pathlib import Path

import pytest

from helpers.config import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"


@pytest.fixture(scope="module")
def stages():
    sys.path.insert(0, str(BENCHMARKS))
    import stages

    return stages


def run(module, monkeypatch, *given: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *given])
    module.main()


def between(page: str, marks: tuple[str, str]) -> list[list[str]]:
    """The cells of the table that stands between the marks."""
    lines = page.partition(marks[0])[2].partition(marks[1])[0].splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]


# The stages


def test_ratios_are_those_of_the_rounds(stages):
    rounds = [(2.0, 1.0, 0.5), (4.0, 1.0, 0.25), (6.0, 2.0, 0.5)]
    *_, line = stages.table({"work": rounds})
    assert line == "| work | 4 s | 1 s | 3.00 (2.00 – 4.00) | 0.5 s | 4.00 (2.00 – 4.00) |"


def test_the_page_shows_the_table_and_names_the_device(stages):
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    header, _, *lines = between(page, stages.MARKS)
    assert header == list(stages.COLUMNS) and len(lines) == 6
    assert all(len(stages._RATIO.findall(" | ".join(line))) == 2 for line in lines)
    assert (
        re.search(r"One core of a shared \w+.*; median of \d+ rounds", page) and "stand-in" in page
    )


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


def test_the_page_of_the_benchmarks_shows_the_growth_and_names_every_command(stages):
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    header, _, *lines = between(page, stages.GROWTH_MARKS)
    assert header == ["acronyms", "10", "100", "1,000", "10,000"] and len(lines) > 10
    assert any("~" in cell for line in lines for cell in line)
    commands = {Path(name).name for name in re.findall(r"`python benchmarks/(\w+\.py)", page)}
    assert commands == {
        path.name
        for path in BENCHMARKS.glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
