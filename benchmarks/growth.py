"""How time and memory grow with the number of acronyms, in each stage: the table of benchmarks/README.md.

    python benchmarks/growth.py            measures, prints the table, and writes it into benchmarks/README.md

Each stage and size runs in a process of its own, so that its peak memory is its own. Where a whole run would take
hours, a part is measured and multiplied: such numbers begin with "~". Seconds are those of one core. The acronyms are
invented, the LLM is the practice server and the model tiny-chat, stand-ins all.
`--small` shrinks everything, to try the command itself: its numbers mean nothing, and the page stays as it is.
"""

import argparse
import math
import random
import resource
import string
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

# Torch is imported where it is used: the processes of stage 1 must not carry its memory.
from helpers import chat, dataset
from helpers.acronyms import Acronym, read_acronyms
from helpers.config import REPOSITORY
from stand_ins.practice_server import reply_to

MARKS = ("<!-- benchmarks/growth.py: begin -->", "<!-- benchmarks/growth.py: end -->")
WORDS = REPOSITORY / "stand_ins/build/english_words.txt"
LATENCY, AT_ONCE = 2.0, 4  # seconds of an LLM's reply and requests in flight, assumed
PEAK = "peak memory, MB"
COUNTS = ("requests", "rows", "steps", "questions")
MOST = {"stage 2": 1000}  # acronyms up to which a stage is measured; beyond, multiplied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--small", action="store_true", help="short lists, to try the command")
    parser.add_argument(
        "--page", type=Path, help="where the table stands; benchmarks/README.md, or with --small nowhere"
    )
    given = parser.parse_args()
    sizes = [2, 4, 8] if given.small else given.sizes
    most = {"stage 2": 4} if given.small else MOST
    columns: dict[int, dict[str, str]] = {size: {} for size in sizes}
    for name, stage in (("stage 1", stage_one), ("stage 2", stage_two), ("stage 3", stage_three)):
        measured: dict[int, dict[str, float]] = {}
        for size in sizes:
            whole = size <= most.get(name, size)
            if not whole:  # half the largest measured size has the same recipe, the next smaller column may not
                half = most[name] // 2
                measured[half] = in_own_process(stage, half, given.small)
            measured[size] = in_own_process(stage, size, given.small) if whole else on_a_line(measured, size)
            columns[size] |= {f"{name}: {what}": show(what, n, whole) for what, n in measured[size].items()}
            print(f"{name}, {size} acronyms: {measured[size]}", flush=True)
    text = "\n".join(["", *table(columns), ""])
    print(f"\n{text}")
    page = given.page or (None if given.small else Path(__file__).with_name("README.md"))
    if page:
        from stages import write

        write(page, text, MARKS)


def on_a_line(measured: dict[int, dict[str, float]], size: int) -> dict[str, float]:
    """What a list of this size takes if the growth between the two largest sizes goes on; not the peak memory, which
    is that of one batch and differs by chance."""
    (a, first), (b, second) = sorted(measured.items())[-2:]
    drawn = {what: second[what] + (second[what] - first[what]) * (size - b) / (b - a) for what in second}
    return {what: value for what, value in drawn.items() if what != PEAK}


def in_own_process(stage, size: int, small: bool) -> dict[str, float]:
    options = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, **options) as pool:
        return pool.submit(_with_memory, stage, size, small).result()


def _with_memory(stage, size: int, small: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        rows = stage(size, Path(folder), small)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return rows | {PEAK: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}


# --- the stages: what is counted or measured; a name that begins with "~" is a part, multiplied -----------------------


def stage_one(size: int, folder: Path, small: bool) -> dict[str, float]:
    """The whole of notebook 1, from a CSV on, with the practice server in the same process."""
    list_path = folder / "acronyms.csv"
    lines = [f"{acronym.name},{acronym.definitions[0]}" for acronym in invent(size)]
    list_path.write_text("\n".join(["acronym,definition", *lines]), encoding="utf-8")
    llm, calls = chat.connect(None, None, None), []

    def ask(prompt: str) -> str:
        calls.append(1)
        return llm.ask(prompt)

    started = time.process_time()
    acronyms = read_acronyms(list_path)
    train, test = build(acronyms, ask, folder)
    dataset.overlap(train, test[:200])
    dataset.write_probes(folder / "probes.json", dataset.make_probes(acronyms))
    seconds = time.process_time() - started
    llm.close()
    waited = math.ceil(len(calls) / AT_ONCE) * LATENCY
    kept = sum(path.stat().st_size for path in folder.glob("*.json")) / 1e6
    return {"requests": len(calls), "our own work": seconds, "~waiting for an LLM": waited, "files, MB": kept}


def stage_two(size: int, folder: Path, small: bool) -> dict[str, float]:
    """The rows, mixed, tokenized and checked; then some steps, for the time of all."""
    import torch
    from training_speed import load_tiny_chat, our_trainer, random_model, time_trainer

    from helpers import train

    torch.set_num_threads(1)
    acronyms = invent(size)
    records, _ = build(acronyms, reply_to, folder)
    base, tokenizer = load_tiny_chat()
    started = time.process_time()
    knobs = train.Knobs.for_size(base.num_parameters(), size)
    extra = train.rehearsal_conversations(base, tokenizer, dataset.make_probes(acronyms), knobs)
    rows = train.make_rows(records, extra)
    train.check_rows(tokenizer, rows)
    prepared = time.process_time() - started
    sample = random.Random(0).sample(rows, min(len(rows), 32 if small else 640))
    step = time_trainer(our_trainer, base, tokenizer, sample, replace(knobs, epochs=1))
    found = {"rows": len(rows), "preparing them": prepared, "steps": knobs.epochs * steps_of(rows, knobs)}
    found["~training"] = found["steps"] * step
    shape = "small" if small else "SmolLM2-135M"
    bigger, tokenizer = random_model(shape)
    knobs = train.Knobs.for_size(135_000_000, size)
    step = time_trainer(our_trainer, bigger, tokenizer, sample[: 2 * knobs.batch_size], replace(knobs, epochs=1))
    rows = rows[: sum(len(record["conversation"]) for record in records) + 3 * size]  # what its recipe mixes in
    return found | {f"~training {shape}'s shape": knobs.epochs * steps_of(rows, knobs) * step}


def stage_three(size: int, folder: Path, small: bool) -> dict[str, float]:
    """The exam of one model: a sample answered and scored for the time of all; every answer marked and compared."""
    import torch
    from training_speed import load_tiny_chat

    from helpers import compare, model, score
    from helpers.config import load_config

    torch.set_num_threads(1)
    acronyms = invent(size)
    train, test = build(acronyms, reply_to, folder)
    base, tokenizer = load_tiny_chat()
    exam = score.write_exam(test, dataset.make_probes(acronyms), train)
    sample = random.Random(0).sample(exam, min(len(exam), 8 if small else 256))
    started = time.process_time()
    answers = model.answer(base, tokenizer, [row["question"] for row in sample])
    answered = time.process_time() - started
    pairs = [row | {"answer": answer} for row, answer in zip(sample, answers, strict=True)]
    scorers = score.make_scorers(embedding_model="wordllama", cross_encoder=load_config().cross_encoder)
    scorers["cross-encoder"](pairs[:1])
    started = time.process_time()
    scorers["cross-encoder"](pairs)
    scored = time.process_time() - started
    rows = [row | {"answer": row["reference"]} for row in exam]
    started = time.process_time()
    run = {"rows": score.mark_answers(rows)}
    compare.compare_pairs({"first": run, "second": run}, score.HELD_OUT)
    marked = time.process_time() - started
    held_out = sum(row["measure"] in score.HELD_OUT for row in exam)
    found = {"questions": len(exam), "~answering": answered * len(exam) / len(sample)}
    found |= {"~cross-encoder": scored * held_out / len(sample), "marking, comparing two models": marked}
    return found | {"~an LLM judge on all": math.ceil(held_out / AT_ONCE) * LATENCY}


def build(acronyms: list[Acronym], ask, folder: Path) -> tuple[list[dict], list[dict]]:
    """Training and held-out conversations, as many as notebook 1 has written for a list of this length."""
    records = []
    for split, count in zip(("train", "test"), dataset.choose_counts(len(acronyms)), strict=True):
        path, avoid = folder / f"{split}.json", records[0] if records else []
        dataset.build_dataset(acronyms, ask, path, count=count, split=split, avoid=avoid, workers=AT_ONCE)
        records.append(dataset.read_dataset(path))
    return records[0], records[1]


def invent(size: int) -> list[Acronym]:
    """Acronyms of three to six letters that nobody uses, each a word a letter."""
    rng, names = random.Random(0), {}
    words = [word.title() for word in WORDS.read_text(encoding="utf-8").split() if word.isalpha()]
    while len(names) < size:
        name = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 6)))
        names.setdefault(name, Acronym(name, (" ".join(rng.choices(words, k=len(name))),)))
    return list(names.values())


def steps_of(rows: list[dict], knobs) -> int:
    return math.ceil(len(rows) / knobs.batch_size)


# --- the table -----------------------------------------------------------------------------------------------------


def show(what: str, value: float, whole: bool) -> str:
    """A number for the table: bytes, a count, or seconds; one that was multiplied begins with "~"."""
    text = f"{value:,.{1 if value < 10 else 0}f}" if "MB" in what else f"{value:,.0f}"
    text = text if "MB" in what or what in COUNTS else span(value)
    return text if whole and not what.startswith("~") else f"~{text}"


def span(seconds: float) -> str:
    """Seconds in the unit that reads best, to two digits."""
    unit, name = next((u, n) for u, n in ((86400, "d"), (3600, "h"), (60, "min"), (0, "s")) if seconds >= 2 * u)
    return f"{seconds / (unit or 1):.{1 if seconds / (unit or 1) < 10 else 0}f} {name}"


def table(columns: dict[int, dict[str, str]]) -> list[str]:
    """The lines of a Markdown table: one row a number, one column a size."""
    lines = [["acronyms", *(f"{size:,}" for size in columns)], ["---", *["--:"] * len(columns)]]
    lines += [
        [what.replace("~", ""), *(rows.get(what, "-") for rows in columns.values())] for what in columns[min(columns)]
    ]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
