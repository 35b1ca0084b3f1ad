"""What stages.py measures: the original tutorial's way and ours for the same work, and what the machine allows.

The original's ways are told anew, in our own words. A round gives the seconds of the three, which follow one another:
of the clock where a server is waited for, of one core of the processor where there is computing. It knows nothing of
the tables.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import requests
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    pipeline,
)
from trl import SFTTrainer

from helpers import chat, dataset, model, score, train
from helpers.acronyms import Acronym
from helpers.config import EXAMPLE_DATA, REPOSITORY, TINY_CHAT
from stand_ins.practice_server import PracticeServer

Round = tuple[float, float, float]  # seconds: the original's way, ours, the bound
AT_ONCE = 4  # requests in flight, the helpers' default
ORIGINAL_RATE = 2e-4
# Width, layers, heads, key and value heads, width of the feed-forward part, vocabulary.
SHAPES = {"SmolLM2-135M": (576, 30, 9, 3, 1536, 49152), "small": (64, 2, 4, 2, 128, 4736)}


# --- waiting for a server ------------------------------------------------------------------------------------------


def conversations(acronyms: list, delay: float) -> Round:
    """The original asks for one acronym after the other and takes what comes."""
    count = dataset.REQUEST  # one request for each
    prompts = [dataset.conversation_prompt(a, count, intents=dataset.INTENTS["train"]) for a in acronyms]

    def ours(ask: Callable[[str], str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.json"
            dataset.build_dataset(acronyms, ask, path, count=count, split="train", workers=AT_ONCE)

    return waiting(prompts, dataset.parse_conversations, ours, delay)


def judging(rows: list[dict], delay: float) -> Round:
    """The original has one answer judged after the other."""
    rows = [row | {"expected": " | ".join(row["definitions"])} for row in rows]
    prompts = [score.judge_prompt(row["question"], row["answer"], row["expected"]) for row in rows]
    return waiting(prompts, score.parse_verdict, lambda ask: score.judge(ask, rows, workers=AT_ONCE), delay)


def waiting(prompts: list[str], parse: Callable, ours: Callable, delay: float) -> Round:
    """The bound: each prompt sent once, as many at once as allowed, and nothing but the server's delay."""
    with PracticeServer(delay=delay) as server:
        llm = chat.Chat(server.url, server.token, server.models[0])
        started = time.perf_counter()
        for prompt in prompts:
            body = {"model": llm.model, "messages": [{"role": "user", "content": prompt}]}
            headers = {"Authorization": f"Bearer {server.token}"}
            reply = requests.post(f"{server.url}/chat/completions", json=body, headers=headers, timeout=60).json()
            parse(reply["choices"][0]["message"]["content"])
        between = time.perf_counter()
        ours(llm.ask)
        ended = time.perf_counter()
        llm.close()
    return between - started, ended - between, math.ceil(len(prompts) / AT_ONCE) * delay


# --- training ------------------------------------------------------------------------------------------------------


def training(load: Callable, rows: list[dict], width: int) -> Callable[[], Round]:
    """The original trains with batch 1, all rows padded to one length, the prompt learnt too.

    The bound: the products of matrices that the rows need one by one, without padding, at this core's best rate.
    """
    base, tokenizer = load()
    knobs = knobs_for(base)
    steps = math.ceil(len(rows) / knobs.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = our_trainer(base, tokenizer, rows, knobs, folder)
    dtype = torch.bfloat16 if trainer.args.bf16 else torch.float32
    products = count_products(load()[0], trainer.train_dataset, knobs)

    def measure() -> Round:
        with tempfile.TemporaryDirectory() as folder:
            timer = Timer()
            original_trainer(*load(), rows, knobs, folder, timer).train()
        ours = steps * time_step(*load(), rows, knobs)
        return timer.step * len(rows), ours, products / matmul_rate(dtype, width)

    time_step(*load(), rows[: knobs.batch_size], knobs)  # what the first run of all pays once
    return measure


def original_trainer(language_model, tokenizer, rows: list[dict], knobs, folder: str, callback) -> Trainer:
    """Batch 1, every text padded with the end token to one length, prompt and padding in the loss, the defaults of
    transformers otherwise. Kinder than it was: LoRA once, as wide as ours, no longer padding than the longest row, no
    checkpointing, our number of epochs."""
    texts = [tokenizer.apply_chat_template(r["prompt"] + r["completion"], tokenize=False) for r in rows]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    longest = max(map(len, ids))
    table = [i + [tokenizer.eos_token_id] * (longest - len(i)) for i in ids]
    arguments = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=1, learning_rate=ORIGINAL_RATE, num_train_epochs=knobs.epochs,
        use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    rows = datasets.Dataset.from_list([{"input_ids": line, "labels": line} for line in table])
    tuned = get_peft_model(language_model, lora(knobs))
    trainer = Trainer(tuned, arguments, train_dataset=rows, callbacks=[callback])
    trainer.remove_callback(PrinterCallback)
    return trainer


def our_trainer(language_model, tokenizer, rows: list[dict], knobs, folder: str) -> SFTTrainer:
    return train._make_trainer(language_model, tokenizer, rows, folder, knobs, peft_config=lora(knobs))


def time_step(language_model, tokenizer, rows: list[dict], knobs) -> float:
    """Seconds of a step of ours, the mean of all."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = our_trainer(language_model, tokenizer, rows, knobs, folder)
        trainer.add_callback(timer := Timer())
        trainer.train()
    return timer.step


def count_products(language_model, rows, knobs) -> int:
    """The operations in products of matrices that a pass over tokenized rows needs, with logits of answers alone."""
    tuned = get_peft_model(language_model, lora(knobs)).train()
    core = tuned.get_base_model()
    with FlopCounterMode(display=False) as counter:
        for row in rows:
            ids, following = torch.tensor(row["input_ids"]), torch.tensor([*row["labels"][1:], -100])
            states = core.model(ids[None], use_cache=False).last_hidden_state[0]
            learnt = following != -100
            cross_entropy(core.lm_head(states[learnt]), following[learnt]).backward()
    return counter.get_total_flops()


class Timer(TrainerCallback):
    """The seconds a step of an epoch, from its first row to its last log."""

    def on_epoch_begin(self, args, state, control, **_) -> None:
        self.before, self.started = state.global_step, time.process_time()

    def on_epoch_end(self, args, state, control, **_) -> None:
        self.step = (time.process_time() - self.started) / (state.global_step - self.before)


# --- answering -----------------------------------------------------------------------------------------------------


def answering(load: Callable, questions: list[str], tokens: int, width: int) -> Callable[[], Round]:
    """The original samples the answers, one question after the other.

    The bound, the longer of two: the products of matrices that the answers need one by one, without padding, at
    this core's best rate; the weights read once for each token that a batch writes, at its best rate of reading.
    """
    language_model, tokenizer = load()
    ask = pipeline("text-generation", model=language_model, tokenizer=tokenizer)

    def original(texts: list[str]) -> None:
        for text in texts:
            ask([{"role": "user", "content": text}], max_new_tokens=tokens, do_sample=True, return_full_text=False)

    def ours(batch_size: int) -> None:
        model.answer(language_model, tokenizer, questions, max_new_tokens=tokens, batch_size=batch_size)

    passes = []
    with FlopCounterMode(display=False) as counter:
        ours(1)
    hook = language_model.register_forward_hook(lambda *_: passes.append(1))
    ours(64)
    hook.remove()
    count, products = language_model.num_parameters() * len(passes), counter.get_total_flops()

    def measure() -> Round:
        torch.manual_seed(0)
        started = time.process_time()
        original(questions)
        between = time.process_time()
        ours(64)
        ended = time.process_time()
        bound = max(products / matmul_rate(torch.float32, width), count / reading(language_model.num_parameters()))
        return between - started, ended - between, bound

    original(questions[:2])
    return measure


def reading(count: int) -> float:
    """Numbers a second that one core reads out of as many in float32, as a matrix by a vector; the best of some."""
    weights, vector = torch.ones(count // 1024, 1024), torch.ones(1024)
    seconds = []
    for _ in range(10):
        started = time.process_time()
        weights @ vector
        seconds.append(time.process_time() - started)
    return weights.numel() / min(seconds)


def matmul_rate(dtype: torch.dtype, width: int) -> float:
    """Operations a second of a big matrix product, the best of some."""
    left, right = (torch.randn(width, width, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        started = time.process_time()
        for _ in range(10):
            left @ right
        seconds.append(time.process_time() - started)
    return 10 * 2 * width**3 / min(seconds)


# --- what both are measured on -------------------------------------------------------------------------------------


def load_tiny_chat():
    return model.load_model(str(REPOSITORY / TINY_CHAT), device=model.pick_device("cpu"))


def random_model(shape: str):
    """A Llama with random weights; tiny-chat's tokenizer uses the first 4,659 entries of its vocabulary."""
    torch.manual_seed(0)
    width, layers, heads, key_heads, inner, vocabulary = SHAPES[shape]
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": inner, "vocab_size": vocabulary}
    attention = {"num_attention_heads": heads, "num_key_value_heads": key_heads, "tie_word_embeddings": True}
    config = LlamaConfig(**sizes, **attention, bos_token_id=None, eos_token_id=1, pad_token_id=0)
    return LlamaForCausalLM(config), AutoTokenizer.from_pretrained(REPOSITORY / TINY_CHAT)


def example_rows() -> list[dict]:
    """The rows of the example data, with the rehearsal and the refusals that our recipe mixes in."""
    records = dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json")
    base, tokenizer = load_tiny_chat()
    knobs = train.Knobs.for_size(base.num_parameters(), len(records))
    probes = dataset.make_probes([Acronym(r["acronym"], tuple(r["definitions"])) for r in records])
    return train.make_rows(records, train.rehearsal_conversations(base, tokenizer, probes, knobs))


def exam_questions(count: int) -> list[str]:
    """The first questions of stage 3's exam on the example data."""
    records = dataset.read_dataset(EXAMPLE_DATA / "eval_dataset.json")
    probes = dataset.make_probes([Acronym(r["acronym"], tuple(r["definitions"])) for r in records])
    return [row["question"] for row in score.write_exam(records, probes)][:count]


def knobs_for(language_model) -> train.Knobs:
    """One pass with the recipe of its size for ten acronyms, without what changes no step's time."""
    chosen = train.Knobs.for_size(language_model.num_parameters(), 10)
    return train.Knobs(1, chosen.learning_rate, chosen.batch_size, chosen.rank)


def lora(knobs: train.Knobs) -> LoraConfig:
    return LoraConfig(r=knobs.rank, lora_alpha=knobs.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
