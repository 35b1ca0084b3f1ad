"""The web pages, from the Markdown and the executed notebooks of this repository.

    .venv/bin/python -m sphinx -W --keep-going -c docs . build/site

What is read there is what is here: it adds a table of contents, and addresses for what is no page.
"""

import os
import shutil
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOME = PROJECT["urls"]["Repository"]
CONTENTS = (REPOSITORY / "docs/contents.txt").read_text(encoding="utf-8")

project = "Teach an LLM acronyms"
author = copyright = ""
root_doc = "README"
extensions = ["myst_nb"]
include_patterns = ["*.md", "0?-*/*", "*/README.md", "example_data/*.md", "stand_ins/*/README.md"]
exclude_patterns = [".*", "**/.*", "bucket*", "build"]

myst_heading_anchors = 4  # the anchors of GitHub
nb_execution_mode = "off"  # the outputs are those in git

html_theme = "sphinx_book_theme"
html_title = project
html_show_copyright = html_copy_source = html_use_index = False
html_theme_options = {
    "repository_url": HOME,
    "use_repository_button": True,
    "use_download_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search is at the side
}


def setup(app):
    """Hook the three functions below in."""
    app.connect("source-read", add_contents)
    app.connect("doctree-read", mend_links)
    app.connect("build-finished", add_index)


def add_contents(app, docname, source):
    """Put the table of contents, which the pages of GitHub do not need, under the README."""
    if docname == root_doc:
        source[0] += CONTENTS


def mend_links(app, doctree):
    """Lead a link to a folder to its page, and one to a file that is no page to the repository."""
    for link in list(doctree.findall(addnodes.download_reference)):
        _, path = app.env.relfn2path(link["reftarget"], app.env.docname)
        link.replace_self(to_repository(link, "blob", path))
    for link in list(doctree.findall(addnodes.pending_xref)):
        _, path = app.env.relfn2path(link["reftarget"], app.env.docname)
        if link["reftype"] != "myst" or not os.path.isdir(path):
            continue
        page = app.env.path2doc(f"{path}/README.md")
        if page in app.env.found_docs:
            link.attributes |= {"refdomain": "doc", "reftarget": page, "reftargetid": None}
        else:
            link.replace_self(to_repository(link, "tree", path))


def to_repository(link, kind, path):
    """Make a link to a file ("blob") or a folder ("tree") of the repository."""
    address = f"{HOME}/{kind}/main/{Path(path).resolve().relative_to(REPOSITORY).as_posix()}"
    return nodes.reference("", "", *link.children, refuri=address)


def add_index(app, error):
    """Let the site begin at its root."""
    if not error:
        shutil.copy(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")
