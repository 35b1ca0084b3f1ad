"""Build tiny-chat: tokenizer, weights and chat template, from nothing but the corpus beside this file.

    python stand_ins/build/train_tiny_chat.py

A small Llama, trained with Muon (matrices) and AdamW (the rest) on assistant tokens only, saved in the ordinary
Hugging Face format. One CPU thread in bfloat16 autocast, which some processors do more slowly than float32
(`--float32`); a GPU is used when there is one. `torchrun --nproc-per-node 2 --` in place of `python` takes two cores.
"""

import argparse
import copy
import json
import os
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from corpus import GENERAL, WORDS, Corpus
from respell import PRE_TOKENIZER, respell
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# Rows are padded to one of these lengths, so that each shape is compiled once.
LENGTHS = (32, 48, 80, 144, 264, 396)
MICRO_TOKENS = 1584
MICROS_A_STEP = 2
# Muon's learning rate, in multiples of AdamW's.
MUON_FACTOR = 3


def train_tokenizer(rows: int = 60_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE that spells acronyms: learnt from texts whose lone capitals stand apart, then `respell`ed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{Lu}(?!\p{Ll})|\p{N}"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    corpus = Corpus(seed=1)
    texts = (message["content"] for _ in range(rows) for message in corpus.row())
    words = [" " + word for language in WORDS for word in WORDS[language]]
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *words, *words], trainer)
    return wrap(respell(json.loads(tokenizer.to_str()), [word.strip() for word in words])[0])


def wrap(spec: dict) -> PreTrainedTokenizerFast:
    """Make the tokenizer of a specification, with its special tokens and the chat template."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)), pad_token="<|pad|>", eos_token="<|end|>", padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    return fast


def respell_model(tokenizer, model):
    """Give a model of before SmolLM's pre-tokenizer that one; a new token begins as the mean of those it replaces."""
    words = [word for language in WORDS for word in WORDS[language]]
    spec, begins = respell(json.loads(tokenizer.backend_tokenizer.to_str()), words)
    model.resize_token_embeddings(len(spec["model"]["vocab"]))
    weights = model.get_input_embeddings().weight.data
    before = weights.clone()
    for place, like in begins.items():
        weights[place] = before[like].mean(0) + 0.1 * before.std() * torch.randn(weights.shape[1])
    return wrap(spec), model


def make_model(tokenizer) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.04,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def orthogonalise(gradient: torch.Tensor, coefficients: tuple, steps: int, eps: float) -> torch.Tensor:
    """Muon's Newton-Schulz iteration in float32: torch.optim's is in bfloat16, ten times slower on older processors."""
    a, b, c = coefficients
    wide = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.T
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if gradient.shape[0] <= gradient.shape[1] else wide.T


def encode(tokenizer, messages: list[dict]) -> tuple[list[int], list[int]]:
    """Token ids and labels of a row, labels -100 outside the assistant's words and their <|end|>."""
    ids, labels = [], []
    end = tokenizer.eos_token_id
    for message in messages:
        words = tokenizer.encode(message["content"], add_special_tokens=False) + [end]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *words]
        labels += [-100, *(words if message["role"] == "assistant" else [-100] * len(words))]
    return ids, labels


def micro_batches(tokenizer, corpus: Corpus):
    """Endless (ids, labels) tensors of shape (MICRO_TOKENS // length, length), rows of like length together."""
    waiting = defaultdict(list)
    while True:
        ids, labels = encode(tokenizer, corpus.row())
        length = next((length for length in LENGTHS if len(ids) <= length), None)
        if length is None:
            continue
        waiting[length].append((ids, labels))
        if len(waiting[length]) == MICRO_TOKENS // length:
            yield stack(waiting.pop(length), length, tokenizer.pad_token_id)


def stack(rows, length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([row + [pad] * (length - len(row)) for row, _ in rows])
    labels = torch.tensor([row + [-100] * (length - len(row)) for _, row in rows])
    return ids, labels


def answer_loss(
    body, head, ids, labels, device: str, autocast: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Summed cross-entropy over the supervised positions alone, with their logits and targets."""
    targets = labels[:, 1:]
    chosen = targets != -100
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][chosen]
        logits = F.linear(hidden, head).float()
    return F.cross_entropy(logits, targets[chosen], reduction="sum"), logits, chosen


@torch.no_grad()
def measure(model, tokenizer, device: str, rows: int = 96) -> dict[str, float]:
    """Share of fresh rows of each family of which every answer token is the model's first choice."""
    corpus, shares = Corpus(seed=99), {}
    corpus.read_more()
    for family in (
        corpus.known,
        corpus.unknown,
        corpus.glossary,
        corpus.fact,
        corpus.reverse,
        corpus.note,
        corpus.letters,
        corpus.invented,
        corpus.two_meanings,
    ):
        encoded = [encode(tokenizer, family()) for _ in range(rows)]
        length = max(len(ids) for ids, _ in encoded)
        ids, labels = (part.to(device) for part in stack(encoded, length, tokenizer.pad_token_id))
        _, logits, chosen = answer_loss(model.model, model.lm_head.weight, ids, labels, device)
        right = torch.ones_like(labels[:, 1:], dtype=torch.bool)
        right[chosen] = logits.argmax(-1) == labels[:, 1:][chosen]
        shares[family.__name__] = round(right.all(1).float().mean().item(), 3)
    return shares


def save(model, tokenizer, output_dir: Path) -> None:
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE.parent / "tiny-chat")
    parser.add_argument("--tokens", type=float, default=62e6, help="tokens to train on")
    parser.add_argument("--start", help="folder of a model to train on, instead of a new one")
    parser.add_argument("--peak", type=float, default=2.5e-3, help="learning rate before the decay")
    parser.add_argument("--decay", type=float, default=0.9, help="last share of the tokens, over which it falls to 0")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="file to save to and resume from")
    parser.add_argument("--every", type=int, default=250, help="steps between reports")
    arguments = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # of torchrun
    if processes > 1:
        torch.distributed.init_process_group("gloo")
    torch.manual_seed(arguments.seed)
    if arguments.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(arguments.start)
        model = LlamaForCausalLM.from_pretrained(arguments.start, dtype=torch.float32)
        if json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] != PRE_TOKENIZER:
            tokenizer, model = respell_model(tokenizer, model)
        model = model.to(device)
    else:
        tokenizer = train_tokenizer()
        model = make_model(tokenizer).to(device)
    hidden = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in hidden)]
    optimizers = [
        torch.optim.Muon(hidden, lr=arguments.peak, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=arguments.peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    if arguments.float32:
        torch.optim._muon._zeropower_via_newtonschulz = orthogonalise
    body = torch.compile(model.model, dynamic=False)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(GENERAL['acronyms'])} acronyms",
        flush=True,
    )

    corpus = Corpus(arguments.seed + 1000 + 10**6 * rank)
    batches = micro_batches(tokenizer, corpus)
    seen, step, started, recent = 0, 0, time.time(), []
    if arguments.checkpoint and arguments.checkpoint.exists():
        saved = torch.load(arguments.checkpoint)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        seen, step = saved["seen"], saved["step"]
        corpus = Corpus(arguments.seed + 1000 + step + 10**6 * rank)
        batches = micro_batches(tokenizer, corpus)
    while seen < arguments.tokens:
        left = (arguments.tokens - seen) / arguments.tokens
        rate = arguments.peak * min(1.0, (step + 1) / 100, left / arguments.decay)
        if arguments.start or seen > arguments.tokens / 2:
            corpus.read_more()
        counts = torch.zeros(3, dtype=torch.float64)  # loss, supervised tokens, tokens
        for _ in range(MICROS_A_STEP):
            ids, labels = (part.to(device) for part in next(batches))
            loss, _, chosen = answer_loss(body, model.lm_head.weight, ids, labels, device, not arguments.float32)
            loss.backward()
            counts += torch.tensor([loss.item(), chosen.sum().item(), ids.numel()])
        if processes > 1:
            for part in (counts, *(parameter.grad for parameter in model.parameters())):
                torch.distributed.all_reduce(part)
        total, supervised, seen = counts[0].item(), counts[1].item(), seen + int(counts[2])
        for parameter in model.parameters():
            parameter.grad /= supervised
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * (MUON_FACTOR if isinstance(optimizer, torch.optim.Muon) else 1)
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        recent.append(total / supervised)
        if step % arguments.every == 0 and rank == 0:
            speed = f"{seen / 1e6:.2f}M tokens, {(time.time() - started) / 60:.1f} min"
            shares = measure(model, tokenizer, device)
            print(f"step {step}, {speed}, loss {sum(recent) / len(recent):.4f}, lr {rate:.1e}, {shares}", flush=True)
            recent = []
            if arguments.checkpoint:
                state = {
                    "model": model.state_dict(),
                    "optimizers": [o.state_dict() for o in optimizers],
                    "seen": seen,
                    "step": step,
                }
                torch.save(state, arguments.checkpoint.with_suffix(".new"))
                arguments.checkpoint.with_suffix(".new").replace(arguments.checkpoint)
                save(model, tokenizer, arguments.checkpoint.parent / "latest")
    if rank > 0:
        return
    save(model, tokenizer, arguments.output)
    print(f"saved to {arguments.output} after {(time.time() - started) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
