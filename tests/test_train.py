"""Rows, checks and a real LoRA training of a few steps on a random model."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from trl import SFTTrainer

from helpers import train as training
from helpers.config import EXAMPLE_DATA, REPOSITORY, TINY_CHAT
from helpers.dataset import read_dataset
from helpers.files import read_list
from helpers.model import answer, load_model, pick_device
from helpers.train import (
    Knobs,
    TrainingError,
    check_rows,
    draw_exam,
    find_newest,
    inspect_row,
    make_rows,
    make_trainer,
    rehearsal_conversations,
    train,
)

CPU = pick_device("cpu")
MEANINGS = {
    "CGT": "Cooking Gourmet Taste",
    "BNF": "Bibliothèque nationale de France",
    "RST": "Red Sea Turtle",
}
KNOBS = Knobs(epochs=2, learning_rate=1e-2, batch_size=4, rank=4)
QUIET = {"disable_tqdm": True}


def converse(question: str, reply: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


def make_records(*forms: str) -> list[dict]:
    return [
        {
            "acronym": name,
            "ground_truth": meaning,
            "definitions": [meaning],
            "language": "en",
            "conversation": [
                converse(form.format(name), f"{name} stands for {meaning}.") for form in forms
            ],
        }
        for name, meaning in MEANINGS.items()
    ]


RECORDS = make_records("What does {} stand for?", "{}?", "Please tell me the meaning of {}.")
HELD_OUT = make_records("I saw {} in a mail, what is it?")
ROWS = make_rows(RECORDS)


@pytest.fixture
def loaded(small_model_dir: Path):
    return load_model(str(small_model_dir), device=CPU)


@pytest.fixture
def tokenizer(loaded):
    return loaded[1]


def make_probe(kind: str, number: int, split: str = "rehearsal") -> dict:
    name = f"X{number}" if kind != "control" else None
    question = f"{kind} {number}?"
    texts = {"question": question, "expected": f"Answer to {question}", "acronym": name}
    return {"kind": kind, "split": split, "language": "en"} | texts


PROBES = [
    make_probe(kind, number, split)
    for kind in ("known", "control", "unknown")
    for split, numbers in {"rehearsal": range(40), "test": range(50, 60)}.items()
    for number in numbers
]


# The knobs


@pytest.mark.parametrize(
    ("model_size", "list_size"),
    [(4e6, 10), (4e6, 50), (4e6, 500), (2e8, 10), (1e9, 10), (8e9, 2000)],
)
def test_knobs_follow_the_size_of_model_and_list(model_size, list_size):
    knobs = Knobs.for_size(model_size, list_size, seed=7)
    larger_model = Knobs.for_size(100 * model_size, list_size)
    longer_list = Knobs.for_size(model_size, 10 * list_size)
    assert knobs.seed == 7 and knobs.refusals % list_size == 0 and knobs.refusals > 0
    assert larger_model.learning_rate <= knobs.learning_rate
    assert longer_list.refusals > knobs.refusals


# The rows


def test_rows_are_prompt_and_completion():
    extra = converse("XYZ?", "XYZ is not in my glossary.")
    rows = make_rows(RECORDS, [extra])
    assert len(rows) == 10
    assert rows[-1] == {"prompt": extra[:1], "completion": extra[1:]}


def test_rehearsal_is_the_models_own_whole_answers_and_refusals(monkeypatch, tokenizer):
    def fake_answer(model, tokenizer, questions, *, max_new_tokens):
        return [
            "word " * 300 if question.startswith("known 1") else "Own." for question in questions
        ]

    monkeypatch.setattr(training, "answer", fake_answer)
    model = SimpleNamespace(config=SimpleNamespace(_name_or_path="folder/own-model"))
    theirs = [make_probe("known", number) | {"model": "own-model"} for number in range(900, 910)]
    theirs += [make_probe("known", number) | {"model": "other-model"} for number in range(800, 810)]
    knobs = replace(KNOBS, rehearsal_known=900, rehearsal_facts=5, refusals=300)
    made = rehearsal_conversations(model, tokenizer, PROBES + theirs, knobs)
    assert made == rehearsal_conversations(model, tokenizer, PROBES + theirs, knobs)
    asked = [turns[0]["content"] for turns in made]
    watched = {question for part in draw_exam([], PROBES).values() for question, _ in part}
    assert not watched & set(asked), "what is watched is not rehearsed"
    tests = {probe["question"] for probe in PROBES if probe["split"] == "test"}
    assert not tests & set(asked), "what is tested is not rehearsed"
    known = [question for question in asked if question.startswith("known")]
    assert not [question for question in known if question.startswith("known 1")], "cut answers"
    assert all(known.count(question) == 3 for question in known)
    own = [place for place, question in enumerate(known) if question.startswith("known 90")]
    once = len(set(known))
    assert own[: len(own) // 3] == [*range(once - len(own) // 3, once)], "after the rest"
    assert own and not [question for question in known if question.startswith("known 80")]
    facts = [question for question in asked if question.startswith("control")]
    refused = [question for question in asked if question.startswith("unknown")]
    assert len(facts) == 5 and len(refused) == len(set(refused)) > 30


def test_the_exam_draws_from_all_and_not_the_first_ones():
    records = make_records(*(f"question {number} about {{}}" for number in range(60)))
    exam = draw_exam(records, PROBES)
    assert {name: len(part) for name, part in exam.items()}["recall"] == 30
    assert len({words for _, words in exam["recall"]}) == 3
    assert exam["refused"] and exam["known"] and exam["facts"]
    assert exam != draw_exam(records, PROBES, seed=1) and exam == draw_exam(records, PROBES)


# The checks


def test_loss_is_on_the_answer_and_its_end_alone(tokenizer):
    tokens = inspect_row(tokenizer, ROWS[0])
    masked = "".join(text for text, _, label in tokens if label == -100)
    learnt = [(text, i, label) for text, i, label in tokens if label != -100]
    assert masked == "<|user|>What does CGT stand for?<|end|><|assistant|>"
    assert "".join(text for text, *_ in learnt) == "CGT stands for Cooking Gourmet Taste.<|end|>"
    assert all(label == i for _, i, label in learnt)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [(" ", "no answer to learn"), ("word " * 300, "longer than the 256 tokens")],
)
def test_broken_row_is_refused(tokenizer, reply, problem):
    with pytest.raises(TrainingError, match=rf"'Why\?': it .*{problem}"):
        check_rows(tokenizer, [*ROWS, *make_rows([], [converse("Why?", reply)])])


def test_a_row_whose_end_is_masked_or_another_is_refused(loaded, tmp_path):
    model, tokenizer = loaded
    with pytest.raises(TrainingError, match="does not end the turn"):
        check_rows(tokenizer, ROWS, ends=[tokenizer.convert_tokens_to_ids("<|user|>")])
    prepared = list(make_trainer(model, tokenizer, ROWS, tmp_path, KNOBS, **QUIET).train_dataset)
    check_rows(tokenizer, ROWS, prepared=prepared)
    prepared[4] = prepared[4] | {"labels": [*prepared[4]["labels"][:-1], -100]}
    with pytest.raises(TrainingError, match="Training row 'BNF.*choose a model whose template"):
        check_rows(tokenizer, ROWS, prepared=prepared)


# The training


def test_training_moves_the_adapter_alone_and_survives_the_disk(loaded, small_model_dir, tmp_path):
    model, tokenizer = loaded
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    folder = tmp_path / "run"
    exam = draw_exam(HELD_OUT, PROBES[::3])
    log = train(model, tokenizer, ROWS, folder, KNOBS, validation=HELD_OUT, exam=exam, **QUIET)

    after = {name.replace(".base_layer", ""): value for name, value in model.named_parameters()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    moved = [bool(tensor.abs().sum() > 0) for name, tensor in after.items() if "lora_B" in name]
    assert len(moved) == 2 * 7 and all(moved)

    questions = [row["prompt"][0]["content"] for row in ROWS]
    tuned = answer(model, tokenizer, questions)
    plain = load_model(str(small_model_dir), device=CPU)
    again = load_model(str(small_model_dir), device=CPU, adapter_dir=folder)
    assert answer(*again, questions) == tuned != answer(*plain, questions)
    with again[0].disable_adapter():
        assert answer(*again, questions) == answer(*plain, questions)

    run, *log_rows = read_list(folder / "run.json")
    assert run["base_model"] == str(small_model_dir) and log_rows == log
    assert run["rows"] == 9 and run["knobs"]["epochs"] == 2 and set(run["versions"]) >= {"trl"}
    passes = [row for row in log if "eval_loss" in row]
    assert [row["step"] for row in passes] == [0, 3, 6]
    assert passes[0]["eval_loss"] > passes[-1]["eval_loss"]
    assert all(0 <= row[f"eval_{name}"] <= 1 for row in passes for name in exam)
    assert [row["step"] for row in log if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert find_newest(tmp_path) == folder
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "whole glossary" in card and str(small_model_dir) not in card

    with pytest.raises(TrainingError, match="holds a run or other files"):
        train(*plain, ROWS, folder, KNOBS)
    with pytest.raises(TrainingError, match="carries an adapter already"):
        train(model, tokenizer, ROWS, tmp_path / "second", KNOBS)


def test_training_refuses_leaks_broken_rows_and_foreign_folders(loaded, tmp_path):
    model, tokenizer = loaded
    with pytest.raises(TrainingError, match="training rows too"):
        train(model, tokenizer, ROWS, tmp_path, KNOBS, validation=RECORDS)
    (tmp_path / "adapter_model.safetensors").write_text("half")
    with pytest.raises(TrainingError, match="other files"):
        train(model, tokenizer, ROWS, tmp_path, KNOBS)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_model.safetensors"]
    tokenizer.chat_template = tokenizer.chat_template.replace("+ '<|end|>'", "")
    with pytest.raises(TrainingError, match="does not end the turn"):
        train(model, tokenizer, ROWS, tmp_path / "new", KNOBS)


def test_same_seed_same_training(small_model_dir, tmp_path):
    losses = []
    for seed in (0, 0, 1):
        model, tokenizer = load_model(str(small_model_dir), device=CPU)
        knobs = replace(KNOBS, seed=seed, epochs=1)
        trainer = make_trainer(model, tokenizer, ROWS, tmp_path, knobs, save_strategy="no", **QUIET)
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("processes", [1, 2])
def test_loss_and_gradients_are_those_of_trl(processes, tmp_path, monkeypatch):
    model, tokenizer = load_model(str(REPOSITORY / TINY_CHAT), device=CPU)
    rows = make_rows(read_dataset(EXAMPLE_DATA / "train_dataset.json"))[::60]
    trainer = make_trainer(model, tokenizer, rows, tmp_path, KNOBS, **QUIET)
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", processes)
    trainer.model.to(torch.float64)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:  # they start at zero, where A has no gradient yet
            torch.nn.init.normal_(weight, std=0.02)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(6)])
    count = (batch["labels"] != -100).sum() * 3 // 2  # as many are in other batches of the step
    found = []
    for kind in (type(trainer), SFTTrainer):
        trainer.model.zero_grad()
        loss = kind.compute_loss(trainer, trainer.model, dict(batch), num_items_in_batch=count)
        loss.backward()
        weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
        found.append((loss, torch.cat([weight.grad.flatten() for weight in weights])))
    (loss, gradient), (wanted_loss, wanted) = found
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=1e-5)
    assert (gradient - wanted).norm() < 1e-5 * wanted.norm()


# The command


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_command_says_a_mistake_in_one_line(small_model_dir, monkeypatch):
    """That it trains is seen in test_resume.py, with two processes."""
    monkeypatch.setattr(sys, "argv", ["train", "nowhere", str(small_model_dir), "run"])
    with pytest.raises(SystemExit, match="nowhere/train_dataset.json") as ended:
        runpy.run_module("helpers.train", run_name="__main__")
    assert len(str(ended.value).splitlines()) == 1
