"""Train tiny-chat's weights, from nothing but the corpus beside this file.

    python stand_ins/build/train_tiny_chat.py

A small Llama, trained with Muon (matrices) and AdamW (the rest) on assistant tokens only, in
float32 on one CPU thread, or on a GPU when there is one. Shape, tokenizer and chat template are
those of the tiny-chat in git; its card says where they come from. What it learnt is measured by
`python benchmarks/tiny_chat.py --model FOLDER`.

It is trained to be fine-tuned. Of an invented list notebook 2's own training makes a *shift*, what
each weight moves by. Every second batch is answered with a shift added: the model is to know the
list then, and all that it knew before. Its gradient moves the weights without the shift, which is
first-order MAML (Finn et al. 2017, https://arxiv.org/abs/1703.03400).
"""

import argparse
import copy
import os
import random
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from corpus import AfterTuning, Corpus, exchange, known_answer
from torch.nn.functional import cross_entropy, linear
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from helpers.acronyms import Acronym
from helpers.dataset import choose_counts, make_probes
from helpers.model import load_model, pick_device
from helpers.train import Knobs, make_rows, make_trainer, rehearsal_conversations

TINY_CHAT = Path(__file__).parents[1] / "tiny-chat"
# Rows are padded to one of these lengths, so that each shape is compiled once.
LENGTHS = (32, 48, 80, 144, 264, 396)
MICRO_TOKENS = 1584
WARM_UP = 100  # steps
DECAY = 0.9  # last share of the tokens, over which the learning rate falls to 0
MUON_FACTOR = 3  # Muon's learning rate, in multiples of AdamW's
LIST_SIZES = (10, 10, 30, 40)  # acronyms of the lists that it is fine-tuned on
SHIFTS = 8  # of so many lists the shifts are kept, the newest ones
NEW_SHIFT = 400  # steps until the next list
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
    inner = [weight for _, weight in matrices(model)]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in inner)]
    return {
        MUON_FACTOR: torch.optim.Muon(inner, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
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


def tune(folder: Path, seed: int) -> tuple[dict, dict[str, torch.Tensor]]:
    """Fine-tune the model of `folder` on an invented list, as notebook 2 does.

    Gives the list, and by what each matrix of the layers moved.
    """
    corpus = Corpus(seed)
    listed = corpus.new_list(corpus.rng.choice(LIST_SIZES))
    count = choose_counts(len(listed))[0]
    acronyms, conversations = [], []
    for name, (language, meanings) in listed.items():
        definitions = [definition for definition, _ in meanings]
        acronyms.append(Acronym(name, tuple(definitions), language=language))
        answer = known_answer(name, definitions, language)
        conversations += [exchange(corpus.question(name, language), answer) for _ in range(count)]
        if len(meanings) == 2:
            asked = (corpus.ask_meaning(name, language, meanings) for _ in range(count))
            conversations += [exchange(*pair) for pair in asked if pair[1] != answer]
    model, tokenizer = load_model(str(folder), device=pick_device("cpu"))
    before = {name: weight.clone() for name, weight in matrices(model)}
    knobs = Knobs.for_size(model.num_parameters(), len(listed), seed=seed)
    probes = make_probes(acronyms, seed=seed)
    rows = make_rows(
        [{"conversation": conversations}], rehearsal_conversations(model, tokenizer, probes, knobs)
    )
    with tempfile.TemporaryDirectory() as scratch:
        options = {"disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
        trainer = make_trainer(model, tokenizer, rows, scratch, knobs, **options)
        trainer.train()
    tuned = trainer.model.merge_and_unload()
    return listed, {name: weight.detach() - before[name] for name, weight in matrices(tuned)}


@torch.no_grad()
def move(model, shift: dict[str, torch.Tensor], sign: int) -> None:
    for name, weight in shift.items():
        model.get_parameter(name).add_(weight.to(DEVICE), alpha=sign)


def matrices(model) -> list[tuple[str, torch.nn.Parameter]]:
    return [(n, p) for n, p in model.named_parameters() if ".layers." in n and p.ndim == 2]


def answer_loss(body, head, ids, labels) -> tuple[torch.Tensor, int]:
    """Summed cross-entropy over the supervised positions alone, and how many they are."""
    targets = labels[:, 1:]
    chosen = targets != -100
    hidden = body(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][chosen]
    return cross_entropy(linear(hidden, head), targets[chosen], reduction="sum"), len(hidden)


def train(model: LlamaForCausalLM, tokenizer, given: argparse.Namespace) -> None:
    optimizers, corpus = make_optimizers(model), Corpus(given.seed + 1000)
    untuned = {}, micro_batches(tokenizer, corpus)
    tuned = deque(maxlen=SHIFTS)  # shifts, each with what is asked after it
    body = torch.compile(model.model, dynamic=False)
    seen = step = 0
    while seen < given.tokens:
        left = (given.tokens - seen) / given.tokens
        rate = given.peak * min(1.0, (step + 1) / WARM_UP, left / DECAY)
        if given.start or seen > given.tokens / 2:
            corpus.read_more()
            if step % NEW_SHIFT == 0:
                save(model, tokenizer, given.output)
                listed, shift = tune(given.output, given.seed + step)
                tuned.append((shift, micro_batches(tokenizer, AfterTuning(listed, step))))
        total, supervised = 0.0, 0
        for shift, batches in (untuned, random.choice(tuned or [untuned])):
            ids, labels = next(batches)
            move(model, shift, 1)
            loss, count = answer_loss(body, model.lm_head.weight, ids, labels)
            loss.backward()
            move(model, shift, -1)
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
            loss = total / supervised
            print(f"step {step}, {seen / 1e6:.2f}M tokens, loss {loss:.4f}", flush=True)
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
    random.seed(given.seed)
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
