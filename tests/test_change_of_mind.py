"""A corrected definition and a withdrawn acronym: after training the old ones are gone."""

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


def build(acronyms: list[Acronym], folder: Path) -> tuple[set[str], list[dict], list[dict]]:
    """Stage 1, as the notebook does it; gives the acronyms that were really asked for, too."""
    asked: set[str] = set()

    def ask(prompt: str, *, seed: int) -> str:
        asked.add(next(filter(None, dataset.find_json(prompt)))["acronym"])
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
    return base, tokenizer


@pytest.mark.long
def test_after_retraining_the_old_definition_is_gone_and_the_new_one_known(tmp_path):
    # Not the example list's, of which an LLM's replies are recorded: all of one kind.
    changed, withdrawn, kept = [e for e in read_acronyms(ACRONYMS) if e.language == "en"][:3]
    asked, old_records, held_out = build([changed, withdrawn, kept], tmp_path)
    assert asked == {changed.name, withdrawn.name, kept.name}
    assert changed.definitions[0] in str(old_records)

    after = [replace(changed, definitions=(NEW,)), kept]
    asked, train_records, _ = build(after, tmp_path)
    assert asked == {changed.name}, "the other replies are remembered"
    tuned = tune(after, train_records, tmp_path / "run")

    answers = {
        record["acronym"]: model.answer(
            *tuned, [talk[0]["content"] for talk in record["conversation"]]
        )
        for record in held_out
    }
    for entry, definition, least, most in (
        (changed, NEW, 11, 12),
        (changed, changed.definitions[0], 0, 0),
        (withdrawn, withdrawn.definitions[0], 0, 0),
        (kept, kept.definitions[0], 11, 12),
    ):
        given = answers[entry.name]
        right = sum(exact_match(answer, [definition], acronym=entry.name) for answer in given)
        assert len(given) == 12 and least <= right <= most, (definition, given)
    assert sum(map(is_refusal, answers[withdrawn.name])) >= 10, answers[withdrawn.name]
