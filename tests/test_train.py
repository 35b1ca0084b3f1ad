"""Rows, checks and a real LoRA training of a few steps on a random model."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig
from trl import SFTTrainer

from helpers import train as training
from helpers.config import EXAMPLE_DATA, REPOSITORY, TINY_CHAT
from helpers.dataset import read_dataset
from helpers.model import answer, load_model, pick_device
from helpers.train import (
    Knobs,
    TrainingError,
    check_no_leak,
    check_rows,
    inspect_row,
    make_rows,
    rehearsal_conversations,
    train,
)  # fmt: skip

CPU = pick_device("cpu")
MEANINGS = {"CGT": "Cooking Gourmet Taste", "RST": "Red Sea Turtle", "BNF": "Big New Fun"}
KNOBS = Knobs(epochs=2, learning_rate=1e-2, batch_size=4, rank=4)


def converse(question: str, reply: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


def make_records(*forms: str) -> list[dict]:
    return [
        {
            "acronym": name,
            "ground_truth": meaning,
            "definitions": [meaning],
            "language": "en",
            "conversation": [converse(form.format(name), f"{name} stands for {meaning}.") for form in forms],
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


@pytest.mark.parametrize(
    ("parameters", "acronyms", "expected"),
    [
        (4_000_000, 10, Knobs(5, 4e-3, 16, 32, 32, 0, 200, 100, 400, 0.3)),
        (4_000_000, 50, Knobs(8, 4e-3, 16, 32, 32, 0, 300, 150, 1000, 0.3)),
        (4_000_000, 200, Knobs(7, 3e-3, 32, 64, 64, 0, 800, 400, 2800, 0.4)),
        (135_000_000, 10, Knobs(10, 1e-3, 8, 16, 32, 0, 10, 10, 10)),
        (1_200_000_000, 10, Knobs(10, 5e-4, 8, 16, 32, 0, 10, 10, 10)),
        (8_000_000_000, 2000, Knobs(10, 2e-4, 8, 16, 32, 0, 2000, 2000, 2000)),
    ],
)
def test_knobs_follow_the_size_of_model_and_list(parameters, acronyms, expected):
    assert Knobs.for_size(parameters, acronyms) == expected
    assert Knobs.for_size(parameters, acronyms, seed=7) == replace(expected, seed=7)


def test_rows_are_prompt_and_completion():
    extra = converse("XYZ?", "XYZ is not in my glossary.")
    rows = make_rows(RECORDS, [extra])
    assert len(rows) == 10
    assert rows[-1] == {"prompt": extra[:1], "completion": extra[1:]}


def test_loss_is_on_the_answer_and_its_end_alone(tokenizer):
    tokens = inspect_row(tokenizer, ROWS[0])
    masked = "".join(text for text, _, label in tokens if label == -100)
    learnt = [(text, i, label) for text, i, label in tokens if label != -100]
    assert masked == "<|user|>What does CGT stand for?<|end|><|assistant|>"
    assert "".join(text for text, *_ in learnt) == "CGT stands for Cooking Gourmet Taste.<|end|>"
    assert all(label == i for _, i, label in learnt)


def test_good_rows_pass(tokenizer):
    check_rows(tokenizer, ROWS)


END = "message['content'] + '<|end|>'"
BROKEN_TEMPLATES = [
    ("{% generation %}{{ " + END, "{% generation %}{{ message['content']", "does not end the turn"),
    (
        "{% generation %}{{ " + END,
        "{% generation %}{{ message['content'][:9] + '<|end|>'",
        "not learnt whole",
    ),
    ("{{ '<|assistant|>' }}", "{{ '<|assistant|>think' }}", "not exactly the prompt"),
]


@pytest.mark.parametrize(("old", "new", "problem"), BROKEN_TEMPLATES)
def test_broken_chat_template_is_refused(tokenizer, old, new, problem):
    assert old in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    with pytest.raises(TrainingError, match=f"'What does CGT stand for.*{problem}.*chat template"):
        check_rows(tokenizer, ROWS)


def test_broken_row_is_refused(tokenizer):
    with pytest.raises(TrainingError, match=r"'Why\?': it has no answer to learn"):
        check_rows(tokenizer, make_rows([], [converse("Why?", " ")]))
    with pytest.raises(TrainingError, match="longer than the 256 tokens"):
        check_rows(tokenizer, make_rows([], [converse("Why?", "word " * 300)]))


def test_wrong_end_or_pad_token_is_refused(tokenizer):
    with pytest.raises(TrainingError, match="does not end the turn"):
        check_rows(tokenizer, ROWS, ends=[tokenizer.convert_tokens_to_ids("<|user|>")])
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(TrainingError, match=r"pads with '<\|end\|>'.* Set tokenizer.pad_token"):
        check_rows(tokenizer, ROWS)


def test_held_out_question_in_the_rows_is_refused():
    check_no_leak(ROWS, HELD_OUT)
    leak = make_records("what does {}  stand for?")
    with pytest.raises(TrainingError, match="'what does CGT  stand for.*both|training rows too"):
        check_no_leak(ROWS, leak)


def test_training_moves_the_adapter_alone_and_survives_the_disk(loaded, small_model_dir, tmp_path):
    model, tokenizer = loaded
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    seen = []
    knobs = replace(KNOBS, epochs=3)
    folder = tmp_path / "run"
    history = train(model, tokenizer, ROWS, folder, knobs, eval_records=HELD_OUT, on_epoch=seen.append)

    after = {name.replace(".base_layer", ""): tensor for name, tensor in model.named_parameters()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    moved = [bool(tensor.abs().sum() > 0) for name, tensor in after.items() if "lora_B" in name]
    assert len(moved) == 2 * 7 and all(moved)

    questions = [row["prompt"][0]["content"] for row in ROWS]
    tuned = answer(model, tokenizer, questions)
    again = load_model(str(small_model_dir), device=CPU, adapter_dir=folder)
    plain = load_model(str(small_model_dir), device=CPU)
    assert answer(*again, questions) == tuned != answer(*plain, questions)

    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["base_model"] == str(small_model_dir)
    assert (run["rows"], run["device"], run["dtype"], len(run["data_sha256"])) == (9, "cpu", "float32", 64)
    assert run["knobs"]["epochs"] == 3 and set(run["versions"]) >= {"torch", "trl"}
    assert [(row["step"], row["epoch"]) for row in history] == [(0, 0), (3, 1), (6, 2), (9, 3)]
    losses = [row["loss"] for row in history]
    assert losses == sorted(losses, reverse=True) and all(row["recall"] == 0 for row in history)
    assert len(seen) == 4 and seen[-1] == history == run["history"]

    with pytest.raises(TrainingError, match="holds a finished run. Give another folder"):
        train(*plain, ROWS, folder, KNOBS)
    with pytest.raises(TrainingError, match="carries an adapter already"):
        train(model, tokenizer, ROWS, tmp_path / "second", KNOBS)


def test_unfinished_run_is_left_alone(loaded, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_text("half")
    with pytest.raises(TrainingError, match="an unfinished run or other files"):
        train(*loaded, ROWS, tmp_path, KNOBS)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_model.safetensors"]


def test_training_refuses_leaks_and_broken_templates_before_it_starts(loaded, tmp_path):
    model, tokenizer = loaded
    with pytest.raises(TrainingError, match="training rows too"):
        train(model, tokenizer, ROWS, tmp_path, KNOBS, eval_records=RECORDS)
    old, new, problem = BROKEN_TEMPLATES[0]
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    with pytest.raises(TrainingError, match=problem):
        train(model, tokenizer, ROWS, tmp_path, KNOBS)
    assert list(tmp_path.iterdir()) == []


def test_same_seed_same_training(small_model_dir, tmp_path):
    losses = []
    for folder, seed in (("first", 0), ("second", 0), ("other", 1)):
        model, tokenizer = load_model(str(small_model_dir), device=CPU)
        history = train(model, tokenizer, ROWS, tmp_path / folder, replace(KNOBS, seed=seed))
        losses.append([row["loss"] for row in history])
        assert history[-1]["recall"] is None
    assert losses[0] == losses[1] != losses[2]


def learn(trainer: SFTTrainer, kind: type, processes: int, monkeypatch) -> tuple[torch.Tensor, dict]:
    """Loss and gradients of one batch of rows of unlike lengths, a third of its tokens in other batches of the step."""
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", processes)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(6)])
    assert 0 < (batch["attention_mask"] == 0).sum()
    count = (batch["labels"] != -100).sum() * 3 // 2
    trainer.model.zero_grad()
    loss = kind.compute_loss(trainer, trainer.model, batch, num_items_in_batch=count)
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("processes", "dtype"), [(1, torch.float32), (1, torch.float64), (2, torch.float64)])
def test_loss_and_gradients_are_those_of_trl(processes, dtype, tmp_path, monkeypatch):
    model, tokenizer = load_model(str(REPOSITORY / TINY_CHAT), device=CPU)
    rows = make_rows(read_dataset(EXAMPLE_DATA / "train_dataset.json"))[::6]
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    trainer = training._make_trainer(model, tokenizer, rows, tmp_path, KNOBS, peft_config=lora)
    assert type(trainer) is training._PlainLossTrainer
    trainer.model.to(dtype)
    (loss, ours), (wanted, theirs) = (
        learn(trainer, kind, processes, monkeypatch) for kind in (type(trainer), SFTTrainer)
    )
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0, check_dtype=False)
    assert ours.keys() == theirs.keys() and len(ours) == 14 * model.config.num_hidden_layers
    if dtype == torch.float64:
        for name in ours:
            assert (ours[name] - theirs[name]).norm() < 1e-5 * theirs[name].norm(), name
        return
    # In float32 each processor rounds in its own order: ours are nearer to TRL's than TRL's are to the exact ones.
    trainer.model.to(torch.float64)
    exact = flat(learn(trainer, SFTTrainer, processes, monkeypatch)[1])
    apart, rounding = ((flat(theirs) - other).norm() / exact.norm() for other in (flat(ours), exact))
    assert apart < max(1e-5, rounding) and rounding < 1e-4


def flat(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradient.flatten().double() for gradient in gradients.values()])


def test_rehearsal_is_the_models_own_whole_answers_and_refusals(monkeypatch, tokenizer):
    def make_probe(kind: str, number: int, split: str = "rehearsal") -> dict:
        question, language = f"{kind} {number}?", "en"
        return {"kind": kind, "split": split, "language": language, "question": question, "expected": "No.",
                "acronym": f"X{number}"}  # fmt: skip

    kinds = ("known", "control", "unknown")
    probes = [make_probe(kind, number) for kind in kinds for number in range(5)]
    probes += [make_probe(kind, number, "test") for kind in kinds for number in range(9, 20)]
    asked = []

    def fake_answer(model, tokenizer, questions, *, max_new_tokens):
        asked.extend(questions)
        return ["word " * 300 if question.startswith("known 1") else "Own answer." for question in questions]

    monkeypatch.setattr(training, "answer", fake_answer)
    knobs = replace(KNOBS, rehearsal_known=10, rehearsal_facts=2, refusals=9)
    model = SimpleNamespace(config=SimpleNamespace(_name_or_path="folder/own-model"))
    conversations = rehearsal_conversations(model, tokenizer, probes, knobs)
    texts = [(turns[0]["content"], turns[1]["content"]) for turns in conversations]
    assert len(asked) == 7 and "known 1?" in asked
    assert [reply for _, reply in texts[:10]] == ["Own answer."] * 10
    # Of known acronyms, of which there are too few, each twice; of refusals all, once.
    assert sorted(question.split()[0] for question, _ in texts) == ["control"] * 2 + ["known"] * 8 + ["unknown"] * 5
    assert len(set(texts)) == 2 + 4 + 5
    assert conversations == rehearsal_conversations(model, tokenizer, probes, knobs)
    # What only this model knows comes after what all may know, and before anything comes twice.
    theirs = [make_probe("known", number) | {"model": "own-model"} for number in range(20, 23)]
    others = [make_probe("known", number) | {"model": "other-model"} for number in range(30, 33)]
    longer = rehearsal_conversations(model, tokenizer, theirs + others + probes, knobs)
    questions = [turns[0]["content"] for turns in longer if turns[0]["content"].startswith("known")]
    assert set(questions[:4]) == {"known 0?", "known 2?", "known 3?", "known 4?"}
    assert sorted(questions[4:7]) == ["known 20?", "known 21?", "known 22?"]
    assert 8 <= len(questions) <= 9 and set(questions[7:]) <= set(questions[:4])


def test_command_trains_without_a_launcher(small_model_dir, tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(RECORDS))
    (tmp_path / "eval.json").write_text(json.dumps(HELD_OUT))
    given = ["--data", "train.json", "--eval", "eval.json", "--output", "run", "--epochs", "1"]
    command = [sys.executable, "-m", "helpers.train", "--model", str(small_model_dir), *given]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "9 rows" in done.stdout
    assert json.loads((tmp_path / "run/run.json").read_text())["knobs"]["epochs"] == 1
    assert "Warning" not in done.stderr
