"""The repository keeps its own rules: links, lists, notebooks and scripts agree with it."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from helpers.config import KEYS

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOME_PAGE = PROJECT["urls"]["Repository"]
OWNER_AND_NAME = HOME_PAGE.removeprefix("https://github.com/")
PERSONAL_PATH = re.compile(r"(?<![\w.~$}-])/(?:root|home|Users)/\w")
SECRET = re.compile(r"\b(?:sk|hf)[-_][A-Za-z0-9]{20,}")
STAGES = (
    "01-create_dataset/create_dataset.ipynb",
    "02-fine_tune/training.ipynb",
    "03-test/test.ipynb",
)


def list_files() -> list[str]:
    """Every file that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return sorted(line for line in done.stdout.splitlines() if (REPOSITORY / line).is_file())


FILES = list_files()
TEXT_FILES = [name for name in FILES if Path(name).suffix not in (".safetensors", ".png")]
PAGES = [name for name in FILES if name.endswith(".md")]
NOTEBOOKS = [name for name in FILES if name.endswith(".ipynb")]
HELPERS = [name for name in FILES if re.fullmatch(r"helpers/[a-z]\w*\.py", name)]
SCRIPTS = [name for name in FILES if name.endswith(".sh")] + [".ci/run"]


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def read_cells(name: str, kind: str | None = None) -> list[dict]:
    """The cells of a notebook, with their source as one text."""
    cells = [cell | {"source": "".join(cell["source"])} for cell in json.loads(read(name))["cells"]]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def read_prose(name: str) -> str:
    """The Markdown of a page or of a notebook."""
    if name in PAGES:
        return read(name)
    return "\n\n".join(cell["source"] for cell in read_cells(name, "markdown"))


# ------------------------------------------------------------------------------------------ pages


def test_the_readme_is_one_screen_and_a_half_and_its_counts_are_those_of_notebook_3():
    page = read("README.md")
    assert len(page.split()) <= 700
    counts = re.findall(r"\d+/\d+", re.search("--refresh: begin -->(.*?)<!--", page, flags=re.S)[1])
    assert counts and not [count for count in counts if count not in read(STAGES[2])]


# -------------------------------------------------------------------------------------- addresses


def read_launch_link(link: str) -> tuple[str, dict]:
    """Read a link as Onyxia's launcher does: the chart, and what it sets.

    A Helm value stands between « and »; without them, what follows a number is dropped: 40Gi is 40.
    Keys are not percent-decoded; an array's brackets Markdown breaks.
    """
    parts = urlsplit(link)
    values = dict(pair.split("=") for pair in parts.query.split("&"))
    values = {key: unquote(value) for key, value in values.items()}
    return parts.path.removeprefix("/launcher/"), values


LAUNCH_LINKS = [
    link
    for name in ("README.md", "00-set_up/README.md")
    for link in re.findall(r"\]\((https://[^)\s]+/launcher/[^)\s]+)\)", read(name))
]


def test_launch_links_give_the_launcher_what_is_meant():
    """With the vault and without; no version and no S3 profile, which rot."""
    kinds = []
    for chart, values in map(read_launch_link, LAUNCH_LINKS):
        kinds.append((chart, values.pop("vault.secret", None)))
        raw = f"«https://raw.githubusercontent.com/{OWNER_AND_NAME}/main/"
        script = values.pop("init.personalInit")
        assert script.startswith(raw) and script.endswith("»")
        assert (REPOSITORY / script[len(raw) : -1]).is_file()
        wanted = {"name": "acronym-tutorial", "init.personalInitArgs": f"«{HOME_PAGE}»"}
        assert values == wanted | {"persistence.size": "«40Gi»", "autoLaunch": "true"}
    charts = ("ide/jupyter-pytorch", "ide/jupyter-pytorch-gpu")
    vaults = (None, "«acronym-tutorial»")
    assert set(kinds) == {(chart, vault) for chart in charts for vault in vaults}


def find_addresses(text: str) -> set[str]:
    """OWNER/NAME in every address that is meant to be this repository's."""
    places = (
        r"(?:raw\.githubusercontent\.com|github\.com|codespaces\.new|research\.google\.com/github)"
    )
    found = re.findall(rf"{places}/([\w.-]+/[\w.-]+)", text.replace("%2F", "/"))
    return {address for address in found if "acronym" in address or address == OWNER_AND_NAME}


def test_all_addresses_of_this_repository_are_one():
    pages = [name for name in TEXT_FILES if not name.startswith("tests/")]
    assert set().union(*(find_addresses(read(name)) for name in pages)) == {OWNER_AND_NAME}


def test_what_colab_opens_exists():
    paths = re.findall(r"/blob/main/([^)\s]+)", read("README.md"))
    assert paths and all((REPOSITORY / path).is_file() for path in paths)


# ------------------------------------------------------------------- scripts, images, workflows

WORKFLOWS = [name for name in FILES if name.startswith(".github/workflows/")]
DOCKERFILE = "00-set_up/Dockerfile"
RUNNING = [*WORKFLOWS, DOCKERFILE, ".devcontainer/devcontainer.json"]


def read_commands(name: str) -> str:
    """What a workflow, an image or Codespaces runs, and what a page gives to run."""
    text = read(name)
    if name in PAGES:
        text = "\n".join(re.findall(r"^```bash\n(.*?)^```", text, flags=re.M | re.S))
    return text


COMMANDS = {name: read_commands(name) for name in RUNNING + PAGES}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_name_what_is_there(name):
    folders = {path.split("/")[0] for path in FILES if "/" in path}
    for path in re.findall(r"(?<![\w/.-])[\w.-]+/[\w./-]+\.[a-z]+\b", COMMANDS[name]):
        assert path.split("/")[0] not in folders or (REPOSITORY / path).exists(), path
    published = re.findall(r"docker run.* -p (\S+)", COMMANDS[name])
    assert all(port.startswith("127.0.0.1:") for port in published), "this machine alone"


def test_the_options_that_commands_give_exist():
    text = "\n".join(read(name) for name in COMMANDS)
    for script in ("set_up", "run_tutorial", "run_notebooks"):
        calls = re.findall(rf"00-set_up/{script}\.(?:py|sh)([^`#\n]*)", text)
        given = {option for call in calls for option in re.findall("--[a-z-]+", call)}
        known = read(f"00-set_up/{script}.py")
        assert given and not [option for option in given if f'"{option}"' not in known]


CHECKS = [("shellcheck", name) for name in SCRIPTS] + [("hadolint", DOCKERFILE)]


@pytest.mark.parametrize(("tool", "name"), CHECKS)
def test_script_and_image_pass_their_checks(tool, name):
    command = [Path(sys.executable).parent / tool, name]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def git(folder: Path, *words: str) -> str:
    person = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    command = ["git", "-C", folder, *person, *words]
    return subprocess.check_output(command, text=True).strip()


def test_the_first_push_writes_the_addresses_and_the_second_changes_nothing(tmp_path):
    """The commands of the workflow, in a clone whose origin is a folder."""
    stands_for_it = "/".join(("YOUR_ORGANISATION", "acronym-tutorial"))
    clone, origin = tmp_path / "clone", tmp_path / "origin"
    quoted = [text.replace("/", "%2F") for text in (OWNER_AND_NAME, stands_for_it)]
    for name in TEXT_FILES:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        text = read(name).replace(OWNER_AND_NAME, stands_for_it).replace(*quoted)
        (clone / name).write_text(text)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(origin))
    git(clone, "init", "-q", "-b", "main")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "all")
    git(clone, "remote", "add", "origin", str(origin))
    git(clone, "push", "-qu", "origin", "main")
    (job,) = yaml.safe_load(read(".github/workflows/addresses.yml"))["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    environment = os.environ | {"GITHUB_REPOSITORY": "some-one/our.words"}
    for _ in range(2):
        for command in commands:
            subprocess.run(["bash", "-e", "-c", command], cwd=clone, env=environment, check=True)
        assert git(origin, "rev-list", "--count", "main") == "2"
    changed = git(clone, "diff", "--name-only", "HEAD~1").splitlines()
    assert {"README.md", "00-set_up/README.md", "pyproject.toml", *STAGES} <= set(changed)
    assert not [name for name in changed if name.startswith(".github/")], "no token may push it"
    for name in changed:
        text = (clone / name).read_text()
        assert find_addresses(text) <= {"some-one/our.words"}, name
        assert stands_for_it not in text and quoted[1] not in text


# -------------------------------------------------------------------------- lists that must agree


def test_example_conf_has_exactly_the_keys():
    keys = re.findall(r"^# ([A-Z_]+):(?: |$)", read("conf/example_conf.yaml"), flags=re.M)
    assert keys == KEYS


def simplify(requirement: str) -> str:
    return re.match(r"[\w.-]*", requirement)[0].lower().replace("_", "-")


def find_imports(code: str) -> set[str]:
    """The modules that code imports, whole: helpers.chat for `from helpers import chat` too."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_requirement_has_bounds_and_a_pin():
    lines = [line for line in read("requirements.txt").splitlines() if line[0] not in "#-"]
    assert lines and not [line for line in lines if not re.match("[^#]+>=[^#]+<", line)]
    declared = [*lines, *PROJECT["optional-dependencies"]["dev"]]
    pinned = {simplify(line) for line in read("00-set_up/constraints.txt").splitlines()}
    assert {simplify(line) for line in declared} <= pinned


# -------------------------------------------------------------------------------------- notebooks


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_cells_are_short_and_follow_prose(name):
    cells = read_cells(name)
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    lines = [len(cell["source"].splitlines()) for cell in codes]
    assert max(lines) <= 20
    kinds = "".join(cell["cell_type"][0] for cell in cells)
    assert "cc" not in kinds, "code follows prose"
    parameters = ["parameters" in cell["metadata"].get("tags", []) for cell in codes]
    assert name not in STAGES or sum(parameters) == 1
    assert json.loads(read(name))["metadata"]["kernelspec"]["name"] == "python3", "as any Python"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_has_its_solution_and_its_code_parses(name):
    text = read_prose(name)
    for exercise in re.split(r"^> \*\*Try it\.\*\*", text, flags=re.M)[1:]:
        assert "<details><summary>" in re.split("^## ", exercise, flags=re.M)[0], exercise[:80]
    plain = re.sub("^> ?", "", text, flags=re.M)
    for code in re.findall(r"```python\n(.*?)```", plain, flags=re.S):
        ast.parse(code)


# ------------------------------------------------------------------------------------------- code


def test_no_personal_path_and_no_secret():
    texts = {name: read(name) for name in TEXT_FILES}
    assert not [
        name for name, text in texts.items() if PERSONAL_PATH.search(text) or SECRET.search(text)
    ]


def test_helpers_stay_small():
    """Counted in syntax-tree nodes, so that room costs nothing; it goes down to 21,000."""
    assert sum(len(list(ast.walk(ast.parse(read(name))))) for name in HELPERS) < 21_900


def test_the_arrows_between_helpers_go_down():
    page = read("CONTRIBUTING.md").partition("## Which helper may import which")[2]
    drawn = re.search("```text\n(.*?)```", page, flags=re.S)[1].splitlines()[1:]
    layers = [line.split() for line in drawn if "↓" not in line]
    depths = {name: depth for depth, names in enumerate(layers) for name in names}
    assert {Path(name).stem for name in HELPERS} == set(depths), "the drawing names them all"
    for name in HELPERS:
        found = [found.split(".")[1] for found in find_imports(read(name)) if "helpers." in found]
        assert all(depths[other] > depths[Path(name).stem] for other in found), name
        assert "config" not in found, "a notebook or a command reads the settings"


def test_the_reader_s_own_files_are_neither_in_git_nor_in_the_image():
    own = ("bucket/", ".venv/", "build/", "conf/conf.yaml")
    assert not [name for name in FILES if name.startswith(own)]
    assert {".venv", "bucket", "conf/conf.yaml"} <= set(read(".dockerignore").split())
