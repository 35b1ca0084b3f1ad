"""Read the reader's list of acronyms and check it whole, before anything long or costly starts.

It knows nothing of models, servers or questions, and needs nothing but Python.
"""

import csv
import io
import json
import unicodedata
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "fr")
COLUMNS = {  # of a CSV: what people call them
    "acronym": ("acronym", "term", "sigle", "abbreviation"),
    "definition": ("definition", "meaning", "expansion"),
}
OPTIONAL_COLUMNS = ("verbose_def", "language", "context")
EXPECTED = 'Each entry looks like {"acronym": "CGT", "definition": "Cooking Gourmet Taste"}.'


class AcronymListError(ValueError):
    """A list that cannot be used; the message names the file, the entry and the cure."""


@dataclass(frozen=True)
class Acronym:
    """One acronym with its meanings, nearly always one."""

    name: str
    definitions: tuple[str, ...]
    verbose: str | None = None
    language: str = "en"
    # Where each definition is met, if the list says so.
    contexts: tuple[str | None, ...] = field(default=(), compare=False)
    context: str | None = None  # of an entry that stands for one of several meanings

    @property
    def ambiguous(self) -> bool:
        """Whether it has more than one meaning."""
        return len(self.definitions) > 1


def read_acronyms(path: Path, *, language: str = "en") -> list[Acronym]:
    """Read a JSON list, or a CSV with a header; `language` is that of entries that name none.

    An acronym that comes twice with different definitions is one Acronym with two definitions. Raises
    AcronymListError.
    """
    acronyms: dict[str, Acronym] = {}
    for number, entry in enumerate(_read_entries(Path(path)), start=1):
        new = _check(entry, f"{path}, entry {number}", language)
        old = acronyms.get(new.name, new)
        verbose = " ".join(dict.fromkeys(text for text in (old.verbose, new.verbose) if text))
        met: dict[str, str | None] = {}
        for definition, context in zip(old.definitions + new.definitions, old.contexts + new.contexts, strict=True):
            met[definition] = met.get(definition) or context
        acronyms[new.name] = Acronym(new.name, (*met,), verbose or None, old.language, (*met.values(),))
    return list(acronyms.values())


def _read_entries(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = _parse_csv(text, path) if path.suffix.lower() == ".csv" else json.loads(text)
    except FileNotFoundError:
        raise AcronymListError(f"{path}: there is no such file. Give the path of your list.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if text.strip() else "the file is empty"
        raise AcronymListError(f"{path} is not JSON ({place}: {error.msg}). {EXPECTED}") from None
    except UnicodeError:
        raise AcronymListError(f"{path} is not UTF-8 text. Save it again with the encoding UTF-8.") from None
    except (OSError, csv.Error) as error:
        raise AcronymListError(f"{path} cannot be read: {error}. Give a JSON or CSV file.") from None
    if not isinstance(entries, list):
        raise AcronymListError(f"{path} holds a {type(entries).__name__} instead of a list. {EXPECTED}")
    if not entries:
        raise AcronymListError(f"{path} holds no entry. {EXPECTED}")
    return entries


def _parse_csv(text: str, path: Path) -> list[dict[str, str]]:
    if not text.strip():
        return []
    delimiter = ";" if ";" in text.partition("\n")[0] else ","  # a French spreadsheet writes semicolons
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    found = [name.strip() for name in next(rows, [])]
    meant = {other: name for name, others in COLUMNS.items() for other in others} | {n: n for n in OPTIONAL_COLUMNS}
    names = [meant.get(name.lower()) for name in found]
    if missing := [name for name in COLUMNS if names.count(name) != 1]:
        known = " or ".join(COLUMNS[missing[0]])
        problem = f"{path} must have one column for the {missing[0]}, named {known}; found are: {', '.join(found)}"
        raise AcronymListError(f"{problem}. Name it in the first line.")
    return [dict(zip_longest(names, row)) for row in rows if any(row)]


def _check(entry: Any, place: str, language: str) -> Acronym:
    if not isinstance(entry, dict):
        raise AcronymListError(f"{place} is not an object but {entry!r}. {EXPECTED}")
    name = _text(entry, "acronym", place)
    place = f"{place} ({name})"
    definition, verbose = _text(entry, "definition", place), _text(entry, "verbose_def", place, optional=True)
    language = _text(entry, "language", place, optional=True) or language
    if language not in LANGUAGES:
        raise AcronymListError(f"{place} has language {language!r}. Known are: {', '.join(LANGUAGES)}.")
    context = _text(entry, "context", place, optional=True)
    return Acronym(name, (definition,), verbose, language, (context,))


def _text(entry: dict, key: str, place: str, *, optional: bool = False) -> str | None:
    value = entry.get(key)
    if optional and (value is None or not str(value).strip()):
        return None
    if not isinstance(value, str) or not value.strip():
        problem = f"is {value!r}" if key in entry else "is missing"
        raise AcronymListError(f'{place}: "{key}" {problem}; it must be a text between quotes. {EXPECTED}')
    return " ".join(unicodedata.normalize("NFC", value).split())
