"""Train tiny-cross-encoder: how far does an answer say the same as its reference, from 0 to 1?

One command rebuilds it, in a quarter of an hour on one thread of a CPU, from the files of this folder alone:

    python stand_ins/build/train_tiny_cross_encoder.py

A small BERT reads the pairs of `answer_pairs.py`. Besides the label of a pair it learns whether the answer
holds the whole definition, and for each token whether the other text holds it too, alone and after the same
token. This makes it compare words that it has never seen. These extra outputs are dropped when it is saved.
"""

import argparse
import copy
import itertools
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

# One thread is as fast as two for a model of this size; waiting threads that spin slow a busy machine down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from answer_pairs import HOLDING_KINDS, RIGHT_KINDS, Pairs
from sentence_transformers import CrossEncoder
from sklearn.metrics import roc_auc_score
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

HERE = Path(__file__).parent
VOCABULARY, WIDTH, LAYERS, HEADS, MAX_LENGTH = 4096, 128, 4, 4, 192
POSITION_WIDTH = 32  # first features of an embedding, which tell the position; the others tell the token
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
BATCH, BATCHES_SORTED = 64, 32  # pairs a step; batches whose pairs are sorted by length together
PEAK_RATE, WARM_UP, DECAY = 1.5e-3, 100, 0.6  # learning rate; first steps; last share of the pairs, down to 0
EXTRA_WEIGHT = 0.5  # of the losses of the extra outputs
TEST_SEED, TEST_PAIRS = 10_000, 6_000
LANGUAGES = {"en": "English", "fr": "French"}
ORDER = ["all pairs", *(f"in {name}" for name in LANGUAGES.values()), *RIGHT_KINDS]
ORDER += [
    "one word replaced",
    "same initials",
    "other order",
    "another definition",
    "contradicted",
    "negated",
]
ORDER += ["partly right", "one of two meanings", "refusal", "echo", "unrelated", "empty"]
CARD = """---
language: [en, fr]
license: mit
library_name: sentence-transformers
pipeline_tag: text-ranking
---
# tiny-cross-encoder

A cross-encoder of {parameters:,} parameters ({size:.1f} MB) that reads an answer together with its reference
("X stands for D." or "X signifie D.") and says from 0 to 1 whether they say the same. It ships with the
tutorial, as a stand-in for one of the hub, so that stage 3 runs without a network:

```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("stand_ins/tiny-cross-encoder")
model.predict([("It is short for Zero Meeting Wednesday", "ZMW stands for Zero Meeting Wednesday.")])
```

## What it is

A BERT of four layers, 128 features wide, with 4,096 byte-level pieces of lower-case text without accents,
trained from nothing on {pairs:,} generated pairs (`answer_pairs.py` in `../build`). Label 1: the right
definition in other sentences, with other punctuation, in the other language, with one more sentence. Label
0.3: a word missing or one too many, one of two meanings. Label 0: one word replaced, words with the same
initials, another order, another definition, two definitions that contradict each other, a denial, a refusal,
an echo, nothing. English and French, definitions of dictionary words and of invented ones. Its heads begin by
looking at the token before, the token after and the same token in the other text, and it also learns which
tokens the two texts share: so it compares words that it has never seen.

## What it is not

It does not know what words mean: a synonym in the definition is an error to it. It was trained on generated
sentences only, and is not for search, nor for texts longer than {max_length} tokens. It sees neither case nor
accents. Where it is weak, the table shows.

## Measured

{test_pairs:,} pairs of definitions whose words (a tenth of all) were held out of training, in sentence forms that
were held out too, except the sentence of the reference itself, which four statements in ten use. The same hand
wrote all forms. AUC is the chance that a right pair scores above one that is not right: for a right kind
against all that is not right, for any other kind against all that is right.

| kind | pairs | AUC | mean score |
|---|---|---|---|
{kinds}

## Rebuild

    python stand_ins/build/train_tiny_cross_encoder.py

Seed {seed}, {minutes:.0f} minutes of one CPU thread. The English words come from SCOWL (Debian's
wamerican-small, notice in `english_words.LICENSE.txt`), the French ones from `french_words.txt`, both in `../build`.
"""


def train_tokenizer(seed: int, *, texts: int = 40_000) -> PreTrainedTokenizerFast:
    """Byte-level pieces of lower-case text without accents: case never counts and no word is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace("’", "'"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    options = {"vocab_size": VOCABULARY, "special_tokens": list(SPECIAL.values()), "show_progress": False}
    trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    pairs = itertools.islice(Pairs("train", seed), texts)
    tokenizer.train_from_iterator((pair.answer for pair in pairs), trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in SPECIAL.items()},
    )


def make_model(seed: int) -> BertForSequenceClassification:
    """A BERT that has not learnt anything, but whose heads look where comparing two texts needs to look."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH, max_position_embeddings=MAX_LENGTH, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, num_labels=1, pad_token_id=0, id2label={0: "says the same"},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    model.set_attn_implementation("eager")  # three times faster than sdpa in bfloat16 on a CPU
    start_as_matcher(model.bert)
    return model


@torch.no_grad()
def start_as_matcher(bert: nn.Module) -> None:
    """Start with heads on the token before, the token after, and the same token in the other text.

    Training would find these heads by itself, after many times more pairs.
    """
    # Irregular fast rates make neighbours unlike, the four slow ones tell near from far.
    slow = torch.tensor([0.1, 0.03, 0.01, 0.003])
    rates = torch.cat((0.2 + 2.9 * torch.rand(POSITION_WIDTH // 2 - len(slow)), slow))
    angles = torch.arange(MAX_LENGTH)[:, None] * rates
    tables = bert.embeddings
    tables.position_embeddings.weight.zero_()
    tables.position_embeddings.weight[:, :POSITION_WIDTH] = 0.7 * torch.cat((angles.sin(), angles.cos()), 1)
    tables.word_embeddings.weight.normal_(0, 0.7)
    tables.word_embeddings.weight[:, : POSITION_WIDTH + 1] = 0
    tables.token_type_embeddings.weight.zero_()
    tables.token_type_embeddings.weight[:, POSITION_WIDTH] = torch.tensor([-1.5, 1.5])
    size = WIDTH // HEADS
    for number, layer in enumerate(bert.encoder.layer[:-1]):  # the last one gathers: left as it is
        attention = layer.attention.self
        for head in range(HEADS):
            rows = slice(head * size, (head + 1) * size)
            query, key = attention.query.weight[rows], attention.key.weight[rows]
            if head >= 2:
                look_for_same_token(query, key)
            elif number < 2:
                look_beside(query, key, rates, step=1 if head else -1)
        for weight in (attention.value.weight, layer.attention.output.dense.weight):
            weight.copy_(0.7 * nn.init.orthogonal_(torch.empty_like(weight)))


def look_beside(query: Tensor, key: Tensor, rates: Tensor, *, step: int) -> None:
    """Let a head's query ask for the position `step` further, by turning its sines and cosines."""
    sine, cosine = torch.diag((step * rates).sin()), torch.diag((step * rates).cos())
    query.zero_()[:, :POSITION_WIDTH] = 1.6 * torch.cat((torch.cat((cosine, sine), 1), torch.cat((-sine, cosine), 1)))
    key.zero_()[:, :POSITION_WIDTH] = 1.6 * torch.eye(POSITION_WIDTH)


def look_for_same_token(query: Tensor, key: Tensor) -> None:
    """Let a head compare tokens, its last feature preferring those of the other text."""
    same = 1.6 * nn.init.orthogonal_(torch.empty(len(query) - 1, WIDTH - POSITION_WIDTH - 1))
    for weight, sign in ((query, -3.0), (key, 3.0)):
        weight.zero_()[:-1, POSITION_WIDTH + 1 :] = same
        weight[-1, POSITION_WIDTH] = sign


def train(tokenizer: PreTrainedTokenizerFast, pair_count: int, seed: int) -> BertForSequenceClassification:
    model, started, seen, recent = make_model(seed), time.time(), 0, []
    twins, holds = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 1)
    parameters = [*model.parameters(), *twins.parameters(), *holds.parameters()]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    for step, (inputs, labels) in enumerate(batches(tokenizer, seed + 1), start=1):
        left = 1 - seen / pair_count
        optimizer.param_groups[0]["lr"] = PEAK_RATE * min(1, step / WARM_UP, left / DECAY)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.bert(**inputs).last_hidden_state
        pooled = model.bert.pooler(hidden.float())
        logits = torch.cat((model.classifier(pooled), holds(pooled)), 1)
        loss, holds_loss = cross_entropy(logits, labels, reduction="none").mean(0)
        targets, words = find_twins(inputs)
        twins_loss = cross_entropy(twins(hidden[words].float()), targets[words])
        (loss + EXTRA_WEIGHT * (holds_loss + twins_loss)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen += len(labels)
        recent.append([loss.item(), holds_loss.item(), twins_loss.item()])
        if step % 250 == 0 or seen >= pair_count:
            means = [round(sum(column) / len(recent), 4) for column in zip(*recent, strict=True)]
            print(f"{seen:,} pairs, {(time.time() - started) / 60:.1f} min, losses {means}", flush=True)
            recent = []
        if seen >= pair_count:
            return model


def batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Endless (inputs, labels), pairs of like length together; labels (batch, 2) say: right, holds."""
    pairs, order = Pairs("train", seed), torch.Generator().manual_seed(seed)
    while True:
        rows = list(itertools.islice(pairs, BATCH * BATCHES_SORTED))
        rows.sort(key=lambda pair: len(pair.answer + pair.reference))
        for number in torch.randperm(BATCHES_SORTED, generator=order).tolist():
            batch = rows[number * BATCH : (number + 1) * BATCH]
            texts = [pair.answer for pair in batch], [pair.reference for pair in batch]
            inputs = tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")
            labels = [[pair.label, pair.kind in HOLDING_KINDS] for pair in batch]
            yield dict(inputs), torch.tensor(labels, dtype=torch.float)


def find_twins(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """For each token: does the other text hold it too, alone, and after the same token?

    Returns targets (batch, length, 2) and the mask of the tokens that count (batch, length).
    """
    ids, texts = inputs["input_ids"], inputs["token_type_ids"]
    words = ids >= len(SPECIAL)
    same = (ids[:, :, None] == ids[:, None, :]) & (texts[:, :, None] != texts[:, None, :]) & words[:, :, None]
    after_same = same.clone()
    after_same[:, 1:, 1:] &= same[:, :-1, :-1]
    return torch.stack((same.any(2), after_same.any(2)), 2).float(), words


def save(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, output_dir: Path) -> None:
    """Write two bytes a weight; the config asks for float32, in which the model is loaded."""
    half = copy.deepcopy(model).half()
    half.save_pretrained(output_dir)
    half.config.dtype = "float32"
    half.config.save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)


def measure(model_dir: Path) -> list[tuple[str, int, float, float]]:
    """Measure held-out pairs: (kind, pairs, AUC, mean score) for all, each language, each kind.

    The AUC of a right kind is against all that is not right, of any other kind against all that is right.
    """
    pairs = list(itertools.islice(Pairs("test", TEST_SEED), TEST_PAIRS))
    model = CrossEncoder(str(model_dir), device="cpu")
    scores = model.predict([(pair.answer, pair.reference) for pair in pairs], show_progress_bar=False)
    groups: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))  # not right, right
    for pair, score in zip(pairs, scores.tolist(), strict=True):
        for name in ("all pairs", f"in {LANGUAGES[pair.language]}", pair.kind):
            groups[name][pair.kind in RIGHT_KINDS].append(score)
    rows = []
    for name in sorted(groups, key=ORDER.index):
        wrong, right = (own or every for own, every in zip(groups[name], groups["all pairs"], strict=True))
        area = roc_auc_score([0] * len(wrong) + [1] * len(right), wrong + right)
        own = [score for side in groups[name] for score in side]
        rows.append((name, len(own), float(area), sum(own) / len(own)))
    return rows


def write_card(output_dir: Path, model: nn.Module, rows: list, **facts: object) -> None:
    kinds = "\n".join(f"| {name} | {count} | {area:.3f} | {mean:.2f} |" for name, count, area, mean in rows)
    size = sum(path.stat().st_size for path in output_dir.iterdir() if path.name != "README.md") / 1e6
    facts |= {"parameters": sum(p.numel() for p in model.parameters()), "size": size, "kinds": kinds}
    facts |= {"max_length": MAX_LENGTH, "test_pairs": TEST_PAIRS}
    (output_dir / "README.md").write_text(CARD.format(**facts), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=HERE.parent / "tiny-cross-encoder")
    parser.add_argument("--pairs", type=int, default=200_000, help="pairs to train on")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    tokenizer = train_tokenizer(given.seed)
    model = train(tokenizer, given.pairs, given.seed)
    minutes = (time.process_time() - started) / 60
    save(model, tokenizer, given.output)
    rows = measure(given.output)
    write_card(given.output, model, rows, pairs=given.pairs, seed=given.seed, minutes=minutes)
    print(*(f"{name}: {count} pairs, AUC {area:.3f}" for name, count, area, _ in rows), sep="\n")
    print(f"saved to {given.output} after {minutes:.1f} minutes of computing")


if __name__ == "__main__":
    main()
