"""The benchmarks compute what they say, and their page names every command."""

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
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4736,
}


@pytest.fixture(scope="module")
def stages():
    sys.path.insert(0, str(BENCHMARKS))
    import stages

    return stages


def test_ratios_are_those_of_the_rounds(stages):
    rounds = [
        {"original": 2.0, "ours": 1.0, "bound": 0.5},
        {"original": 4.0, "ours": 1.0, "bound": 0.25},
        {"original": 6.0, "ours": 2.0, "bound": 0.5},
    ]
    line = list(stages.describe("work", rounds).values())
    assert line == ["work", "4 s", "1 s", "3.00 (2.00 – 4.00)", "0.5 s", "4.00 (2.00 – 4.00)"]


def test_waiting_is_measured_against_the_delay_over_the_requests_at_once(stages, monkeypatch):
    monkeypatch.setattr(stages, "DELAY", 0.05)
    six = [Acronym(f"ZM{letter}", (f"Zero Meeting {letter}day",)) for letter in "ABCDEF"]
    (found,) = stages.conversations(six, 1)
    assert found["bound"] == 2 * 0.05 and found["original"] > 6 * 0.05
    assert found["bound"] < found["ours"] < found["original"]


def test_the_bound_of_training_counts_the_products_that_the_rows_need(stages):
    def load():
        return stages.random_model(SMALL)

    base, _ = load()
    trainer = stages.our_trainer(load, ROWS)
    data, knobs = trainer.train_dataset, stages.one_pass(base)
    tokens = sum(len(row["input_ids"]) for row in data)
    learnt = sum(label != -100 for row in data for label in row["labels"])
    modules = [m for name, m in base.named_modules() if name != "lm_head"]
    linear = [m for m in modules if isinstance(m, torch.nn.Linear)]
    frozen = sum(m.weight.numel() for m in linear)
    adapter = knobs.rank * sum(m.in_features + m.out_features for m in linear)
    expected = tokens * (4 * frozen + 6 * adapter) + learnt * 4 * base.lm_head.weight.numel()
    # A little less: nothing flows back through the first layer's inputs.
    assert 0.95 * expected < stages.count_products(trainer) <= expected


def test_the_bound_of_answering_is_the_longer_of_reading_and_multiplying(stages, monkeypatch):
    parameters, bounds = stages.random_model(SMALL)[0].num_parameters(), []
    questions = ["What is ZMW?", "And what is CGT, please?"]
    for products, numbers in ((1.0, math.inf), (math.inf, 1.0)):
        monkeypatch.setattr(stages, "matmul_rate", lambda rate=products: rate)
        monkeypatch.setattr(stages, "reading_rate", lambda _, rate=numbers: rate)
        (found,) = stages.answering(lambda: stages.random_model(SMALL), questions, 5, 1)
        bounds.append(found["bound"])
    assert bounds[1] == parameters * 5  # its weights, once a token: it never ends an answer
    assert bounds[0] > 2 * parameters * 2 * 5  # two operations a weight, for five tokens and more


def test_the_page_of_the_benchmarks_names_every_command():
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    commands = {Path(name).name for name in re.findall(r"`python benchmarks/(\w+\.py)", page)}
    scripts = BENCHMARKS.glob("*.py")
    assert commands == {p.name for p in scripts if "__main__" in p.read_text(encoding="utf-8")}
