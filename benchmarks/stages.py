"""How fast each stage is, and how time and memory grow with the number of acronyms: two tables of README.md.

    python benchmarks/stages.py            all three stages beside the original tutorial's way and beside what the
                                           machine allows; adds the rounds to those of stages.json on the same
                                           processor, and writes the table of all of them
    python benchmarks/stages.py --check    measures again, and says whether each ratio lies in the spread that the page
                                           states; writes nothing
    python benchmarks/stages.py --growth   10 to 10,000 acronyms; writes its table

In each round the two ways and the bound (ways.py) follow one another, so that a busy machine slows all three. For
growth each stage and size runs in a process of its own, so that its peak memory is its own; where a whole run would
take hours, a part is measured and multiplied: such numbers begin with "~". The acronyms are invented, the LLM is the
practice server and the model tiny-chat, stand-ins all.
`--small` shrinks everything, to try the command itself: its numbers mean nothing, and the page stays as it is.
"""

import argparse
import json
import math
import platform
import random
import re
import string
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

# Torch and what imports it are imported where they are used: stage 1's processes must not carry its memory.
from helpers import chat, dataset, files
from helpers.acronyms import Acronym, read_acronyms
from helpers.config import EXAMPLE_DATA, REPOSITORY
from stand_ins.practice_server import reply_to

HERE = Path(__file__).parent
MARKS = ("<!-- benchmarks/stages.py: begin -->", "<!-- benchmarks/stages.py: end -->")
GROWTH_MARKS = ("<!-- growth by benchmarks/stages.py: begin -->", "<!-- growth by benchmarks/stages.py: end -->")
COLUMNS = ("stage, and what is done", "the original's way", "ours", "original ÷ ours", "bound", "ours ÷ bound")
LATENCY, AT_ONCE = 2.0, 4  # seconds of an LLM's reply and requests in flight, assumed for growth
WORDS = REPOSITORY / "stand_ins/build/english_words.txt"
SIZES = (10, 100, 1000, 10_000)
MOST = {"stage 2": 1000}  # acronyms up to which a stage is measured; beyond, multiplied
PEAK = "peak memory, MB"
COUNTS = ("requests", "rows", "steps", "questions")
_RATIO = re.compile(r"([\d.]+) \(([\d.]+) – ([\d.]+)\)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--check", action="store_true", help="compare with the page's table instead of writing it")
    other.add_argument("--growth", action="store_true", help="how time and memory grow with the number of acronyms")
    parser.add_argument("--rounds", type=int, default=5, help="times that each way is measured, in turn")
    parser.add_argument("--delay", type=float, default=0.25, help="seconds that a reply of the server takes")
    parser.add_argument("--small", action="store_true", help="little of everything, to try the command")
    parser.add_argument("--page", type=Path, help="where the table stands, if not on its page; with --small nowhere")
    parser.add_argument("--runs", type=Path, help="where the rounds are kept; stages.json, or with --small nowhere")
    given = parser.parse_args()
    page = given.page or (None if given.small else HERE / "README.md")
    if given.growth:
        measure_growth(given.small, page)
    else:
        runs = given.runs or (None if given.small else HERE / "stages.json")
        measure_speed(given, page, runs)


# --- speed ---------------------------------------------------------------------------------------------------------


def measure_speed(given: argparse.Namespace, page: Path | None, runs: Path | None) -> None:
    import torch

    warnings.filterwarnings("ignore", category=FutureWarning)  # PEFT's old name for checkpointing: not ours to mend
    torch.set_num_threads(1)
    run = {"processor": processor(), "delay": given.delay, "works": {}}
    for work, take in works(given.small, given.delay):
        run["works"][work] = [[round(seconds, 4) for seconds in take()] for _ in range(given.rounds)]
        print(work, run["works"][work], flush=True)
    text = report([run])
    print(f"\n{text}")
    if given.check:
        check(page.read_text(encoding="utf-8"), text)
        return
    together = [run]
    if runs:
        kept = json.loads(runs.read_text(encoding="utf-8")) if runs.exists() else []
        together = [*(other for other in kept if alike(other, run)), run]
        runs.write_text("[\n" + ",\n".join(map(json.dumps, [*kept, run])) + "\n]\n", encoding="utf-8")
    if page:
        write(page, report(together), MARKS)


def works(small: bool, delay: float) -> Iterator[tuple[str, Callable[[], tuple[float, float, float]]]]:
    """What is measured: its name for the table, and a function that gives the seconds of a round, as ways.py says."""
    import ways

    from helpers import train
    from helpers.files import read_list

    acronyms = read_acronyms(HERE / "new_acronyms.json")[: 4 if small else 24]
    yield f"1, {len(acronyms)} acronyms, {ways.AT_ONCE} requests at once", lambda: ways.conversations(acronyms, delay)
    if small:
        rows = train.make_rows(dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json"))[:4]
    else:
        rows = random.Random(0).sample(ways.example_rows(), 160)
    width = 256 if small else 1024  # of the matrices that the best rate is measured with
    yield f"2, tiny-chat, {len(rows)} rows", ways.training(ways.load_tiny_chat, rows, width)
    shape, few = ("small", rows[:4]) if small else ("SmolLM2-135M", rows[:16])

    def load():
        return ways.random_model(shape)

    yield f"2, {shape}'s shape, {len(few)} rows", ways.training(load, few, width)
    questions, (longest, shorter) = ways.exam_questions(3 if small else 64), (8, 4) if small else (48, 16)  # tokens
    yield f"3, tiny-chat, {len(questions)} answers", ways.answering(ways.load_tiny_chat, questions, longest, width)
    few = questions[:2] if small else questions[:8]
    yield f"3, {shape}'s shape, {len(few)} answers", ways.answering(load, few, shorter, width)
    labelled = read_list(EXAMPLE_DATA / "labelled_answers.json")[: len(acronyms)]
    yield f"3, {len(labelled)} verdicts, {ways.AT_ONCE} requests at once", lambda: ways.judging(labelled, delay)


def alike(run: dict, other: dict) -> bool:
    """Whether two runs measured the same: processor, delay and works."""
    return all(list(run[key]) == list(other[key]) if key == "works" else run[key] == other[key] for key in other)


def report(runs: list[dict]) -> str:
    """The table of all rounds of some runs that are alike, and what it was measured on."""
    measured = {work: [seconds for run in runs for seconds in run["works"][work]] for work in runs[0]["works"]}
    rounds = len(measured[min(measured)])
    note = (
        f"*One core of a shared {runs[0]['processor']}; median of {rounds} rounds ({len(runs)} run(s) of the command),"
        " least – most of the ratios in brackets. The LLM is the practice server, a stand-in, with"
        f" {runs[0]['delay']} s for each reply; tiny-chat is a stand-in too, the other model has random weights.*"
    )
    return "\n".join(["", *table(measured), "", note, ""])


def table(measured: dict[str, list[Sequence[float]]]) -> list[str]:
    """The lines of a Markdown table: medians of the seconds, and the ratios of each round with their spread."""
    lines = [COLUMNS, ["---", *["--:"] * (len(COLUMNS) - 1)]]
    for work, rounds in measured.items():
        original, ours, bound = (f"{median(seconds):.2g} s" for seconds in zip(*rounds, strict=True))
        faster, above = [a / b for a, b, _ in rounds], [b / c for _, b, c in rounds]
        lines.append([work, original, ours, spread(faster), bound, spread(above)])
    return [f"| {' | '.join(line)} |" for line in lines]


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} – {max(values):.2f})"


def processor() -> str:
    """The processor's name, as Linux tells it, and the instructions that torch uses: one name has several speeds."""
    import torch

    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", path.read_text() if path.exists() else "", re.MULTILINE)
    return f"{found[1] if found else platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def check(page: str, text: str) -> None:
    """Say of each row whether both new medians lie within the spread that the page states; end with 1 if not."""
    stated, found = (
        {line.split("|")[1].strip(): _RATIO.findall(line) for line in part.splitlines() if _RATIO.search(line)}
        for part in (page, text)
    )
    outside = [work for work in found if not within(stated.get(work, []), found[work])]
    print("\nWithin the spread that the page states:", ", ".join(work for work in found if work not in outside))
    if outside:
        there, here = (re.search(r"One core of a shared (.+?);|$", part)[1] for part in (page, text))
        other = f" The page's are of {there}, these of {here}: its ratios may be others." if there != here else ""
        raise SystemExit(f"Outside: {'; '.join(outside)}.{other}")


def within(stated: list, found: list) -> bool:
    """Whether each median found lies between the least and the most that were stated for it."""
    pairs = zip(stated, found, strict=False)
    return len(stated) == len(found) and all(float(s[1]) <= float(f[0]) <= float(s[2]) for s, f in pairs)


# --- growth --------------------------------------------------------------------------------------------------------


def measure_growth(small: bool, page: Path | None) -> None:
    sizes, most = ((2, 4, 8), {"stage 2": 4}) if small else (SIZES, MOST)
    columns: dict[int, dict[str, str]] = {size: {} for size in sizes}
    for name, stage in (("stage 1", stage_one), ("stage 2", stage_two), ("stage 3", stage_three)):
        measured: dict[int, dict[str, float]] = {}
        for size in sizes:
            whole = size <= most.get(name, size)
            if not whole:  # half the largest measured size has the same recipe, the next smaller column may not
                half = most[name] // 2
                measured[half] = in_own_process(stage, half, small)
            measured[size] = in_own_process(stage, size, small) if whole else on_a_line(measured, size)
            columns[size] |= {f"{name}: {what}": show(what, n, whole) for what, n in measured[size].items()}
            print(f"{name}, {size} acronyms: {measured[size]}", flush=True)
    text = "\n".join(["", *growth_table(columns), ""])
    print(f"\n{text}")
    if page:
        write(page, text, GROWTH_MARKS)


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
    import resource  # which Windows lacks

    with tempfile.TemporaryDirectory() as folder:
        rows = stage(size, Path(folder), small)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return rows | {PEAK: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}


# What is counted or measured; a name that begins with "~" is a part, multiplied.


def stage_one(size: int, folder: Path, small: bool) -> dict[str, float]:
    """The whole of notebook 1, from a CSV on, with the practice server in the same process."""
    list_path = folder / "acronyms.csv"
    lines = [f"{acronym.name},{acronym.definitions[0]}" for acronym in invent(size)]
    list_path.write_text("\n".join(["acronym,definition", *lines]), encoding="utf-8")
    llm, calls = chat.connect(None, None, None), []

    def ask(prompt: str, *, seed: int) -> str:
        calls.append(1)
        return llm.ask(prompt, seed=seed)

    ask = dataset.remember(ask, files.Journal(folder / "replies.jsonl"))

    started = time.process_time()
    acronyms = read_acronyms(list_path)
    train, test = build(acronyms, ask, folder)
    dataset.overlap(train, test[:200])
    files.write_list(folder / "probes.json", dataset.make_probes(acronyms))
    seconds = time.process_time() - started
    llm.close()
    waited = math.ceil(len(calls) / AT_ONCE) * LATENCY
    kept = sum(path.stat().st_size for path in folder.glob("*.json")) / 1e6
    return {"requests": len(calls), "our own work": seconds, "~waiting for an LLM": waited, "files, MB": kept}


def stage_two(size: int, folder: Path, small: bool) -> dict[str, float]:
    """The rows, mixed, tokenized and checked; then some steps, for the time of all."""
    import torch
    from ways import load_tiny_chat, random_model, time_step

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
    step = time_step(base, tokenizer, sample, replace(knobs, epochs=1))
    found = {"rows": len(rows), "preparing them": prepared, "steps": knobs.epochs * steps_of(rows, knobs)}
    found["~training"] = found["steps"] * step
    shape = "small" if small else "SmolLM2-135M"
    bigger, tokenizer = random_model(shape)
    knobs = train.Knobs.for_size(135_000_000, size)
    step = time_step(bigger, tokenizer, sample[: 2 * knobs.batch_size], replace(knobs, epochs=1))
    rows = rows[: sum(len(record["conversation"]) for record in records) + 3 * size]  # what its recipe mixes in
    return found | {f"~training {shape}'s shape": knobs.epochs * steps_of(rows, knobs) * step}


def stage_three(size: int, folder: Path, small: bool) -> dict[str, float]:
    """The exam of one model: a sample answered and scored for the time of all; every answer marked and compared."""
    import torch
    from ways import load_tiny_chat

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
    texts = [row["answer"] for row in pairs], [row["reference"] for row in pairs]
    cross_encoder = load_config().cross_encoder
    score.cross_encoder_scores(texts[0][:1], texts[1][:1], cross_encoder)
    started = time.process_time()
    score.cross_encoder_scores(*texts, cross_encoder)
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
    records = {}
    for split, count in zip(dataset.INTENTS, dataset.choose_counts(len(acronyms)), strict=True):
        path, avoid = folder / f"{split}.json", [record for earlier in records.values() for record in earlier]
        dataset.build_dataset(acronyms, ask, path, count=count, split=split, avoid=avoid, workers=AT_ONCE)
        records[split] = dataset.read_dataset(path)
    return records["train"], records["test"]


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


def show(what: str, value: float, whole: bool) -> str:
    """A number for the table: bytes, a count, or seconds; one that was multiplied begins with "~"."""
    text = f"{value:,.{1 if value < 10 else 0}f}" if "MB" in what else f"{value:,.0f}"
    text = text if "MB" in what or what in COUNTS else span(value)
    return text if whole and not what.startswith("~") else f"~{text}"


def span(seconds: float) -> str:
    """Seconds in the unit that reads best, to two digits."""
    unit, name = next((u, n) for u, n in ((86400, "d"), (3600, "h"), (60, "min"), (0, "s")) if seconds >= 2 * u)
    return f"{seconds / (unit or 1):.{1 if seconds / (unit or 1) < 10 else 0}f} {name}"


def growth_table(columns: dict[int, dict[str, str]]) -> list[str]:
    """The lines of a Markdown table: one row a number, one column a size."""
    lines = [["acronyms", *(f"{size:,}" for size in columns)], ["---", *["--:"] * len(columns)]]
    lines += [
        [what.replace("~", ""), *(rows.get(what, "-") for rows in columns.values())] for what in columns[min(columns)]
    ]
    return [f"| {' | '.join(line)} |" for line in lines]


# --- the pages -----------------------------------------------------------------------------------------------------


def write(page: Path, text: str, marks: tuple[str, str]) -> None:
    """Put the table between the two marks of a page, and touch nothing else."""
    before, between, after = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = after.partition(marks[1])
    if not between or not end:
        raise SystemExit(f"{page} has no place for the table: it needs the lines {' and '.join(marks)}.")
    page.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
