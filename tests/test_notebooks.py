"""The three notebooks run in order, in fresh kernels, from their own folders, as run_tutorial.sh runs them.

They run in a copy of what git holds, so that nothing that the reader has set or made takes part.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_stage_three import recount

from helpers.compare import read_summary
from helpers.config import KEYS

REPOSITORY = Path(__file__).parents[1]
MEASURE = "recall"
MINUTES = 10


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bucket that the notebooks leave, from the embedded models and the practice server."""
    folder = tmp_path_factory.mktemp("notebooks")
    copy_repository(folder / "clone")
    ours = {"PYTHONPATH": str(folder / "clone"), "BUCKET": str(folder / "bucket")}
    environment = {
        key: value for key, value in os.environ.items() if key not in KEYS and not key.startswith("OPENAI_")
    } | ours
    command = [sys.executable, "00-set_up/run_notebooks.py"]
    options = {"cwd": folder / "clone", "env": environment, "timeout": 60 * MINUTES}
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return folder / "bucket"


def copy_repository(folder: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)


def test_the_tuned_model_knows_what_the_base_model_does_not(bucket):
    rows = read_summary(bucket / "tests/summary.json")
    assert all({"run", "model", "measure", "correct", "total", "interval"} <= set(row) for row in rows)
    recall = {row["model"]: row for row in rows if row["measure"] == MEASURE}
    assert recall["base"]["correct"] == 0 and recall["base"]["total"] >= 30
    assert recall["tuned"]["correct"] / recall["tuned"]["total"] >= 0.95


def test_executed_notebooks_show_no_error(bucket):
    copies = sorted((bucket / "notebooks").glob("*.ipynb"))
    assert len(copies) == 3
    for path in copies:
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "error"]


def test_every_stage_leaves_its_files(bucket):
    assert {path.name for path in (bucket / "data").iterdir()} >= {"train_dataset.json", "eval_dataset.json"}
    assert list((bucket / "models").rglob("adapter_model.safetensors"))
    assert list((bucket / "tests").glob("*/test_result.csv"))


def test_every_number_of_the_summary_comes_from_the_saved_answers(bucket):
    rows = read_summary(bucket / "tests/summary.json")
    assert rows
    for row in rows:
        assert (row["correct"], row["total"]) == recount(bucket / "tests" / row["run"])[row["measure"]], row


def test_adapter_merged_and_served_model_give_the_same_text(bucket):
    runs = {path.parent.name.partition("_")[2]: path for path in bucket.glob("tests/**/answer_dataset.json")}
    answers = {name: [(row["question"], row["answer"]) for row in read_summary(path)] for name, path in runs.items()}
    tuned = next(rows for name, rows in answers.items() if name.endswith("_tuned"))
    assert len(tuned) > 400 and answers["merged"] == tuned and answers["served"] == tuned
    assert "Where they differ:" in (bucket / "tests/report.html").read_text(encoding="utf-8")
    assert "FROM ./" in next(bucket.glob("models/*/acronyms/Modelfile")).read_text(encoding="utf-8")


def test_the_report_and_the_card_are_written(bucket):
    assert "data:image/png;base64" in (bucket / "tests/report.html").read_text(encoding="utf-8")
    assert "## Scores" in next((bucket / "models").glob("*/README.md")).read_text(encoding="utf-8")
