"""The look before anything long: each shortcoming is found, with its cure; no more is looked at."""

import re
import subprocess
import sys

import pytest
from test_repository import REPOSITORY, STAGES, read_cells

from helpers import chat, model, preflight
from helpers.config import Config
from stand_ins.practice_server import PracticeServer


@pytest.fixture
def config(tmp_path):
    made = Config(bucket=tmp_path / "bucket")
    made.make_dirs()
    return made


def find(config, what: str, **options) -> preflight.Finding:
    return next(found for found in preflight.check(config, **options) if found.what == what)


def test_the_embedded_default_has_nothing_to_cure_but_a_full_disk(config, monkeypatch):
    monkeypatch.setattr(preflight, "ENOUGH_DISK", 0)
    findings = preflight.check(config)
    assert not [finding for finding in findings if finding.cure or finding.stops]
    text = preflight.describe(findings)
    for words in ("practice server (not an LLM)", "tiny-chat", "cpu", "it fits", "Stand-ins"):
        assert words in text
    monkeypatch.setattr(preflight, "ENOUGH_DISK", 1e18)
    assert "set BUCKET" in find(config, "bucket", stage=1).cure


def test_stage_1_looks_at_no_model_and_stays_light(config):
    code = """import sys
from helpers import acronyms, chat, config, dataset, files, preflight
found = {f.what for f in preflight.check(config.load_config(), stage=1)}
print(found, "torch" in sys.modules or "transformers" in sys.modules)
"""
    environment = {"BUCKET": str(config.bucket), "PATH": ""}
    command = [sys.executable, "-c", code]
    options = {"cwd": REPOSITORY, "capture_output": True, "text": True, "env": environment}
    said = subprocess.run(command, **options).stdout
    assert "'LLM'" in said and "MODEL_NAME" not in said and said.strip().endswith("False")


def test_an_llm_that_answers_is_named_and_one_that_does_not_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(chat, "LONGEST_PAUSE", 0)
    with PracticeServer() as server:
        options = {"owui_url": server.url, "owui_token": server.token, "bucket": tmp_path}
        options |= {"owui_fav_model": "practice-writer", "judge_model_name": "practice-judge"}
        for stage, count in ((None, 2), (1, 2), (2, 0), (3, 2)):
            findings = preflight.check(Config(**options), stage=stage)
            asked = [found for found in findings if found.what == "LLM"]
            assert len({found.found for found in asked if not found.stops}) == count
        wrong = [
            ({"judge_model_name": "nobody"}, "no model 'nobody'.*practice-writer"),
            ({"owui_token": "sk-wrong-wrong-wrong"}, "401"),
            ({"owui_url": "http://localhost:9"}, "cannot be reached"),
        ]
        for change, words in wrong:
            found = [f for f in preflight.check(Config(**options | change), stage=3) if f.stops]
            assert re.search(words, found[0].cure) and "sk-wrong" not in str(found)


def test_a_model_a_device_or_memory_that_is_not_there_is_told(config, monkeypatch):
    monkeypatch.setattr(model, "free_memory", lambda name: 1000)
    assert "smaller" in find(config, "memory needed", stage=2).found
    monkeypatch.setattr(model.torch.backends.mps, "is_available", lambda: False)
    changes = {"device": "mps"}, {"model_name": "a/b"}
    for change, words in zip(changes, ("Set DEVICE to auto", "a/b"), strict=True):
        finding = find(config.model_copy(update=change), "MODEL_NAME", stage=2)
        assert finding.stops and words in finding.cure


# The first cell of the notebooks, which looks


def read_first_cell(name: str) -> str:
    return read_cells(name, "code")[0]["source"]


@pytest.mark.parametrize("name", STAGES)
def test_the_first_cell_points_to_the_log_where_the_set_up_is_missing(name, tmp_path):
    command = [sys.executable, "-I", "-S", "-c", read_first_cell(name)]  # without any package
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stderr
    words = "ImportError: The set-up did not end well: read 00-set_up/set_up.log."
    assert said.strip().endswith(words)


@pytest.mark.parametrize(("stage", "name"), list(enumerate(STAGES, start=1)))
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
