"""Take the conversations out of an LLM's reply, whatever stands around them.

Form is forgiven, content never: a text comes out as it stands between its two quotes, or not at all. What is
strict JSON is read by `json`; the rest by a reader that goes through the reply once and never guesses.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Other names of a conversation's two texts, of a turn's two fields, and of those who speak.
_SIDES = (("user", "assistant"), ("question", "answer"), ("question", "réponse"), ("prompt", "completion"))
_TURN_FIELDS = (("role", "content"), ("from", "value"))
_ROLES = {"human": "user", "utilisateur": "user", "gpt": "assistant", "model": "assistant"}
_NAMES = {name for pair in _SIDES + _TURN_FIELDS for name in pair}
_DEEPEST = 100  # open brackets; more are no conversations
_PATIENCE = 10_000_000  # characters that `json` may read in vain: a flood of brackets must not take the square

_THOUGHTS, _THOUGHTS_END = re.compile(r"<think(?:ing)?>|\[THINK\]"), re.compile(r"</think(?:ing)?>|\[/THINK\]")
_BRACKET = re.compile(r"[\[{]")
_ESCAPE = re.compile(r"""(?:\\u[0-9a-fA-F]{4})+|\\["'\\/bfnrt]""")  # any other backslash stands for itself
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no file can hold

# How the loose reader knows its place. No pattern looks further ahead than a gap and a name: it stays linear.
_QUOTES = {'"': '"', "'": "'", "“": "“”", "”": "“”", "‘": "‘’", "’": "‘’"}  # and what may close each
_QUOTE = "[" + "".join(_QUOTES) + "]"
_COMMENT = r"(?:(?://|\#)[^\n]{0,300}\n|/\*[^*]{0,300}\*/)"
_GAP = rf"(?:[\s\ufeff\u200b]|{_COMMENT})*+"
_NAME = rf"(?i:{'|'.join(sorted(_NAMES | {'id', 'intent'}))})"
_TOKEN = re.compile(
    rf"(?P<bracket>[\[{{\]}}])|(?P<comment>(?<![\w:]){_COMMENT})"
    rf"|(?:{_QUOTE}(?P<quoted>[^\"'“”‘’\n]{{1,60}}){_QUOTE}|(?<!\w)(?P<bare>{_NAME})){_GAP}:{_GAP}(?P<quote>{_QUOTE}?)"
)
_NEXT_KEY = rf"{_QUOTE}?\s*+{_NAME}\s*+{_QUOTE}?{_GAP}:{_GAP}{_QUOTE}"
# A text ends at a quote before the end of the object or the next field; a quote before other marks is doubtful.
_END = re.compile(
    rf"{_GAP}(?:,?{_GAP}\}}[^\S\n]*+(?:[\n,;\[\]{{}})/#`]|\Z)|,{_GAP}{_NEXT_KEY}|(?={_QUOTE}){_NEXT_KEY})"
)
_DOUBT = re.compile(rf"{_GAP}(?:[,:]{_GAP}(?:{_QUOTE}|[\[\]{{}}])|[\]}}])")


def parse_conversations(reply: str) -> list[list[dict]]:
    """Find every conversation, a user's turn and the assistant's {"role", "content"}; empty when there is none.

    Forgiven are fences, sentences and thoughts around, commas, quotes and comments that are not JSON, wrapping
    objects, one object a line, flat lists of turns, other names of the two texts, system turns, and a cut end.
    """
    text = _THOUGHTS.split(_THOUGHTS_END.split(reply)[-1])[0]
    found = list(_conversations(_read(text)))
    if not found and '\\"' in text:  # all of it was escaped, as within a string
        try:
            found = list(_conversations(json.loads('"' + text.strip(' \n"') + '"', strict=False)))
        except ValueError:
            return []
    return found


def find_json(text: str) -> Iterator[Any]:
    """Find every JSON list and object in a text, outermost ones only."""
    decoder, place, in_vain = json.JSONDecoder(strict=False), 0, 0
    while (match := _BRACKET.search(text, place)) and in_vain < _PATIENCE:
        try:
            value, place = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError as error:
            place, in_vain = match.end(), in_vain + error.pos
        except RecursionError:  # a reply of nothing but brackets
            return
        else:
            yield value


def _conversations(value: Any) -> Iterator[list[dict]]:
    if isinstance(value, str):
        value = _read(value)
    if isinstance(value, dict):
        for names in _SIDES:
            if all(_is_text(value.get(name)) for name in names):
                yield [{"role": role, "content": value[name]} for role, name in zip(_SIDES[0], names, strict=True)]
                return
        value = list(value.values())
    before, last = None, None
    for item in value if isinstance(value, list) else ():
        turn = _as_turn(item)
        role = turn and turn["role"]
        if role == "system":
            continue
        if role == "assistant" and last and last["role"] == "user" and not (before and before["role"] == "user"):
            yield [last, turn]
        elif turn is None:
            yield from _conversations(item)
        before, last = last, turn


def _as_turn(value: Any) -> dict | None:
    if isinstance(value, dict):
        for role, content in _TURN_FIELDS:
            if _is_text(value.get(role)) and _is_text(value.get(content)):
                name = value[role].strip().lower()
                return {"role": _ROLES.get(name, name), "content": value[content]}
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _LONE_SURROGATE.search(value)


@dataclass
class _Open:
    """A list or object that is being read; its own texts are put into it when it is closed in good order."""

    node: list | dict
    texts: dict[str, str] = field(default_factory=dict)
    broken: bool = False


def _read(text: str) -> list:
    """Read every list and object, also unfinished ones; what is in them and cannot be read is not there."""
    path, place, decoder = [_Open([])], 0, json.JSONDecoder(strict=False, object_pairs_hook=_as_fields)
    in_vain = 0
    while (match := _TOKEN.search(text, place)) and len(path) < _DEEPEST:
        here, place, bracket = path[-1], match.end(), match["bracket"]
        if bracket in ("[", "{"):
            child = None
            if len(path) == 1 and in_vain < _PATIENCE:
                try:
                    child, place = decoder.raw_decode(text, match.start())
                except (json.JSONDecodeError, RecursionError) as error:
                    in_vain += getattr(error, "pos", _PATIENCE)
            if child is None:
                child = [] if bracket == "[" else {}
                path.append(_Open(child))
            here.node.append(child) if isinstance(here.node, list) else here.node.update({len(here.node): child})
        elif bracket:
            _close(path, list if bracket == "]" else dict)
        elif match["comment"]:
            place = match.start() + 1 if len(path) == 1 else place
        elif match["quote"] and isinstance(here.node, dict):
            name = (match["quoted"] or match["bare"]).strip().lower()
            content, place = _read_text(text, place, match["quote"])
            here.broken |= content is None or name in here.texts
            here.texts |= {name: content} if name in _NAMES else {}
    return path[0].node


def _as_fields(pairs: list[tuple[str, Any]]) -> dict | list:
    """Make an object of its fields, or a mere list when a name stands twice: it would hide a text."""
    fields = {name.strip().lower(): value for name, value in pairs}
    return fields if len(fields) == len(pairs) else [value for _, value in pairs]


def _close(path: list[_Open], kind: type) -> None:
    if any(isinstance(level.node, kind) for level in path[1:]):
        while not isinstance(path[-1].node, kind):
            path.pop()
        closed = path.pop()
        if kind is dict and not closed.broken and len(closed.texts) <= 2:
            closed.node.update(closed.texts)


def _read_text(text: str, start: int, quote: str) -> tuple[str | None, int]:
    """Read a text up to its closing quote; None when there is none, or when it is doubtful which one that is."""
    for match in re.compile(rf"\\.|[{_QUOTES[quote]}]", re.DOTALL).finditer(text, start):
        if match[0] in ("\\u", "\\x") and not _ESCAPE.match(text, match.start()):  # no escape of JSON, but meant
            return None, match.end()
        if match[0][0] != "\\":
            if _END.match(text, match.end()):
                return _ESCAPE.sub(_unescape, text[start : match.start()]), match.end()
            if _DOUBT.match(text, match.end()):
                return None, match.end()
    return None, len(text)


def _unescape(escape: re.Match) -> str:
    return "'" if escape[0] == "\\'" else json.loads(f'"{escape[0]}"')
