"""The command that trains models of a real size, on models of no size."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.config import REPOSITORY


@pytest.mark.long
def test_each_shape_is_trained_asked_and_measured(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import real_sizes

    # In this process, which has imported all: its memory then means nothing, as its times do.
    monkeypatch.setattr(real_sizes, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(sys, "argv", ["real_sizes.py", "--small", "--steps", "4"])
    real_sizes.main()
    header, _, *lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [line[0] for line in cells] == ["small Llama", "small Qwen"]
    assert {len(line) for line in cells} == {len(header.strip("|").split("|"))}
    assert all(float(cell) > 0 for line in cells for cell in line[1:])
