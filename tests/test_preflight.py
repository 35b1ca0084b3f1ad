"""The look before anything long: each shortcoming is found, with its cure; no more is looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import chat, model, preflight
from helpers.config import Config
from stand_ins.practice_server import PracticeServer

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = (
    "01-create_dataset/create_dataset.ipynb",
    "02-fine_tune/training.ipynb",
    "03-test/test.ipynb",
)


@pytest.fixture
def config(tmp_path):
    made = Config(bucket=tmp_path / "bucket")
    made.make_dirs()
    return made


def find(config, what: str, **options) -> preflight.Finding:
    return next(found for found in preflight.check(config, **options) if found.what == what)


def test_the_embedded_default_has_nothing_to_cure(config, monkeypatch):
    monkeypatch.setattr(preflight, "ENOUGH_DISK", 0)
    findings = preflight.check(config)
    assert not [finding for finding in findings if finding.cure or finding.stops]
    text = preflight.describe(findings)
    for words in (
        "practice server (not an LLM)",
        "tiny-chat",
        "cpu",
        "it fits",
        "Stand-ins in use",
    ):
        assert words in text


def test_stage_1_looks_at_no_model_and_stays_light(config):
    code = (
        "import sys; from helpers import preflight; from helpers.config import load_config\n"
        "found = {f.what for f in preflight.check(load_config(), stage=1)}\n"
        "print(found, 'torch' in sys.modules)"
    )
    environment = {"BUCKET": str(config.bucket), "PATH": ""}
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, env=environment).stdout
    assert "'LLM'" in said and "MODEL_NAME" not in said and said.strip().endswith("False")


def test_a_full_disk_is_told(config, monkeypatch):
    monkeypatch.setattr(preflight, "ENOUGH_DISK", 1e18)
    assert "set BUCKET" in find(config, "bucket", stage=1).cure


def test_an_llm_that_answers_is_named_and_one_that_does_not_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(chat, "LONGEST_PAUSE", 0)
    with PracticeServer() as server:
        options = {"owui_url": server.url, "owui_token": server.token, "bucket": tmp_path}
        llm = find(Config(**options, owui_fav_model=server.models[0]), "LLM", stage=1)
        assert server.models[0] in llm.found and not llm.stops
        llm = find(Config(**options, owui_fav_model="nobody"), "LLM", stage=1)
        assert llm.stops and "no model 'nobody'" in llm.cure and server.models[0] in llm.cure
        wrong = options | {"owui_token": "sk-wrong-wrong-wrong"}
        llm = find(Config(**wrong), "LLM", stage=1)
        assert llm.stops and "401" in llm.cure and "sk-wrong" not in str(llm)
    config = Config(owui_url="http://localhost:9", bucket=tmp_path)
    assert "cannot be reached" in find(config, "LLM", stage=3).cure


def test_the_judge_that_is_looked_for_is_the_one_that_the_notebook_asks(tmp_path):
    with PracticeServer() as server:
        options = {"owui_url": server.url, "owui_token": server.token, "bucket": tmp_path}
        options |= {"owui_fav_model": "practice-writer"}
        for judge, expected in ((None, "practice-writer"), ("practice-judge", "practice-judge")):
            config = Config(**options, judge_model_name=judge)
            assert f"{expected} is one" in find(config, "LLM", stage=3).found


def test_a_model_that_is_nowhere_stops(config):
    wrong = config.model_copy(update={"model_name": "org/none"})
    finding = find(wrong, "MODEL_NAME", stage=2)
    assert finding.stops and "org/none" in finding.cure


def test_too_little_memory_and_an_absent_device_are_told(config, monkeypatch):
    monkeypatch.setattr(model, "free_memory", lambda name: 1000)
    assert "smaller" in find(config, "memory needed", stage=2).found
    absent = config.model_copy(update={"device": "mps"})
    monkeypatch.setattr(model.torch.backends.mps, "is_available", lambda: False)
    finding = find(absent, "MODEL_NAME", stage=2)
    assert finding.stops and "Set DEVICE to auto" in finding.cure


# The first cell of the notebooks, which looks


def read_first_cell(name: str) -> str:
    cells = json.loads((REPOSITORY / name).read_text(encoding="utf-8"))["cells"]
    return "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "code"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_cell_points_to_the_log_where_the_set_up_is_missing(name, tmp_path):
    command = [sys.executable, "-I", "-S", "-c", read_first_cell(name)]  # without any package
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stderr
    words = "ImportError: The set-up did not end well: read 00-set_up/set_up.log."
    assert said.strip().endswith(words)


@pytest.mark.parametrize(("stage", "name"), list(enumerate(NOTEBOOKS, start=1)))
def test_on_colab_the_first_cell_fetches_installs_and_looks(stage, name, monkeypatch, tmp_path):
    ran, looked, cloned = [], [], []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(subprocess, "call", lambda command: cloned.append(command) or 0)
    monkeypatch.setattr(subprocess, "run", lambda command, **more: ran.append((command, more)))
    monkeypatch.setattr(preflight, "check", lambda config, stage: looked.append(stage) or [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("BUCKET", str(tmp_path))
    exec(read_first_cell(name), {})
    [clone], [(set_up, options)] = cloned, ran
    assert clone[:2] == ["git", "clone"] and clone[-1] == sys.path[0]
    assert set_up[1:] == [f"{clone[-1]}/00-set_up/set_up.py", "--platform", "colab"]
    assert options["check"] and looked == [stage]
