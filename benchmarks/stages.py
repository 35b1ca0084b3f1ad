"""All three stages beside the original tutorial's way of doing them, and beside what the machine allows.

    python benchmarks/stages.py            measures, adds the rounds to those of stages.json on the same processor, and
                                           writes the table of all of them into README.md
    python benchmarks/stages.py --check    measures again, and says whether each ratio lies in the spread that README.md
                                           states; writes nothing

The original's way is told anew, in our own words. In each round the two ways and the bound follow one another, so that
a busy machine slows all three. Waiting for a server counts in seconds of the clock, computing in seconds of one core.
The LLM is the practice server, a stand-in, with a known delay: what is measured is the waiting, not an LLM.
`--small` shrinks everything, to try the command itself: its numbers mean nothing, and README.md stays as it is.
"""

import argparse
import json
import math
import platform
import random
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import requests
import torch
from answering_speed import exam_questions, one_by_one
from torch.utils.flop_counter import FlopCounterMode
from training_speed import (
    Timer,
    clock,
    example_rows,
    knobs_for,
    load_tiny_chat,
    matmul_rate,
    original_trainer,
    our_trainer,
    prepare,
    random_model,
    spread,
    time_bare,
    time_trainer,
)

from helpers import chat, compare, dataset, model, score, train
from helpers.acronyms import read_acronyms
from helpers.config import EXAMPLE_DATA, REPOSITORY
from stand_ins.practice_server import PracticeServer

MARKS = ("<!-- benchmarks/stages.py: begin -->", "<!-- benchmarks/stages.py: end -->")
ROUND = ("original", "ours", "bound")
Round = tuple[float, float, float]  # the seconds of each
COLUMNS = ("stage, and what is done", "the original's way", "ours", "original ÷ ours", "bound", "ours ÷ bound")
AT_ONCE = 4  # requests in flight, the helpers' default
_RATIO = re.compile(r"([\d.]+) \(([\d.]+) – ([\d.]+)\)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each is measured, in turn")
    parser.add_argument("--delay", type=float, default=0.25, help="seconds that a reply of the server takes")
    parser.add_argument("--small", action="store_true", help="little of everything, to try the command")
    parser.add_argument("--check", action="store_true", help="compare with the page's table instead of writing it")
    parser.add_argument("--page", type=Path, help="where the table stands; README.md, or with --small nowhere")
    parser.add_argument("--runs", type=Path, help="where the rounds are kept; stages.json, or with --small nowhere")
    given = parser.parse_args()
    page = given.page or (None if given.small else REPOSITORY / "README.md")
    runs = given.runs or (None if given.small else Path(__file__).with_name("stages.json"))
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
        write(page, report(together))


def works(small: bool, delay: float) -> Iterator[tuple[str, Callable[[], Round]]]:
    """What is measured: its name for the table, and a function that measures a round of it."""
    acronyms = read_acronyms(Path(__file__).with_name("new_acronyms.json"))[: 4 if small else 24]
    yield f"1, {len(acronyms)} acronyms, {AT_ONCE} requests at once", lambda: conversations(acronyms, delay)
    rows = train.make_rows(dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json"))[:4] if small else example_rows()
    rows = random.Random(0).sample(rows, min(len(rows), 160))
    width = 256 if small else 1024  # of the matrices that the best rate is measured with
    yield f"2, tiny-chat, {len(rows)} rows", training(load_tiny_chat, rows, width)
    shape, few = ("small", rows[:4]) if small else ("SmolLM2-135M", rows[:16])
    yield f"2, {shape}'s shape, {len(few)} rows", training(lambda: random_model(shape), few, width)
    questions, (longest, shorter) = exam_questions(3 if small else 64), (8, 4) if small else (48, 16)  # tokens
    yield f"3, tiny-chat, {len(questions)} answers", answering(load_tiny_chat, questions, longest, width)
    few = questions[:2] if small else questions[:8]
    yield f"3, {shape}'s shape, {len(few)} answers", answering(lambda: random_model(shape), few, shorter, width)
    labelled = compare.read_summary(EXAMPLE_DATA / "labelled_answers.json")[: len(acronyms)]
    yield f"3, {len(labelled)} verdicts, {AT_ONCE} requests at once", lambda: judging(labelled, delay)


# --- waiting for a server ------------------------------------------------------------------------------------------


def conversations(acronyms: list, delay: float) -> Round:
    """The original asks for one acronym after the other and takes what comes."""
    prompts = [dataset.conversation_prompt(a, 16, intents=dataset.TRAIN_INTENTS) for a in acronyms]

    def ours(ask: Callable[[str], str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.json"
            dataset.build_dataset(acronyms, ask, path, count=16, split="train", workers=AT_ONCE)

    return waiting(prompts, dataset.parse_conversations, ours, delay)


def judging(rows: list[dict], delay: float) -> Round:
    """The original has one answer judged after the other."""
    rows = [row | {"definition": " | ".join(row["definitions"])} for row in rows]
    prompts = [score.judge_prompt(row["question"], row["answer"], row["definition"]) for row in rows]
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


# --- computing -----------------------------------------------------------------------------------------------------


def training(load: Callable, rows: list[dict], width: int) -> Callable[[], Round]:
    """The original trains with batch 1, all rows padded to one length, the prompt learnt too.

    The bound: the products of matrices that the rows need one by one, without padding, at this core's best rate.
    """
    base, tokenizer = load()
    knobs = knobs_for(base)
    data, bf16 = prepare(base, tokenizer, rows, knobs)
    with FlopCounterMode(display=False) as counter:
        time_bare(load()[0], data, replace(knobs, batch_size=1), bf16=False, flat=False)
    steps, products = math.ceil(len(rows) / knobs.batch_size), counter.get_total_flops()

    def measure() -> Round:
        with tempfile.TemporaryDirectory() as folder:
            timer = Timer()
            original_trainer(*load(), rows, knobs, folder, timer).train()
        ours = steps * time_trainer(our_trainer, *load(), rows, knobs)
        return (
            timer.step * len(rows),
            ours,
            products / matmul_rate("cpu", torch.bfloat16 if bf16 else torch.float32, width),
        )

    time_trainer(our_trainer, *load(), rows[: knobs.batch_size], knobs)  # what the first run of all pays once
    return measure


def answering(load: Callable, questions: list[str], tokens: int, width: int) -> Callable[[], Round]:
    """The original samples the answers, one question after the other.

    The bound, the longer of two: the products of matrices that the answers need one by one, without padding, at
    this core's best rate; the weights read once for each token that a batch writes, at its best rate of reading.
    """
    language_model, tokenizer = load()
    original = one_by_one(language_model, tokenizer, tokens, sample=True)

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
        started = clock()
        original(questions)
        between = clock()
        ours(64)
        ended = clock()
        bound = max(
            products / matmul_rate("cpu", torch.float32, width), count / reading(language_model.num_parameters())
        )
        return between - started, ended - between, bound

    original(questions[:2])
    return measure


def reading(count: int) -> float:
    """Numbers a second that one core reads out of as many in float32, as a matrix by a vector; the best of some."""
    weights, vector = torch.ones(count // 1024, 1024), torch.ones(1024)
    seconds = []
    for _ in range(10):
        started = clock()
        weights @ vector
        seconds.append(clock() - started)
    return weights.numel() / min(seconds)


# --- the table -----------------------------------------------------------------------------------------------------


def alike(run: dict, other: dict) -> bool:
    """Whether two runs measured the same: processor, delay and works."""
    return all(list(run[key]) == list(other[key]) if key == "works" else run[key] == other[key] for key in other)


def report(runs: list[dict]) -> str:
    """The table of all rounds of some runs that are alike, and what it was measured on."""
    measured = {
        work: pd.DataFrame([seconds for run in runs for seconds in run["works"][work]], columns=ROUND)
        for work in runs[0]["works"]
    }
    rounds = len(measured[min(measured)])
    note = (
        f"*One core of a shared {runs[0]['processor']}; median of {rounds} rounds ({len(runs)} run(s) of the command),"
        " least – most of the ratios in brackets. The LLM is the practice server, a stand-in, with"
        f" {runs[0]['delay']} s for each reply; tiny-chat is a stand-in too, the other model has random weights.*"
    )
    return "\n".join(["", *table(measured), "", note, ""])


def table(measured: dict[str, pd.DataFrame]) -> list[str]:
    """The lines of a Markdown table: medians of the seconds, and the ratios of each round with their spread."""
    lines = [COLUMNS, ["---", *["--:"] * (len(COLUMNS) - 1)]]
    for work, seconds in measured.items():
        original, ours, bound = (f"{seconds[way].median():.2g} s" for way in ROUND)
        faster, above = seconds.original / seconds.ours, seconds.ours / seconds.bound
        lines.append([work, original, ours, spread(faster, ".2f"), bound, spread(above, ".2f")])
    return [f"| {' | '.join(line)} |" for line in lines]


def processor() -> str:
    """The processor's name, as Linux tells it, and the instructions that torch uses: one name has several speeds."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", path.read_text() if path.exists() else "", re.MULTILINE)
    return f"{found[1] if found else platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def write(page: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Put the table between the two marks of a page, and touch nothing else."""
    before, between, after = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = after.partition(marks[1])
    if not between or not end:
        raise SystemExit(f"{page} has no place for the table: it needs the lines {' and '.join(marks)}.")
    page.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}", encoding="utf-8")


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


if __name__ == "__main__":
    main()
