"""What tiny-chat learns and keeps: the tables of its model card and of 02-fine_tune/README.md.

    python benchmarks/tiny_chat.py

Fine-tunes it on 10, 50 and 200 invented acronyms that it was not taught, with twelve conversations in each language
from the practice server, and asks each acronym with the 60 natural questions that were written before the model was
trained. With --lists it is two held-out lists instead (held_out_lists.json), asked in their language alone: real French
acronyms, half of whose definitions hold a typographic apostrophe, and names and definitions with digits, small letters,
accents and other signs.
"""

import argparse
import dataclasses
import json
import random
import tempfile
import time
from pathlib import Path

import pandas as pd

from helpers import chat, compare, dataset, model, score, train
from helpers.acronyms import read_acronyms
from helpers.config import EXAMPLE_DATA, REPOSITORY

HERE = Path(__file__).parent
NATURAL = json.loads((HERE / "natural_questions.json").read_text(encoding="utf-8"))
HELD_OUT = json.loads((HERE / "held_out_lists.json").read_text(encoding="utf-8"))
GENERAL = json.loads((EXAMPLE_DATA / "general_questions.json").read_text(encoding="utf-8"))
DEVICE = model.pick_device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(REPOSITORY / "stand_ins/tiny-chat"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 50, 200])
    parser.add_argument("--lists", nargs="*", choices=list(HELD_OUT), help="of held_out_lists.json; all of them without a name")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.lists is not None:
        for name in arguments.lists or HELD_OUT:
            print(f"{name}: {measure_list(arguments.model, HELD_OUT[name], arguments.seed)}", flush=True)
        return
    listed = len(json.loads((HERE / "new_acronyms.json").read_text(encoding="utf-8")))
    if too_many := [size for size in arguments.sizes if size > listed]:
        parser.error(f"new_acronyms.json lists {listed} acronyms, not {too_many[0]}: give smaller --sizes")
    rows, notes = [], {}
    for size in arguments.sizes:
        notes[size], found = measure(arguments.model, size, arguments.seed)
        rows += found
        print(f"{size} acronyms: {notes[size]}", flush=True)
    frame = pd.DataFrame(rows)
    frame["counts"] = frame.correct.astype(str) + "/" + frame.total.astype(str)
    frame["share"] = (frame.correct / frame.total).map("{:.1%}".format)
    frame["interval"] = [
        ("{:.1%} – {:.1%}").format(*compare.wilson(row.correct, row.total)) for row in frame.itertuples()
    ]
    print(frame[["acronyms", "measure", "share", "counts", "interval"]].to_string(index=False))
    print_wide(frame[frame.measure.str.startswith("tuned: ")], notes)


def print_wide(frame: pd.DataFrame, notes: dict[int, str]) -> None:
    """The tuned model's rows as a Markdown table, one column a size."""
    cells = frame.assign(cell=frame.share + " (" + frame.counts + ")").set_index(["measure", "acronyms"]).cell
    table = [["acronyms", *map(str, notes)], ["---"] * (1 + len(notes)), ["training", *notes.values()]]
    table += [[m.removeprefix("tuned: "), *(cells[m, size] for size in notes)] for m in frame.measure.unique()]
    print("\n" + "\n".join(f"| {' | '.join(line)} |" for line in table))


def measure(model_name: str, size: int, seed: int) -> tuple[str, list[dict]]:
    """Train on the first `size` new acronyms in a temporary folder; what it took, and one row a measure with counts."""
    with tempfile.TemporaryDirectory() as folder:
        list_path = Path(folder) / "acronym.json"
        entries = json.loads((HERE / "new_acronyms.json").read_text(encoding="utf-8"))[:size]
        list_path.write_text(json.dumps(entries), encoding="utf-8")
        acronyms = read_acronyms(list_path)
        base, tokenizer = model.load_model(model_name, device=DEVICE)
        results = [glossary_row(base, tokenizer, acronyms), lookup_row(base, tokenizer, acronyms)]
        results += base_rows(base, tokenizer, acronyms)
        tuned, tokenizer, note = tune(base, tokenizer, model_name, acronyms, Path(folder), seed)
    results += tuned_rows(tuned, tokenizer, acronyms)
    return note, [{"acronyms": size, **row} for row in results]


def measure_list(model_name: str, entries: list[dict], seed: int) -> str:
    """Train on a held-out list, and say how many natural questions in its language get its definition, to the sign."""
    with tempfile.TemporaryDirectory() as folder:
        list_path = Path(folder) / "acronym.json"
        list_path.write_text(json.dumps(entries), encoding="utf-8")
        acronyms = read_acronyms(list_path)
        base, tokenizer = model.load_model(model_name, device=DEVICE)
        tuned, tokenizer, note = tune(base, tokenizer, model_name, acronyms, Path(folder), seed)
    asked = [(text.format(acronym=a.name), a) for a in acronyms for text in NATURAL[a.language]]
    answers = model.answer(tuned, tokenizer, [question for question, _ in asked])
    # Not by exact match, which takes some of these names for others: by the sentence that was taught.
    taught = [dataset.definition_sentence(a.name, a.definitions, a.language) for _, a in asked]
    right = sum(text.startswith(sentence) for text, sentence in zip(answers, taught, strict=True))
    low, high = compare.wilson(right, len(asked))
    return f"{note}; taught sentence given {right}/{len(asked)} = {right / len(asked):.1%} ({low:.1%} – {high:.1%})"


def tune(base, tokenizer, model_name: str, acronyms, folder: Path, seed: int):
    llm, records = chat.connect(None, None, None), []
    for language in ("en", "fr"):  # the questions come in both languages
        asked_in = [dataclasses.replace(acronym, language=language) for acronym in acronyms]
        path = folder / f"train_{language}.json"
        dataset.build_dataset(asked_in, llm.ask, path, count=12, split="train")
        records += dataset.read_dataset(path)
    probes = dataset.make_probes(acronyms, seed=seed)
    knobs = train.Knobs.for_size(base.num_parameters(), len(acronyms), seed=seed)
    rows = train.make_rows(records, train.rehearsal_conversations(base, tokenizer, probes, knobs))
    started = time.perf_counter()
    log = train.train(base, tokenizer, rows, folder / "adapter", knobs, disable_tqdm=True)
    note = f"{len(rows)} rows, {log[-1]['step']} steps, {time.perf_counter() - started:.0f} s"
    return *model.load_model(model_name, device=DEVICE, adapter_dir=folder / "adapter"), note


def natural(acronyms) -> list[tuple[str, object]]:
    """Every natural question about every acronym."""
    questions = [*NATURAL["en"], *NATURAL["fr"]]
    return [(question.format(acronym=acronym.name), acronym) for acronym in acronyms for question in questions]


def recall_row(measure: str, language_model, tokenizer, acronyms, *, system: str | None = None) -> dict:
    asked = natural(acronyms)
    answers = model.answer(language_model, tokenizer, [question for question, _ in asked], system=system)
    right = [score.exact_match(answer, a.definitions) for answer, (_, a) in zip(answers, asked, strict=True)]
    return {"measure": measure, "correct": sum(right), "total": len(right)}


def base_rows(base, tokenizer, acronyms) -> list[dict]:
    return [
        recall_row("base: recall on natural questions", base, tokenizer, acronyms),
        *kept_rows("base", base, tokenizer),
    ]


def glossary_row(base, tokenizer, acronyms) -> dict:
    """The untrained model with ten of the acronyms in its prompt."""
    shown = acronyms[:10]
    return recall_row(
        "base: answered from a glossary of 10 in the prompt",
        base,
        tokenizer,
        shown,
        system=dataset.glossary_prompt(shown),
    )


def lookup_row(base, tokenizer, acronyms) -> dict:
    """The untrained model with the one entry in its prompt that is asked about."""
    rows = [
        recall_row("base: answered from one entry in the prompt", base, tokenizer, [a], system=dataset.glossary_prompt([a]))
        for a in acronyms[:10]
    ]
    return rows[0] | {name: sum(row[name] for row in rows) for name in ("correct", "total")}


def tuned_rows(tuned, tokenizer, acronyms) -> list[dict]:
    recall = recall_row("tuned: recall on natural questions", tuned, tokenizer, acronyms)
    return [recall, *kept_rows("tuned", tuned, tokenizer), *unknown_rows(tuned, tokenizer, acronyms)]


def kept_rows(who: str, language_model, tokenizer) -> list[dict]:
    """General knowledge, all of it and the half that no fine-tuning rehearses."""
    ask = {"en": "What does {} stand for?", "fr": "Que signifie {} ?"}
    facts = [(row["question"], row["answer"], row["split"]) for row in GENERAL["facts"]]
    known = [
        (ask[row["language"]].format(row["acronym"]), row["definition"], row["split"]) for row in GENERAL["acronyms"]
    ]
    rows = []
    for label, items in (("control facts kept", facts), ("pretrained acronyms kept", known)):
        answers = model.answer(language_model, tokenizer, [question for question, _, _ in items])
        right = [score.exact_match(answer, [truth]) for answer, (_, truth, _) in zip(answers, items, strict=True)]
        fresh = [r for r, (_, _, split) in zip(right, items, strict=True) if split == "test"]
        rows.append({"measure": f"{who}: {label}", "correct": sum(right), "total": len(right)})
        rows.append({"measure": f"{who}: {label}, never rehearsed", "correct": sum(fresh), "total": len(fresh)})
    return rows


def unknown_rows(tuned, tokenizer, acronyms) -> list[dict]:
    """Acronyms that do not exist, each asked with one natural question; neighbours of trained ones apart."""
    random_source = random.Random(1)
    probes = dataset.make_probes(acronyms, unknown=400, seed=4321)
    names = [probe["acronym"] for probe in probes if probe["kind"] == "unknown" and probe["split"] == "test"]
    questions = [random_source.choice([*NATURAL["en"], *NATURAL["fr"]]).format(acronym=name) for name in names]
    answers = model.answer(tuned, tokenizer, questions)
    listed, rows = [acronym.name for acronym in acronyms], []
    for label, wanted in (("unknown acronyms", False), ("one letter away", True)):
        chosen = [a for name, a in zip(names, answers, strict=True) if is_near(name, listed) == wanted]
        refused = sum(score.is_refusal(answer) for answer in chosen)
        leaked = sum(any(score.exact_match(answer, a.definitions) for a in acronyms) for answer in chosen)
        rows.append({"measure": f"tuned: {label}, refused", "correct": refused, "total": len(chosen)})
        rows.append({"measure": f"tuned: {label}, given a trained definition", "correct": leaked, "total": len(chosen)})
    return rows


def is_near(name: str, listed: list[str]) -> bool:
    """Whether one letter changed makes it a listed acronym."""
    alike = (zip(name, other, strict=True) for other in listed if len(other) == len(name))
    return any(sum(a != b for a, b in pairs) <= 1 for pairs in alike)


if __name__ == "__main__":
    main()
