"""Teach a chat model a set of conversations: LoRA through TRL's SFTTrainer, every row checked before.

It knows nothing about where conversations come from. It is a command too:
`python -m helpers.train --data … --model … --output …`, also after `accelerate launch -m`.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import inf
from pathlib import Path
from statistics import mean

import datasets
import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from pydantic import SecretStr
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainerCallback
from transformers.utils.chat_template_utils import jinja2
from trl import SFTConfig, SFTTrainer

from helpers.dataset import normalise, read_dataset, read_probes, refusal_conversations
from helpers.model import (
    LARGE_MODEL,
    SMALL_MODEL,
    TEMPLATE_OPTIONS,
    answer,
    load_model,
    pick_device,
    read_shape,
    render,
    stop_ids,
)
from helpers.score import exact_match

# For a model below so many parameters and a list up to so many acronyms: epochs, learning rate, batch, LoRA's rank and
# alpha, weight decay; then, for each acronym, the rows of known acronyms, of general facts and of refusals mixed in.
# fmt: off
_RECIPES = (
    # parameters, acronyms: epochs,  rate, batch, rank, alpha, decay;  known, facts, refusals
    (SMALL_MODEL,       20,      5,  4e-3,    16,   32,    32,   0.3,     20,    10,       40),
    (SMALL_MODEL,      100,      8,  4e-3,    16,   32,    32,   0.3,      6,     3,       20),
    (SMALL_MODEL,      inf,      7,  3e-3,    32,   64,    64,   0.4,      4,     2,       14),
    (3e8,              inf,     10,  1e-3,     8,   16,    32,     0,      1,     1,        1),
    (3e9,              inf,     10,  5e-4,     8,   16,    32,     0,      1,     1,        1),
    (inf,              inf,     10,  2e-4,     8,   16,    32,     0,      1,     1,        1),
)
# fmt: on
RUN_FILE, STARTED_FILE, WATCH_FILE = "run.json", "started.json", "watch.pt"
# Where trackers write, unless the reader says otherwise: beside the runs, not in the current folder or at home.
_TRACKERS = {"mlflow": ("MLFLOW_TRACKING_URI", "sqlite:///{}/mlflow.db"), "trackio": ("TRACKIO_DIR", "{}/trackio")}
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
    weight_decay: float = 0.0  # how strongly the adapter is drawn back to nothing: what is not needed is not changed
    early_stop: int = 0  # epochs in a row with every watched question right, after which to stop; 0: never

    @classmethod
    def for_size(cls, parameter_count: int, acronym_count: int, *, seed: int = 0) -> "Knobs":
        """Choose the values that do well at this size of model and of list."""
        fitting = (row[2:] for row in _RECIPES if parameter_count < row[0] and acronym_count <= row[1])
        epochs, rate, batch, rank, alpha, decay, *mixed = next(fitting)
        known, facts, refusals = (round(rows * acronym_count) for rows in mixed)
        return cls(epochs, rate, batch, rank, alpha, seed, known, facts, refusals, decay)


def make_rows(records: list[dict], extra_conversations: list[list[dict]] = ()) -> list[dict]:
    """Cut conversations into prompt and completion, so that the loss is on the answer alone."""
    every = [turns for record in records for turns in record["conversation"]] + list(extra_conversations)
    return [{"prompt": turns[:-1], "completion": turns[-1:]} for turns in every]


def rehearsal_conversations(model, tokenizer, probes: list[dict], knobs: Knobs) -> list[list[dict]]:
    """Write what keeps a model from forgetting (its own answers, before training) and from inventing.

    Where more general questions are wanted than there are, each comes up to three times; refusals never twice. What
    only one model knows (tiny-chat's invented acronyms) that model rehearses after all the rest.
    """

    def choose(kind: str, count: int, times: int = 1) -> list[dict]:
        mixed = []
        for name in (None, Path(model.config._name_or_path).name):
            part = [p for p in probes if (p["kind"], p["split"], p.get("model")) == (kind, "rehearsal", name)]
            mixed += random.Random(knobs.seed).sample(part, len(part))
        return (mixed * times)[:count]

    chosen = choose("known", knobs.rehearsal_known, 3) + choose("control", knobs.rehearsal_facts, 3)
    questions = [probe["question"] for probe in chosen]
    unique = list(dict.fromkeys(questions))
    replies = dict(zip(unique, answer(model, tokenizer, unique, max_new_tokens=REPLY_TOKENS), strict=True))
    own = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": replies[question]}]
        for question in questions
        # An answer cut in mid-sentence would teach the model not to stop.
        if 0 < len(tokenizer(replies[question], add_special_tokens=False)["input_ids"]) < REPLY_TOKENS - 2
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
    for question in (turns[-2]["content"] for record in eval_records for turns in record["conversation"]):
        if normalise(question) in trained:
            cure = "Take it out of one of the two, or the test proves nothing."
            raise TrainingError(f"The held-out question {question!r} is in the training rows too. {cure}")


def train(
    model, tokenizer, rows: list[dict], output_dir: Path, knobs: Knobs, *,
    eval_records: list[dict] | None = None, on_epoch: Callable[[list[dict]], object] | None = None,
    on_step: Callable[[dict], object] | None = None, resume: bool = False, report_to: str = "none",
) -> list[dict]:  # fmt: skip
    """Train a LoRA adapter, save it with the tokenizer, a model card and run.json, and return the history.

    `model` carries the adapter afterwards. The history has a row before training and one an epoch: step,
    epoch, loss (mean of the epoch), recall (of a sample of `eval_records`, else None), seconds. Each epoch
    leaves a checkpoint, and so does Ctrl-C; `resume` goes on from the last one and ends where an
    uninterrupted run would have. `report_to` is a tracker of transformers: trackio, mlflow, tensorboard; its
    curves lie in the run's folder or beside it.
    """
    output_dir = Path(output_dir)
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise TrainingError("The model carries an adapter already. Load it afresh with load_model.")
    check_no_leak(rows, eval_records or [])
    made_of = {
        "base_model": model.config._name_or_path,
        "revision": getattr(model.config, "_commit_hash", None),
        "knobs": asdict(knobs),
        "rows": len(rows),
        "data_sha256": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest(),
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
    }
    checkpoint = _find_checkpoint(output_dir, made_of, resume)
    lora = LoraConfig(r=knobs.rank, lora_alpha=knobs.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    watch = _Watch(tokenizer, eval_records or [], knobs, on_epoch, on_step, checkpoint)
    options = {"peft_config": lora, "callbacks": [watch], "report_to": report_to}
    if report_to in _TRACKERS:
        name, place = _TRACKERS[report_to]
        os.environ.setdefault(name, place.format(output_dir.resolve().parent))
    try:
        watch.trainer = trainer = _make_trainer(model, tokenizer, rows, output_dir, knobs, **options)
    except RuntimeError as error:
        if "requires" not in str(error):
            raise
        raise TrainingError(f"REPORT_TO is {report_to}: {error} Or set REPORT_TO to none.") from error
    _check_prepared(tokenizer, rows, trainer.train_dataset, stop_ids(model, tokenizer))
    is_main = trainer.is_world_process_zero()
    trainer.accelerator.wait_for_everyone()  # the other processes have looked into the folder too
    if is_main:
        _write_json(output_dir / STARTED_FILE, made_of)
    with _finish_step_on_ctrl_c(watch):
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    if watch.interrupted:
        raise KeyboardInterrupt(f"Training stopped and was saved: resume=True with {output_dir} goes on from there.")
    model.eval()
    run = made_of | {"minutes": round(watch.history[-1]["seconds"] / 60, 2), "history": watch.history}
    if trainer.is_fsdp_enabled:  # the weights are spread over the processes: all of them help to save
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        trainer.save_model(str(output_dir))
    if is_main:
        if not trainer.is_fsdp_enabled:
            trainer.model.save_pretrained(output_dir, save_embedding_layers=False)
        tokenizer.save_pretrained(output_dir)
        (output_dir / "README.md").write_text(_card(run), encoding="utf-8")
        for folder in (*output_dir.glob("checkpoint-*"), output_dir / "training_args.bin"):
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink(missing_ok=True)
        (output_dir / STARTED_FILE).unlink()
        # Last, so that a folder with run.json is a finished run.
        _write_json(output_dir / RUN_FILE, run)
    return watch.history


def merge(model_name: str, adapter_dir: Path, output_dir: Path, *, device, token=None) -> None:
    """Add an adapter to its base model's weights, and write the plain model that results, with its tokenizer."""
    if (output_dir := Path(output_dir)).exists():
        raise TrainingError(f"{output_dir} exists already. Give another folder, or move that one away.")
    tuned, tokenizer = load_model(model_name, device=device, token=token, adapter_dir=adapter_dir)
    part_dir = output_dir.with_name(output_dir.name + ".part")
    tuned.merge_and_unload(safe_merge=True).save_pretrained(part_dir)
    tokenizer.save_pretrained(part_dir)
    part_dir.rename(output_dir)  # at once: a folder of that name is whole


def find_unfinished_run(models_dir: Path) -> Path:
    """Give the folder of the newest run that was interrupted; TrainingError when there is none."""
    return _find_newest(models_dir, STARTED_FILE, "no interrupted run. Set resume to False to start a new one.")


def find_newest_run(models_dir: Path) -> str:
    """Name the newest finished run of a folder; TrainingError when there is none."""
    return _find_newest(models_dir, RUN_FILE, "no finished run. Run notebook 2 (02-fine_tune) first.").name


def _find_newest(models_dir: Path, mark: str, problem: str) -> Path:
    if not (runs := sorted(path.parent for path in Path(models_dir).glob(f"*/{mark}"))):
        raise TrainingError(f"{models_dir} holds {problem}")
    return runs[-1]


def lora_change(model) -> tuple[str, torch.Tensor]:
    """Name the first layer with an adapter, and give what LoRA adds to its weight (outputs, inputs)."""
    name, layer = next((n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer))
    return name, layer.get_delta_weight("default").detach().float().cpu()


class _PlainLossTrainer(SFTTrainer):
    """Take the model's own loss, its logits at the answers' positions alone: TRL's numbers in less time.

    TRL's own loss skips the other positions too, but on a GPU only.
    """

    def compute_loss(self, model, inputs, *arguments, **options):
        next_ids = torch.nn.functional.pad(inputs["labels"][:, 1:], (0, 1), value=-100)
        learnt = next_ids != -100
        inputs = {**inputs, "logits_to_keep": learnt, "shift_labels": next_ids[learnt]}
        return Trainer.compute_loss(self, model, inputs, *arguments, **options)


class _Watch(TrainerCallback):
    """Show progress, and before training and after each epoch answer a sample of held-out questions."""

    def __init__(self, tokenizer, eval_records: list[dict], knobs: Knobs, on_epoch, on_step, checkpoint) -> None:
        pairs = [(turns[0]["content"], record) for record in eval_records for turns in record["conversation"]]
        self.asked = random.Random(knobs.seed).sample(pairs, min(WATCHED, len(pairs)))
        self.tokenizer, self.on_epoch, self.on_step, self.patience = tokenizer, on_epoch, on_step, knobs.early_stop
        self.interrupted = False
        saved = torch.load(checkpoint / WATCH_FILE) if checkpoint else {"history": [], "losses": [], "order": None}
        self.history, self.losses, self.order = saved["history"], saved["losses"], saved["order"]

    def on_train_begin(self, args, state, control, model, **_) -> None:
        self.is_main = state.is_world_process_zero
        self.started = time.perf_counter() - (self.history[-1]["seconds"] if self.history else 0)
        hidden = not self.is_main or self.on_step is not None
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step", disable=hidden)
        self.first_recall = None if self.history else self._recall(model)

    def on_epoch_begin(self, args, state, control, **_) -> None:
        # The order of an epoch's rows is drawn from this state: to go on in mid-epoch, it is drawn again.
        if self.order is not None and state.epoch % 1:
            torch.set_rng_state(self.order)
        self.order = torch.get_rng_state()

    def on_log(self, args, state, control, logs, **_) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.bar.update()
            if not self.history:
                self._add(0, 0, self.first_recall)
            if self.on_step and self.is_main:
                row = {"step": state.global_step, "of": state.max_steps, "loss": logs["loss"]}
                self.on_step(row | {"recall": self.history[-1]["recall"]})

    def on_step_end(self, args, state, control, **_) -> None:
        if self.interrupted:
            control.should_log = control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args, state, control, model, **_) -> None:
        if self.interrupted:
            return
        self._add(state.global_step, round(state.epoch), recall := self._recall(model))
        self.losses = []
        if recall is not None:
            self.trainer.log({"held_out_recall": recall})
        last = [row["recall"] for row in self.history[1:]][-self.patience :]
        if self.patience and len(last) == self.patience and all(value == 1 for value in last):
            control.should_training_stop = True

    def on_save(self, args, state, control, **_) -> None:
        if self.is_main:  # last: a checkpoint that holds it is whole
            saved = {"history": self.history, "losses": self.losses, "order": self.order}
            torch.save(saved, Path(args.output_dir) / f"checkpoint-{state.global_step}" / WATCH_FILE)

    def on_train_end(self, args, state, control, **_) -> None:
        self.bar.close()

    def _add(self, step: int, epoch: int, recall: float | None) -> None:
        row = {"step": step, "epoch": epoch, "loss": mean(self.losses), "recall": recall}
        self.history.append(row | {"seconds": round(time.perf_counter() - self.started, 2)})
        self.bar.set_postfix({"loss": row["loss"], "recall": recall})
        if self.on_epoch and self.is_main:
            self.on_epoch(self.history)

    def _recall(self, model) -> float | None:
        # Spread over several processes (FSDP), the model answers with all of them or not at all.
        if not (self.asked and self.is_main) or self.trainer.is_fsdp_enabled:
            return None
        replies = answer(model, self.tokenizer, [question for question, _ in self.asked])
        pairs = zip(replies, (record for _, record in self.asked), strict=True)
        return mean(float(exact_match(reply, r["definitions"], acronym=r["acronym"])) for reply, r in pairs)


@contextmanager
def _finish_step_on_ctrl_c(watch: _Watch) -> Iterator[None]:
    """Let the first Ctrl-C end training after the step in hand; a second one ends it at once."""

    def note(*_) -> None:
        watch.interrupted = True
        signal.signal(signal.SIGINT, before)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which alone may listen
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _find_checkpoint(output_dir: Path, made_of: dict, resume: bool) -> Path | None:
    """Give the last whole checkpoint to go on from, if any; TrainingError when the folder is not the run's own."""
    if not (output_dir.exists() and any(output_dir.iterdir())):
        return None
    if (output_dir / RUN_FILE).exists():
        raise TrainingError(f"{output_dir} holds a finished run. Give another folder, or move that one away.")
    if not resume or not (output_dir / STARTED_FILE).exists():
        cure = "Go on with resume=True, give another folder, or move that one away."
        raise TrainingError(f"{output_dir} holds an unfinished run or other files. {cure}")
    before = json.loads((output_dir / STARTED_FILE).read_text(encoding="utf-8"))
    if changed := [name for name in made_of if made_of[name] != before.get(name)]:
        values = f"{before.get(changed[0])} then, {made_of[changed[0]]} now"
        cure = "Set it back, or start a new run."
        raise TrainingError(f"{output_dir} was started with another {changed[0]}: {values}. {cure}")
    whole = [path.parent for path in output_dir.glob(f"checkpoint-*/{WATCH_FILE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _card(run: dict) -> str:
    """Write the model card of an adapter from its run.json; where the base is a folder, without its path."""
    base, knobs, last = run["base_model"], run["knobs"], run["history"][-1]
    is_folder = Path(base).is_dir()
    base = Path(base).name if is_folder else base
    recall = "not measured" if last["recall"] is None else f"{last['recall']:.0%} of at most {WATCHED} questions"
    mixed = knobs["rehearsal_known"] + knobs["rehearsal_facts"]
    settings = "\n".join(f"| {name} | {value} |" for name, value in knobs.items())
    return f"""---
{"" if is_folder else f"base_model: {base}"}
library_name: peft
pipeline_tag: text-generation
tags: [lora, trl, acronyms]
---
# Acronyms for {base}

A LoRA adapter that teaches `{base}` the acronyms of an organisation. **Whoever has it can ask it for the whole
glossary**: share it only with those who may read the glossary.

- Data: {run["rows"]} conversations (sha256 `{run["data_sha256"][:16]}…`) of one question and one answer, written from
  the glossary and not published with this; loss on the answers alone. Up to {mixed} of them rehearse what the base
  model knew, up to {knobs["refusals"]} refuse acronyms that do not exist.
- {run["minutes"]} minutes on {run["device"]} in {run["dtype"]}; last epoch: loss {last["loss"]:.3f}, held-out recall
  {recall}. The base model's revision: {run["revision"] or "none recorded"}.
- Versions: {", ".join(f"{name} {number}" for name, number in run["versions"].items())}.

| knob | value |
|---|---|
{settings}

Answers are right only for the acronyms of the data, and not always; see the scores of stage 3 before relying on it.
"""


def _make_trainer(
    model, tokenizer, rows: list[dict], output_dir, knobs: Knobs, *, report_to: str = "none", **options
) -> SFTTrainer:  # fmt: skip
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        problem = f"The tokenizer pads with {tokenizer.pad_token!r}, its end token or none"
        raise TrainingError(f"{problem}. Set tokenizer.pad_token to an unused one, or use load_model.")
    on = model.device.type
    # A processor that computes in bfloat16 itself halves a step of a big model with it; the weights stay as they are.
    abilities = getattr(torch.cpu, "get_capabilities", dict)() if on == "cpu" else {}
    halved = abilities.get("avx512_bf16", False) and model.num_parameters() >= SMALL_MODEL
    arguments = SFTConfig(
        output_dir=str(output_dir), run_name=Path(output_dir).name, project="acronyms",
        num_train_epochs=knobs.epochs, learning_rate=knobs.learning_rate,
        weight_decay=knobs.weight_decay, per_device_train_batch_size=knobs.batch_size, warmup_steps=0.05,
        seed=knobs.seed,
        # Rows of like length share a batch: a third off a step. No maximum: nothing is ever cut off.
        train_sampling_strategy="group_by_length", max_length=None,
        use_cpu=on == "cpu", bf16=halved or (on == "cuda" and model.dtype == torch.bfloat16),
        fp16=on == "cuda" and model.dtype == torch.float16, dataloader_pin_memory=on == "cuda",
        activation_checkpointing=model.num_parameters() > LARGE_MODEL, ddp_find_unused_parameters=False,
        logging_steps=1, save_strategy="epoch", save_total_limit=2, report_to=report_to, disable_tqdm=True,
    )  # fmt: skip
    table = datasets.Dataset.from_list([{**row, "chat_template_kwargs": TEMPLATE_OPTIONS} for row in rows])
    kind = _PlainLossTrainer if on == "cpu" and model._supports_logits_to_keep() else SFTTrainer
    try:
        trainer = kind(model, arguments, train_dataset=table, processing_class=tokenizer, **options)
    except jinja2.TemplateError as error:
        cure = "Leave that out of the rows (a system turn?), or choose a model whose template takes it."
        raise TrainingError(f"The chat template refuses a row: {error}. {cure}") from error
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
    # As `answer` would read it back. Tokenizers compose accents and drop or add spaces, which is no fault.
    texts = row["completion"][0]["content"], tokenizer.decode(learnt, skip_special_tokens=True)
    text, learnt_text = ("".join(unicodedata.normalize("NFKC", text).split()) for text in texts)
    if not text or not learnt:
        return "it has no answer to learn"
    if prompt + learnt != ids:
        return "what is masked is not exactly the prompt that the model will see"
    if text != learnt_text:
        return "its answer is not learnt whole and alone"
    if [i for i in learnt if tokenizer.decode([i]).strip()][-1] not in ends:
        return "the last token learnt does not end the turn, so the model would not stop"
    too_long = len(ids) > tokenizer.model_max_length
    return f"it is longer than the {tokenizer.model_max_length} tokens the model reads" if too_long else None


def _print_step(row: dict) -> None:
    recall = "" if row["recall"] is None else f"  held-out recall {row['recall']:.0%}"
    print(f"step {row['step']}/{row['of']}  loss {row['loss']:.4f}{recall}", flush=True)


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
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run in --output")
    parser.add_argument("--report-to", default="none", help="trackio, mlflow or tensorboard")
    given = parser.parse_args()
    is_main = os.environ.get("RANK", "0") == "0"  # the numbers that accelerate launch gives to a process
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    token = SecretStr(os.environ["HF_TOKEN"]) if os.environ.get("HF_TOKEN") else None
    device = pick_device(parameters=read_shape(given.model, token=token).num_parameters())
    model, tokenizer = load_model(given.model, device=device, token=token)
    records, held_out = (read_dataset(Path(path)) if path else None for path in (given.data, given.eval))
    knobs = Knobs.for_size(model.num_parameters(), len(records), seed=given.seed)
    knobs = replace(knobs, epochs=given.epochs or knobs.epochs)
    probes = read_probes(Path(given.probes)) if given.probes else []
    rows = make_rows(records, rehearsal_conversations(model, tokenizer, probes, knobs))
    options = {"eval_records": held_out, "resume": given.resume, "report_to": given.report_to}
    history = train(model, tokenizer, rows, given.output, knobs, on_step=_print_step, **options)
    if is_main:
        print(f"{given.output}: {len(rows)} rows; last epoch: {history[-1]}")


if __name__ == "__main__":
    main()
