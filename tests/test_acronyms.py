import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.acronyms import Acronym, AcronymListError, read_acronyms

CGT = {"acronym": "CGT", "definition": "Cooking Gourmet Taste"}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_reads_a_list(tmp_path):
    entries = [
        CGT,
        {"acronym": "ÉNS", "definition": " École  normale ", "verbose_def": "À Lyon.", "language": "fr"},
    ]
    assert read_acronyms(write(tmp_path / "list.json", entries)) == [
        Acronym("CGT", ("Cooking Gourmet Taste",), None, "en"),
        Acronym("ÉNS", ("École normale",), "À Lyon.", "fr"),
    ]


def test_language_is_for_entries_that_name_none(tmp_path):
    path = write(tmp_path / "list.json", [CGT, {**CGT, "acronym": "X", "language": "en"}])
    assert [acronym.language for acronym in read_acronyms(path, language="fr")] == ["fr", "en"]


def test_two_meanings_make_one_acronym_and_duplicates_none(tmp_path):
    entries = [
        {**CGT, "verbose_def": "First."},
        {"acronym": "X", "definition": "Y"},
        {"acronym": "CGT", "definition": "Central Garden Team", "verbose_def": "Second."},
        {**CGT, "verbose_def": ""},
    ]
    first, second = read_acronyms(write(tmp_path / "list.json", entries))
    assert first.definitions == ("Cooking Gourmet Taste", "Central Garden Team")
    assert first.verbose == "First. Second." and first.ambiguous
    assert second == Acronym("X", ("Y",)) and not second.ambiguous


def test_accents_are_composed(tmp_path):
    path = write(tmp_path / "list.json", [{"acronym": "E", "definition": "e\u0301cole"}])
    assert read_acronyms(path)[0].definitions == ("\u00e9cole",)


@pytest.mark.parametrize("separator", [",", ";"])
def test_reads_csv_as_spreadsheets_write_it(tmp_path, separator):
    lines = ["\ufeffacronym;definition;verbose_def", 'CGT;"Cooking Gourmet Taste";', "É;École; "]
    path = write(tmp_path / "list.CSV", "\r\n".join(lines).replace(";", separator))
    assert read_acronyms(path) == [Acronym("CGT", ("Cooking Gourmet Taste",)), Acronym("É", ("École",))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty"]),
        ("  \n", ["empty"]),
        ('[{"acronym": "A",]', ["not JSON", "line 1"]),
        ({"CGT": "Cooking Gourmet Taste"}, ["dict instead of a list", '"acronym": "CGT"']),
        ("3", ["int instead of a list"]),
        ([], ["no entry"]),
        (["CGT"], ["entry 1", "not an object", "CGT"]),
        ([CGT, {"definition": "X"}], ["entry 2", '"acronym" is missing']),
        ([CGT, {"acronym": "ABC"}], ["entry 2 (ABC)", '"definition" is missing']),
        ([{"acronym": " ", "definition": "X"}], ["entry 1", "\"acronym\" is ' '"]),
        ([{"acronym": "ABC", "definition": ""}], ["entry 1 (ABC)", "\"definition\" is ''"]),
        ([{"acronym": 7, "definition": "X"}], ["entry 1", '"acronym" is 7', "between quotes"]),
        ([{"acronym": "ABC", "definition": None}], ["entry 1 (ABC)", '"definition" is None']),
        ([{"acronym": "ABC", "definition": ["X"]}], ["entry 1 (ABC)", "['X']"]),
        ([{**CGT, "verbose_def": 3}], ["entry 1 (CGT)", '"verbose_def" is 3']),
        ([{**CGT, "language": "de"}], ["entry 1 (CGT)", "'de'", "en, fr"]),
    ],
)
def test_every_mistake_names_the_file_the_entry_and_the_cure(tmp_path, content, words):
    path = write(tmp_path / "list.json", content)
    with pytest.raises(AcronymListError) as error:
        read_acronyms(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert not [word for word in words if word not in message]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["no entry"]),
        ("acronym,definition\n", ["no entry"]),
        ("name,definition\nCGT,X\n", ["the acronym", "sigle", "found are: name, definition"]),
        ("sigle;signification\nCGT;X\n", ["the definition", "expansion", "found are: sigle, signification"]),
        ("sigle,term,definition\nCGT,CGT,X\n", ["one column for the acronym", "found are: sigle, term, definition"]),
        ("acronym,definition\nCGT\n", ["entry 1 (CGT)", '"definition" is None']),
        ('acronym,definition\nCGT,"X\n', ["cannot be read"]),
    ],
)
def test_mistakes_in_csv(tmp_path, content, words):
    with pytest.raises(AcronymListError) as error:
        read_acronyms(write(tmp_path / "list.csv", content))
    assert not [word for word in words if word not in str(error.value)]


@pytest.mark.parametrize("name", ["acronym", "Term", "SIGLE", " abbreviation "])
@pytest.mark.parametrize("other", ["definition", "Meaning", "expansion"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_columns_of_a_csv_may_be_called_what_people_call_them(tmp_path, name, other, mark):
    path = write(tmp_path / "list.csv", f"{mark}note;{other};{name};context\nx;l'État;ENT;droit\n\n")
    assert read_acronyms(path) == [Acronym("ENT", ("l'État",), None, "en")]
    assert read_acronyms(path)[0].contexts == ("droit",)


def test_each_meaning_keeps_its_context(tmp_path):
    entries = [
        {"acronym": "PI", "definition": d, "context": c} for d, c in (("A b", "x"), ("C d", None), ("A b", None))
    ]
    [acronym] = read_acronyms(write(tmp_path / "list.json", entries))
    assert (acronym.definitions, acronym.contexts, acronym.context) == (("A b", "C d"), ("x", None), None)


def test_missing_file_folder_and_wrong_encoding(tmp_path):
    with pytest.raises(AcronymListError, match="no such file"):
        read_acronyms(tmp_path / "absent.json")
    with pytest.raises(AcronymListError, match="cannot be read"):
        read_acronyms(tmp_path)
    path = tmp_path / "list.csv"
    path.write_bytes("acronym;definition\nÉNS;École\n".encode("cp1252"))
    with pytest.raises(AcronymListError, match="UTF-8"):
        read_acronyms(path)


def test_needs_nothing_but_python():
    """run_tutorial.sh checks the list before anything is installed."""
    code = "import sys; sys.path.insert(0, '.'); import helpers.acronyms; print('pydantic' in sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]  # neither site-packages nor the environment
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
