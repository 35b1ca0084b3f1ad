"""What tiny-chat learns and keeps: the table of its model card.

    python benchmarks/tiny_chat.py [--model FOLDER] [--sizes 10 50 200]

Fine-tunes it on invented acronyms that it was not taught, with twelve conversations in each
language from the practice server, and asks each acronym with the 60 natural questions that were
written before the model was trained. Asked before, the model is called base; after, tuned.
"""

import argparse
import dataclasses
import json
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from tables import print_markdown

from helpers import chat, compare, dataset, model, score, train
from helpers.acronyms import Acronym, read_acronyms
from helpers.config import EXAMPLE_DATA, REPOSITORY, TINY_CHAT

HERE = Path(__file__).parent
NATURAL = json.loads((HERE / "natural_questions.json").read_text(encoding="utf-8"))
QUESTIONS = [*NATURAL["en"], *NATURAL["fr"]]
GENERAL = json.loads((EXAMPLE_DATA / "general_questions.json").read_text(encoding="utf-8"))
DEVICE = model.pick_device("cpu")
Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=str(REPOSITORY / TINY_CHAT))
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 50, 200])
    given = parser.parse_args()
    listed = read_acronyms(HERE / "new_acronyms.json")
    base, tokenizer = model.load_model(given.model, device=DEVICE)
    rows = measure_base(partial(model.answer, base, tokenizer), listed)
    for acronyms in (listed[:size] for size in given.sizes):
        answer = tune(given.model, acronyms)
        rows += measure_tuned(answer, acronyms)
    print_markdown(pd.DataFrame(rows))


def tune(model_name: str, acronyms: list[Acronym]) -> Callable:
    """Train on these acronyms in a temporary folder, and give what answers questions."""
    base, tokenizer = model.load_model(model_name, device=DEVICE)
    llm, records = chat.connect(None, None, None), []
    probes = dataset.make_probes(acronyms)
    knobs = train.Knobs.for_size(base.num_parameters(), len(acronyms))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for language in ("en", "fr"):  # the questions come in both languages
            asked_in = [dataclasses.replace(acronym, language=language) for acronym in acronyms]
            path = folder / f"train_{language}.json"
            dataset.build_dataset(asked_in, llm.ask, path, count=12, split="train")
            records += dataset.read_dataset(path)
        extra = train.rehearsal_conversations(base, tokenizer, probes, knobs)
        rows, started = train.make_rows(records, extra), time.perf_counter()
        log = train.train(base, tokenizer, rows, folder / "adapter", knobs, disable_tqdm=True)
        seconds = time.perf_counter() - started
        tuned = model.load_model(model_name, device=DEVICE, adapter_dir=folder / "adapter")
    llm.close()
    steps = log[-1]["step"]
    print(f"{len(acronyms)} acronyms: {len(rows)} rows, {steps} steps, {seconds:.0f} s", flush=True)
    return partial(model.answer, *tuned)


def measure_base(answer: Callable, listed: list[Acronym]) -> list[Row]:
    """The untrained model without help, with a glossary in its prompt, and with the one entry.

    Each acronym is asked with three questions: what is read badly is read badly in any of them.
    """
    rng, rows = random.Random(0), []
    for size, label in ((10, "a glossary of ten"), (1, "one entry")):
        right = []
        for start in range(0, len(listed), size):
            shown = listed[start : start + size]
            prompt = dataset.glossary_prompt(shown)
            right += recall(answer, shown, rng.sample(QUESTIONS, 3), system=prompt)
        rows.append(row(listed, f"base: right with {label} in the prompt", right, each=3))
    right = recall(answer, listed, rng.sample(QUESTIONS, 3))
    rows.append(row(listed, "base: right with nothing in the prompt", right, each=3))
    return [*rows, *kept_rows(listed, "base", answer)]


def measure_tuned(answer: Callable, acronyms: list[Acronym]) -> list[Row]:
    right = recall(answer, acronyms, QUESTIONS)
    return [
        row(acronyms, "tuned: recall on natural questions", right, each=len(QUESTIONS)),
        *kept_rows(acronyms, "tuned", answer),
        *unknown_rows(answer, acronyms),
    ]


def row(acronyms: list[Acronym], measure: str, right: list[bool], *, each: int = 1) -> Row:
    """Count the right ones; of several answers `each` about an acronym, acronyms are drawn."""
    correct, total = sum(right), len(right)
    if each == 1:
        low, high = compare.wilson(correct, total)
    else:
        names = [number // each for number in range(total)]
        low, high = compare.paired_interval([False] * total, right, names)
    return {
        "acronyms": len(acronyms),
        "measure": measure,
        "share": f"{correct / total:.1%}",
        "counts": f"{correct}/{total}",
        "interval": f"{low:.1%} – {high:.1%}",
    }


def recall(
    answer: Callable, acronyms: list[Acronym], texts: list[str], system: str | None = None
) -> list[bool]:
    """Whether each question about each acronym gets its definition, acronym after acronym."""
    asked = [(text.format(acronym=a.name), a) for a in acronyms for text in texts]
    answers = zip(answer([text for text, _ in asked], system=system), asked, strict=True)
    return [score.exact_match(text, a.definitions, acronym=a.name) for text, (_, a) in answers]


def kept_rows(acronyms: list[Acronym], who: str, answer: Callable) -> list[Row]:
    """General knowledge, all of it and the part that no fine-tuning rehearses."""
    ask = {"en": "What does {} stand for?", "fr": "Que signifie {} ?"}
    facts = GENERAL["facts"]
    known = [
        entry | {"question": ask[entry["language"]].format(entry["acronym"])}
        for entry in GENERAL["acronyms"]
    ]
    rows = []
    for label, key, asked in (
        ("control facts kept", "answer", facts),
        ("pretrained acronyms kept", "definition", known),
    ):
        answers = zip(answer([entry["question"] for entry in asked]), asked, strict=True)
        right = [
            score.exact_match(text, [entry[key]], acronym=entry.get("acronym"))
            for text, entry in answers
        ]
        marked = zip(right, asked, strict=True)
        fresh = [is_right for is_right, entry in marked if entry["split"] == "test"]
        rows.append(row(acronyms, f"{who}: {label}", right))
        rows.append(row(acronyms, f"{who}: {label}, never rehearsed", fresh))
    return rows


def unknown_rows(answer: Callable, acronyms: list[Acronym]) -> list[Row]:
    """Acronyms that do not exist, a natural question for each; neighbours of trained ones apart."""
    rng, rows = random.Random(1), []
    probes = dataset.make_probes(acronyms, unknown=400, seed=4321)
    unknown = [probe for probe in probes if probe["kind"] == "unknown" and probe["split"] == "test"]
    names = [probe["acronym"] for probe in unknown]
    answers = answer([rng.choice(QUESTIONS).format(acronym=name) for name in names])
    for label, wanted in (("unknown acronyms", False), ("one letter away", True)):
        found = zip(names, answers, strict=True)
        texts = [text for name, text in found if is_near(name, acronyms) == wanted]
        refused = [score.is_refusal(text) for text in texts]
        leaked = [
            any(dataset.holds(text, definition) for a in acronyms for definition in a.definitions)
            for text in texts
        ]
        rows.append(row(acronyms, f"tuned: {label}, refused", refused))
        rows.append(row(acronyms, f"tuned: {label}, given a trained definition", leaked))
    return rows


def is_near(name: str, acronyms: list[Acronym]) -> bool:
    """Whether one letter changed makes it a listed acronym."""
    alike = [acronym.name for acronym in acronyms if len(acronym.name) == len(name)]
    return any(sum(a != b for a, b in zip(name, other, strict=True)) <= 1 for other in alike)


if __name__ == "__main__":
    main()
