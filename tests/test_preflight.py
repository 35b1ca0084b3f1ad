"""The look before anything long: each shortcoming is found, with its cure; what is not needed is not looked at."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from helpers import chat, model, preflight
from helpers.config import Config
from stand_ins.practice_server import PracticeServer

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = ("01-create_dataset/create_dataset.ipynb", "02-fine_tune/training.ipynb", "03-test/test.ipynb")


@pytest.fixture
def config(tmp_path):
    made = Config(bucket=tmp_path / "bucket")
    made.make_dirs()
    return made


@pytest.fixture
def quick(monkeypatch):
    """Servers that are not there are not asked twice, with pauses."""
    monkeypatch.setattr(chat, "LONGEST_PAUSE", 0)


def found(config, what: str, **options) -> preflight.Finding:
    return next(finding for finding in preflight.check(config, **options) if finding.what == what)


def test_the_embedded_default_has_nothing_to_cure(config, monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "LOG", tmp_path / "none")
    monkeypatch.setattr(preflight, "ENOUGH_DISK", 0)
    monkeypatch.setattr(preflight, "version", lambda name: preflight_pins()[name])
    findings = preflight.check(config)
    assert not [finding for finding in findings if finding.cure or finding.stops]
    text = preflight.describe(findings)
    for words in ("practice server (not an LLM)", "tiny-chat", "cpu", "Stand-ins in use", "stage 3:", "as tested"):
        assert words in text


def preflight_pins() -> dict[str, str]:
    return dict(line.split("==") for line in preflight.TESTED.read_text().split() if "==" in line)


def test_stage_1_looks_at_no_model_and_stays_light(config):
    code = "from helpers import preflight; from helpers.config import load_config; import sys; c = load_config(); "
    code += "c.make_dirs(); print({f.what for f in preflight.check(c, stage=1)}, 'torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    environment = {"BUCKET": str(config.bucket), "PATH": ""}
    said = subprocess.run(command, capture_output=True, text=True, env=environment).stdout
    assert "'LLM'" in said and "judge" not in said and "MODEL_NAME" not in said and said.strip().endswith("False")


@pytest.mark.parametrize(
    ("text", "words", "cure"),
    [
        ("Installing\nSet-up ended well.\n", "ended well", ""),
        ("Installing\nFailed: no room\n", "did not end well", "Read 00-set_up/set_up.log"),
        ("", "did not end well", "run the set-up again"),
        (None, "not done by 00-set_up here", ""),
    ],
)
def test_the_log_of_the_set_up_is_read(config, monkeypatch, tmp_path, text, words, cure):
    monkeypatch.setattr(preflight, "LOG", tmp_path / "set_up.log")
    if text is not None:
        (tmp_path / "set_up.log").write_text(text)
    finding = found(config, "set-up", stage=1)
    assert finding.found == words and cure in finding.cure and bool(finding.cure) == bool(cure)


def test_other_versions_are_named(config, monkeypatch):
    def version(name):
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return "9.9" if name == "trl" else preflight_pins()[name] + "+cpu"

    monkeypatch.setattr(preflight, "version", version)
    finding = found(config, "libraries", stage=1)
    assert "peft none (tested" in finding.found and "trl 9.9 (tested" in finding.found and "torch" not in finding.found
    assert "set_up.py" in finding.cure and not finding.stops


def test_a_full_disk_is_told(config, monkeypatch):
    monkeypatch.setattr(preflight, "ENOUGH_DISK", 1e18)
    assert "set BUCKET to a folder on a larger disk" in found(config, "bucket", stage=1).cure


def test_an_llm_that_answers_is_named(tmp_path):
    server = PracticeServer().start()
    try:
        options = {"owui_url": server.url, "owui_token": server.token, "bucket": tmp_path}
        findings = preflight.check(Config(**options, owui_fav_model=server.models[0]), stage=1)
        llm = next(finding for finding in findings if finding.what == "LLM")
        assert server.models[0] in llm.found and "key set" in llm.found and not llm.cure
        llm = found(Config(**options, owui_fav_model="nobody"), "LLM", stage=1)
        assert llm.stops and "no model 'nobody'" in llm.cure and server.models[0] in llm.cure
        llm = found(Config(**options | {"owui_token": "sk-wrong-wrong-wrong"}), "LLM", stage=1)
        assert llm.stops and "401" in llm.cure and "sk-wrong" not in str(llm)
    finally:
        server.stop()


def test_an_llm_that_does_not_answer_stops(quick, tmp_path):
    config = Config(owui_url="http://localhost:9", bucket=tmp_path)
    for stage, what in ((1, "LLM"), (3, "judge")):
        finding = found(config, what, stage=stage)
        assert finding.stops and "cannot be reached" in finding.cure and "no key" in finding.found


def test_a_model_that_is_nowhere_stops_and_its_key_is_named(config):
    wrong = config.model_copy(update={"cross_encoder": "org/none", "embedding_model": "org/neither"})
    findings = {finding.what: finding for finding in preflight.check(wrong, stage=3)}
    for key in ("CROSS_ENCODER", "EMBEDDING_MODEL"):
        assert findings[key].stops and findings[key].cure.startswith(f"{key} org/"), findings[key]
    assert not findings["MODEL_NAME"].stops
    findings = preflight.check(config.model_copy(update={"model_name": "org/none"}), stage=2)
    assert [finding.what for finding in findings if finding.stops] == ["MODEL_NAME"]
    assert findings[-1].found == "unknown"


def test_too_little_memory_and_an_absent_device_are_told(config, monkeypatch):
    monkeypatch.setattr(model, "free_memory", lambda name: 1000)
    assert "smaller model" in found(config, "device", stage=2).cure
    absent = config.model_copy(update={"device": "mps"})
    monkeypatch.setattr(model.torch.backends.mps, "is_available", lambda: False)
    finding = found(absent, "device", stage=2)
    assert finding.stops and "Set DEVICE to auto" in finding.cure


def test_a_long_list_takes_longer(config):
    few, many = (found(config, "expected time", acronyms=count).found for count in (10, 1000))
    assert few != many and "for 10 acronyms; an estimate" in few and ("min" in many or " h" in many)


@pytest.mark.parametrize(("seconds", "words"), [(2, "10 s"), (44, "40 s"), (600, "10 min"), (7300, "2 h")])
def test_durations_are_rounded(seconds, words):
    assert preflight._duration(seconds) == words


# The first cell of the notebooks, which looks


def read_first_cell(name: str) -> str:
    cells = json.loads((REPOSITORY / name).read_text(encoding="utf-8"))["cells"]
    return "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "code"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_cell_points_to_the_log_where_the_set_up_is_missing(name, tmp_path):
    command = [sys.executable, "-I", "-S", "-c", read_first_cell(name)]  # without any installed package
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stderr
    assert said.strip().endswith("ImportError: The set-up did not end well: read 00-set_up/set_up.log.")


@pytest.mark.parametrize(("stage", "name"), list(enumerate(NOTEBOOKS, start=1)))
def test_on_colab_the_first_cell_fetches_installs_and_looks(stage, name, monkeypatch, tmp_path):
    ran, looked = [], []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ran.append((command, options)))
    monkeypatch.setattr(preflight, "check", lambda config, stage: looked.append(stage) or [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("BUCKET", str(tmp_path))
    exec(read_first_cell(name), {})
    (clone, _), (set_up, options) = ran
    assert clone[:2] == ["git", "clone"] and clone[-1] == sys.path[0]
    assert set_up[1:] == [f"{clone[-1]}/00-set_up/set_up.py", "--platform", "colab"] and options["check"]
    assert looked == [stage]


def test_the_judge_that_is_looked_for_is_the_one_that_the_notebook_asks(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(chat, "connect", lambda url, token, model: asked.append(model) or pytest.fail("enough"))
    for judge, expected in ((None, "writer"), ("judge", "judge")):
        config = Config(owui_url="http://localhost:9", owui_fav_model="writer", judge_model_name=judge, bucket=tmp_path)
        with pytest.raises(pytest.fail.Exception):
            preflight.check(config, stage=3)
        assert asked.pop() == expected
