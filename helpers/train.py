"""Teach a chat model a set of conversations: LoRA through TRL's SFTTrainer, every row checked.

It knows nothing about where conversations come from. It is a command too:
`python -m helpers.train DATA MODEL OUTPUT`, also after `accelerate launch -m`.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import inf
from pathlib import Path
from statistics import fmean
from zipfile import ZipFile
from zlib import crc32

import datasets
import torch
from accelerate import PartialState
from peft import LoraConfig, load_peft_weights
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from helpers.dataset import holds, normalise, read_dataset, read_probes, refusal_conversations
from helpers.files import FileError, read_list, write_list
from helpers.model import (
    LARGE_MODEL,
    RUN_FILE,
    SMALL_MODEL,
    TEMPLATE_OPTIONS,
    ModelError,
    answer,
    load_model,
    pick_device,
    render,
    stop_ids,
)

STARTED_FILE = "started.json"  # what a run is made of; a folder that holds it is unfinished
ASKED = 30  # questions of each measure, at most, that are asked after each pass
REPLY_TOKENS = 128  # longest answer of the untrained model that is rehearsed
FULL_DISK = 20e6  # bytes; with less to spare a checkpoint fails
MEASURES = {"known": "known", "control": "facts", "unknown": "refused"}  # of the probes' kinds
CARD = """---
library_name: peft
tags: [lora, trl, acronyms]
---
# Acronyms for {base}

A LoRA adapter for `{base}`, trained with TRL; `run.json` holds every setting and the log.
**Whoever has it can ask it for the whole glossary**: share it only with those who may read that.
"""
datasets.disable_progress_bars()  # of the rows' preparation, four for what takes a blink


class TrainingError(ValueError):
    """What would make training go wrong or overwrite a run; the message names it and the cure."""


# ------------------------------------------------------------------------------------ the knobs

# What does well below so many parameters, up to so many acronyms; the last three per acronym.
# fmt: off
_RECIPES = [
    ("parameters", "acronyms", "epochs", "learning_rate", "batch_size", "rank", "alpha",
     "weight_decay", "rehearsal_known", "rehearsal_facts", "refusals"),
    (SMALL_MODEL,   20,  3, 5e-3, 16, 32, 32, 1.0, 30, 10, 110),
    (SMALL_MODEL,   80,  7, 5e-3, 16, 32, 32, 0.3, 16,  2, 20),
    (SMALL_MODEL,  100,  5, 6e-3, 16, 32, 32, 0.3, 12,  2, 18),
    (SMALL_MODEL,  inf,  7, 3e-3, 32, 64, 64, 0.4,  4,  2, 14),
    (300_000_000,  inf, 10, 1e-3,  8, 16, 32, 0.0,  1,  1,  1),
    (3_000_000_000, inf, 10, 5e-4, 8, 16, 32, 0.0,  1,  1,  1),
    (inf,          inf, 10, 2e-4,  8, 16, 32, 0.0,  1,  1,  1),
]
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What can be turned: how the model learns, then how many other rows are mixed in."""

    epochs: int
    learning_rate: float
    batch_size: int
    rank: int
    alpha: int = 32
    weight_decay: float = 0.0  # draws the adapter back to nothing: what is not needed stays
    rehearsal_known: int = 0
    rehearsal_facts: int = 0
    refusals: int = 0
    seed: int = 0

    @classmethod
    def for_size(cls, parameter_count: int, acronym_count: int, *, seed: int = 0) -> "Knobs":
        """Choose the values that do well at this size of model and of list."""
        names, *rows = _RECIPES
        row = next(r for r in rows if parameter_count < r[0] and acronym_count <= r[1])
        recipe = dict(zip(names[2:], row[2:], strict=True))
        mixed = {name: recipe[name] * acronym_count for name in names[-3:]}
        return cls(**recipe | mixed, seed=seed)


# ------------------------------------------------------------------------------------- the rows


def make_rows(records: Sequence, extra: Sequence = ()) -> list:
    """Cut conversations into prompt and completion, so that the loss is on the answer alone."""
    every = [turns for record in records for turns in record["conversation"]]
    return [{"prompt": turns[:-1], "completion": turns[-1:]} for turns in [*every, *extra]]


def _question(row):
    return row["prompt"][-1]["content"]


def rehearsal_conversations(model, tokenizer, probes: list, knobs: Knobs) -> list:
    """Write what keeps a model from forgetting and from inventing.

    It rehearses its own answers before training, to each question at most three times, and what
    only it knows after the rest; a refusal never comes twice.
    """
    rng = random.Random(knobs.seed)
    name = Path(model.config._name_or_path).name
    mine = [p for p in probes if p.get("model", name) == name and _part(p) == "rehearsal"]
    mine.sort(key=lambda probe: ("model" in probe, rng.random()))
    known, facts, unknown = ([p for p in mine if p["kind"] == kind] for kind in MEASURES)
    chosen = (known * 3)[: knobs.rehearsal_known] + (facts * 3)[: knobs.rehearsal_facts]
    questions = [probe["question"] for probe in chosen]
    replies = answer(model, tokenizer, questions, max_new_tokens=REPLY_TOKENS)
    own = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        for question, reply in zip(questions, replies, strict=True)
        # An answer cut in mid-sentence would teach the model not to stop.
        if reply and len(tokenizer(reply)["input_ids"]) < REPLY_TOKENS - 2
    ]
    return own + refusal_conversations(unknown[: knobs.refusals])


def draw_exam(validation: Sequence, probes: list, *, seed: int = 0) -> dict:
    """Draw questions to ask after each pass, by measure, each with the words of a right answer."""
    exam = {
        "recall": [
            (_question(row), record["definitions"][0])
            for record in validation
            for row in make_rows([record])
        ]
    }
    watched = [probe for probe in probes if _part(probe) == "watched"]
    for kind, measure in MEASURES.items():
        exam[measure] = [(p["question"], p["expected"]) for p in watched if p["kind"] == kind]
    rng = random.Random(seed)
    return {name: rng.sample(pairs, min(ASKED, len(pairs))) for name, pairs in exam.items()}


def _part(probe):
    """Of what is to rehearse, an eighth of the acronyms and facts is watched instead."""
    subject = probe["acronym"] or probe["question"]
    if probe["split"] == "test" or "model" in probe or crc32(subject.encode()) % 8:
        return probe["split"]
    return "watched"


# ----------------------------------------------------------------------------------- the checks


def inspect_row(tokenizer, row: dict) -> list:
    """List (text, id, label) of each token as TRL prepares it; label -100 is not learnt."""
    [tokens] = _prepare(tokenizer, [row])
    texts = [tokenizer.decode(i) for i in tokens["input_ids"]]
    return list(zip(texts, tokens["input_ids"], tokens["labels"], strict=True))


def check_rows(tokenizer, rows: list, *, ends: list[int], prepared=None) -> None:
    """Raise TrainingError unless each row, as TRL prepares it, teaches its whole answer alone.

    `ends` are the ids of the tokens that end an answer, `prepared` is a trainer's train_dataset,
    where there is one.
    """
    prepared = prepared or _prepare(tokenizer, rows)
    for row, tokens in zip(rows, prepared, strict=True):
        problem = _find_problem(tokenizer, row, **tokens, ends=ends)
        if problem:
            raise TrainingError(
                f"Training row {_question(row)!r}: {problem}. Mend it, "
                "or choose a model whose template prints an answer, then its end token."
            )


def check_no_leak(rows: list, records: Sequence) -> None:
    """Raise TrainingError when a held-out question is trained on."""
    trained = {normalise(_question(row)) for row in rows}
    for question in map(_question, make_rows(records)):
        if normalise(question) in trained:
            raise TrainingError(
                f"The held-out question {question!r} is in the training rows too. "
                "Take it out of one, or the test proves nothing."
            )


def _prepare(tokenizer, rows):
    """Let TRL prepare rows; only a trainer does, which needs a model: the smallest one."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=2,
        intermediate_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    knobs = Knobs(epochs=1, learning_rate=1e-3, batch_size=1, rank=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(LlamaForCausalLM(config), tokenizer, rows, folder, knobs)
    return trainer.train_dataset


def _find_problem(tokenizer, row, input_ids, labels, ends, **_):
    prompt = tokenizer(render(tokenizer, row["prompt"]), add_special_tokens=False)["input_ids"]
    learnt = [label for label in labels if label != -100]
    text = _letters(row["completion"][0]["content"])
    if not text or not learnt:
        return "it has no answer to learn"
    last = [i for i in learnt if tokenizer.decode(i).strip()][-1]
    if last not in ends:
        return "the last token learnt does not end the turn, so the model would not stop"
    if prompt + learnt != input_ids:
        return "what is masked is not exactly the prompt that the model will see"
    if text != _letters(tokenizer.decode(learnt, skip_special_tokens=True)):
        return "its answer is not learnt whole and alone"
    if len(input_ids) > tokenizer.model_max_length:
        return f"it is longer than the {tokenizer.model_max_length} tokens the model reads"
    return None


def _letters(text):
    """Tokenizers compose accents and drop or add spaces, which is no fault."""
    return "".join(unicodedata.normalize("NFKC", text).split())


# --------------------------------------------------------------------------------- the training


def make_trainer(
    model, tokenizer, rows, output_dir, knobs: Knobs, *, validation_rows=(), callbacks=(), **others
) -> SFTTrainer:
    """Put LoRA on a model and make the trainer; `others` are options of SFTConfig."""
    lora = LoraConfig(
        r=knobs.rank,  # how thin the two matrices are
        lora_alpha=knobs.alpha,  # their product counts alpha / rank times
        target_modules="all-linear",  # beside each matrix of each layer
        task_type="CAUSAL_LM",
    )
    arguments = dict(
        output_dir=str(output_dir),
        num_train_epochs=knobs.epochs,
        learning_rate=knobs.learning_rate,  # falls to 0 on a straight line
        warmup_steps=0.05,  # and rises from 0 during the first 5 % of the steps
        per_device_train_batch_size=knobs.batch_size,
        weight_decay=knobs.weight_decay,
        train_sampling_strategy="group_by_length",  # little padding: a third off a step
        max_length=None,  # no row is ever cut
        seed=knobs.seed,
        use_cpu=model.device.type == "cpu",
        bf16=model.dtype == torch.bfloat16,  # half the bytes for each number, where that is quick
        fp16=model.dtype == torch.float16,
        activation_checkpointing=model.num_parameters() > LARGE_MODEL,
        dataloader_pin_memory=model.device.type == "cuda",
        ddp_find_unused_parameters=False,  # for several GPUs: each weight is used in each step
        logging_steps=1,
        eval_strategy="epoch" if validation_rows else "no",
        per_device_eval_batch_size=32,
        save_strategy="epoch",  # a checkpoint after each pass, to go on from
        save_total_limit=2,
    )
    config = SFTConfig(**arguments | others)
    config._n_gpu = min(config.n_gpu, 1)  # of several GPUs one: more take `accelerate launch`
    trainer = _Trainer(
        model,
        config,
        train_dataset=_as_table(rows),
        eval_dataset=_as_table(validation_rows) if validation_rows else None,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)  # without a bar, it prints each step
    return trainer


def _as_table(rows):
    return datasets.Dataset.from_list(
        [{**row, "chat_template_kwargs": TEMPLATE_OPTIONS} for row in rows]
    )


class _Trainer(SFTTrainer):
    """SFTTrainer, which also asks questions when it evaluates, and is faster on a processor."""

    exam = {}  # measure -> (question, words that a right answer holds)

    def evaluation_loop(self, *arguments, **options):
        output = super().evaluation_loop(*arguments, **options)
        # Spread over several processes (FSDP), the model answers with all of them or not at all.
        if self.is_world_process_zero() and not self.is_fsdp_enabled:
            for measure, asked in filter(all, self.exam.items()):
                questions, words = zip(*asked, strict=True)
                replies = answer(self.model, self.processing_class, questions)
                output.metrics[f"eval_{measure}"] = fmean(map(holds, replies, words))
        return output

    def compute_loss(self, model, inputs, *arguments, **options):
        """Take the model's own loss, its logits at the answers' positions alone.

        These are TRL's numbers in less time; its own way skips the other positions on a GPU only.
        """
        if not (self.args.use_cpu and self.model._supports_logits_to_keep()):
            return super().compute_loss(model, inputs, *arguments, **options)
        next_ids = inputs["labels"].roll(-1, 1)  # the last place gets the first label: masked too
        learnt = next_ids != -100
        inputs = {**inputs, "logits_to_keep": learnt, "shift_labels": next_ids[learnt]}
        return Trainer.compute_loss(self, model, inputs, *arguments, **options)


def train(
    model,
    tokenizer,
    rows: list,
    output_dir: Path,
    knobs: Knobs,
    *,
    validation: Sequence = (),
    exam: dict | None = None,
    resume: bool = False,
    **others,
) -> list:
    """Train a LoRA adapter, save it with tokenizer, model card and run.json; give Trainer's log.

    `model` carries the adapter afterwards. With `validation` conversations, the log has the loss on
    them and the shares of right answers to the exam (draw_exam) before training and after each
    pass. Each pass leaves a checkpoint; `resume` goes on from the newest whole one. `others` are
    options of make_trainer. Raises TrainingError.
    """
    # 1. Whatever would be regretted later.
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise TrainingError("The model carries an adapter already. Load it afresh with load_model.")
    check_no_leak(rows, validation)
    made_of = _describe(model, rows, knobs)
    checkpoint = _open_folder(output_dir, made_of, resume)
    validation_rows = make_rows(validation)
    trainer = make_trainer(
        model, tokenizer, rows, output_dir, knobs, validation_rows=validation_rows, **others
    )
    ends = stop_ids(model, tokenizer)
    check_rows(tokenizer, rows, ends=ends, prepared=trainer.train_dataset)
    trainer.accelerator.wait_for_everyone()  # the other processes have looked into the folder too
    # 2. The training.
    trainer.exam = exam or {}
    trainer.args.eval_on_start = bool(validation_rows and not checkpoint)
    try:
        _run(trainer, output_dir, made_of, checkpoint)
    except Exception as error:  # torch, safetensors and tokenizers each raise one of their own
        if shutil.disk_usage(output_dir).free > FULL_DISK:
            raise
        raise TrainingError(
            f"The disk of {output_dir} is full. Free some space, then go on with resume=True."
        ) from error
    return trainer.state.log_history


def _run(trainer, output_dir, made_of, checkpoint):
    """Train and save; run.json before the checkpoints go, so that no moment has neither."""
    is_first = trainer.is_world_process_zero()
    if is_first:
        write_list(output_dir / STARTED_FILE, [made_of])
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.model.eval()
    trainer.save_model(str(output_dir))  # with the tokenizer
    if is_first:
        card = CARD.format(base=Path(made_of["base_model"]).name)  # no path of this machine
        (output_dir / "README.md").write_text(card, encoding="utf-8")
        write_list(output_dir / RUN_FILE, [made_of, *trainer.state.log_history])
        for folder in output_dir.glob("checkpoint-*"):
            shutil.rmtree(folder)
        for name in (STARTED_FILE, "training_args.bin"):
            (output_dir / name).unlink()


# ------------------------------------------------------------------------------ a run's folder


def _describe(model, rows, knobs):
    """What a run is made of: to be reproduced by, and to be resumed with only."""
    data = json.dumps(rows, sort_keys=True).encode()
    return {
        "base_model": model.config._name_or_path,
        "knobs": asdict(knobs),
        "rows": len(rows),
        "data_sha256": hashlib.sha256(data).hexdigest(),
        "device": f"{model.device.type}, {model.dtype}",
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
    }


def _open_folder(output_dir, made_of, resume):
    """Give the newest whole checkpoint, if any; TrainingError when the folder is not the run's."""
    started_path = output_dir / STARTED_FILE
    if not any(output_dir.glob("*")):
        return None
    if (output_dir / RUN_FILE).exists() or not started_path.exists() or not resume:
        raise TrainingError(
            f"{output_dir} holds a run or other files. "
            "If that was interrupted, go on with resume=True; else give another folder."
        )
    [before] = read_list(started_path)
    if changed := [name for name in made_of if made_of[name] != before[name]]:
        raise TrainingError(
            f"{output_dir} was started with another {changed[0]}. "
            "Set that back, or start a new run."
        )
    while folder := get_last_checkpoint(output_dir):
        if _is_whole(Path(folder)):
            return folder
        warnings.warn(f"{folder} cannot be read: an older one is taken.", stacklevel=3)
        shutil.rmtree(folder)
    return None


def _is_whole(checkpoint):
    """Tell whether all that training goes on from can be read, without running any of it."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_bytes())
        load_peft_weights(str(checkpoint), device="cpu")
        states = [checkpoint / "optimizer.pt", checkpoint / "scheduler.pt"]
        archives = [ZipFile(path) for path in {*states, *checkpoint.glob("*.pt*")}]
        return not any(archive.testzip() for archive in archives)  # by their checksums
    except Exception:  # each library has its own way to say that a file is torn
        return False


# ------------------------------------------------------------------------------- what came out


def merge(model_name: str, adapter_dir: Path, output_dir: Path, *, device) -> None:
    """Add an adapter to its base model's weights, and write the plain model, with tokenizer."""
    tuned, tokenizer = load_model(model_name, device=device, adapter_dir=adapter_dir)
    part_dir = Path(f"{output_dir}.part")
    tuned.merge_and_unload(safe_merge=True).save_pretrained(part_dir)
    tokenizer.save_pretrained(part_dir)
    part_dir.rename(output_dir)  # at once: a folder of that name is whole


# --------------------------------------------------------------------------------- the command


def main() -> None:
    """Train from the command line, with the same calls as the notebook."""
    parser = argparse.ArgumentParser(description="Train an adapter, as notebook 2 does.")
    parser.add_argument("data", type=Path, help="the folder of files that stage 1 wrote")
    parser.add_argument("model", help="folder or hub id of a chat model")
    parser.add_argument("output", type=Path, help="new folder for the adapter")
    parser.add_argument("--resume", action="store_true", help="go on with the run in OUTPUT")
    given = parser.parse_args()
    PartialState()  # gives each process of accelerate launch its GPU
    model, tokenizer = load_model(given.model, device=pick_device())
    records = read_dataset(given.data / "train_dataset.json")
    validation = read_dataset(given.data / "validation_dataset.json")
    probes = read_probes(given.data / "probes.json")
    knobs = Knobs.for_size(model.num_parameters(), len({r["acronym"] for r in records}))
    rows = make_rows(records, rehearsal_conversations(model, tokenizer, probes, knobs))
    train(
        model,
        tokenizer,
        rows,
        given.output,
        knobs,
        validation=validation,
        exam=draw_exam(validation, probes),
        resume=given.resume,
    )


if __name__ == "__main__":
    try:
        main()
    except (TrainingError, ModelError, FileError) as error:
        sys.exit(f"{error}")
