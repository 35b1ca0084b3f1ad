"""The command that trains models of a real size, on models of no size, and the page's table."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers.config import REPOSITORY
from helpers.model import estimate_memory

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import real_sizes  # noqa: E402


@pytest.mark.parametrize("name", ["SmolLM2-135M", "Qwen3-0.6B"])
def test_the_page_gives_the_memory_that_the_formula_gives(name):
    config = real_sizes.make_config(name)
    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(config)
    formats = torch.float32, torch.bfloat16
    needed = [sum(c for _, c, _ in estimate_memory(bare, kind)) / 1e9 for kind in formats]
    page = (REPOSITORY / "02-fine_tune/README.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if f"/{name}" in line)
    assert [c.strip() for c in line.split("|")][4:6] == [f"{number:.1f}" for number in needed]


@pytest.mark.long
def test_each_shape_is_trained_asked_and_measured(monkeypatch, capsys):
    # In this process, which has imported all: its memory then means nothing, as its times do.
    monkeypatch.setattr(real_sizes, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(sys, "argv", ["real_sizes.py", "--small", "--steps", "4"])
    real_sizes.main()
    header, _, *lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [line[0] for line in cells] == ["small Llama", "small Qwen"]
    assert {len(line) for line in cells} == {len(header.strip("|").split("|"))}
    assert all(float(cell) > 0 for line in cells for cell in line[1:])
