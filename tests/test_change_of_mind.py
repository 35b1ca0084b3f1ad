"""A corrected definition and a withdrawn acronym: little is asked again, and after training the old ones are gone."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers import dataset, files, model, train
from helpers.acronyms import Acronym, read_acronyms
from helpers.config import REPOSITORY
from helpers.score import exact_match, is_refusal
from stand_ins.practice_server import reply_to

TINY_CHAT = str(REPOSITORY / "stand_ins/tiny-chat")
ACRONYMS = REPOSITORY / "benchmarks/new_acronyms.json"
NEW = "Centre for Gardening Tools"


def build(acronyms: list[Acronym], folder: Path) -> tuple[list[str], list[dict], list[dict]]:
    """Stage 1, as the notebook does it; gives the acronyms that were really asked for, too."""
    asked: list[str] = []

    def ask(prompt: str, *, seed: int) -> str:
        asked.append(next(filter(None, dataset.find_json(prompt)))["acronym"])
        return reply_to(prompt, seed)

    ask = dataset.remember(ask, files.Journal(folder / "replies.jsonl"))
    records: list[list[dict]] = []
    for split, count in (("train", 24), ("test", 12)):
        options = {"count": count, "split": split, "avoid": records[0] if records else []}
        dataset.build_dataset(acronyms, ask, folder / f"{split}.json", **options)
        records.append(dataset.read_dataset(folder / f"{split}.json"))
    return asked, *records


def tune(acronyms: list[Acronym], train_records: list[dict], output_dir: Path):
    base, tokenizer = model.load_model(TINY_CHAT, device=model.pick_device("cpu"))
    knobs = train.Knobs.for_size(base.num_parameters(), len(acronyms))
    extra = train.rehearsal_conversations(base, tokenizer, dataset.make_probes(acronyms), knobs)
    rows = train.make_rows(train_records, extra)
    train.train(base, tokenizer, rows, output_dir, knobs, disable_tqdm=True)
    return model.load_model(TINY_CHAT, device=model.pick_device("cpu"), adapter_dir=output_dir)


def answers_about(name: str, tuned, records: list[dict]) -> list[str]:
    record = next(record for record in records if record["acronym"] == name)
    return model.answer(*tuned, [turns[0]["content"] for turns in record["conversation"]])


def share(answers: list[str], definition: str) -> float:
    return sum(exact_match(answer, [definition]) for answer in answers) / len(answers)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Two rounds: four acronyms; then the first one's definition is another, and the second one is withdrawn."""
    folder = tmp_path_factory.mktemp("story")
    # Not the example list's, of which a large language model's replies are recorded: all of one kind.
    before = [entry for entry in read_acronyms(ACRONYMS) if entry.language == "en"][:4]
    after = [replace(before[0], definitions=(NEW,)), *before[2:]]
    _, train_records, held_out = build(before, folder)
    tuned = tune(before, train_records, folder / "first")
    old = {entry.name: answers_about(entry.name, tuned, held_out) for entry in before}
    asked, train_records, _ = build(after, folder)
    tuned = tune(after, train_records, folder / "second")
    new = {entry.name: answers_about(entry.name, tuned, held_out) for entry in before}
    return {"before": before, "asked": asked, "old": old, "new": new, "held_out": held_out}


def test_only_the_changed_entry_is_asked_for(story: dict) -> None:
    assert set(story["asked"]) == {story["before"][0].name}


def test_the_first_model_knew_what_was_true_then(story: dict) -> None:
    assert all(share(story["old"][entry.name], entry.definitions[0]) >= 0.9 for entry in story["before"])


def test_after_retraining_the_new_definition_has_replaced_the_old_one(story: dict) -> None:
    changed = story["before"][0]
    answers = story["new"][changed.name]
    assert len(answers) == 12 and share(answers, NEW) >= 0.85, answers
    assert share(answers, changed.definitions[0]) == 0


def test_a_withdrawn_acronym_is_refused(story: dict) -> None:
    withdrawn = story["before"][1]
    answers = story["new"][withdrawn.name]
    assert share(answers, withdrawn.definitions[0]) == 0
    assert sum(map(is_refusal, answers)) >= 0.8 * len(answers), answers


def test_what_did_not_change_is_still_known(story: dict) -> None:
    assert all(share(story["new"][entry.name], entry.definitions[0]) >= 0.9 for entry in story["before"][2:])
