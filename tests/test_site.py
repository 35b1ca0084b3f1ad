"""The web pages are built from what git holds, without a warning; every link leads somewhere."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[1]
pytest.importorskip(
    "myst_nb", reason="the tools for the site are not installed", exc_type=ImportError
)


class Page(HTMLParser):
    """The addresses that a page names, and the places in it that can be named."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.anchors, self.tags = [], {""}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.links += [given[key] for key in ("href", "src") if given.get(key)]
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What the workflow's own command builds."""
    folder = tmp_path_factory.mktemp("site")
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/site.yml").read_text("utf-8"))
    commands = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    (command,) = [line.split() for line in commands if "-m sphinx" in line]
    command = [sys.executable, *command[1:-1], str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    found = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path.resolve(): Page(path) for path in found}


def list_sources(*patterns: str) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (REPOSITORY / name).exists()]


def test_every_page_and_notebook_is_in_it(site):
    sources = list_sources("*.md", "*.ipynb")
    assert len(sources) > 10
    assert not [name for name in sources if not (site / name).with_suffix(".html").exists()]
    assert (site / "index.html").exists()


def test_every_link_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            known = pages[target].anchors if target in pages else {anchor}
            if not target.is_file() or anchor not in known:
                broken.append((path.name, link))
    assert not broken


def test_what_is_no_page_is_shown_by_the_repository(pages, site):
    links = pages[(site / "00-set_up/README.html").resolve()].links
    assert any(link.endswith("/blob/main/00-set_up/set_up.py") for link in links)


def test_solutions_stay_folded(pages, site):
    for name in list_sources("*.ipynb"):
        tags = pages[(site / name).with_suffix(".html").resolve()].tags
        folded = (REPOSITORY / name).read_text(encoding="utf-8").count("<details>")
        assert tags.count("details") >= folded and tags.count("summary") >= folded
