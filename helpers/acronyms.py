"""Read the reader's list of acronyms and check it whole, before anything long or costly starts.

It knows nothing of models, servers or questions, and needs nothing but Python.
"""

import csv
import io
import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "fr")
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

    @property
    def ambiguous(self) -> bool:
        """Whether it has more than one meaning."""
        return len(self.definitions) > 1


def read_acronyms(path: Path, *, language: str = "en") -> list[Acronym]:
    """Read a JSON list, or a CSV with the same column names; `language` is that of entries that name none.

    An acronym that comes twice with different definitions is one Acronym with two definitions.
    """
    acronyms: dict[str, Acronym] = {}
    for number, entry in enumerate(_read_entries(Path(path)), start=1):
        new = _check(entry, f"{path}, entry {number}", language)
        old = acronyms.get(new.name, new)
        verbose = " ".join(dict.fromkeys(text for text in (old.verbose, new.verbose) if text))
        definitions = tuple(dict.fromkeys(old.definitions + new.definitions))
        acronyms[new.name] = Acronym(new.name, definitions, verbose or None, old.language)
    return list(acronyms.values())


def _read_entries(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = _parse_csv(text) if path.suffix.lower() == ".csv" else json.loads(text)
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


def _parse_csv(text: str) -> list[dict[str, str]]:
    delimiter = ";" if ";" in text.partition("\n")[0] else ","  # a French spreadsheet writes semicolons
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True))


def _check(entry: Any, place: str, language: str) -> Acronym:
    if not isinstance(entry, dict):
        raise AcronymListError(f"{place} is not an object but {entry!r}. {EXPECTED}")
    name = _text(entry, "acronym", place)
    place = f"{place} ({name})"
    definition, verbose = _text(entry, "definition", place), _text(entry, "verbose_def", place, optional=True)
    language = _text(entry, "language", place, optional=True) or language
    if language not in LANGUAGES:
        raise AcronymListError(f"{place} has language {language!r}. Known are: {', '.join(LANGUAGES)}.")
    return Acronym(name, (definition,), verbose, language)


def _text(entry: dict, key: str, place: str, *, optional: bool = False) -> str | None:
    value = entry.get(key)
    if optional and (value is None or not str(value).strip()):
        return None
    if not isinstance(value, str) or not value.strip():
        problem = f"is {value!r}" if key in entry else "is missing"
        raise AcronymListError(f'{place}: "{key}" {problem}; it must be a text between quotes. {EXPECTED}')
    return " ".join(unicodedata.normalize("NFC", value).split())
