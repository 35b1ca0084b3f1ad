"""Rows, checks and real LoRA trainings of a few steps: whole, killed, resumed, merged, spread."""

import os
import runpy
import signal
import sys
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback
from trl import SFTTrainer

from helpers import train as training
from helpers.files import read_list
from helpers.model import answer, find_newest, load_model, pick_device
from helpers.train import (
    STARTED_FILE,
    Knobs,
    TrainingError,
    check_no_leak,
    check_rows,
    draw_exam,
    inspect_row,
    make_rows,
    make_trainer,
    merge,
    rehearsal_conversations,
    train,
)

CPU = pick_device("cpu")
MEANINGS = {
    "CGT": "Cooking Gourmet Taste",
    "BNF": "Bibliothèque nationale de France",
    "RST": "Red Sea Turtle",
}
KNOBS = Knobs(epochs=3, learning_rate=1e-2, batch_size=2, rank=4)  # 5 steps in each pass
QUIET = {"disable_tqdm": True}


def converse(question: str, reply: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


def make_records(*forms: str) -> list[dict]:
    records = []
    for name, meaning in MEANINGS.items():
        about = {"acronym": name, "definitions": [meaning], "language": "en"}
        talks = [converse(form.format(name), f"{name} stands for {meaning}.") for form in forms]
        records.append(about | {"ground_truth": meaning, "conversation": talks})
    return records


RECORDS = make_records("What does {} stand for?", "{}?", "Please tell me the meaning of {}.")
HELD_OUT = make_records("I saw {} in a mail, what is it?")
ROWS = make_rows(RECORDS)
QUESTIONS = [row["prompt"][0]["content"] for row in ROWS]


@pytest.fixture
def loaded(small_model_dir):
    return load_model(str(small_model_dir), device=CPU)


@pytest.fixture
def tokenizer(loaded):
    return loaded[1]


def make_probe(kind: str, number: int, split: str = "rehearsal", **more) -> dict:
    question = f"{kind} {number}?"
    texts = {"question": question, "expected": f"Answer to {question}"}
    name = f"X{number}" if kind != "control" else None
    return {"kind": kind, "split": split, "language": "en", "acronym": name} | texts | more


PROBES = [
    make_probe(kind, number, "rehearsal" if number < 40 else "test")
    for kind in ("known", "control", "unknown")
    for number in range(50)
]

# ------------------------------------------------------------------------------ knobs and rows


def test_knobs_follow_the_size_of_model_and_list():
    knobs = Knobs.for_size(4e6, 10, seed=7)
    larger_model, longer_list = Knobs.for_size(4e8, 10), Knobs.for_size(4e6, 100)
    assert knobs.seed == 7
    assert larger_model.learning_rate < knobs.learning_rate
    assert longer_list.refusals > knobs.refusals > 0


def test_rehearsal_is_the_models_own_whole_answers_and_refusals(monkeypatch, tokenizer):
    def fake_answer(model, tokenizer, questions, *, max_new_tokens):
        return ["word " * 300 if text.startswith("known 1") else "Own." for text in questions]

    monkeypatch.setattr(training, "answer", fake_answer)
    model = SimpleNamespace(config=SimpleNamespace(_name_or_path="folder/own-model"))
    theirs = [make_probe("known", number, model="other-model") for number in range(800, 810)]
    knobs = replace(KNOBS, rehearsal_known=900, rehearsal_facts=5, refusals=300)
    made = rehearsal_conversations(model, tokenizer, PROBES + theirs, knobs)
    assert made == rehearsal_conversations(model, tokenizer, PROBES + theirs, knobs)
    asked = [turns[0]["content"] for turns in made]
    watched = {question for part in draw_exam([], PROBES).values() for question, _ in part}
    tests = {probe["question"] for probe in PROBES if probe["split"] == "test"}
    assert watched and not (watched | tests) & set(asked), "neither is rehearsed"
    known = [question for question in asked if question.startswith("known")]
    assert all(known.count(question) == 3 for question in known)
    cut_or_of_another = [text for text in known if text.startswith(("known 1", "known 80"))]
    assert not cut_or_of_another and known
    refused = [question for question in asked if question.startswith("unknown")]
    assert len(refused) == len(set(refused)) > 30 and len(asked) == len(known) + 5 + len(refused)


# ---------------------------------------------------------------------------------- the checks


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
    rows = [*ROWS, *make_rows([], [converse("Why?", reply)])]
    with pytest.raises(TrainingError, match=rf"'Why\?': it .*{problem}"):
        check_rows(tokenizer, rows, ends=[tokenizer.eos_token_id])


def test_a_row_whose_end_is_masked_or_another_is_refused(loaded, tmp_path):
    model, tokenizer = loaded
    with pytest.raises(TrainingError, match="does not end the turn"):
        check_rows(tokenizer, ROWS, ends=[tokenizer.convert_tokens_to_ids("<|user|>")])
    prepared = list(make_trainer(model, tokenizer, ROWS, tmp_path, KNOBS, **QUIET).train_dataset)
    ends = [tokenizer.eos_token_id]
    check_rows(tokenizer, ROWS, ends=ends, prepared=prepared)
    prepared[4] = prepared[4] | {"labels": [*prepared[4]["labels"][:-1], -100]}
    with pytest.raises(TrainingError, match="Training row 'BNF.*choose a model whose template"):
        check_rows(tokenizer, ROWS, ends=ends, prepared=prepared)


def test_a_held_out_question_is_found_after_a_system_turn():
    system = {"role": "system", "content": "Answer from the glossary."}
    rows = make_rows([], [[system, *converse("And what is CGT?", "CGT stands for it.")]])
    check_no_leak(rows, HELD_OUT)
    asked_too = [{"conversation": [[system, *converse("and what is  CGT?", "No idea.")]]}]
    with pytest.raises(TrainingError, match="'and what is  CGT.' is in the training rows too"):
        check_no_leak(rows, asked_too)


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


# -------------------------------------------------------------------------------- the training


class Stop(TrainerCallback):
    """Send the process a signal at a step: SIGINT is Ctrl-C."""

    def __init__(self, step: int | None, number: int) -> None:
        self.step, self.number = step, number

    def on_step_end(self, args, state, control, **_) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)


def run(model_dir, folder, *, stop=None, signal_number=signal.SIGINT, resume=False):
    """Train as all tests below do; give the model, its log without times, and its answers."""
    model, tokenizer = load_model(str(model_dir), device=CPU)
    options = QUIET | {"callbacks": [Stop(stop, signal_number)], "resume": resume}
    options |= {"validation": HELD_OUT, "exam": draw_exam(HELD_OUT, PROBES[::9])}
    log = train(model, tokenizer, ROWS, folder, KNOBS, **options)
    log = [  # but for its last row, which sums up one session
        {name: value for name, value in row.items() if not name.endswith(("_runtime", "_second"))}
        for row in log
        if "train_loss" not in row
    ]
    return model, log, answer(model, tokenizer, QUESTIONS)


@pytest.fixture(scope="module")
def whole(small_model_dir, tmp_path_factory):
    """One training without an interruption, which the tests share."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, *run(small_model_dir, folder)


def test_training_moves_the_adapter_and_survives_the_disk(loaded, small_model_dir, whole, tmp_path):
    whole_dir, model, log, tuned = whole
    after = {name.replace(".base_layer", ""): value for name, value in model.named_parameters()}
    before = dict(loaded[0].named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    moved = [tensor.any() for name, tensor in after.items() if "lora_B" in name]
    assert len(moved) == 2 * 7 and all(moved)

    again = load_model(str(small_model_dir), device=CPU, adapter_dir=whole_dir)
    assert answer(*again, QUESTIONS) == tuned != answer(*loaded, QUESTIONS)
    with again[0].disable_adapter():
        assert answer(*again, QUESTIONS) == answer(*loaded, QUESTIONS)
    merge(str(small_model_dir), whole_dir, tmp_path / "merged", device=CPU)
    merged, tokenizer = load_model(str(tmp_path / "merged"), device=CPU)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert answer(merged, tokenizer, QUESTIONS) == tuned

    made_of, *saved = read_list(whole_dir / "run.json")
    assert made_of["base_model"] == str(small_model_dir) and made_of["knobs"]["epochs"] == 3
    passes = [row for row in log if "eval_loss" in row]
    assert [row["step"] for row in passes] == [0, 5, 10, 15] and len(saved) == len(log) + 1
    assert passes[0]["eval_loss"] > passes[-1]["eval_loss"]
    assert all(0 <= row["eval_recall"] <= 1 for row in passes)
    assert str(small_model_dir) not in (whole_dir / "README.md").read_text(encoding="utf-8")

    with pytest.raises(TrainingError, match="holds a run or other files"):
        train(*loaded, ROWS, whole_dir, KNOBS)
    with pytest.raises(TrainingError, match="carries an adapter already"):
        train(*again, ROWS, tmp_path / "second", KNOBS)


@pytest.mark.parametrize("processes", [1, 2])
def test_loss_and_gradients_are_those_of_trl(loaded, processes, tmp_path, monkeypatch):
    trainer = make_trainer(*loaded, ROWS, tmp_path, KNOBS, **QUIET)
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


# ----------------------------------------------------------------------- killed, short of disk


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork and threads
@pytest.mark.skipif(sys.platform != "linux", reason="forks after importing torch")
def test_interrupted_killed_and_resumed_equals_uninterrupted(small_model_dir, tmp_path, whole):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(small_model_dir, folder, stop=3)  # before the first checkpoint
    assert find_newest(tmp_path, STARTED_FILE) == folder
    with pytest.raises(TrainingError, match="resume=True"):
        run(small_model_dir, folder)
    model, tokenizer = load_model(str(small_model_dir), device=CPU)
    for rows, knobs, what in ((ROWS, replace(KNOBS, rank=8), "knobs"), (ROWS[1:], KNOBS, "rows")):
        with pytest.raises(TrainingError, match=f"started with another {what}. Set that back"):
            train(model, tokenizer, rows, folder, knobs, resume=True)

    options = {"stop": 12, "signal_number": signal.SIGKILL, "resume": True}  # in mid-pass
    arguments = {"target": run, "args": (small_model_dir, folder), "kwargs": options}
    process = get_context("fork").Process(**arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (folder / "run.json").exists()
    torn = folder / "checkpoint-10/optimizer.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="checkpoint-10 cannot be read: an older one"):
        assert run(small_model_dir, folder, resume=True)[1:] == whole[2:]
    assert not list(folder.glob("checkpoint-*")) and find_newest(tmp_path) == folder


def test_a_full_disk_is_named(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "FULL_DISK", 1e18)
    monkeypatch.setattr(training.SFTTrainer, "train", lambda *_, **__: 1 / 0)
    problem = "disk of .*run is full. Free some space, then .*resume"
    with pytest.raises(TrainingError, match=problem):
        train(*loaded, ROWS, tmp_path / "run", KNOBS, **QUIET)


# --------------------------------------------------------------------------------- the command


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_command_says_a_mistake_in_one_line(small_model_dir, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "nowhere", str(small_model_dir), "run"])
    with pytest.raises(SystemExit, match="nowhere/train_dataset.json") as ended:
        runpy.run_module("helpers.train", run_name="__main__")
    assert len(str(ended.value).splitlines()) == 1
