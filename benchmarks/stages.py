"""How fast each stage is: the original tutorial's way, ours, and what the machine allows.

    python benchmarks/stages.py

Prints the table of README.md. In each round the three follow one another, so that a busy machine
slows all. The original's ways are told anew, in our own words. Seconds are of the clock where a
server is waited for, of one core where there is computing. The LLM is the practice server, a
stand-in as tiny-chat is; the other model has random weights.
"""

import argparse
import math
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import datasets
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from tables import print_markdown
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    pipeline,
)
from trl import SFTTrainer

from helpers import chat, dataset, model, train
from helpers.acronyms import read_acronyms
from helpers.config import EXAMPLE_DATA, REPOSITORY, TINY_CHAT
from stand_ins.practice_server import PracticeServer

Rounds = list[dict[str, float]]  # seconds: original, ours, bound
DELAY = 0.25  # seconds of a reply of the server
AT_ONCE = 4  # requests in flight, the helpers' default
SMOLLM2_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each way is measured")
    torch.set_num_threads(1)
    given = parser.parse_args()
    lines = [describe(work, measure(given.rounds)) for work, measure in works().items()]
    print_markdown(pd.DataFrame(lines))


def works() -> dict[str, Callable[[int], Rounds]]:
    """What is measured."""
    acronyms = read_acronyms(REPOSITORY / "benchmarks/new_acronyms.json")[:24]
    learnt = dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json")
    rows = random.Random(0).sample(train.make_rows(learnt), 160)
    asked = [row["prompt"][-1]["content"] for row in rows]
    return {
        "1, 24 acronyms, 4 requests at once": partial(conversations, acronyms),
        "2, tiny-chat, 160 rows": partial(training, load_tiny_chat, rows),
        "2, SmolLM2-135M's shape, 16 rows": partial(training, random_model, rows[:16]),
        "3, tiny-chat, 64 answers": partial(answering, load_tiny_chat, asked[:64], 48),
        "3, SmolLM2-135M's shape, 8 answers": partial(answering, random_model, asked[:8], 16),
    }


def describe(work: str, rounds: Rounds) -> dict[str, str]:
    """A line of the table: medians of the seconds, and of the ratios with their spread."""
    seconds = pd.DataFrame(rounds)
    found = seconds.median().map("{:.2g} s".format)

    def spread(ratio: pd.Series) -> str:
        return f"{ratio.median():.2f} ({ratio.min():.2f} – {ratio.max():.2f})"

    return {
        "stage, and what is done": work,
        "the original's way": found.original,
        "ours": found.ours,
        "original ÷ ours": spread(seconds.original / seconds.ours),
        "bound": found.bound,
        "ours ÷ bound": spread(seconds.ours / seconds.bound),
    }


def conversations(acronyms: list, rounds: int) -> Rounds:
    """The original asks for one acronym after the other and takes what comes.

    The bound: nothing but the server's delay, shared among the requests sent at once.
    """
    count, found = dataset.REQUEST, []  # one request for each
    intents = dataset.INTENTS["train"]
    prompts = [dataset.conversation_prompt(a, count, intents=intents) for a in acronyms]
    with PracticeServer(delay=DELAY) as server, tempfile.TemporaryDirectory() as folder:
        llm = chat.Chat(server.url, server.token, server.models[0])
        options = {"count": count, "split": "train", "workers": AT_ONCE}

        def original() -> None:
            for prompt in prompts:
                dataset.parse_conversations(llm.ask(prompt))

        def ours(path: Path) -> None:
            dataset.build_dataset(acronyms, llm.ask, path, **options)

        for number in range(rounds):
            path = Path(folder) / f"{number}.json"
            seconds = {
                "original": seconds_of(original, time.time),
                "ours": seconds_of(partial(ours, path), time.time),
                "bound": math.ceil(len(prompts) / AT_ONCE) * DELAY,
            }
            found.append(seconds)
        llm.close()
    return found


def training(load: Callable, rows: list[dict], rounds: int) -> Rounds:
    """The original trains with batch 1, all rows padded to one length, the prompt learnt too.

    The bound: the products of matrices that the rows need one by one, without padding, at this
    core's best rate.
    """
    products = count_products(our_trainer(load, rows))
    our_trainer(load, rows[:16]).train()  # what the first one of all pays once
    return [
        {
            "original": seconds_of(original_trainer(load, rows).train),
            "ours": seconds_of(our_trainer(load, rows).train),
            "bound": products / matmul_rate(),
        }
        for _ in range(rounds)
    ]


def original_trainer(load: Callable, rows: list[dict]) -> Trainer:
    """Every text padded with the end token, prompt and padding in the loss, the library's defaults.

    Kinder than it was: LoRA once, as wide as ours, padding to the longest row, no checkpointing.
    """
    language_model, tokenizer = load()
    tokenizer.pad_token = tokenizer.eos_token
    texts = [row["prompt"] + row["completion"] for row in rows]
    ids = tokenizer.apply_chat_template(texts, padding=True)["input_ids"]
    knobs = one_pass(language_model)
    sizes = {"r": knobs.rank, "lora_alpha": knobs.alpha, "target_modules": "all-linear"}
    lora = LoraConfig(**sizes, task_type="CAUSAL_LM")
    arguments = TrainingArguments(
        output_dir=tempfile.gettempdir(),
        per_device_train_batch_size=1,
        learning_rate=2e-4,
        num_train_epochs=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        dataloader_pin_memory=False,
    )
    data = datasets.Dataset.from_dict({"input_ids": ids, "labels": ids})
    trainer = Trainer(get_peft_model(language_model, lora), arguments, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    return trainer


def our_trainer(load: Callable, rows: list[dict]) -> SFTTrainer:
    base, tokenizer = load()
    folder, options = tempfile.gettempdir(), {"save_strategy": "no", "disable_tqdm": True}
    return train.make_trainer(base, tokenizer, rows, folder, one_pass(base), **options)


def one_pass(language_model) -> train.Knobs:
    return replace(train.Knobs.for_size(language_model.num_parameters(), 10), epochs=1)


def count_products(trainer: SFTTrainer) -> int:
    """The operations in products of matrices of one pass, with logits of answers alone."""
    core = trainer.model.get_base_model()
    with FlopCounterMode(display=False) as counter:
        for row in trainer.train_dataset:
            ids, following = (
                torch.tensor(row["input_ids"]),
                torch.tensor([*row["labels"][1:], -100]),
            )
            states = core.model(ids[None], use_cache=False).last_hidden_state[0]
            learnt = following != -100
            cross_entropy(core.lm_head(states[learnt]), following[learnt]).backward()
    return counter.get_total_flops()


def answering(load: Callable, questions: list[str], tokens: int, rounds: int) -> Rounds:
    """The original samples the answers, one question after the other.

    The bound, the longer of two: the products of matrices that the answers need one by one, at this
    core's best rate; the weights read once for each token of a batch, at its best rate of reading.
    """
    language_model, tokenizer = load()
    ask = pipeline("text-generation", model=language_model, tokenizer=tokenizer)
    options = {"max_new_tokens": tokens, "do_sample": True, "return_full_text": False}
    chats = [[{"role": "user", "content": text}] for text in questions]

    def ours(batch_size: int = 64) -> None:
        size = {"max_new_tokens": tokens, "batch_size": batch_size}
        model.answer(language_model, tokenizer, questions, **size)

    with FlopCounterMode(display=False) as counter:
        ours(1)
    passes = []
    hook = language_model.register_forward_hook(lambda *_: passes.append(1))
    ours()
    hook.remove()
    products, count = counter.get_total_flops(), language_model.num_parameters()
    return [
        {
            "original": seconds_of(lambda: [ask(messages, **options) for messages in chats]),
            "ours": seconds_of(ours),
            "bound": max(products / matmul_rate(), len(passes) * count / reading_rate(count)),
        }
        for _ in range(rounds)
    ]


def seconds_of(work: Callable, clock: Callable[[], float] = time.process_time) -> float:
    started = clock()
    work()
    return clock() - started


def matmul_rate(width: int = 1024) -> float:
    """Operations per second of a big product of matrices, the best of some."""
    left, right = torch.randn(2, width, width)
    return 2 * width**3 / min(seconds_of(lambda: left @ right) for _ in range(50))


def reading_rate(count: int) -> float:
    """Numbers per second out of as many in float32, as a matrix by a vector; the best of some."""
    weights, vector = torch.ones(count // 1024, 1024), torch.ones(1024)
    return weights.numel() / min(seconds_of(lambda: weights @ vector) for _ in range(10))


def load_tiny_chat():
    return model.load_model(str(REPOSITORY / TINY_CHAT), device=model.pick_device("cpu"))


def random_model(shape: dict[str, int] = SMOLLM2_135M):
    """A Llama with random weights, which never ends an answer, and tiny-chat's tokenizer."""
    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    config = LlamaConfig(**shape, **ends, tie_word_embeddings=True)
    return LlamaForCausalLM(config), AutoTokenizer.from_pretrained(REPOSITORY / TINY_CHAT)


if __name__ == "__main__":
    main()
