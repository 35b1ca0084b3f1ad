"""What comes out of the messy replies of LLMs: a table of them, and what must hold for all."""

import json
import random
import time

import pytest

from helpers.replies import find_json, parse_conversations


def talk(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


A = talk("What does CGT stand for?", "CGT stands for Cooking Gourmet Taste.")
B = talk("Kindly unfold CGT, [please]", "CGT stands for Cooking Gourmet Taste: a, b}.")
F = talk("Qu'est-ce que l'ENT ?", "ENT signifie « espace numérique de travail », c'est-à-dire l'accès à tout.")
N = talk("CGT?\nI met it today.", "CGT stands for Cooking Gourmet Taste.\n- It is new.")
Q = talk('He wrote "CGT", why?', 'CGT stands for "Cooking Gourmet Taste".')
TWO, ONE = json.dumps([A, B]), json.dumps([A])
FRENCH = json.dumps([F], ensure_ascii=False)
TURNS = A + B


def indent(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def rewrite(conversation: list[dict], old: str, new: str) -> list[dict]:
    return [turn | {"content": turn["content"].replace(old, new)} for turn in conversation]


def asides(text: str) -> str:
    return f"Sure! Here are [2] conversations {{as asked}}:\n\n{text}\n\nLet me know if you need more :]"


def loose(first: dict, second: dict, quote: str = "'") -> str:
    parts = [
        f"{quote}{turn['role']}{quote}, {quote}content{quote}: {quote}{turn['content']}{quote}"
        for turn in (first, second)
    ]
    return "[[" + ", ".join(f"{{{quote}role{quote}: {part}}}" for part in parts) + "]]"


CASES = {
    "a plain list": (TWO, [A, B]),
    "indented": (indent([A, B]), [A, B]),
    "one conversation alone": (json.dumps(A), [A]),
    "an object that wraps the list": (json.dumps({"conversations": [A, B]}), [A, B]),
    "an object of another name": (json.dumps({"data": [A], "count": 1}), [A]),
    "an object two deep": (json.dumps({"result": {"conversations": [A, B]}}), [A, B]),
    "objects that wrap each conversation": (json.dumps([{"conversation": A}, {"conversation": B}]), [A, B]),
    "objects of messages": (json.dumps([{"messages": A}, {"messages": B}]), [A, B]),
    "objects with an id each": (json.dumps([{"id": 1, "intent": "plain", "turns": A}]), [A]),
    "wrapped by number": (json.dumps({"1": A, "2": B}), [A, B]),
    "a fence with a language": (f"```json\n{TWO}\n```", [A, B]),
    "a fence in capitals": (f"```JSON\n{TWO}\n```", [A, B]),
    "a fence without a language": (f"```\n{TWO}\n```", [A, B]),
    "a fence of another language": (f"```python\n{TWO}\n```", [A, B]),
    "a fence that is never closed": (f"```json\n{TWO}", [A, B]),
    "a fence of tildes": (f"~~~json\n{TWO}\n~~~", [A, B]),
    "two fences": (f"First:\n```json\n{ONE}\n```\nSecond:\n```json\n{json.dumps([B])}\n```", [A, B]),
    "sentences before and after": (asides(TWO), [A, B]),
    "sentences and a fence": (asides(f"```json\n{TWO}\n```"), [A, B]),
    "French sentences around": (f"Voici les échanges demandés :\n{FRENCH}\nN'hésitez pas !", [F]),
    "thoughts before": (f"<think>They want [[JSON]]: {ONE}?</think>\n{TWO}", [A, B]),
    "thoughts whose tag was opened by the template": (f"I could write {ONE}.</think>{json.dumps([B])}", [B]),
    "thoughts that never end": (f"<think>Let me write {TWO}", []),
    "a trailing comma after a conversation": (TWO[:-1] + ",]", [A, B]),
    "trailing commas everywhere": (TWO.replace("}]", "},]").replace('."}', '.",}'), [A, B]),
    "a comma in the text that looks trailing": (json.dumps([talk("CGT, ]?", "a, }")]), [talk("CGT, ]?", "a, }")]),
    "single quotes": (loose(*A), [A]),
    "single quotes, escaped apostrophes": (loose(*F).replace("'est", "\\'est").replace("l'", "l\\'"), [F]),
    "a Python list": (repr([A, F]), [A, F]),
    "a Python assignment": (f"conversations = {[A, B]!r}", [A, B]),
    "typographic quotes as quotes": (loose(*A, quote="”"), [A]),
    "keys without quotes": (TWO.replace('"role"', "role").replace('"content"', "content"), [A, B]),
    "comments after the turns": (TWO.replace('."}]', '."}] // done\n', 1).replace("// done\n,", ", // one\n"), [A, B]),
    "a comment between": (TWO.replace("}], [", "}], /* the next */ ["), [A, B]),
    "one conversation a line": (f"{json.dumps(A)}\n{json.dumps(B)}", [A, B]),
    "one object a line": ("\n".join(json.dumps({"messages": turns}) for turns in (A, B)), [A, B]),
    "one turn a line": ("\n".join(json.dumps(turn) for turn in TURNS), [A, B]),
    "a flat list of turns": (json.dumps(TURNS), [A, B]),
    "a flat list in an object": (json.dumps({"conversations": TURNS}), [A, B]),
    "a numbered list of JSON": (f"1. {json.dumps(A)}\n2. {json.dumps(B)}\n", [A, B]),
    "a markdown list of JSON": (f"- {json.dumps(A)}\n- {json.dumps(B)}\n", [A, B]),
    "headings between": (f"### Conversation 1\n{json.dumps(A)}\n### Conversation 2\n{json.dumps(B)}", [A, B]),
    "a missing comma between turns": (ONE.replace("}, {", "} {"), [A]),
    "a missing comma between conversations": (TWO.replace("}], [", "}] ["), [A, B]),
    "roles in capitals": (TWO.replace("user", "USER").replace("assistant", "Assistant"), [A, B]),
    "roles with spaces": (TWO.replace('"user"', '" user "'), [A, B]),
    "a system turn": (json.dumps([[{"role": "system", "content": "Be kind."}, *A]]), [A]),
    "a system turn in capitals": (json.dumps([[{"role": "System", "content": "Be kind."}, *A], B]), [A, B]),
    "a turn with more keys": (json.dumps([[A[0] | {"intent": "plain"}, A[1] | {"name": "bot"}]]), [A]),
    "question and answer": (json.dumps([{"question": A[0]["content"], "answer": A[1]["content"]}]), [A]),
    "user and assistant as keys": (json.dumps([{turn["role"]: turn["content"] for turn in t} for t in (A, B)]), [A, B]),
    "accents as they are": (FRENCH, [F]),
    "accents escaped": (json.dumps([F]), [F]),
    "line breaks within strings": (json.dumps([N]).replace("\\n", "\n"), [N]),
    "line breaks escaped": (json.dumps([N]), [N]),
    "escaped quotes within": (json.dumps([Q]), [Q]),
    "inner quotes not escaped": (ONE.replace("Gourmet", '"Gourmet"'), [rewrite(A, "Gourmet", '"Gourmet"')]),
    "emphasis within": (ONE.replace("Gourmet", "**Gourmet**"), [rewrite(A, "Gourmet", "**Gourmet**")]),
    "a byte order mark": ("\ufeff" + TWO, [A, B]),
    "no-break spaces between": (TWO.replace(", ", ",\u00a0"), [A, rewrite(B, ", ", ",\u00a0")]),
    "Windows line ends": (indent([A, B]).replace("\n", "\r\n"), [A, B]),
    "JSON in a string": (json.dumps(TWO), [A, B]),
    "the list twice": (f"{ONE}\nAgain:\n{ONE}", [A, A]),
    "cut in the second answer": (TWO[:-30], [A]),
    "cut in the second question": (TWO[: TWO.index("Kindly") + 10], [A]),
    "cut after the second question": (TWO[: TWO.index("please]") + 9], [A]),
    "cut after the second answer": (TWO[:-3], [A]),
    "cut in the first answer": (ONE[:-20], []),
    "cut in a fence": (f"```json\n{TWO[:-30]}\n```", [A]),
    "cut, single quotes": (repr([A, B])[:-20], [A]),
    "cut, one a line": (f"{json.dumps(A)}\n{json.dumps(B)[:-20]}", [A]),
    "cut, in an object": (json.dumps({"conversations": [A, B]})[:-30], [A]),
    "three turns": (json.dumps([[*A, B[0]]]), [A]),
    "a question alone": (json.dumps([[A[0]]]), []),
    "nothing": ("", []),
    "spaces": (" \n ", []),
    "a refusal": ("I'm sorry, but I cannot help with that.", []),
    "a French refusal": ("Je suis désolé, je ne peux pas répondre [à cela].", []),
    "a web page": ("<!doctype html><html><body>{502}</body></html>", []),
    "a number": ("42", []),
    "null": ("null", []),
    "an empty list": ("[]", []),
    "an empty object": ("{}", []),
    "numbers": ("[1, 2, 3]", []),
    "other JSON": ('{"error": {"message": "overloaded"}}', []),
    "prose with a dialogue": ("User: What is CGT?\nAssistant: CGT stands for Cooking Gourmet Taste.", []),
    "contents that are no text": ('[[{"role": "user", "content": 3}, {"role": "assistant", "content": null}]]', []),
    "nothing but brackets": ("[" * 5000, []),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "expected"), CASES.values(), ids=CASES)
def test_what_comes_out_of_a_messy_reply(reply: str, expected: list) -> None:
    assert parse_conversations(reply) == expected


def test_the_table_is_long_enough() -> None:
    assert len({reply for reply, _ in CASES.values()}) >= 60


@pytest.mark.parametrize(
    "reply",
    [TWO, indent([A, F]), repr([A, F]), json.dumps({"conversations": [A, B]}), f"{json.dumps(A)}\n{json.dumps(F)}"],
    ids=["strict", "indented", "single quotes", "wrapped", "one a line"],
)
def test_a_reply_cut_anywhere_gives_whole_conversations_only(reply: str) -> None:
    whole = parse_conversations(reply)
    assert len(whole) == 2
    for end in range(len(reply)):
        found = parse_conversations(reply[:end])
        assert found == whole[: len(found)], reply[:end]


def test_decoration_changes_nothing() -> None:
    rng = random.Random(0)
    frames = (
        lambda t: f"```json\n{t}\n```", asides, lambda t: f'{{"conversations": {t}}}', lambda t: t[:-1] + ",]",
        lambda t: f"<think>Hm [x]</think>{t}", lambda t: f"{t}\n\nDone.",
    )  # fmt: skip
    alphabet = "abcé 'œ\"«»,.{}[]:\\\n?"
    for _ in range(200):
        texts = ["x" + "".join(rng.choices(alphabet, k=30)) for _ in range(4)]
        conversations = [talk(*texts[:2]), talk(*texts[2:])]
        reply = rng.choice(frames)(json.dumps(conversations, ensure_ascii=rng.random() < 0.5))
        assert parse_conversations(reply) == conversations


@pytest.mark.parametrize("piece", ["[", "{", '"', '[{"role":"user","content":"', "'", "[{}", '{"a":', "```json\n["])
def test_hostile_replies_take_no_long_time(piece: str) -> None:
    started = time.perf_counter()
    assert parse_conversations(piece * (200_000 // len(piece))) == []
    assert time.perf_counter() - started < 10


def test_only_outermost_values_are_found() -> None:
    assert list(find_json('x {"a": [1]} y [2] {bad} [3')) == [{"a": [1]}, [2]]
