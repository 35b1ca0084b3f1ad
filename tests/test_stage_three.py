"""Stage 3 from the exam to the summary: what is shown is what the saved answers say."""

import json
import re
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from helpers import compare, dataset, model, score
from helpers.acronyms import Acronym
from helpers.config import EXAMPLE_DATA, REPOSITORY
from helpers.files import read_list
from stand_ins.practice_server import reply_to

TINY_CHAT = str(REPOSITORY / "stand_ins/tiny-chat")
LIMITS = {"max_new_tokens": 24}


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

    ask_base = partial(model.answer, base, tokenizer, **LIMITS)
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


def recount(folder: Path) -> dict[str, tuple[int, int]]:
    """Count each measure of a run from its saved answers alone, by means of its own."""
    rows = json.loads((folder / "answer_dataset.json").read_text(encoding="utf-8"))
    trained = {d.lower() for row in rows if row["measure"] == "recall" for d in row["definitions"]}
    counts: dict[str, tuple[int, int]] = {}

    def count(name: str, is_so: bool) -> None:
        before, total = counts.get(name, (0, 0))
        counts[name] = before + is_so, total + 1

    for row in rows:
        text, wanted = row["answer"].lower(), [d.lower() for d in row["definitions"]]
        refusals = r"not in my glossary|don't know|n'est pas dans mon glossaire|ne sais pas"
        refused = bool(re.search(refusals, text))
        said_of = re.match(r"(\S+) (?:stands for|signifie) ", row["answer"])
        of_another = bool(said_of and row["acronym"]) and said_of[1] != row["acronym"]
        held = all(re.search(rf"(?<!\w){re.escape(d)}(?!\w)", text) for d in wanted)
        right = held and not refused and not of_another
        if row["measure"] == "unknown acronyms refused":
            right = refused
            leaked = not refused and any(definition in text for definition in trained)
            count("unknown acronyms invented", not refused and not leaked)
            count("unknown acronyms given a trained definition", leaked)
        elif row["measure"] == "definition to acronym":
            right = row["acronym"] in re.findall(r"\w+", row["answer"]) and not refused
        count(row["measure"], right)
    return counts


def summarise(tests_dir: Path) -> list[dict]:
    runs = compare.read_runs(tests_dir)
    counts = ((name, found, c) for name, found in runs.items() for c in score.tally(found["rows"]))
    return [compare.summary_row(found["run"], name, *count) for name, found, count in counts]


def test_every_number_of_the_summary_comes_from_the_saved_answers(tests_dir, exam):
    summary = summarise(tests_dir)
    assert {row["model"] for row in summary} == {"base", "tuned", "base + lookup"}
    for row in summary:
        counted = recount(tests_dir / row["run"])[row["measure"]]
        assert (row["correct"], row["total"]) == counted, row
        assert row["interval"] == pytest.approx(compare.wilson(*counted), abs=5e-5)
    measures = {row["measure"] for row in exam}
    assert {row["measure"] for row in summary} == {*measures, score.INVENTED, score.LEAKED}


def test_the_lookup_knows_what_the_base_does_not(tests_dir):
    table = compare.summary_table(summarise(tests_dir))
    assert list(table.columns) == ["base", "base + lookup", "tuned"]
    assert table.loc[score.RECALL, "base"].startswith("0/6 ")
    assert table.loc[score.RECALL, "tuned"].startswith("6/6 ")
    assert int(table.loc[score.RECALL, "base + lookup"][0]) >= 4
    pairs = compare.compare_pairs(compare.read_runs(tests_dir), score.HELD_OUT)
    row = pairs[pairs.pair == "base → tuned"].iloc[0]
    assert (row.gained, row.lost, float(row.p)) == (6, 0, pytest.approx(2 / 2**6, rel=0.02))


def test_the_page_gives_the_calibration_of_exact_match_and_of_the_recorded_judge():
    """The other scorers' rows hang on the rounding of the machine; these do not."""
    rows = read_list(EXAMPLE_DATA / "labelled_answers.json")
    labelled = pd.DataFrame(rows)
    judged = [row | {"expected": " | ".join(row["definitions"])} for row in rows]
    marks = [score.exact_match(r["answer"], r["definitions"], acronym=r["acronym"]) for r in rows]
    scores = {"exact match": marks, "judge": score.judge(reply_to, judged)}
    chosen = (labelled.groupby(["kind", "language"]).cumcount() % 2 == 0).to_numpy()
    table, _ = compare.calibrate(pd.DataFrame(scores), labelled.label == "right", chosen)
    page = (REPOSITORY / "03-test/README.md").read_text(encoding="utf-8")
    for row in table.reset_index().astype(str).to_numpy().tolist():
        assert f"| {' | '.join(row)} |" in page
