"""The set-up and the two commands, run as the platforms run them, in folders that stand for theirs.

The interpreter that stands for a platform's sees the packages of the one that runs the tests, torch
among them. The package index is asked for one thing, setuptools, to build what makes the helpers
importable.
"""

import ast
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

REPOSITORY = Path(__file__).parents[1]
STAND_IN = """#!/bin/sh
if [ "$1" = -V ]; then echo Python; exit; fi
echo "$BUCKET|$*" >>calls
exit ${STATUS:-0}
"""
SOURCE = """
source "$1/00-set_up/init_locally.sh" </dev/null
echo "status=$? active=${active:-no} options=$-"
"""
VIEWER = "labconfig/default_setting_overrides.d/acronym-tutorial.json"
# Another user, who may still read the Python that runs the tests, wherever that lies.
AS_NOBODY = "setpriv --reuid 65534 --regid 65534 --clear-groups".split()
AS_NOBODY += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]


def run(*command: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    """Run a command where pip finds nothing to install, with no standard input."""
    environment = os.environ | {"PIP_NO_INDEX": "1"} | variables
    options = {"env": environment, "timeout": 300, "stdin": subprocess.DEVNULL}
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, **options)


def copy(folder: Path) -> Path:
    """The scripts and what they need, in a folder, without an environment."""
    left_out = shutil.ignore_patterns("tiny-*", "build", "conf.yaml", "__pycache__", "set_up.log")
    for name in ("00-set_up", "helpers", "stand_ins", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=left_out)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("tiny-chat", "tiny-cross-encoder"):
        (folder / "stand_ins" / name).mkdir(parents=True)
        (folder / "stand_ins" / name / "config.json").write_text("{}")  # git keeps no empty folder
    return folder


@pytest.fixture
def clone(tmp_path):
    return copy(tmp_path / "a clone")


@pytest.fixture
def installed(clone):
    """A clone with an environment that seems whole, whose Python only notes how it is called."""
    folder = clone / ".venv/bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(STAND_IN)
    (folder / "python").chmod(0o755)
    (folder / "activate").write_text("active=yes\n")
    set_up = load(clone)
    set_up.STAMP.write_text(json.dumps(set_up.make_stamp("local", False, False)))
    return clone


def load(clone: Path):
    """The set-up script of a clone, as a module."""
    spec = importlib.util.spec_from_file_location("set_up", clone / "00-set_up/set_up.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The two commands


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--help"], 0, ["--acronyms", "--bucket"]),
        (["--acronym", "x"], 2, ["usage:", "--acronym"]),
        (["--acronyms", "absent.json"], 1, ["No such file", "absent.json"]),
        (["--acronyms", "a list.json"], 1, ["entry 1", "a list.json"]),
    ],
)
def test_what_stops_before_anything_is_installed_is_told(clone, tmp_path, options, status, words):
    (tmp_path / "a list.json").write_text("[{}]")
    done = run("bash", clone / "00-set_up/run_tutorial.sh", *options, cwd=tmp_path)
    said = done.stdout if status == 0 else done.stderr
    assert done.returncode == status and all(word in said for word in words)
    assert "Traceback" not in said and not (clone / ".venv").exists()


def test_options_are_relative_to_the_current_folder(installed, tmp_path):
    options = ("--acronyms", "my list.json", "--bucket", "my bucket")
    entry = {"acronym": "CGT", "definition": "Cooking Gourmet Taste"}
    (tmp_path / "my list.json").write_text(json.dumps([entry]))
    done = run("bash", installed / "00-set_up/run_tutorial.sh", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last_call = (installed / "calls").read_text().splitlines()[-1]
    notebooks = installed / "00-set_up/run_notebooks.py"
    assert last_call == f"{tmp_path}/my bucket|{notebooks} {tmp_path}/my list.json"
    assert "pip" not in (installed / "calls").read_text(), "it was installed already"


def test_failing_notebooks_fail_the_command(installed):
    only_notebooks = STAND_IN.replace("exit ${", "[ $# = 2 ] || exit ${")
    (installed / ".venv/bin/python").write_text(only_notebooks)
    assert run("bash", installed / "00-set_up/run_tutorial.sh", STATUS="3").returncode == 3


@pytest.mark.parametrize("change", ["requirements", "moved", "broken"])
def test_an_environment_that_does_not_fit_is_mended(installed, tmp_path, change):
    if change == "requirements":
        (installed / "requirements.txt").write_text("torch>=2.6,<3 # new\n")
    if change == "moved":
        installed = installed.rename(tmp_path / "elsewhere")
    set_up = load(installed)
    if change == "broken":
        (installed / ".venv/bin/python").unlink()
    ran = []
    set_up.run = lambda *command: ran.append(" ".join(map(str, command)))
    set_up.find_torch_index = lambda kind: []
    set_up.make_environment = lambda sees: ran.append("new environment")
    set_up.install("local", None)
    assert ("new environment" in ran) == (change != "requirements")
    assert any("install" in line and "requirements.txt" in line for line in ran)
    assert set_up.read_stamp() == set_up.make_stamp("local", False, False)


# One's own machine


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_init_locally_leaves_only_an_active_environment(installed, tmp_path, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = run(shell, "-c", SOURCE, shell, installed, cwd=tmp_path)
    assert "status=0 active=yes" in done.stdout, done.stderr
    assert "e" not in done.stdout.rpartition("options=")[2]
    assert (installed / "conf/conf.yaml").stat().st_mode & 0o77 == 0, "it will hold a key"
    assert (installed / ".venv/etc/jupyter" / VIEWER).exists()
    (installed / "conf/conf.yaml").write_text("LANGUAGE: fr\n")
    run(shell, "-c", SOURCE, shell, installed, cwd=tmp_path)
    assert (installed / "conf/conf.yaml").read_text() == "LANGUAGE: fr\n", "the reader's stay"


def test_a_failure_is_told_and_logged(installed):
    done = run("bash", "-c", SOURCE, "bash", installed, STATUS="1")
    assert "status=1 active=no" in done.stdout and "set_up.log" in done.stderr
    assert (installed / "00-set_up/set_up.log").read_text().splitlines()[-1].startswith("Failed: ")


def test_an_older_python_is_sent_on_or_told(clone, monkeypatch, tmp_path, capsys):
    code = (clone / "00-set_up/set_up.py").read_text()
    ast.parse(code, feature_version=(3, 7))
    ast.parse((clone / "00-set_up/run_tutorial.py").read_text(), feature_version=(3, 7))
    set_up = load(clone)
    monkeypatch.setattr(set_up.sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(set_up.sys, "argv", ["x.py"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="3.11, 3.12 or 3.13 is needed"):
        set_up.use_a_fitting_python()
    (tmp_path / "python3.12").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "python3.12").chmod(0o755)
    with pytest.raises(SystemExit) as caught:
        set_up.use_a_fitting_python()
    assert caught.value.code == 7


# JupyterLab


def read_settings(path: Path):
    """What JupyterLab makes of its settings in Python."""
    settings = SimpleNamespace(LabApp=SimpleNamespace(), ServerApp=SimpleNamespace())
    exec(path.read_text(), {"c": settings})
    return settings


def test_jupyterlab_opens_on_the_readme_whatever_the_clone_is_called(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = "a 'clone' of \"ours\", été #1"
    set_up = load(copy(tmp_path / name))
    for _ in range(2):
        set_up.open_readme()
    address = read_settings(tmp_path / ".jupyter/jupyter_server_config.py").LabApp.default_url
    assert unquote(address) == f"/lab/tree/{name}/README.md" and not set(address) & set(" '\"#")


# The platforms


@pytest.fixture(scope="module")
def platform_dir(tmp_path_factory):
    """A Python such as a datalab brings, with torch and a jupyter command, like /opt/conda."""
    folder = tmp_path_factory.mktemp("opt") / "conda"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    own = next(folder.glob("lib/python*/site-packages"))
    # setuptools finds the tutorial's own helpers there too: the clone's come before them.
    (own / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (folder / "bin/jupyter").write_text("#!/bin/sh\n")
    (folder / "bin/jupyter").chmod(0o755)
    for path in [folder.parent, folder, *folder.rglob("*")]:
        if path.is_dir() or not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else path.stat().st_mode | 0o644)
    return folder


def check_environment(repository: Path) -> None:
    """The environment uses the platform's torch, installed none, and has this clone's helpers."""
    python = repository / ".venv/bin/python"
    where = "import torch, helpers; print(torch.__file__); print(helpers.__file__)"
    torch_path, helpers_path = run(python, "-c", where, cwd=repository).stdout.splitlines()
    assert not torch_path.startswith(str(repository))
    assert helpers_path == str(repository / "helpers/__init__.py")
    assert not list(repository.glob(".venv/lib/python*/site-packages/torch*"))


def make_origin(folder: Path) -> str:
    """A repository to clone, and its address."""
    copy(folder)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", folder]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    return f"file://{folder}"


@pytest.fixture
def open_dir():
    """A folder that other users may enter, as they may not enter pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.long
def test_onyxia_pipes_the_script_in(open_dir, platform_dir):
    """A user installs it and comes again; then comes root, who gives what is made to the user."""
    home, lasting = open_dir / "home", open_dir / "home/work"
    repository, address = lasting / "acronym-tutorial", make_origin(open_dir / "acronym-tutorial")
    settings_path = home / ".jupyter/jupyter_server_config.py"
    settings_path.parent.mkdir(parents=True)
    settings_path.write_text("c.ServerApp.port = 8888\n")
    lasting.mkdir()
    # Git trusts no repository of another user: here, that of the tests.
    (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    is_root = os.geteuid() == 0
    for path in (open_dir, home, lasting, settings_path.parent, settings_path):
        os.chown(path, *((65534, 65534) if is_root else (-1, -1)))
    variables = {k: v for k, v in os.environ.items() if k not in ("HF_HOME", "VIRTUAL_ENV")}
    variables |= {"HOME": str(home), "PATH": f"{platform_dir}/bin:{os.environ['PATH']}"}
    options = {"cwd": lasting, "env": variables | {"TMPDIR": str(home)}, "timeout": 300}
    options |= {"input": (REPOSITORY / "00-set_up/init_onyxia.sh").read_text(), "text": True}
    as_user = AS_NOBODY if is_root else []
    for turn, as_whom in enumerate((as_user, as_user, [])):
        command = [*as_whom, "bash", "-s", "--", address]
        done = subprocess.run(command, capture_output=True, **options)
        assert "Set-up ended well." in done.stdout, done.stdout + done.stderr
        assert ("Installing the" in done.stdout) == (turn == 0)
        made = [repository, repository / "conf/conf.yaml", home / ".jupyter" / VIEWER]
        assert {path.lstat().st_uid for path in made} == {os.geteuid() or 65534}
        made[1].unlink()
    check_environment(repository)
    assert "Set-up ended well." in (lasting / "init_onyxia.log").read_text()
    assert (home / ".cache/huggingface").resolve() == lasting / ".cache/huggingface"
    assert settings_path.read_text().count("default_url") == 1
    assert read_settings(settings_path).ServerApp.port == 8888
    # Another user may not write into the platform's folder.
    prefix = home / ".local" if is_root else platform_dir
    kernel = json.loads((prefix / "share/jupyter/kernels/python3/kernel.json").read_text())
    assert kernel["argv"][0] == str(repository / ".venv/bin/python")


@pytest.mark.long
def test_gcp_finds_the_interpreter_and_the_bucket(tmp_path, platform_dir):
    """`sh` is dash on Debian."""
    clone = copy(tmp_path / "a clone")
    (tmp_path / "bucket").mkdir()
    places = {"CONDA_DIR": str(platform_dir), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = run("sh", clone / "00-set_up/init_gcp.sh", cwd=tmp_path, PIP_NO_INDEX="0", **places)
    assert "Set-up ended well." in done.stdout, done.stdout + done.stderr
    check_environment(clone)
    assert (tmp_path / "bucket/models").is_dir() and not (clone / "bucket/models").exists()
    assert (platform_dir / "share/jupyter/kernels/python3/kernel.json").exists()


def test_colab_installs_in_place_and_only_what_is_missing(clone, monkeypatch):
    set_up = load(clone)
    ran = []
    monkeypatch.setattr(set_up, "run", lambda *command: ran.append([*map(str, command)]))
    monkeypatch.setattr(set_up, "ask", lambda *_: "2.9.0+cu126")
    assert set_up.install("colab", "2.9.0+cu126") == sys.executable
    assert (clone / ".venv/constraints.txt").read_text() == "torch==2.9.0+cu126\n"
    assert ran and all(command[0] == sys.executable and "pip" in command for command in ran)
    assert not [command for command in ran if "torch" in command]
    monkeypatch.setattr(set_up, "ask", lambda *_: "2.13.0")
    with pytest.raises(set_up.SetUpError, match="not to be installed twice"):
        set_up.install("colab", "2.9.0+cu126", dev=True)


def test_a_torch_that_is_there_is_kept_or_named_as_too_old(clone, monkeypatch):
    set_up = load(clone)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.9.0+cu128")
    assert set_up.find_torch() == "2.9.0+cu128"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.5.1")
    with pytest.raises(set_up.SetUpError, match="PyTorch 2.5.1; 2.6 or newer.*newer image"):
        set_up.find_torch()


def test_a_clone_outside_the_lasting_folder_gets_its_bucket_there(clone, tmp_path, monkeypatch):
    set_up = load(clone)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert set_up.find_bucket(set_up.PLATFORMS["onyxia"]) is None, "there is no such folder"
    (tmp_path / "work").mkdir()
    lasting = tmp_path / "work/acronym-tutorial-bucket"
    found = [set_up.find_bucket(set_up.PLATFORMS[name]) for name in ("onyxia", "local")]
    assert found == [lasting, None]


def test_the_cpu_wheel_is_taken_only_without_a_gpu(clone, monkeypatch):
    set_up = load(clone)
    monkeypatch.setattr(set_up.machine, "system", lambda: "Linux")
    monkeypatch.setattr(set_up, "find_gpu", lambda: "NVIDIA L4")
    assert set_up.find_torch_index() == []
    monkeypatch.setattr(set_up, "find_gpu", lambda: "")
    monkeypatch.setattr(set_up.urllib.request, "urlopen", lambda *_, **__: open(os.devnull))
    assert set_up.find_torch_index()[1].endswith("/whl/cpu")
    assert set_up.find_torch_index("cuda") == []
