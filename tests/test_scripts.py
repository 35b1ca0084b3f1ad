"""The set-up scripts, as far as they can be checked without installing anything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


STAND_IN = """#!/bin/sh
if [ "$1" = -V ]; then echo Python; exit; fi
echo "$BUCKET|$*" >>calls
exit ${STATUS:-0}
"""
SOURCE = 'source "$1/00-set_up/init_locally.sh" </dev/null; echo "status=$? active=${active:-no} options=$-"'


def run(*command: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    """Run a command, in an environment where pip would find nothing to install."""
    options = {"env": os.environ | {"PIP_NO_INDEX": "1"} | variables, "timeout": 60}
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, **options)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The scripts and what they need, in a folder whose name has a space, without an environment."""
    folder = tmp_path / "a clone"
    left_out = shutil.ignore_patterns("tiny_models", "conf.yaml", "__pycache__")
    for name in ("00-set_up", "helpers", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=left_out)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.fixture
def installed(clone: Path) -> Path:
    """The same with an environment that seems whole, whose Python only notes how it is called."""
    folder = clone / ".venv/bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(STAND_IN)
    (folder / "python").chmod(0o755)
    (folder / "activate").write_text("active=yes\n")
    command = 'source "$1" && cd "$repository" && echo "$(fingerprint) " >.venv/installed.txt'
    assert run("bash", "-c", command, "bash", clone / "00-set_up/install.sh").returncode == 0
    return clone


def test_help_tells_the_options(clone):
    done = run("bash", clone / "00-set_up/run_tutorial.sh", "--help")
    assert done.returncode == 0 and "--acronyms PATH" in done.stdout and "--bucket DIR" in done.stdout
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("options", [["--acronym", "x"], ["x.json"], ["--acronyms"], ["--bucket", ""]])
def test_a_wrong_option_is_told(clone, options):
    done = run("bash", clone / "00-set_up/run_tutorial.sh", *options)
    assert done.returncode == 2 and "Usage:" in done.stderr and options[0] in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(("content", "words"), [(None, "no such file"), ("[]", "no entry"), ("[{}]", "entry 1")])
def test_a_bad_list_stops_before_anything_is_installed(clone, tmp_path, content, words):
    if content:
        (tmp_path / "my list.json").write_text(content)
    done = run("bash", clone / "00-set_up/run_tutorial.sh", "--acronyms", "my list.json", cwd=tmp_path)
    assert done.returncode != 0 and words in done.stderr and str(tmp_path / "my list.json") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone / ".venv").exists()


def test_options_are_relative_to_the_current_folder(installed, tmp_path):
    options = ("--acronyms", "my list.json", "--bucket", "my bucket")
    done = run("bash", installed / "00-set_up/run_tutorial.sh", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last_call = (installed / "calls").read_text().splitlines()[-1]
    assert last_call == f"{tmp_path}/my bucket|00-set_up/run_notebooks.py {tmp_path}/my list.json"
    assert "seconds" in done.stdout


def test_a_second_run_installs_nothing(installed):
    done = run("bash", installed / "00-set_up/run_tutorial.sh")
    assert done.returncode == 0, done.stderr
    assert (installed / "calls").read_text() == "|00-set_up/run_notebooks.py\n"


def test_failing_notebooks_fail_the_command(installed):
    assert run("bash", installed / "00-set_up/run_tutorial.sh", STATUS="3").returncode == 3


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_init_locally_leaves_only_an_active_environment(installed, tmp_path, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = run(shell, "-c", SOURCE, shell, installed, cwd=tmp_path)
    assert "status=0 active=yes" in done.stdout, done.stderr
    assert "e" not in done.stdout.rpartition("options=")[2]
    example = (installed / "conf/example_conf.yaml").read_text()
    assert (installed / "conf/conf.yaml").read_text() == example
    assert "make_dirs" in (installed / "calls").read_text()


def test_init_locally_keeps_the_settings_of_the_reader(installed):
    (installed / "conf/conf.yaml").write_text("LANGUAGE: fr\n")
    run("bash", "-c", SOURCE, "bash", installed)
    assert (installed / "conf/conf.yaml").read_text() == "LANGUAGE: fr\n"


def test_init_locally_survives_a_failure(installed):
    done = run("bash", "-c", SOURCE, "bash", installed, STATUS="1")
    assert "status=1 active=no" in done.stdout and "see above" in done.stderr
