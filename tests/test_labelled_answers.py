"""The labelled answers keep to their card, and stage 3's page to what they show."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd

from helpers import compare, score
from helpers.dataset import holds
from stand_ins.practice_server import reply_to

FOLDER = Path(__file__).parents[1] / "example_data"
ENTRIES = json.loads((FOLDER / "labelled_answers.json").read_text(encoding="utf-8"))
LABELS = ["right", "partly right", "wrong", "refusal"]
LANGUAGES = ["en", "fr"]
KEYS = ["id", "language", "acronym", "definitions", "question", "answer", "label", "kind"]
KINDS = sorted({entry["kind"] for entry in ENTRIES})


def choose(**wanted: str) -> list[dict]:
    return [entry for entry in ENTRIES if all(entry[key] == value for key, value in wanted.items())]


def read_counts() -> dict[str, list[int]]:
    """The table of the card: kind → entries in English, in French, then of each label."""
    lines = (FOLDER / "labelled_answers.md").read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    assert rows[0] == ["kind", *LANGUAGES, *LABELS]
    return {name: [int(cell) for cell in cells] for name, *cells in rows[2:]}


def count(entries: list[dict]) -> list[int]:
    languages, labels = (Counter(entry[key] for entry in entries) for key in ("language", "label"))
    return [languages[name] for name in LANGUAGES] + [labels[name] for name in LABELS]


def test_entries_are_whole_and_no_copies():
    assert all(list(entry) == KEYS and all(entry.values()) for entry in ENTRIES)
    for keys in (("id",), ("question", "answer")):
        assert len({tuple(entry[key] for key in keys) for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        assert holds(entry["question"], entry["acronym"]), entry["id"]
        held = [holds(entry["answer"], definition) for definition in entry["definitions"]]
        assert entry["kind"] != "exact form" or all(held), entry["id"]
        assert entry["kind"] != "one word away" or not any(held), entry["id"]


def test_the_card_counts_what_the_file_holds():
    counted = {kind: count(choose(kind=kind)) for kind in KINDS}
    assert read_counts() == counted | {"all": count(ENTRIES)}


def test_the_page_gives_the_calibration_of_exact_match_and_of_the_recorded_judge():
    """The other scorers' rows hang on the rounding of the machine; these do not."""
    labelled = pd.DataFrame(ENTRIES)
    judged = [row | {"expected": " | ".join(row["definitions"])} for row in ENTRIES]
    marks = [
        score.exact_match(r["answer"], r["definitions"], acronym=r["acronym"]) for r in ENTRIES
    ]
    scores = {"exact match": marks, "judge": score.judge(reply_to, judged)}
    chosen = (labelled.groupby(["kind", "language"]).cumcount() % 2 == 0).to_numpy()
    table, _ = compare.calibrate(pd.DataFrame(scores), labelled.label == "right", chosen)
    page = (FOLDER.parent / "03-test/README.md").read_text(encoding="utf-8")
    for row in table.reset_index().astype(str).to_numpy().tolist():
        assert f"| {' | '.join(row)} |" in page
