"""Take the conversations out of an LLM's reply, whatever stands around them.

Form is forgiven, content never: no text is completed, shortened or moved, and what was cut off does not come out.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import json_repair

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[\]}])', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_BRACKET = re.compile(r"[\[{]")
_SIDES = (("question", "answer"), ("user", "assistant"), ("prompt", "completion"))  # other names of the two turns
# Characters that are read of a reply, and of one to be repaired: a broken text takes the square of its length.
LONGEST, LONGEST_BROKEN = 100_000, 20_000


def parse_conversations(reply: str) -> list[list[dict]]:
    """Find every conversation, a list of turns {"role", "content"}, in a reply; empty when there is none.

    Forgiven are fences, sentences before and after, thoughts, trailing or missing commas, single and typographic
    quotes, comments, wrapping objects, one object a line, other names of the two turns, and system turns.
    """
    text = _THOUGHTS.sub("", reply).rpartition("</think>")[2][:LONGEST]
    strict = _TRAILING_COMMA.sub(lambda match: match[1] or "", text)
    found = list(_conversations(list(find_json(strict))))
    if found and text.count("content") == 2 * len(found):  # nothing is left to repair
        return found
    straight = re.sub("[“”]", '"', text) if re.search("[“”]role[“”]", text) else text
    try:
        repaired = json_repair.loads(straight[:LONGEST_BROKEN])
    except (RecursionError, ValueError):
        return found
    whole = _unescape(text)
    mended = [
        turns for turns in _conversations([repaired]) if all(_stands_in(turn["content"], whole) for turn in turns)
    ]
    return mended if len(mended) > len(found) else found


def find_json(text: str) -> Iterator[Any]:
    """Find every JSON list and object in a text, outermost ones only."""
    decoder, place = json.JSONDecoder(strict=False), 0
    while match := _BRACKET.search(text, place):
        try:
            value, place = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError:
            place = match.end()
        except RecursionError:  # a reply of nothing but brackets
            return
        else:
            yield value


def _conversations(value: Any, *, outermost: bool = True) -> Iterator[list[dict]]:
    if isinstance(value, str) and outermost:  # JSON within a string
        value = list(find_json(value))
    if isinstance(value, dict):
        sides = [names for names in _SIDES if all(isinstance(value.get(name), str) for name in names)]
        if sides:
            yield [{"role": role, "content": value[name]} for role, name in zip(_SIDES[1], sides[0], strict=True)]
            return
        value = list(value.values())
    if not isinstance(value, list):
        return
    if value and all(map(_is_turn, value)):
        turns = [{"role": turn["role"].strip().lower(), "content": turn["content"]} for turn in value]
        turns = [turn for turn in turns if turn["role"] != "system"]
        size = 2 if outermost else len(turns)  # a flat list of all turns holds one conversation in two of them
        pairs = [turns[place : place + size] for place in range(0, len(turns), size or 1)]
        yield from (pair for pair in pairs if len(pair) > 1)  # the others were cut off
    else:
        for item in value:
            yield from _conversations(item, outermost=outermost and len(value) == 1)


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _stands_in(content: str, whole: str) -> bool:
    """Whether the text stands in the reply as it is, between quotes, and its end is the end of a value."""
    words = re.escape(_unescape(content))
    return bool(re.search(rf"[\"'“”] ?{words} ?[\"'”“] ?[,\]}}/#]", whole))


def _unescape(text: str) -> str:
    text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else {"n": " ", "t": " ", "r": " "}.get(m[2], m[2]), text)
    return " ".join(text.split())
