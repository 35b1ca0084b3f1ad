"""Train tiny-chat's weights, from nothing but the corpus beside this file.

    python stand_ins/build/train_tiny_chat.py

A small Llama, trained with Muon (matrices) and AdamW (the rest) on assistant tokens only, in
float32 on one CPU thread, or on a GPU when there is one. Shape, tokenizer and chat template are
those of the tiny-chat in git; its card says where they come from. What it learnt is measured by
`python benchmarks/tiny_chat.py --model FOLDER`.
"""

import argparse
import copy
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from corpus import Corpus
from torch.nn.functional import cross_entropy, linear
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

TINY_CHAT = Path(__file__).parents[1] / "tiny-chat"
# Rows are padded to one of these lengths, so that each shape is compiled once.
LENGTHS = (32, 48, 80, 144, 264, 396)
MICRO_TOKENS = 1584
MICROS_PER_STEP = 2
WARM_UP = 100  # steps
DECAY = 0.9  # last share of the tokens, over which the learning rate falls to 0
MUON_FACTOR = 3  # Muon's learning rate, in multiples of AdamW's
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_model() -> LlamaForCausalLM:
    """A model of tiny-chat's shape that has not learnt anything."""
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(TINY_CHAT))
    model.generation_config = GenerationConfig.from_pretrained(TINY_CHAT)
    return model


def orthogonalise(gradient: torch.Tensor, coefficients: tuple, steps: int, eps: float):
    """Muon's Newton-Schulz iteration in float32.

    That of torch.optim is in bfloat16, ten times slower on a processor without bfloat16 of its own.
    """
    a, b, c = coefficients
    is_wide = gradient.shape[0] <= gradient.shape[1]
    wide = gradient if is_wide else gradient.T
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if is_wide else wide.T


def make_optimizers(model: LlamaForCausalLM) -> dict[int, torch.optim.Optimizer]:
    """Give each optimizer with the factor of its learning rate."""
    torch.optim._muon._zeropower_via_newtonschulz = orthogonalise
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return {
        MUON_FACTOR: torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        1: torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    }


def encode(tokenizer, messages: list[dict]) -> tuple[list[int], list[int]]:
    """Token ids and labels of a row: -100 outside the assistant's words and their <|end|>."""
    ids, labels = [], []
    for message in messages:
        words = tokenizer.encode(message["content"], add_special_tokens=False)
        words.append(tokenizer.eos_token_id)
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *words]
        is_answer = message["role"] == "assistant"
        labels += [-100, *(words if is_answer else [-100] * len(words))]
    return ids, labels


def micro_batches(tokenizer, corpus: Corpus) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (ids, labels) of shape (MICRO_TOKENS // length, length), rows of like length."""
    waiting = defaultdict(list)
    while True:
        ids, labels = encode(tokenizer, corpus.row())
        length = next((length for length in LENGTHS if len(ids) <= length), None)
        if length is None:
            continue
        missing = length - len(ids)
        ids += [tokenizer.pad_token_id] * missing
        labels += [-100] * missing
        waiting[length].append((ids, labels))
        if len(waiting[length]) == MICRO_TOKENS // length:
            table = torch.tensor(waiting.pop(length), device=DEVICE)
            yield table[:, 0], table[:, 1]


def answer_loss(body, head, ids, labels) -> tuple[torch.Tensor, int]:
    """Summed cross-entropy over the supervised positions alone, and how many they are."""
    targets = labels[:, 1:]
    chosen = targets != -100
    hidden = body(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][chosen]
    return cross_entropy(linear(hidden, head), targets[chosen], reduction="sum"), len(hidden)


def train(model: LlamaForCausalLM, tokenizer, given: argparse.Namespace) -> None:
    optimizers, corpus = make_optimizers(model), Corpus(given.seed + 1000)
    batches = micro_batches(tokenizer, corpus)
    body = torch.compile(model.model, dynamic=False)
    seen = step = 0
    while seen < given.tokens:
        left = (given.tokens - seen) / given.tokens
        rate = given.peak * min(1.0, (step + 1) / WARM_UP, left / DECAY)
        if given.start or seen > given.tokens / 2:
            corpus.read_more()
        total, supervised = 0.0, 0
        for _ in range(MICROS_PER_STEP):
            ids, labels = next(batches)
            loss, count = answer_loss(body, model.lm_head.weight, ids, labels)
            loss.backward()
            total, supervised, seen = total + loss.item(), supervised + count, seen + ids.numel()
        for parameter in model.parameters():
            parameter.grad /= supervised
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for factor, optimizer in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        if step % 250 == 0:
            print(
                f"step {step}, {seen / 1e6:.2f}M tokens, loss {total / supervised:.4f}", flush=True
            )
            save(model, tokenizer, given.output)  # to go on from with --start


def save(model: LlamaForCausalLM, tokenizer, output_dir: Path) -> None:
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=TINY_CHAT)
    parser.add_argument("--tokens", type=float, default=62e6, help="tokens to train on")
    parser.add_argument("--start", help="folder of a model to train on, instead of a new one")
    parser.add_argument("--peak", type=float, default=2.5e-3, help="learning rate before the decay")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    tokenizer = AutoTokenizer.from_pretrained(given.start or TINY_CHAT)
    if given.start:
        model = LlamaForCausalLM.from_pretrained(given.start, dtype=torch.float32)
    else:
        model = make_model()
    model.to(DEVICE)
    train(model, tokenizer, given)
    save(model, tokenizer, given.output)


if __name__ == "__main__":
    main()
