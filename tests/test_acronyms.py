import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.acronyms import Acronym, AcronymListError, read_acronyms

CGT = {"acronym": "CGT", "definition": "Cooking Gourmet Taste"}
HEAD = "acronym,definition\n"


def write(path: Path, content: object) -> Path:
    data = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_reads_a_list(tmp_path):
    entries = [
        CGT,
        {"acronym": "ÉNS", "definition": " E\u0301cole  normale ", "verbose_def": "À Lyon."},
        {"acronym": "X", "definition": "Y", "language": "en", "context": ""},
        {"acronym": "CGT", "definition": "Central Garden Team", "context": "parks"},
        {**CGT, "verbose_def": "First.", "context": "food"},
    ]
    read = read_acronyms(write(tmp_path / "list.json", entries), language="fr")
    assert read == [
        Acronym("CGT", ("Cooking Gourmet Taste", "Central Garden Team"), "First.", "fr"),
        Acronym("ÉNS", ("École normale",), "À Lyon.", "fr"),
        Acronym("X", ("Y",), None, "en"),
    ]
    assert [acronym.contexts for acronym in read] == [("food", "parks"), (None,), (None,)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_reads_csv_as_spreadsheets_write_it(tmp_path, separator):
    rows = ["\ufeffMeaning;SIGLE ;context;;", '"l’État; ""ici""";ENT; droit ;;', ";;;;", "Y;X;;;"]
    path = write(tmp_path / "list.CSV", "\r\n".join(rows).replace(";", separator))
    read = read_acronyms(path)
    quoted = " ".join(f'l\'État{separator} "ici"'.split())  # what is quoted is text
    assert read == [Acronym("ENT", (quoted,)), Acronym("X", ("Y",))]
    assert read[0].contexts == ("droit",)


def test_texts_are_read_as_they_will_be_compared(tmp_path):
    odd = '{acronym} %s ../../x C++ <b>&amp;</b> "a" | =1+1 עברית'
    for given, read in (
        ("a\u00a0b\u202fc\u2028d\n\te\u200bf\u202e “g”", 'a b c d ef "g"'),
        (odd, odd),
    ):
        entries = [{"acronym": "A’B", "definition": given, "verbose_def": "y" * 600}]
        path = write(tmp_path / "list.json", entries)
        assert read_acronyms(path) == [Acronym("A'B", (read,), "y" * 600)]


@pytest.mark.parametrize("again", ["CÔOKING GOURMET TASTÉ .", "Cooking\u200b Gourmet Taste"])
def test_spellings_of_one_definition_are_one_meaning(tmp_path, again):
    path = write(tmp_path / "list.json", [CGT, CGT | {"definition": again}])
    assert read_acronyms(path) == [Acronym("CGT", ("Cooking Gourmet Taste",))]


BAD = [  # the file, and what the message names
    ("json", None, "No such file"),
    ("json", '[{"acronym": "A",]', "line 1"),
    ("json", [], "no entry"),
    ("json", [{**CGT, "language": "de"}], "entry 1.*CGT.*language.*en.*fr"),
    ("json", '[{"acronym": "A", "definition": "B", "definition": "C"}]', "twice.*definition.*C"),
    ("json", [{"acronym": "A", "definition": "X \ud83d"}], "entry 1.*definition.*ud83d"),
    ("json", [{"acronym": "A", "definition": "x" * 1_000_000}], "entry 1.*500.*verbose_def"),
    ("csv", "sigle,term,definition\nCGT,CGT,X\n", "twice.*sigle.*term"),
    ("csv", HEAD + "CGT\n", "entry 1.*CGT.*definition"),
    ("csv", HEAD + "A,B\nUMR,Unité mixte, CNRS\n", "entry 2.*UMR.* CNRS.*quote it"),
    ("csv", (HEAD + "ÉNS,École\n").encode("cp1252"), "UTF-8"),
]


@pytest.mark.parametrize(("suffix", "content", "words"), BAD)
def test_every_mistake_names_the_file_the_entry_and_the_cure(tmp_path, suffix, content, words):
    path = tmp_path / f"list.{suffix}"
    if content is not None:
        write(path, content)
    with pytest.raises(AcronymListError, match=f"(?s){words}") as error:
        read_acronyms(path)
    message = str(error.value)
    assert message.startswith(str(path)) and '"acronym": "CGT"' in message
    assert message.isprintable() and len(message) < 1000


def test_needs_nothing_but_python():
    """run_tutorial.sh checks the list before anything is installed."""
    code = "import sys; sys.path.insert(0, '.'); import helpers.acronyms"
    command = [sys.executable, "-I", "-S", "-c", code]  # neither site-packages nor environment
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
