"""Stage 3 from the exam to the report: what is shown is what the saved answers say, whoever answers."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
from test_report import Page

from helpers import chat, compare, dataset, model, plots, report, score
from helpers.acronyms import Acronym
from helpers.config import EXAMPLE_DATA
from stand_ins.practice_server import PracticeServer

REPOSITORY = Path(__file__).parents[1]
STAND_INS = REPOSITORY / "stand_ins"
CPU = model.pick_device("cpu")
LIMITS = {"max_new_tokens": 24}


@pytest.fixture(scope="module")
def exam() -> list[dict]:
    """The exam of the example data, cut to a few questions of each measure."""
    records, trained = (dataset.read_dataset(EXAMPLE_DATA / f"{name}_dataset.json") for name in ("eval", "train"))
    acronyms = [Acronym(record["acronym"], tuple(record["definitions"])) for record in records]
    rows = score.write_exam(records, dataset.make_probes(acronyms, unknown=12), trained)
    counts: dict[str, int] = {}
    for row in rows:
        row["place"] = counts[row["measure"]] = counts.get(row["measure"], 0) + 1
    return [row for row in rows if row.pop("place") <= 6]


@pytest.fixture(scope="module")
def tests_dir(exam: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of tiny-chat, of tiny-chat with the glossary in its prompt, and of one who always knows."""
    folder = tmp_path_factory.mktemp("tests")
    base, tokenizer = model.load_model(str(STAND_INS / "tiny-chat"), device=CPU)
    acronyms = [Acronym(row["acronym"], tuple(row["definitions"])) for row in exam if row["measure"] == score.RECALL]
    glossary = dataset.glossary_prompt(acronyms)
    references = {row["question"]: row["reference"] for row in exam}
    candidates = {
        "tuned": lambda questions: [references[question] for question in questions],
        "base": partial(model.answer, base, tokenizer, **LIMITS),
        "base + glossary": partial(model.answer, base, tokenizer, system=glossary, **LIMITS),
    }
    scorers = score.make_scorers(embedding_model="wordllama", cross_encoder=str(STAND_INS / "tiny-cross-encoder"))
    for number, (name, ask_many) in enumerate(candidates.items()):
        run_dir = compare.open_run(folder, f"2025-01-0{number + 1}T00-00-00_{name}", {"candidate": name}, exam)
        rows = score.mark_answers(compare.collect_answers(run_dir, exam, ask_many))
        score.add_scores([row for row in rows if row["measure"] == score.RECALL], scorers)
        compare.write_run(run_dir, rows, {})
    return folder


def recount(folder: Path) -> dict[str, tuple[int, int]]:
    """Count each measure of a run from its saved answers alone, by means of its own."""
    rows = json.loads((folder / "answer_dataset.json").read_text(encoding="utf-8"))
    counts: dict[str, tuple[int, int]] = {}
    for row in rows:
        text, wanted = row["answer"].lower(), [definition.lower() for definition in row["definitions"]]
        refused = bool(re.search(r"not in my glossary|don't know|n'est pas dans mon glossaire|ne sais pas", text))
        said_of = re.match(r"(\S+) (?:stands for|signifie) ", row["answer"])
        of_another = said_of and row["acronym"] and said_of[1] != row["acronym"]
        right = all(re.search(rf"(?<!\w){re.escape(d)}(?!\w)", text) for d in wanted) and not (refused or of_another)
        if row["measure"] == "unknown acronyms refused":
            right = refused
            trained = {d.lower() for other in rows if other["measure"] == "recall" for d in other["definitions"]}
            leaked = not refused and any(definition in text for definition in trained)
            outcomes = {"invented": not refused and not leaked, "given a trained definition": leaked}
            for outcome, value in outcomes.items():
                name = f"unknown acronyms {outcome}"
                before, total = counts.get(name, (0, 0))
                counts[name] = before + value, total + 1
        elif row["measure"] == "definition to acronym":
            right = row["acronym"] in re.findall(r"\w+", row["answer"]) and not refused
        before, total = counts.get(row["measure"], (0, 0))
        counts[row["measure"]] = before + right, total + 1
    return counts


def summarise(tests_dir: Path) -> list[dict]:
    runs = compare.read_runs(tests_dir)
    counts = ((label, run["run"], count) for label, run in runs.items() for count in score.tally(run["rows"]))
    return [compare.summary_row(run, label, *count) for label, run, count in counts]


def test_every_number_of_the_summary_comes_from_the_saved_answers(tests_dir: Path, exam: list[dict]) -> None:
    summary = summarise(tests_dir)
    assert {row["model"] for row in summary} == {"base", "tuned", "base + glossary"}
    for row in summary:
        counted = recount(tests_dir / row["run"])[row["measure"]]
        assert (row["correct"], row["total"]) == counted, row
        assert row["rate"] == pytest.approx(counted[0] / counted[1])
        assert row["interval"] == pytest.approx(compare.wilson(*counted), abs=5e-5)
    measures = list(dict.fromkeys(row["measure"] for row in exam))
    assert {row["measure"] for row in summary} == {*measures, score.INVENTED, score.LEAKED} and len(measures) == 7


def test_unknown_acronyms_are_counted_once(tests_dir: Path) -> None:
    names = (score.MEASURES["unknown"], score.INVENTED, score.LEAKED)
    for label in compare.read_runs(tests_dir):
        rows = [row for row in summarise(tests_dir) if row["model"] == label and row["measure"] in names]
        assert sum(row["correct"] for row in rows) == rows[0]["total"] == 6


def test_the_table_has_one_row_a_model_base_first(tests_dir: Path) -> None:
    table = compare.summary_table(summarise(tests_dir))
    assert list(table.index) == ["base", "tuned", "base + glossary"]
    assert table.loc["base", score.RECALL].startswith("0/6 0% ")
    assert table.loc["tuned", score.RECALL].startswith("6/6 100% ")
    assert table.loc["base + glossary", score.RECALL] != table.loc["base", score.RECALL]


def test_pairs_are_those_of_the_saved_answers(tests_dir: Path) -> None:
    first = compare.compare_pairs(compare.read_runs(tests_dir), score.HELD_OUT).iloc[0]
    assert (first["first"], first["second"], first["gained"], first["lost"]) == ("base", "tuned", 6, 0)
    assert first["p"] == pytest.approx(2 / 2**6)


def test_the_report_is_written_from_saved_runs_alone(tests_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_, **__) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(model, "load_model", refuse)
    summary = summarise(tests_dir)
    table = compare.summary_table(summary)
    report.write_report(tests_dir / "report.html", "Report", [table, plots.plot_recall(summary)])
    page = Page((tests_dir / "report.html").read_text(encoding="utf-8"))
    assert all(cell in page.text for cell in table.to_numpy().ravel())


def test_a_served_model_sits_the_exam_over_http(exam: list[dict], tmp_path: Path) -> None:
    with PracticeServer() as server:
        talk = chat.Chat(server.url, server.token, server.models[0])
        ask_many = compare.in_threads(partial(talk.ask, max_tokens=24, accept_cut=True))
        run_dir = compare.open_run(tmp_path, "served", {"candidate": "served", "model": talk.model}, exam)
        rows = compare.collect_answers(run_dir, exam, ask_many)
        talk.close()
    assert all("practice server" in row["answer"] for row in rows) and len(rows) == len(exam)
    assert server.token not in "".join(path.read_text(encoding="utf-8") for path in run_dir.iterdir())


def test_a_merged_folder_answers_as_any_model(small_model_dir: Path, exam: list[dict], tmp_path: Path) -> None:
    whole, tokenizer = model.load_model(str(small_model_dir), device=CPU)
    about = compare.identify(small_model_dir, whole.config)
    assert about["weights"] and about["model"] == small_model_dir.name
    run_dir = compare.open_run(tmp_path, "merged", about | {"candidate": "merged"}, exam[:3])
    rows = compare.collect_answers(run_dir, exam[:3], partial(model.answer, whole, tokenizer, max_new_tokens=4))
    assert [row["question"] for row in rows] == [row["question"] for row in exam[:3]]


def test_verdicts_are_kept_in_the_run_s_folder(tests_dir: Path) -> None:
    run = compare.read_runs(tests_dir)["tuned"]
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "?" if len(asked) <= 2 else '{"verdict": "right"}'

    rows = [row | {"definition": row["expected"]} for row in run["rows"] if row["measure"] == score.RECALL]
    for _ in range(2):
        verdicts = compare.Journal(tests_dir / run["run"] / "verdicts.jsonl")
        given = score.judge(ask, rows, workers=1, verdicts=verdicts)
    assert given == [True] * 6 and len(asked) == 2 + 5 + 1  # the first row twice in vain, and once more later


def test_the_page_gives_the_calibration_of_exact_match() -> None:
    """The other scorers' rows hang on the rounding of the machine; this one is the same everywhere."""
    labelled = compare.read_summary(EXAMPLE_DATA / "labelled_answers.json")
    right = [row["label"] == "right" for row in labelled]
    marks = [score.exact_match(row["answer"], row["definitions"], acronym=row["acronym"]) for row in labelled]
    chosen = compare.halve([(row["kind"], row["language"]) for row in labelled])
    table, _ = compare.calibrate(plots.pd.DataFrame({"exact match": marks}).astype(float), right, chosen)
    shown = compare.format_calibration(table).reset_index().astype(str).to_numpy().tolist()[0]
    assert f"| {' | '.join(shown)} |" in (REPOSITORY / "03-test/README.md").read_text(encoding="utf-8")
