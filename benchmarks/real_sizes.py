"""Train and ask models of a real size, beside what the notebook promises: one table.

    python benchmarks/real_sizes.py                  on one core of the processor
    python benchmarks/real_sizes.py --device cuda    on a GPU, in bfloat16 where it has that

The shapes are those of real models, the weights random, the tokenizer tiny-chat's: what is learnt
means nothing, what it takes does. Each model has a process of its own, and goes through the calls
of notebook 2: load_model, make_rows, train, answer. `--small` tries the command itself.
"""

import argparse
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import psutil
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedConfig,
    Qwen3Config,
    TrainerCallback,
)

from helpers import dataset, model, train
from helpers.config import EXAMPLE_DATA, REPOSITORY, TINY_CHAT

# fmt: off
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
         "num_key_value_heads", "head_dim", "vocab_size")
SHAPES = {
    "SmolLM2-135M": (LlamaConfig, 576, 1536, 30, 9, 3, 64, 49152),
    "Qwen3-0.6B": (Qwen3Config, 1024, 3072, 28, 16, 8, 128, 151936),
    "small Llama": (LlamaConfig, 64, 128, 2, 4, 2, 16, 4736),
    "small Qwen": (Qwen3Config, 64, 128, 2, 4, 2, 16, 4736),
}
# fmt: on
# Promised before anything is loaded: 16 rows of 64 tokens; then the same formula for what was
# trained. What is promised after 3 steps is what a progress bar would say.
HEADER = """
| shape of | promised, GB | for its longest batch, GB | peak, GB | a step, s | \
promised after 3 steps, s | all steps, s | 8 answers, s |
|---|--:|--:|--:|--:|--:|--:|--:|"""


class Clock(TrainerCallback):
    """Notes when each step ends, and how long the longest row is."""

    def __init__(self, now):
        self.now = now

    def on_train_begin(self, *_, train_dataloader, **__):
        self.longest = max(map(len, train_dataloader.dataset["input_ids"]))
        self.times = [self.now()]

    def on_step_end(self, *_, **__):
        self.times.append(self.now())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--steps", type=int, default=8, help="of training, for each model")
    parser.add_argument("--small", action="store_true", help="models of no size, to try this")
    given = parser.parse_args()
    model.pick_device(given.device)  # refused at once where it is not there
    print(HEADER.strip())
    for shape in SHAPES:
        if given.small != shape.startswith("small"):
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, get_context("spawn")) as process,
        ):
            write_model(shape, Path(folder))  # here, so that its memory is not counted
            arguments = (Path(folder), given.device, given.steps)
            found = process.submit(measure, *arguments).result()
        print(f"| {shape} | " + " | ".join(f"{number:.2f}" for number in found) + " |")


def write_model(shape: str, folder: Path) -> None:
    """Write random weights in bfloat16, as hubs hold them."""
    random = AutoModelForCausalLM.from_config(make_config(shape), dtype=torch.bfloat16)
    random.save_pretrained(folder)
    AutoTokenizer.from_pretrained(REPOSITORY / TINY_CHAT).save_pretrained(folder)


def make_config(shape: str) -> PreTrainedConfig:
    kind, *sizes = SHAPES[shape]  # tiny-chat's tokenizer uses the first 4,659 of the vocabulary
    tokens = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    return kind(**dict(zip(SIZES, sizes, strict=True)), **tokens, tie_word_embeddings=True)


def measure(folder: Path, device_name: str, steps: int) -> list[float]:
    """Give the numbers of a line, in a process that has done nothing else."""
    libraries = psutil.Process().memory_info().rss
    records = dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json")
    rows = train.make_rows(records)
    bare = model.read_shape(str(folder))
    device = model.pick_device(device_name)
    base, tokenizer = model.load_model(str(folder), device=device)
    knobs = train.Knobs.for_size(base.num_parameters(), len(records))
    # A GPU works while the process waits; a processor is shared with others.
    clock = Clock(time.perf_counter if device.name == "cuda" else time.process_time)
    options = {"max_steps": steps, "callbacks": [clock], "disable_tqdm": True}
    train.train(base, tokenizer, rows, folder / "run", knobs, **options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - libraries
    if device.name == "cuda":
        peak = torch.cuda.max_memory_allocated()
    begun = clock.now()
    model.answer(base, tokenizer, [row["prompt"][0]["content"] for row in rows[:8]])
    answered = clock.now() - begun
    times = [end - clock.times[0] for end in clock.times]
    sizes = {"batch_size": knobs.batch_size, "rank": knobs.rank, "length": clock.longest}
    promised, exact = (
        sum(count for _, count, _ in model.estimate_memory(bare, device.dtype, **options)) / 1e9
        for options in ({}, sizes)
    )
    later = times[3] / 3 * steps
    return [promised, exact, peak / 1e9, times[-1] / steps, later, times[-1], answered]


if __name__ == "__main__":
    main()
