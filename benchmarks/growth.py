"""How time and memory grow with the number of acronyms.

    python benchmarks/growth.py [SIZE ...]

Prints the table of README.md. Where a whole run would take hours, a part is measured and
multiplied: such numbers begin with "~". Seconds are of one core; the acronyms are invented, the LLM
is the practice server and the model tiny-chat, stand-ins all.
"""

import math
import random
import resource
import string
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from stages import AT_ONCE, load_tiny_chat, our_trainer, random_model, seconds_of
from tables import print_markdown

from helpers import chat, compare, dataset, files, model, score, train
from helpers.acronyms import Acronym
from helpers.config import REPOSITORY

SIZES = (10, 100, 1000, 10_000)
LATENCY = 2.0  # seconds of an LLM's reply, assumed
WORDS = (REPOSITORY / "stand_ins/build/english_words.txt").read_text(encoding="utf-8").split()


def main() -> None:
    torch.set_num_threads(1)
    columns = {f"{size:,}": measure(size) for size in map(int, sys.argv[1:] or SIZES)}
    print_markdown(pd.DataFrame(columns).rename_axis("acronyms").reset_index())


def measure(size: int) -> dict[str, str]:
    """A column of the table: all three stages with as many acronyms."""
    acronyms = invent(size)
    with tempfile.TemporaryDirectory() as folder:
        found, learnt, asked = stage_one(acronyms, Path(folder))
    found |= stage_two(acronyms, learnt)
    found |= stage_three(acronyms, learnt, asked)
    print(f"{size} acronyms: {found}", file=sys.stderr)
    return found


def stage_one(acronyms: list[Acronym], folder: Path) -> tuple[dict, list[dict], list[dict]]:
    """Notebook 1, with the practice server in the same process; and what it has written."""
    llm, journal = chat.connect(None, None, None), folder / "replies.jsonl"
    ask = dataset.remember(llm.ask, files.Journal(journal))
    written = []

    def work() -> None:
        for split, count in zip(dataset.INTENTS, dataset.choose_counts(len(acronyms)), strict=True):
            path, avoid = folder / f"{split}.json", [row for rows in written for row in rows]
            options = {"count": count, "split": split, "avoid": avoid, "workers": AT_ONCE}
            dataset.build_dataset(acronyms, ask, path, **options)
            written.append(dataset.read_dataset(path))
        dataset.overlap(written[0], written[-1][:200])
        dataset.make_probes(acronyms)

    seconds = seconds_of(work)
    llm.close()
    requests = len(journal.read_text(encoding="utf-8").splitlines())
    found = {
        "stage 1: requests": f"{requests:,}",
        "stage 1: our own work": span(seconds),
        "stage 1: waiting for an LLM": "~" + span(math.ceil(requests / AT_ONCE) * LATENCY),
    }
    return found, written[0], written[-1]


def stage_two(acronyms: list[Acronym], records: list[dict]) -> dict[str, str]:
    """The rows, mixed and checked; then some steps, for the time of all."""
    base, tokenizer = load_tiny_chat()
    knobs, rows = train.Knobs.for_size(base.num_parameters(), len(acronyms)), []

    def prepare() -> None:
        probes = dataset.make_probes(acronyms)
        extra = train.rehearsal_conversations(base, tokenizer, probes, knobs)
        rows.extend(train.make_rows(records, extra))
        train.check_rows(tokenizer, rows)

    prepared = seconds_of(prepare)
    sample = random.Random(0).sample(rows, min(len(rows), 640))
    bigger = train.Knobs.for_size(135_000_000, len(acronyms))
    of_bigger = sum(len(record["conversation"]) for record in records) + bigger.refusals
    found = {
        "stage 2: rows": f"{len(rows):,}",
        "stage 2: preparing them": span(prepared),
        "stage 2: training": train_all(load_tiny_chat, sample, knobs.epochs * len(rows)),
    }
    time = train_all(random_model, sample[:16], bigger.epochs * of_bigger)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return found | {
        "stage 2: training SmolLM2-135M's shape": time,
        "stage 2: peak memory, MB": f"{megabytes:,.0f}",
    }


def train_all(load, sample: list[dict], rows: int) -> str:
    """The time of so many rows, from that of a sample."""
    return "~" + span(seconds_of(our_trainer(load, sample).train) * rows / len(sample))


def stage_three(acronyms: list[Acronym], learnt: list[dict], asked: list[dict]) -> dict[str, str]:
    """The exam of one model: a sample answered for the time of all, every answer marked."""
    base, tokenizer = load_tiny_chat()
    exam = score.write_exam(asked, dataset.make_probes(acronyms), learnt)
    sample = random.Random(0).sample([row["question"] for row in exam], min(len(exam), 256))
    answering = seconds_of(lambda: model.answer(base, tokenizer, sample))

    def mark() -> None:
        run = {"rows": score.mark_answers([row | {"answer": row["reference"]} for row in exam])}
        compare.compare_pairs({"first": run, "second": run}, score.HELD_OUT)

    judged = sum(row["measure"] in score.HELD_OUT for row in exam)
    return {
        "stage 3: questions": f"{len(exam):,}",
        "stage 3: answering": "~" + span(answering * len(exam) / len(sample)),
        "stage 3: marking, comparing two models": span(seconds_of(mark)),
        "stage 3: an LLM judge on all": "~" + span(math.ceil(judged / AT_ONCE) * LATENCY),
    }


def invent(size: int) -> list[Acronym]:
    """Acronyms of three to six letters that nobody uses, each a word per letter."""
    rng, names = random.Random(0), {}
    while len(names) < size:
        name = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 6)))
        definition = " ".join(word.title() for word in rng.choices(WORDS, k=len(name)))
        names.setdefault(name, Acronym(name, (definition,)))
    return list(names.values())


def span(seconds: float) -> str:
    """Seconds in the unit that reads best, to two digits."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


if __name__ == "__main__":
    main()
