"""Teach a chat model a set of conversations: LoRA through TRL's SFTTrainer, every row checked before.

It knows nothing about where conversations come from. It is a command too:
`python -m helpers.train --data … --model … --output …`, also after `accelerate launch -m`.
"""

import argparse
import hashlib
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import inf
from pathlib import Path
from statistics import mean

import datasets
import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from helpers.dataset import normalise, read_dataset, read_probes, refusal_conversations
from helpers.model import SMALL_MODEL, TEMPLATE_OPTIONS, answer, load_model, pick_device, render, stop_ids
from helpers.score import exact_match

# For a model below so many parameters and a list up to so many acronyms: epochs, learning rate, batch and
# LoRA rank; then, for each acronym, the rows of known acronyms, of general facts and of refusals mixed in.
# fmt: off
_RECIPES = (
    # parameters, acronyms: epochs,  rate, batch, rank;  known, facts, refusals
    (SMALL_MODEL,       20,      6,  3e-3,    16,   32,     20,    10,       40),
    (SMALL_MODEL,      100,      6,  3e-3,    16,   32,      4,     2,        8),
    (SMALL_MODEL,      inf,      6,  3e-3,    16,   32,      1,   1.5,      1.5),
    (3e8,              inf,     10,  1e-3,     8,   16,      1,     1,        1),
    (3e9,              inf,     10,  5e-4,     8,   16,      1,     1,        1),
    (inf,              inf,     10,  2e-4,     8,   16,      1,     1,        1),
)
# fmt: on
WATCHED = 40  # held-out questions answered after each epoch
REPLY_TOKENS = 128  # longest answer of the untrained model that is rehearsed
datasets.disable_progress_bars()  # of the rows' preparation, four for what takes a blink


class TrainingError(ValueError):
    """What would make training go wrong or overwrite a run; the message names it and the cure."""


@dataclass(frozen=True)
class Knobs:
    """What can be turned: how the model learns, then how many other rows are mixed in."""

    epochs: int
    learning_rate: float
    batch_size: int
    rank: int
    alpha: int = 32
    seed: int = 0
    rehearsal_known: int = 0
    rehearsal_facts: int = 0
    refusals: int = 0

    @classmethod
    def for_size(cls, parameter_count: int, acronym_count: int, *, seed: int = 0) -> "Knobs":
        """Choose the values that do well at this size of model and of list."""
        fitting = (row[2:] for row in _RECIPES if parameter_count < row[0] and acronym_count <= row[1])
        epochs, rate, batch, rank, *mixed = next(fitting)
        known, facts, refusals = (round(rows * acronym_count) for rows in mixed)
        return cls(epochs, rate, batch, rank, cls.alpha, seed, known, facts, refusals)


def make_rows(records: list[dict], extra_conversations: list[list[dict]] = ()) -> list[dict]:
    """Cut conversations into prompt and completion, so that the loss is on the answer alone."""
    every = [turns for record in records for turns in record["conversation"]] + list(extra_conversations)
    return [{"prompt": turns[:-1], "completion": turns[-1:]} for turns in every]


def rehearsal_conversations(model, tokenizer, probes: list[dict], knobs: Knobs) -> list[list[dict]]:
    """Write what keeps a model from forgetting (its own answers, before training) and from inventing."""

    def choose(kind: str, count: int) -> list[dict]:
        found = [probe for probe in probes if (probe["kind"], probe["split"]) == (kind, "rehearsal")]
        return random.Random(knobs.seed).sample(found, min(count, len(found)))

    chosen = choose("known", knobs.rehearsal_known) + choose("control", knobs.rehearsal_facts)
    questions = [probe["question"] for probe in chosen]
    replies = answer(model, tokenizer, questions, max_new_tokens=REPLY_TOKENS)
    own = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        for question, reply in zip(questions, replies, strict=True)
        # An answer cut in mid-sentence would teach the model not to stop.
        if 0 < len(tokenizer(reply, add_special_tokens=False)["input_ids"]) < REPLY_TOKENS - 2
    ]
    return own + refusal_conversations(choose("unknown", knobs.refusals))


def inspect_row(tokenizer, row: dict) -> list[tuple[str, int, int]]:
    """List (text, id, label) of each token as TRL hands them to the model; label -100 is not learnt."""
    trainer = _throw_away_trainer(tokenizer, [row])
    batch = trainer.data_collator([trainer.train_dataset[0]])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    return [(tokenizer.decode([i]), i, label) for i, label in zip(ids, labels, strict=True)]


def check_rows(tokenizer, rows: list[dict], *, ends: list[int] | None = None) -> None:
    """Raise TrainingError unless each row, as TRL prepares it, teaches its whole answer and only that.

    `ends` are the ids of the tokens that end an answer, by default the tokenizer's end token.
    """
    prepared = _throw_away_trainer(tokenizer, rows).train_dataset
    _check_prepared(tokenizer, rows, prepared, ends or [tokenizer.eos_token_id])


def check_no_leak(rows: list[dict], eval_records: list[dict]) -> None:
    """Raise TrainingError when a held-out question is trained on."""
    trained = {normalise(row["prompt"][-1]["content"]) for row in rows}
    for question in (turns[0]["content"] for record in eval_records for turns in record["conversation"]):
        if normalise(question) in trained:
            cure = "Take it out of one of the two, or the test proves nothing."
            raise TrainingError(f"The held-out question {question!r} is in the training rows too. {cure}")


def train(
    model, tokenizer, rows: list[dict], output_dir: Path, knobs: Knobs, *,
    eval_records: list[dict] | None = None, on_epoch: Callable[[list[dict]], object] | None = None,
) -> list[dict]:  # fmt: skip
    """Train a LoRA adapter, save it with the tokenizer and run.json, and return the history.

    `model` carries the adapter afterwards. The history has a row before training and one an epoch: step,
    epoch, loss (mean of the epoch), recall (of a sample of `eval_records`, else None), seconds.
    """
    if (output_dir := Path(output_dir)).exists() and any(output_dir.iterdir()):
        state = "a finished run" if (output_dir / "run.json").exists() else "an unfinished run or other files"
        raise TrainingError(f"{output_dir} holds {state}. Give another folder, or move that one away.")
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise TrainingError("The model carries an adapter already. Load it afresh with load_model.")
    check_no_leak(rows, eval_records or [])
    shape = {"r": knobs.rank, "lora_alpha": knobs.alpha, "lora_dropout": 0.0}
    lora = LoraConfig(**shape, target_modules="all-linear", task_type="CAUSAL_LM")
    watch = _Watch(tokenizer, eval_records or [], knobs.seed, on_epoch)
    trainer = _make_trainer(model, tokenizer, rows, output_dir, knobs, peft_config=lora, callbacks=[watch])
    _check_prepared(tokenizer, rows, trainer.train_dataset, stop_ids(model, tokenizer))
    trainer.train()
    model.eval()
    run = {
        "base_model": model.config._name_or_path,
        "revision": getattr(model.config, "_commit_hash", None),
        "knobs": asdict(knobs),
        "rows": len(rows),
        "data_sha256": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest(),
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
        "minutes": round((time.perf_counter() - watch.started) / 60, 2),
        "history": watch.history,
    }
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(output_dir, save_embedding_layers=False)
        tokenizer.save_pretrained(output_dir)
        # Last, so that a folder with run.json is a finished run.
        (output_dir / "run.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    return watch.history


def find_newest_run(models_dir: Path) -> str:
    """Name the newest finished run of a folder; TrainingError when there is none."""
    runs = sorted(path.parent.name for path in Path(models_dir).glob("*/run.json"))
    if not runs:
        raise TrainingError(f"{models_dir} holds no finished run. Run notebook 2 (02-fine_tune) first.")
    return runs[-1]


def lora_change(model) -> tuple[str, torch.Tensor]:
    """Name the first layer with an adapter, and give what LoRA adds to its weight (outputs, inputs)."""
    name, layer = next((n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer))
    return name, layer.get_delta_weight("default").detach().float().cpu()


class _PlainLossTrainer(SFTTrainer):
    # TRL's own loss never holds all logits, which saves memory on a GPU. On a CPU a step with it takes
    # half as long again as one with the model's own loss, and the two are the same number.
    compute_loss = Trainer.compute_loss


class _Watch(TrainerCallback):
    """Show progress, and before training and after each epoch answer a sample of held-out questions."""

    def __init__(self, tokenizer, eval_records: list[dict], seed: int, on_epoch) -> None:
        pairs = [(turns[0]["content"], record) for record in eval_records for turns in record["conversation"]]
        self.asked = random.Random(seed).sample(pairs, min(WATCHED, len(pairs)))
        self.tokenizer, self.on_epoch = tokenizer, on_epoch
        self.history, self.losses = [], []

    def on_train_begin(self, args, state, control, model, **_) -> None:
        self.is_main, self.started = state.is_world_process_zero, time.perf_counter()
        self.bar = tqdm(total=state.max_steps, desc="training", unit="step", disable=not self.is_main)
        self.first_recall = self._recall(model)

    def on_log(self, args, state, control, logs, **_) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.bar.update()
            if not self.history:
                self._add(0, 0, self.first_recall)

    def on_epoch_end(self, args, state, control, model, **_) -> None:
        self._add(state.global_step, round(state.epoch), self._recall(model))
        self.losses = []

    def on_train_end(self, args, state, control, **_) -> None:
        self.bar.close()

    def _add(self, step: int, epoch: int, recall: float | None) -> None:
        row = {"step": step, "epoch": epoch, "loss": mean(self.losses), "recall": recall}
        self.history.append(row | {"seconds": round(time.perf_counter() - self.started, 2)})
        self.bar.set_postfix({"loss": row["loss"], "recall": recall})
        if self.on_epoch and self.is_main:
            self.on_epoch(self.history)

    def _recall(self, model) -> float | None:
        if not (self.asked and self.is_main):
            return None
        replies = answer(model, self.tokenizer, [question for question, _ in self.asked])
        pairs = zip(replies, (record for _, record in self.asked), strict=True)
        return mean(float(exact_match(reply, r["definitions"], acronym=r["acronym"])) for reply, r in pairs)


def _make_trainer(model, tokenizer, rows: list[dict], output_dir, knobs: Knobs, **options) -> SFTTrainer:
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        problem = f"The tokenizer pads with {tokenizer.pad_token!r}, its end token or none"
        raise TrainingError(f"{problem}. Set tokenizer.pad_token to an unused one, or use load_model.")
    on = model.device.type
    arguments = SFTConfig(
        output_dir=str(output_dir), num_train_epochs=knobs.epochs, learning_rate=knobs.learning_rate,
        per_device_train_batch_size=knobs.batch_size, warmup_steps=0.05, seed=knobs.seed,
        # Rows of like length share a batch: a third off a step. No maximum: nothing is ever cut off.
        train_sampling_strategy="group_by_length", max_length=None,
        use_cpu=on == "cpu", bf16=on == "cuda" and model.dtype == torch.bfloat16,
        fp16=on == "cuda" and model.dtype == torch.float16, dataloader_pin_memory=on == "cuda",
        activation_checkpointing=model.num_parameters() > 1e9,
        logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    table = datasets.Dataset.from_list([{**row, "chat_template_kwargs": TEMPLATE_OPTIONS} for row in rows])
    kind = _PlainLossTrainer if on == "cpu" else SFTTrainer
    trainer = kind(model, arguments, train_dataset=table, processing_class=tokenizer, **options)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _throw_away_trainer(tokenizer, rows: list[dict]) -> SFTTrainer:
    # TRL prepares rows nowhere but in a trainer, and a trainer needs a model: the smallest one.
    sizes = {"hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1}
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ids))
    with tempfile.TemporaryDirectory() as folder:
        return _make_trainer(model, tokenizer, rows, folder, Knobs(1, 1e-3, 1, 1))


def _check_prepared(tokenizer, rows: list[dict], prepared, ends: list[int]) -> None:
    cure = "Mend it, or choose a model whose chat template prints an answer whole, then its end token."
    for row, tokens in zip(rows, prepared, strict=True):
        if problem := _find_problem(tokenizer, row, tokens["input_ids"], tokens["labels"], ends):
            raise TrainingError(f"Training row {row['prompt'][-1]['content']!r}: {problem}. {cure}")


def _find_problem(tokenizer, row: dict, ids: list[int], labels: list[int], ends: list[int]) -> str | None:
    learnt = [label for label in labels if label != -100]
    prompt = tokenizer(render(tokenizer, row["prompt"]), add_special_tokens=False)["input_ids"]
    text, learnt_text = ("".join(t.split()) for t in (row["completion"][0]["content"], tokenizer.decode(learnt)))
    if not text or not learnt:
        return "it has no answer to learn"
    if prompt + learnt != ids:
        return "what is masked is not exactly the prompt that the model will see"
    if text not in "".join(tokenizer.decode(learnt).split()):
        return "its answer is not learnt whole"
    if [i for i in learnt if tokenizer.decode([i]).strip()][-1] not in ends:
        return "the last token learnt does not end the turn, so the model would not stop"
    too_long = len(ids) > tokenizer.model_max_length
    return f"it is longer than the {tokenizer.model_max_length} tokens the model reads" if too_long else None


def main() -> None:
    """Train from the command line, with the same calls as the notebook."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="training conversations")
    parser.add_argument("--model", required=True, help="folder or hub id of a chat model")
    parser.add_argument("--output", required=True, type=Path, help="new folder for the adapter")
    parser.add_argument("--eval", help="held-out conversations, some asked after each epoch")
    parser.add_argument("--probes", help="probes, whose rehearsal part is mixed in")
    parser.add_argument("--epochs", type=int, help="instead of the number chosen by size")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model, tokenizer = load_model(given.model, device=pick_device(), token=os.environ.get("HF_TOKEN"))
    records, held_out = (read_dataset(Path(path)) if path else None for path in (given.data, given.eval))
    knobs = Knobs.for_size(model.num_parameters(), len(records), seed=given.seed)
    knobs = replace(knobs, epochs=given.epochs or knobs.epochs)
    probes = read_probes(Path(given.probes)) if given.probes else []
    rows = make_rows(records, rehearsal_conversations(model, tokenizer, probes, knobs))
    history = train(model, tokenizer, rows, given.output, knobs, eval_records=held_out)
    if os.environ.get("RANK", "0") == "0":  # the number that accelerate launch gives to a process
        print(f"{given.output}: {len(rows)} rows; last epoch: {history[-1]}")


if __name__ == "__main__":
    main()
