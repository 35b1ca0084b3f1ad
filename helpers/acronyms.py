"""Read the reader's list of acronyms and check it whole, before anything long or costly starts.

It knows nothing of models, servers or questions, and needs nothing but Python: the command looks at
the list before anything is installed.
"""

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import category, combining, normalize

LANGUAGES = ("en", "fr")
COLUMNS = {  # of a CSV: what else people call them
    "term": "acronym",
    "sigle": "acronym",
    "abbreviation": "acronym",
    "meaning": "definition",
    "expansion": "definition",
}
LONGEST = 500  # characters of a definition: a small model learns no page by heart
PLAIN = str.maketrans("‘’“”", "''\"\"")  # those of word processors; nobody types them in a question
EXPECTED = (
    'Give entries like {"acronym": "CGT", "definition": "Cooking Gourmet Taste"}, '
    "or a CSV whose first line holds these two names; in UTF-8."
)


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

    An acronym that comes twice with different definitions is one Acronym with two definitions.
    Raises AcronymListError.
    """
    place = path
    acronyms = {}
    try:
        for number, entry in enumerate(_read_entries(Path(path)), start=1):
            place = f"{path}, entry {number} ({entry!r:.200})"
            new = _read_entry(entry, language)
            acronyms[new.name] = _merge(acronyms.get(new.name, new), new)
        if not acronyms:
            raise ValueError("it holds no entry")
    except (OSError, ValueError, TypeError, csv.Error, RecursionError) as error:
        raise AcronymListError(f"{place}: {error}. {EXPECTED}") from None
    return list(acronyms.values())


def fold(text: str) -> str:
    """Leave out what makes no other meaning: case and accents."""
    letters = normalize("NFKD", text).casefold()
    return "".join(letter for letter in letters if not combining(letter))


# ----------------------------------------------------------------------------------- the file


def _read_entries(path):
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() in (".csv", ".tsv"):
        return _parse_csv(text)
    return json.loads(text, object_pairs_hook=keep_all)


def keep_all(pairs):
    """Make an object of its pairs; json itself would let the last of two equal keys win."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError(f"a name comes twice in {pairs}; keep one, or make two entries")
    return entry


def _parse_csv(text):
    delimiter = max(",;\t", key=text.partition("\n")[0].count)  # French spreadsheets write ";"
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    rows.fieldnames = [COLUMNS.get(name, name) for name in names]
    keep_all(list(filter(any, zip(rows.fieldnames, names, strict=True))))
    return [row for row in rows if any(row.values())]  # a spreadsheet saves its empty rows too


# ---------------------------------------------------------------------------------- the entry


def _read_entry(entry, language):
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    if any(entry.get(None, ())):  # where csv puts what is over
        raise ValueError('it has more columns than the first line; quote it: "Unité, CNRS"')
    definition = _text(entry, "definition")
    if len(definition) > LONGEST:
        raise ValueError(f"its definition is over {LONGEST} characters; explain in verbose_def")
    language = _text(entry, "language", optional=True) or language
    if language not in LANGUAGES:
        raise ValueError(f"its language is none of {LANGUAGES}")
    verbose = _text(entry, "verbose_def", optional=True)
    context = _text(entry, "context", optional=True)
    return Acronym(_text(entry, "acronym"), (definition,), verbose, language, (context,))


def _text(entry, key, *, optional=False):
    """Give a text as it will be compared: composed, with plain quotes and spaces.

    What shows nothing (zero-width, or a direction) comes along from pages and PDFs: it goes.
    """
    value = entry.get(key) or ""
    if not isinstance(value, str):
        raise ValueError(f'its "{key}" must be a text between quotes')
    text = "".join(letter for letter in value if category(letter) != "Cf")
    text = " ".join(normalize("NFC", text).translate(PLAIN).split())
    if not (text or optional):
        raise ValueError(f'it has no "{key}"')
    if not text.isprintable():
        raise ValueError(f'its "{key}" holds what no model writes; type it again: {text!r:.80}')
    return text or None


def _merge(old, new):
    """Put two entries of one acronym together; of two spellings of a definition the first stays."""
    meanings = {}  # simplified definition → definition, context
    for entry in (old, new):
        for definition, context in zip(entry.definitions, entry.contexts, strict=True):
            key = fold(definition.rstrip(" ."))
            first, met = meanings.get(key, (definition, None))
            meanings[key] = (first, met or context)
    definitions, contexts = zip(*meanings.values(), strict=True)
    verbose = " ".join(dict.fromkeys(filter(None, (old.verbose, new.verbose)))) or None
    return Acronym(old.name, definitions, verbose, old.language, contexts)
