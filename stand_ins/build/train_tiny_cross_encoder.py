"""Train tiny-cross-encoder: how far does an answer say the same as its reference, from 0 to 1?

One command rebuilds it, in a quarter of an hour on one thread of a CPU, and prints the table of its
card; shape and tokenizer are those of the tiny-cross-encoder in git:

    python stand_ins/build/train_tiny_cross_encoder.py

A small BERT reads the pairs of `answer_pairs.py`. Besides the label of a pair it learns whether the
answer holds the whole definition, and for each token whether the other text holds it too, alone and
after the same token. This makes it compare words that it has never seen. These extra outputs are
dropped when it is saved.
"""

import argparse
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

# One thread is as fast as two for a model of this size; waiting threads that spin slow a busy
# machine down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import pandas as pd
import torch
from answer_pairs import HOLDING_KINDS, KINDS, RIGHT_KINDS, Pairs
from sentence_transformers import CrossEncoder
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

TINY_CROSS_ENCODER = Path(__file__).parents[1] / "tiny-cross-encoder"
SHAPE = BertConfig.from_pretrained(TINY_CROSS_ENCODER)
WIDTH, HEADS = SHAPE.hidden_size, SHAPE.num_attention_heads
SPECIAL = 5  # [PAD], [UNK], [CLS], [SEP], [MASK]: the first ids
# First features of an embedding, which tell the position; the others tell the token.
POSITION_WIDTH = 32
BATCH = 64  # pairs per step
BATCHES_SORTED = 32  # batches whose pairs are sorted by length together
PEAK_RATE = 1.5e-3
WARM_UP = 100  # steps
DECAY = 0.6  # last share of the pairs, over which the rate falls to 0
EXTRA_WEIGHT = 0.5  # of the losses of the extra outputs
TEST_SEED, TEST_PAIRS = 10_000, 6_000


def make_model(seed: int) -> BertForSequenceClassification:
    """A BERT that knows nothing, but whose heads look where comparing two texts needs to look."""
    torch.manual_seed(seed)
    model = BertForSequenceClassification(SHAPE)
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
    angles = torch.arange(SHAPE.max_position_embeddings)[:, None] * rates
    tables = bert.embeddings
    tables.position_embeddings.weight.zero_()
    tables.position_embeddings.weight[:, :POSITION_WIDTH] = 0.7 * torch.cat(
        (angles.sin(), angles.cos()), 1
    )
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
    query.zero_()[:, :POSITION_WIDTH] = 1.6 * torch.cat(
        (torch.cat((cosine, sine), 1), torch.cat((-sine, cosine), 1))
    )
    key.zero_()[:, :POSITION_WIDTH] = 1.6 * torch.eye(POSITION_WIDTH)


def look_for_same_token(query: Tensor, key: Tensor) -> None:
    """Let a head compare tokens, its last feature preferring those of the other text."""
    same = 1.6 * nn.init.orthogonal_(torch.empty(len(query) - 1, WIDTH - POSITION_WIDTH - 1))
    for weight, sign in ((query, -3.0), (key, 3.0)):
        weight.zero_()[:-1, POSITION_WIDTH + 1 :] = same
        weight[-1, POSITION_WIDTH] = sign


def train(tokenizer, pair_count: int, seed: int) -> BertForSequenceClassification:
    model, seen = make_model(seed), 0
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
        if step % 250 == 0:
            print(f"{seen:,} pairs, loss {loss.item():.4f}", flush=True)
        if seen >= pair_count:
            return model


def batches(tokenizer, seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Endless (inputs, labels), pairs of like length together; labels (batch, 2): right, holds."""
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
    words = ids >= SPECIAL
    same = (
        (ids[:, :, None] == ids[:, None, :])
        & (texts[:, :, None] != texts[:, None, :])
        & words[:, :, None]
    )
    after_same = same.clone()
    after_same[:, 1:, 1:] &= same[:, :-1, :-1]
    return torch.stack((same.any(2), after_same.any(2)), 2).float(), words


def save(model: BertForSequenceClassification, tokenizer, output_dir: Path) -> None:
    """Write two bytes per weight; the config asks for float32, in which the model is loaded."""
    model.half().save_pretrained(output_dir)
    model.config.dtype = "float32"
    model.config.save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)


def print_table(model_dir: Path) -> None:
    """Measure the held-out pairs, all, by language and by kind, for the card."""
    pairs = pd.DataFrame(itertools.islice(Pairs("test", TEST_SEED), TEST_PAIRS))
    model = CrossEncoder(str(model_dir), device="cpu")
    texts = list(zip(pairs.answer, pairs.reference, strict=True))
    pairs["score"] = model.predict(texts, show_progress_bar=False)
    pairs["right"] = pairs.kind.isin(RIGHT_KINDS)
    groups = {"all pairs": pairs}
    groups |= {f"in {language}": part for language, part in pairs.groupby("language")}
    groups |= {kind: pairs[pairs.kind == kind] for kind in KINDS}
    print("| kind | pairs | AUC | mean score |\n|---|---|---|---|")
    for name, part in groups.items():
        # A right kind is set against all that is not right, any other one against all that is.
        others = pairs[pairs.right != part.right.iloc[0]] if part.right.nunique() == 1 else None
        both = pd.concat([part, others])
        area = roc_auc_score(both.right, both.score)
        print(f"| {name} | {len(part)} | {area:.3f} | {part.score.mean():.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=TINY_CROSS_ENCODER)
    parser.add_argument("--pairs", type=int, default=200_000, help="pairs to train on")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(TINY_CROSS_ENCODER)
    save(train(tokenizer, given.pairs, given.seed), tokenizer, given.output)
    print_table(given.output)


if __name__ == "__main__":
    main()
