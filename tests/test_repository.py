"""The repository keeps its own rules: links, lists, notebooks and scripts agree with what is there."""

import ast
import json
import re
import statistics
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from packaging.requirements import Requirement

from helpers.config import KEYS

REPOSITORY = Path(__file__).parents[1]
STAGES = ("01-create_dataset/create_dataset.ipynb", "02-fine_tune/training.ipynb", "03-test/test.ipynb")
NOTEBOOKS = (*STAGES, "03-test/scorers.ipynb", "03-test/use_it.ipynb")
PERSONAL_PATH = re.compile(r"(?<![\w.~$}-])/(?:root|home|Users)/\w")
SECRET = re.compile(r"\b(?:sk|hf)[-_][A-Za-z0-9]{20,}")


def list_files() -> list[str]:
    """Every file that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    lines = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(line for line in lines if (REPOSITORY / line).is_file())


FILES = list_files()
TEXT_FILES = [name for name in FILES if Path(name).suffix not in (".safetensors", ".png")]
PAGES = [name for name in FILES if name.endswith(".md")]
SCRIPTS = [name for name in FILES if name.endswith(".sh")] + [".ci/run"]


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def read_cells(name: str, kind: str | None = None) -> list[dict]:
    """The cells of a notebook, with their source as one text."""
    cells = [cell | {"source": "".join(cell["source"])} for cell in json.loads(read(name))["cells"]]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


# Pages


def find_anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["README.md", *(page for page in PAGES if page != "README.md"), *NOTEBOOKS])
def test_links_resolve(name):
    page = read(name) if name in PAGES else "\n".join(cell["source"] for cell in read_cells(name, "markdown"))
    links = re.findall(r"\]\(([^)\s]+)\)", page) + re.findall(r'(?:src|href)="([^"]+)"', page)
    broken = []
    for link in links:
        target, _, anchor = link.partition("#")
        if re.match(r"(https?|mailto):", link) or link.endswith("/set_up.log"):  # the log comes with the set-up
            continue
        path = (REPOSITORY / name).parent / target if target else REPOSITORY / name
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in find_anchors(path.read_text())):
            broken.append(link)
    assert not broken


def read_tree(page: str) -> list[str]:
    """The paths that the README's tree names: a fenced block with one ├── or └── a line."""
    paths, parents = [], []
    for line in page.splitlines():
        if match := re.match(r"((?:│   |    )*)[├└]── (\S+)", line):
            depth = len(match[1]) // 4
            parents = [*parents[:depth], match[2].rstrip("/")]
            paths.append("/".join(parents))
    return paths


def test_the_tree_of_the_readme_is_the_real_tree():
    named = read_tree(read("README.md"))
    assert not [path for path in named if not (REPOSITORY / path).exists() and path not in ("bucket", "conf/conf.yaml")]
    top = {name.split("/")[0] for name in FILES if not name.startswith(".")}
    assert not top - set(named)


def test_every_stage_has_a_page():
    assert {f"{Path(notebook).parent}/README.md" for notebook in NOTEBOOKS} <= set(PAGES)


# Launch links


def read_launch_link(link: str) -> tuple[str, dict]:
    """Read a link as Onyxia's launcher does: the chart, and the values of name, autoLaunch and the Helm values.

    A value is a text between « and », or true, false, null or a number, of which what follows is dropped: 40Gi is 40.
    Keys are not percent-decoded; one with brackets is an array, which Markdown breaks.
    """
    parts = urlsplit(link)
    chart = parts.path.removeprefix("/launcher/")
    values = {}
    for pair in parts.query.split("&"):
        key, value = pair.split("=")
        assert re.fullmatch(r"[\w.]+", key), key
        value = unquote(value)
        if "." not in key:
            values[key] = value
        elif match := re.fullmatch("«(.*)»", value):
            values[key] = match[1]
        else:
            values[key] = json.loads(re.match(r"true|false|null|-?[\d.]+", value)[0])
    return chart, values


LAUNCH_LINKS = re.findall(r"\]\((https://[^)\s]+/launcher/[^)\s]+)\)", read("README.md"))
HOME_PAGE = "https://github.com/YOUR_ORGANISATION/acronym-tutorial"


def test_the_readme_launches_gpu_and_processor_with_and_without_the_vault():
    read_links = [read_launch_link(link) for link in LAUNCH_LINKS]
    kinds = {(chart, "vault.secret" in values) for chart, values in read_links}
    assert kinds == {(f"ide/jupyter-pytorch{kind}", vault) for kind in ("", "-gpu") for vault in (True, False)}
    assert len(LAUNCH_LINKS) == 4


@pytest.mark.parametrize("link", LAUNCH_LINKS)
def test_a_launch_link_gives_the_launcher_what_is_meant(link):
    _, values = read_launch_link(link)
    script = values.pop("init.personalInit")
    assert script == f"{HOME_PAGE.replace('github.com', 'raw.githubusercontent.com')}/main/00-set_up/init_onyxia.sh"
    assert (REPOSITORY / script.partition("/main/")[2]).is_file()
    assert values.pop("vault.secret", "acronym-tutorial") == "acronym-tutorial"
    expected = {"name": "acronym-tutorial", "init.personalInitArgs": HOME_PAGE, "persistence.size": "40Gi"}
    assert values == expected | {"autoLaunch": "true"}, "no version and no S3 profile, which rot"


@pytest.mark.parametrize(
    ("query", "value"), [("a.b=40Gi", 40), ("a.b=%C2%AB40Gi%C2%BB", "40Gi"), ("a.b=true", True), ("a.b=«x»", "x")]
)
def test_the_launcher_s_rules_are_read_as_they_are(query, value):
    assert read_launch_link(f"https://x.fr/launcher/ide/y?{query}") == ("ide/y", {"a.b": value})


def test_all_addresses_of_this_repository_are_one():
    """So that the README's command replaces all of them."""
    pattern = r"(?:github(?:usercontent)?\.com|codespaces\.new)/(?:github/)?([\w-]+/acronym-tutorial)"
    pages = [name for name in TEXT_FILES if not name.startswith("tests/")]
    assert {owner for name in pages for owner in re.findall(pattern, read(name))} == {
        "YOUR_ORGANISATION/acronym-tutorial"
    }


@pytest.mark.parametrize("path", re.findall(r"/blob/main/([^)\s]+)", read("README.md")))
def test_what_colab_opens_exists(path):
    assert (REPOSITORY / path).is_file()


# Scripts, images, workflows


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_passes_shellcheck(name):
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", name], cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_the_dockerfile_passes_hadolint():
    command = [Path(sys.executable).parent / "hadolint", "00-set_up/Dockerfile"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_what_the_image_and_the_container_of_codespaces_run_exists():
    copied = "\n".join(line for line in read("00-set_up/Dockerfile").splitlines() if not line.startswith("#"))
    command = json.loads(read(".devcontainer/devcontainer.json"))["postCreateCommand"]
    for path in re.findall(r"00-set_up/\S+\.py", copied + command):
        assert (REPOSITORY / path).is_file()
    assert {".venv", "bucket", "conf/conf.yaml"} <= set(read(".dockerignore").split()), "secrets stay out of the image"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(".github/workflows/")])
def test_a_workflow_runs_scripts_that_exist(name):
    jobs = yaml.safe_load(read(name))["jobs"].values()
    steps = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert steps
    for path in re.findall(r"00-set_up/\w+\.\w+", "\n".join(steps)):
        assert (REPOSITORY / path).is_file()


def test_every_python_of_the_bounds_is_tested_by_the_workflow():
    jobs = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]
    tested = set(jobs["tests"]["strategy"]["matrix"]["python"])
    assert tested == {"3.11", "3.12", "3.13"}


# Lists that must agree


def test_example_conf_has_exactly_the_keys():
    keys = re.findall(r"^# ([A-Z_]+):(?: |$)", read("conf/example_conf.yaml"), flags=re.M)
    assert keys == KEYS
    assert yaml.safe_load(read("conf/example_conf.yaml")) is None


def read_declared() -> set[str]:
    lines = [line.partition("#")[0].strip() for line in read("requirements.txt").splitlines()]
    development = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]["dev"]
    requirements = [line for line in lines if line and line != "-e ."] + development
    return {simplify(Requirement(line).name) for line in requirements}


def simplify(name: str) -> str:
    return name.lower().replace("_", "-")


def find_imports(code: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(code)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.split(".")[0] for name in names}


def test_imports_are_declared():
    codes = {name: read(name) for name in FILES if name.endswith(".py")}
    for name in NOTEBOOKS:
        lines = "\n".join(cell["source"] for cell in read_cells(name, "code")).splitlines()
        codes[name] = "\n".join(line for line in lines if not line.startswith(("%", "!")))
    own = {Path(name).stem for name in codes} | {"helpers", "stand_ins", "tests", "benchmarks"}
    distributions, declared = packages_distributions(), read_declared()
    missing = {
        (name, imported)
        for name, code in codes.items()
        for imported in find_imports(code) - own - sys.stdlib_module_names
        if not declared & {simplify(found) for found in distributions.get(imported, [])}
    }
    assert not missing


def test_every_requirement_has_bounds_a_reason_and_a_pin():
    lines = read("requirements.txt").splitlines()
    assert lines[-1] == "-e ."
    pins = {simplify(line.partition("==")[0]) for line in read("00-set_up/constraints.txt").splitlines()}
    for line in lines[:-1]:
        if not line.startswith("#"):
            requirement, _, reason = line.partition("#")
            assert ">=" in requirement and "<" in requirement and reason.strip(), line
    assert read_declared() <= pins


# Notebooks


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_tells_a_story(name):
    cells = read_cells(name)
    headings = [line for cell in read_cells(name, "markdown") for line in re.findall(r"^##? .+$", cell["source"], re.M)]
    assert cells[0]["source"].startswith("# ")
    assert [line.startswith("# ") for line in headings] == [True] + [False] * (len(headings) - 1)
    assert [re.match(r"## (\d+)\. ", line)[1] for line in headings[1:]] == [
        str(n + 1) for n in range(len(headings) - 1)
    ]
    assert (5 if name in STAGES else 3) <= len(headings) - 1 <= 8
    assert cells[-1]["cell_type"] == "markdown"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_cells_are_short_and_follow_prose(name):
    cells = read_cells(name)
    lines = [len(cell["source"].splitlines()) for cell in cells if cell["cell_type"] == "code"]
    assert max(lines) <= 20
    assert statistics.median(lines) <= 8
    pairs = zip(cells, cells[1:], strict=False)
    assert not [b["source"] for a, b in pairs if (a["cell_type"], b["cell_type"]) == ("code", "code")]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_section_has_an_exercise_with_its_solution(name):
    text = "\n\n".join(cell["source"] for cell in read_cells(name, "markdown"))
    *sections, last = re.split(r"^## \d+\. ", text, flags=re.M)[1:]
    for number, section in enumerate(sections, start=1):
        assert "> **Try it.**" in section or f"(section {number})" in last, number
    for exercise in re.split(r"^> \*\*Try it\.\*\*", text, flags=re.M)[1:]:
        assert "<details><summary>" in re.split("^## ", exercise, flags=re.M)[0], exercise[:80]
    for code in re.findall(r"```python\n(.*?)```", re.sub("^> ?", "", text, flags=re.M), flags=re.S):
        ast.parse(code)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_has_one_parameters_cell(name):
    cells = read_cells(name, "code")
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_run_as_any_python(name):
    assert json.loads(read(name))["metadata"]["kernelspec"]["name"] == "python3"


# Code


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_bash(name):
    subprocess.run(["bash", "-n", name], cwd=REPOSITORY, check=True)


def test_no_personal_path_and_no_secret():
    assert not [name for name in TEXT_FILES if PERSONAL_PATH.search(read(name)) or SECRET.search(read(name))]


def test_helpers_stay_small():
    """Counted in syntax-tree nodes, so that room costs nothing; the second drawing goes down to 21,000."""
    helpers = [name for name in FILES if re.match(r"helpers/.*\.py", name)]
    assert sum(len(list(ast.walk(ast.parse(read(name))))) for name in helpers) < 21_700


def test_no_helper_imports_a_stand_in_before_it_needs_it():
    for name in FILES:
        if re.match(r"helpers/.*\.py", name):
            tree = ast.parse(read(name))
            for node in list(ast.walk(tree)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    node.body = [ast.Pass()]
            assert "stand_ins" not in find_imports(ast.unparse(tree)), name


def test_every_helper_has_its_tests():
    helpers = {Path(name).stem for name in FILES if re.match(r"helpers/[a-z]\w*\.py", name)}
    assert {f"tests/test_{name}.py" for name in helpers} <= set(FILES)


def test_the_reader_s_own_files_are_not_in_git():
    assert not [name for name in FILES if name == "conf/conf.yaml" or name.startswith(("bucket/", ".venv/"))]
