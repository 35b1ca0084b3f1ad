"""Stage 3 from the exam to the summary: what is shown is what the saved answers say."""

from functools import partial

import pandas as pd
import pytest

from helpers import compare, dataset, model, score
from helpers.acronyms import Acronym
from helpers.config import EXAMPLE_DATA, REPOSITORY

TINY_CHAT = str(REPOSITORY / "stand_ins/tiny-chat")


@pytest.fixture(scope="module")
def exam():
    """The exam of the example data, cut to a few questions of each measure."""
    records = dataset.read_dataset(EXAMPLE_DATA / "eval_dataset.json")
    trained = dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json")
    acronyms = [Acronym(record["acronym"], tuple(record["definitions"])) for record in records]
    probes = dataset.make_probes(acronyms, unknown=12)
    frame = pd.Series(score.write_exam(records, probes, trained))
    return frame.groupby(frame.map(lambda row: row["measure"]), sort=False).head(6).tolist()


@pytest.fixture(scope="module")
def tests_dir(exam, tmp_path_factory):
    """The runs of tiny-chat, of tiny-chat with a lookup, and of one who always knows."""
    folder = tmp_path_factory.mktemp("tests")
    base, tokenizer = model.load_model(TINY_CHAT, device=model.pick_device("cpu"))
    entries = {row["acronym"]: row["definitions"] for row in exam if row["measure"] == score.RECALL}
    references = {row["question"]: row["reference"] for row in exam}

    def look_up(question):
        found = [Acronym(a, tuple(d)) for a, d in entries.items() if dataset.holds(question, a)]
        return dataset.glossary_prompt(found) if found else None

    ask_base = partial(model.answer, base, tokenizer, max_new_tokens=24)
    candidates = {
        "base": ask_base,
        "base + lookup": lambda asked: ask_base(asked, system=[look_up(q) for q in asked]),
        "tuned": lambda asked: [references[question] for question in asked],
    }
    for name, ask_many in candidates.items():
        about = {"candidate": name}
        run_dir = compare.open_run(folder, f"2025-01-01T00-00-00_{name}", about, exam)
        rows = compare.collect_answers(run_dir, exam, ask_many)
        compare.write_run(run_dir, score.mark_answers(rows))
    return folder


def test_the_lookup_knows_what_the_base_does_not(tests_dir):
    runs = compare.read_runs(tests_dir)
    rows = [
        compare.summary_row(found["run"], name, *count)
        for name, found in runs.items()
        for count in score.tally(found["rows"])
    ]
    table = compare.summary_table(rows)
    assert list(table.columns) == ["base", "base + lookup", "tuned"]
    assert table.loc[score.RECALL, "base"].startswith("0/6 ")
    assert table.loc[score.RECALL, "tuned"].startswith("6/6 ")
    assert int(table.loc[score.RECALL, "base + lookup"][0]) >= 4
    pairs = compare.compare_pairs(runs, score.HELD_OUT)
    row = pairs[pairs.pair == "base → tuned"].iloc[0]
    assert (row.gained, row.lost, float(row.p)) == (6, 0, pytest.approx(2 / 2**6, rel=0.02))
