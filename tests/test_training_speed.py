"""The short way to the loss gives trl's numbers, is taken only where it applies, and its benchmark runs."""

import copy
import importlib.util
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trl
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaForCausalLM, Qwen3Config
from trl import SFTTrainer

from helpers import train as training
from helpers.config import EXAMPLE_DATA, REPOSITORY
from helpers.dataset import read_dataset
from helpers.model import load_model, pick_device
from helpers.train import Knobs, make_rows

CPU = pick_device("cpu")
BENCHMARK = REPOSITORY / "benchmarks/training_speed.py"
TINY_CHAT = REPOSITORY / "stand_ins/tiny-chat"
ROWS = make_rows(read_dataset(EXAMPLE_DATA / "train_dataset.json"))[::6]
KNOBS = Knobs(epochs=1, learning_rate=1e-3, batch_size=4, rank=4)


def load_tiny_chat():
    return load_model(str(TINY_CHAT), device=CPU)


def load_qwen():
    """A small random Qwen 3, whose template puts an empty thought before the answer."""
    tokenizer = load_tiny_chat()[1]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<think>", "</think>"]})
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates/qwen3.jinja").read_text(encoding="utf-8")
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(Qwen3Config(vocab_size=len(tokenizer), **sizes, **heads)), tokenizer


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


@pytest.mark.parametrize("load", [load_tiny_chat, load_qwen])
@pytest.mark.parametrize(("processes", "dtype"), [(1, torch.float32), (1, torch.float64), (2, torch.float64)])
def test_loss_and_gradients_are_trls(load, processes, dtype, tmp_path, monkeypatch):
    model, tokenizer = load()
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    trainer = training._make_trainer(model, tokenizer, ROWS, tmp_path, KNOBS, peft_config=lora)
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


def test_logits_are_computed_for_the_answers_alone(tmp_path):
    model, tokenizer = load_tiny_chat()
    trainer = training._make_trainer(model, tokenizer, ROWS, tmp_path, KNOBS)
    seen = []
    model.lm_head.register_forward_hook(lambda module, given, result: seen.append(result.shape[:-1]))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(6)])
    trainer.compute_loss(trainer.model, batch)
    assert seen == [((batch["labels"] != -100).sum(),)]


def test_where_it_does_not_apply_the_trainer_is_trls(tmp_path, monkeypatch):
    model, tokenizer = load_tiny_chat()

    class NoLogitsToKeep(LlamaForCausalLM):
        def forward(self, input_ids, labels=None, **options):
            return super().forward(input_ids, labels=labels, **options)

    other = NoLogitsToKeep(model.config)
    assert type(training._make_trainer(other, tokenizer, ROWS, tmp_path, KNOBS)) is SFTTrainer
    on_a_card = copy.deepcopy(model)
    monkeypatch.setattr(type(on_a_card), "device", torch.device("meta"))
    assert type(training._make_trainer(on_a_card, tokenizer, ROWS, tmp_path, KNOBS)) is SFTTrainer


@pytest.mark.parametrize(("native", "small", "expected"), [(True, 0, True), (True, 1e9, False), (False, 0, False)])
def test_bfloat16_is_for_big_models_on_processors_that_have_it(native, small, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native}, raising=False)
    monkeypatch.setattr(training, "SMALL_MODEL", small)
    trainer = training._make_trainer(*load_tiny_chat(), ROWS, tmp_path, KNOBS)
    assert trainer.args.bf16 is expected
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("training_speed", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(benchmark, monkeypatch, capsys, *given: str) -> str:
    monkeypatch.setattr(sys, "argv", ["training_speed.py", *given])
    benchmark.main()
    return capsys.readouterr().out


def test_benchmark_prints_both_models_and_the_time_to_recall(benchmark, monkeypatch, capsys):
    output = run(benchmark, monkeypatch, capsys, "--small", "--rounds", "1", "--cap", "0")
    assert output.count("ms a step") == 2 and output.count("(wanted: 1.8 at least): ") == 2
    for way in ("ours", "trl's defaults (bfloat16)", "trl's defaults in float32", "bare loop, flat"):
        assert sum(line.startswith(way + " ") for line in output.splitlines()) == 2
    assert "the original's, batch 1, learning rate" in output and "not reached in" in output


def test_benchmark_for_a_gpu_is_tried_on_a_processor(benchmark, monkeypatch, capsys):
    output = run(benchmark, monkeypatch, capsys, "--gpu", "--small", "--rounds", "1", "--batch", "12")
    assert "## processor: random model of small's shape" in output and "24 rows" in output and "batch 12" in output
    rows = [line for line in output.splitlines() if line.endswith("not measured")]
    assert {"trl's defaults", "ours", "padding-free", "packed to 1024"} <= {row.split("  ")[0] for row in rows}
    assert ("Liger is left out" in output) != any("Liger" in row for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_benchmark_for_a_gpu_asks_for_one(benchmark, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(benchmark, monkeypatch, capsys, "--gpu")
    assert "finds no CUDA device. Run it on one, or try the command with --small." in capsys.readouterr().err


def test_rows_of_the_benchmark_are_enough_to_be_sorted_by_length(benchmark, tmp_path):
    """As in real lists: one position in ten at most is padding."""
    rows = random.Random(0).sample(benchmark.example_rows(), benchmark.SAMPLE)
    trainer = training._make_trainer(*load_tiny_chat(), rows, tmp_path, replace(KNOBS, batch_size=8))
    masks = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
    assert sum(mask.sum() for mask in masks) > 0.9 * sum(mask.numel() for mask in masks)


def test_bare_batches_hold_every_label_once_and_cross_no_row(benchmark):
    tuned, tokenizer = load_tiny_chat()
    data, _ = benchmark.prepare(tuned, tokenizer, ROWS, KNOBS)
    wanted = sorted(torch.cat([labels[labels != -100] for _, labels in data]).tolist())
    core = get_peft_model(load_tiny_chat()[0], benchmark.lora(KNOBS)).get_base_model()
    for flat in (True, False):
        batches = list(benchmark.bare_batches(data, 4, flat))
        assert sorted(torch.cat([labels[labels != -100] for _, labels in batches]).tolist()) == wanted
        total = sum(
            torch.nn.functional.cross_entropy(
                core(**inputs, use_cache=False).logits.flatten(0, 1), labels.flatten(), reduction="sum"
            )
            for inputs, labels in batches
        )
        alone = sum(core(ids[None], labels=labels[None]).loss * (labels != -100).sum() for ids, labels in data)
        torch.testing.assert_close(total, alone, rtol=1e-4, atol=0)
