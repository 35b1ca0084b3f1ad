"""The report needs no other file and no network, hides nothing behind markup, and the card keeps its own text."""

from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

from helpers import compare, plots, report

ROWS = [compare.summary_row("run", "tuned", "recall", 29, 30), compare.summary_row("run", "tuned", "facts kept", 9, 10)]
FIGURE = plots.plot_recall(ROWS)
TABLE = pd.DataFrame({"question": ["<b>CGT</b> & co?"], "right": [None]}, index=["base"])


class Page(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def find(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    parts = ["A <script> & a word.", "## Models", TABLE, FIGURE]
    report.write_report(tmp_path / "report.html", "Who knows <what>?", parts)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_the_report_is_one_file(page: Page) -> None:
    [image] = page.find("img")
    assert image["src"].startswith("data:image/png;base64,iVBOR") and image["alt"] == "Answers counted, model by model"
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links == [image["src"]] and not page.find("script") and not page.find("link")


def test_the_report_fits_a_phone(page: Page) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.find("meta")
    assert "img{max-width:100%" in page.text and ".wide{overflow-x:auto}" in page.text
    names = [tag for tag, _ in page.tags]
    assert page.tags[names.index("table") - 1] == ("div", {"class": "wide"})


def test_the_report_shows_texts_as_they_are(page: Page) -> None:
    for text in ("A <script> & a word.", "<b>CGT</b> & co?", "Who knows <what>?", "Models"):
        assert text in page.text
    assert len(page.find("h1")) == len(page.find("h2")) == 1


def test_a_card_gets_its_scores_once(tmp_path: Path) -> None:
    card_path = tmp_path / "README.md"
    card_path.write_text("---\nlibrary_name: peft\n---\n# Card\n\nOwn words, with \\1.\n", encoding="utf-8")
    report.add_scores(card_path, ROWS, "First \\1 note.")
    first = card_path.read_text(encoding="utf-8")
    assert first.startswith("---\nlibrary_name: peft\n---\n# Card\n\nOwn words, with \\1.\n\n<!--")
    assert "First \\1 note." in first and "| recall | 29 of 30 | 83% to 99% |" in first
    card_path.write_text(first + "\nAfter it.\n", encoding="utf-8")
    report.add_scores(card_path, ROWS[:1], "Second note, é.")
    second = card_path.read_text(encoding="utf-8")
    assert second.count("## Scores") == 1 and "First" not in second and "facts kept" not in second
    assert "Own words, with \\1." in second and second.endswith("\nAfter it.\n") and "Second note, é." in second


def test_a_card_is_made_where_there_is_none(tmp_path: Path) -> None:
    report.add_scores(tmp_path / "README.md", ROWS, "Note.")
    assert (tmp_path / "README.md").read_text(encoding="utf-8").startswith("<!-- scores of stage 3: begin -->")
