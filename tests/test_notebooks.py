"""The five notebooks run in order, in fresh kernels, from their own folders.

They run in a copy of what git holds, so that nothing that the reader has set or made takes part.
"""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from helpers.files import read_list

SCRIPT = Path(__file__).parents[1] / "00-set_up/run_notebooks.py"
spec = importlib.util.spec_from_file_location("run_notebooks", SCRIPT)
run_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_notebooks)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The bucket that the notebooks leave, from the embedded models and the practice server."""
    folder = tmp_path_factory.mktemp("notebooks") / "clone"
    done = run_notebooks.run_clean(folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return folder / "bucket"


@pytest.mark.long
def test_the_tuned_model_knows_what_the_base_model_does_not(bucket):
    rows = read_list(bucket / "tests/summary.json")
    recall = {row["model"]: row for row in rows if row["measure"] == "recall"}
    assert recall["base"]["correct"] == 0 and recall["base"]["total"] >= 30
    assert recall["tuned"]["correct"] / recall["tuned"]["total"] >= 0.95


@pytest.mark.long
def test_every_stage_leaves_its_files_and_no_error(bucket):
    copies = sorted((bucket / "notebooks").glob("*.ipynb"))
    assert len(copies) == 5
    for path in copies:
        outputs = list_outputs(json.loads(path.read_text(encoding="utf-8")))
        assert not [output for output in outputs if output["output_type"] == "error"]
    for pattern in ("data/eval_dataset.json", "models/*/adapter_model.safetensors"):
        assert list(bucket.glob(pattern))
    assert (bucket / "tests/comparison.png").exists()


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


@pytest.mark.long
def test_every_number_of_the_summary_comes_from_the_saved_answers(bucket):
    rows = read_list(bucket / "tests/summary.json")
    assert rows
    for row in rows:
        assert (row["correct"], row["total"]) == recount(bucket / "tests" / row["run"])[
            row["measure"]
        ], row


def read_outputs(bucket, name: str) -> str:
    cells = json.loads((bucket / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return json.dumps([cell.get("outputs") for cell in cells])


@pytest.mark.long
def test_adapter_merged_and_served_model_give_the_same_text(bucket):
    shown = read_outputs(bucket, "use_it")
    assert "{'adapter + base': 100, 'merged': 100, 'served': 100} of 100" in shown
    assert "lists acronyms, served at" in shown
    modelfile = next(bucket.glob("models/*/acronyms/Modelfile"))
    assert "FROM ./acronyms.gguf" in modelfile.read_text(encoding="utf-8")


@pytest.mark.long
def test_the_recorded_judge_is_named_where_it_speaks(bucket):
    assert "recorded from a large language model" in read_outputs(bucket, "scorers")
    assert "a rule says so, not an LLM" in read_outputs(bucket, "test")
    assert (bucket / "tests/labelled_scores.csv").exists() and (
        bucket / "tests/comparison.png"
    ).exists()


# What the notebooks in git show


ALL = (*run_notebooks.NOTEBOOKS, *run_notebooks.OPTIONAL)


def read_committed(name: str) -> dict:
    return json.loads((run_notebooks.REPOSITORY / f"{name}.ipynb").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=ALL)
def committed(request):
    return read_committed(request.param)


def list_outputs(notebook: dict) -> list[dict]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def test_the_outputs_in_git_are_of_the_code_beside_them_and_of_one_run(committed):
    made_by = committed["metadata"]["acronym_tutorial"]
    cure = "run: python 00-set_up/run_notebooks.py --refresh"
    assert made_by["sources_sha256"] == run_notebooks.hash_sources(committed["cells"]), cure
    assert made_by["run"] == read_committed(ALL[0])["metadata"]["acronym_tutorial"]["run"]
    counts = [cell["execution_count"] for cell in committed["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "of one run from top to bottom"


def test_the_outputs_in_git_show_no_error_widget_path_or_secret(committed):
    outputs = list_outputs(committed)
    assert len(outputs) > 5 and "widgets" not in committed["metadata"]
    for output in outputs:
        assert output["output_type"] != "error" and output.get("name") != "stderr"
        data = {key: value for key, value in output.get("data", {}).items() if key != "image/png"}
        assert not any("widget" in kind for kind in data)
        text = json.dumps([output.get("text"), data])
        path = re.search(r"(?<![\w.:/])/(?:root|home|Users|tmp|work|private|var)/", text)
        assert not path and not re.search(r"\b(?:sk|hf)[-_][A-Za-z0-9]{20,}", text), text[:300]
