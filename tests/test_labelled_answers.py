"""The labelled answers keep to their card: enough of everything, no copies, and the counts that it gives."""

import json
from collections import Counter
from pathlib import Path

import pytest

from helpers.dataset import holds

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
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["kind", *LANGUAGES, *LABELS]
    return {name: [int(cell) for cell in cells] for name, *cells in rows[2:]}


def count(entries: list[dict]) -> list[int]:
    languages, labels = (Counter(entry[key] for entry in entries) for key in ("language", "label"))
    return [languages[name] for name in LANGUAGES] + [labels[name] for name in LABELS]


def test_entries_are_whole() -> None:
    assert len(ENTRIES) >= 200
    assert all(list(entry) == KEYS for entry in ENTRIES)
    assert all(entry["definitions"] and all(map(str.strip, entry["definitions"])) for entry in ENTRIES)
    assert all(entry["question"].strip() and entry["answer"].strip() for entry in ENTRIES)
    assert {entry["label"] for entry in ENTRIES} == set(LABELS)
    assert {entry["language"] for entry in ENTRIES} == set(LANGUAGES)


def test_no_copies() -> None:
    assert len({entry["id"] for entry in ENTRIES}) == len(ENTRIES)
    assert len({(entry["question"], entry["answer"]) for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_enough_of_everything(language: str) -> None:
    assert len(choose(language=language)) >= 110
    assert all(len(choose(language=language, kind=kind)) >= 7 for kind in KINDS)
    assert all(len(choose(language=language, label=label)) >= 12 for label in LABELS)


def test_the_definition_is_where_the_kind_says() -> None:
    assert len(KINDS) == 15
    for entry in choose(kind="exact form"):
        assert all(holds(entry["answer"], definition) for definition in entry["definitions"]), entry["id"]
    for entry in choose(kind="one word away"):
        assert not any(holds(entry["answer"], definition) for definition in entry["definitions"]), entry["id"]


def test_question_names_the_acronym() -> None:
    assert not [entry["id"] for entry in ENTRIES if not holds(entry["question"], entry["acronym"])]


def test_the_card_counts_what_the_file_holds() -> None:
    counted = {kind: count(choose(kind=kind)) for kind in KINDS}
    assert read_counts() == counted | {"all": count(ENTRIES)}
