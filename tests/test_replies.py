"""What comes out of the messy replies of LLMs: a table of them, and what must hold for all of them."""

import json
import random
import re
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


def single(conversation: list[dict]) -> str:
    return loose(*conversation)


def sides(conversation: list[dict]) -> dict:
    return {"question": conversation[0]["content"], "answer": conversation[1]["content"]}


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
    "DeepSeek-R1": (f"<think>\nOK, 2 of [them].\n</think>\n\nVoici :\n\n```json\n{indent([F, A])}\n```", [F, A]),
    "Magistral's thoughts": (f"[THINK]Let me [see: {{it}}[/THINK]{TWO}", [A, B]),
    "thoughts with a draft of another form": (f"<think>{repr([B])[:60]}</think>{ONE}", [A]),
    "Gemma, bold titles": (f"**Conversation 1 :**\n```json\n{FRENCH}\n```\n**Conversation 2 :**\n{ONE}", [F, A]),
    "Mistral, prose on the same line": (f"Voici : {FRENCH} J'espère que cela vous aide, n'est-ce pas ?", [F]),
    "Qwen, Python in a fence": (f"```python\nconversations = {[F, Q]!r}\nprint(conversations)\n```", [F, Q]),
    "an elision": (f"[{json.dumps(A)}, {json.dumps(B)}, ...]", [A, B]),
    "a Python comment with an apostrophe": (f"[\n  # it's [the] first\n  {A!r},\n  {F!r},\n]", [A, F]),
    "Python's True and None": (f"[{{'ok': True, 'id': None, 'messages': {A!r}}}]", [A]),
    "single quotes, apostrophes not escaped": (single(F), [F]),
    "single quotes, French sides": ("[{'question': 'C'est quoi l'ENT ?', 'réponse': 'C'est l'espace, d'accord'}]",
                                    [talk("C'est quoi l'ENT ?", "C'est l'espace, d'accord")]),
    "single quotes, spaces as they are": (single(N), [N]),
    "typographic apostrophes as quotes": (single(F).replace("'role'", "‘role’").replace("'", "’"),
                                          [rewrite(F, "'", "’")]),
    "typographic quotes, French": (loose(*F, quote="”"), [F]),
    "an apostrophe escaped in JSON": (FRENCH.replace("'", "\\'"), [F]),
    "markdown escaped in JSON": (ONE.replace("Gourmet", "\\*Gourmet\\_"), [rewrite(A, "Gourmet", "\\*Gourmet\\_")]),
    "a broken escape": (TWO.replace("Gourmet", "\\u00g9", 1), [B]),
    "half a character": (TWO.replace("Gourmet", "\\ud83d", 1), [B]),
    "an emoji escaped": (ONE.replace("Gourmet", "\\ud83d\\ude00")[:-2] + ",]]", [rewrite(A, "Gourmet", "😀")]),
    "a question that ends with an inner quote": (ONE.replace("stand for?", 'say for "it"'),
                                                 [rewrite(A, "stand for?", 'say for "it"')]),
    "an answer that begins with an inner quote": (ONE.replace("CGT stands", '"CGT" stands'),
                                                  [rewrite(A, "CGT stands", '"CGT" stands')]),
    "inner quotes that could end the text": (TWO.replace("Gourmet", '"one", "two", or', 1), [B]),
    "inner quotes that look like a field": (TWO.replace("Gourmet", '"one": "two"', 1), [B]),
    "an inner quote and a brace": (TWO.replace("Gourmet", '"} and "{', 1), [B]),
    "inner JSON not escaped": (TWO.replace("Gourmet", '{"a": "b"}', 1), [B]),
    "a field name in the text": (ONE.replace("Gourmet", 'of role: user'), [rewrite(A, "Gourmet", "of role: user")]),
    "a closing quote missing": (json.dumps([A, B, F]).replace('Taste."', "Taste.", 1), [F]),
    "a closing quote and all brackets missing": (ONE.replace('Taste."}]', "Taste."), []),
    "an opening quote missing": (TWO.replace('"CGT stands', "CGT stands", 1), [B]),
    "a closing brace missing": (TWO.replace('."}', '."', 1), [B]),
    "a closing bracket missing": (TWO.replace("}], [", "}, [", 1), [A, B]),
    "all closing brackets missing": (TWO[:-2], [A, B]),
    "a closing bracket too many": (json.dumps([A]) + "]" + json.dumps([B]), [A, B]),
    "two turns in one object": (json.dumps([A, B]).replace("}, {", ", "), []),
    "two turns in one object, the other moved": (json.dumps([B[0], *A]).replace("?\"}, {", '?", '), []),
    "the same name twice": (f'{{"conversation": {json.dumps(A)}, "conversation": {json.dumps(B)}}}', [A, B]),
    "a question without its answer": (json.dumps([A[0], *B]), []),
    "an answer without its question": (json.dumps([A[1], *B]), [B]),
    "an answer that is null": (json.dumps([A[0], {"role": "assistant", "content": None}, *B]), [B]),
    "several exchanges in one list": (json.dumps({"conversations": [A + B]}), [A, B]),
    "names of fields in capitals": (TWO.replace("role", "Role").replace("content", "CONTENT"), [A, B]),
    "ShareGPT": (json.dumps({"conversations": [{"from": "human", "value": A[0]["content"]},
                                               {"from": "gpt", "value": A[1]["content"]}]}), [A]),
    "Gemma's name of the assistant": (ONE.replace('"assistant"', '"model"'), [A]),
    "the list as a string in an object": (json.dumps({"conversations": ONE}), [A]),
    "escaped quotes without a string": (f"Here:\n{json.dumps(TWO)[1:-1]}", [A, B]),
    "sides, one object a line": ("\n".join(json.dumps(sides(turns)) for turns in (A, F)), [A, F]),
    "sides, cut": (json.dumps([sides(A), sides(F)])[:-20], [A]),
    "sides, trailing comma, French prose": (f"D'accord, voilà l'essai :\n[{json.dumps(sides(F))},]\nC'est tout.", [F]),
    "cut, an inner quote not escaped": (ONE.replace("Gourmet", '"Gourmet"')[:-8], []),
    "cut, sorry": (TWO[:-30] + "\n\nI'm sorry, I have reached my limit.", [A]),
    "a French refusal with quotes": ('Je ne connais pas le sigle "CGT", désolé : {"erreur": "sigle inconnu"}', []),
    "a page with a script": ('<html><script>var a = [{"role": "main"}, {x: \'y\'}];</script></html>', []),
    "the prompt's schema": ('{"type": "array", "items": {"properties": {"role": {"enum": ["user"]}}}}', []),
    "true": ("true", []),
    "a string": ('"CGT"', []),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "expected"), CASES.values(), ids=CASES)
def test_what_comes_out_of_a_messy_reply(reply: str, expected: list) -> None:
    assert parse_conversations(reply) == expected


def test_the_table_is_long_enough() -> None:
    assert len({reply for reply, _ in CASES.values()}) >= 60


FORMS = {
    "strict": json.dumps([A, F, Q]),
    "indented": indent([A, F, Q]),
    "wrapped": json.dumps({"conversations": [A, F, Q]}),
    "flat": json.dumps(A + F + Q),
    "single quotes": repr([A, F, Q]),
    "single quotes, nothing escaped": json.dumps([A, F, Q], ensure_ascii=False).replace('\\"', "”").replace('"', "'"),
    "one a line": "\n".join(map(json.dumps, [A, F, Q])),
    "sides": indent([sides(A), sides(F), sides(Q)]),
    "sides a line": "\n".join(repr(sides(turns)) for turns in (A, F, Q)),
    "inner quotes not escaped": indent([A, F, Q]).replace('\\"', '"'),
}


@pytest.mark.parametrize("reply", FORMS.values(), ids=FORMS)
def test_a_reply_cut_anywhere_gives_whole_conversations_only(reply: str) -> None:
    whole = parse_conversations(reply)
    assert whole == [A, F, Q] or whole == [A, F, rewrite(Q, '"', "”")]
    counts = []
    for end in range(len(reply)):
        found = parse_conversations(reply[:end])
        assert found == whole[: len(found)], reply[:end]
        counts.append(len(found))
    assert counts == sorted(counts) and set(counts) >= {0, 1, 2}


@pytest.mark.parametrize("reply", FORMS.values(), ids=FORMS)
def test_a_mark_too_few_moves_no_text(reply: str) -> None:
    whole = parse_conversations(reply)
    for place in (match.start() for match in re.finditer(r"""(?<!\\)["'\[\]{},:]""", reply)):
        for question, answer in parse_conversations(reply[:place] + reply[place + 1 :]):
            assert any(
                one_less(question["content"], q["content"]) and one_less(answer["content"], a["content"])
                for q, a in whole
            ), reply[place - 20 : place + 20]


def one_less(text: str, original: str) -> bool:
    """Whether the text is the original, at most without one of its own marks."""
    return text == original or any(
        text == original[:place] + original[place + 1 :] for place, mark in enumerate(original) if mark in "\"'[]{},:"
    )


def test_decoration_changes_nothing() -> None:
    rng = random.Random(0)
    frames = (
        lambda t: f"```json\n{t}\n```", asides, lambda t: f'{{"conversations": {t}}}', lambda t: t[:-1] + ",]",
        lambda t: f"<think>Hm [x]</think>{t}", lambda t: f"{t}\n\nDone.", lambda t: "\ufeff" + t,
        lambda t: t.replace("}], [", "},], // next\n["), lambda t: f"# Voilà l'essai\n{t}",
    )  # fmt: skip
    alphabet = "abcé 'œ\"«»’“”,.{}[]:\\\n?#/"
    for _ in range(400):
        texts = ["x" + "".join(rng.choices(alphabet, k=30)) + "x" for _ in range(4)]
        conversations = [talk(*texts[:2]), talk(*texts[2:])]
        reply = json.dumps(conversations, ensure_ascii=rng.random() < 0.5)
        for frame in rng.sample(frames, k=2):
            reply = frame(reply) if frame is not frames[3] or reply.endswith("]]") else reply
        assert parse_conversations(reply) == conversations, reply


@pytest.mark.parametrize(
    "piece",
    ["[", "{", '"', "'", "[{}", "{}", "{x}", '{"a":', "```json\n[", '[{"role":"user","content":"', "{role:'",
     '["\\"]",', "\\\"{x}", '{"role":"user","content":"[{}"},', '"/*', '"//', "“role”: “", "#", "]", "<think>"],
)  # fmt: skip
def test_hostile_replies_take_no_long_time(piece: str) -> None:
    reply = piece * (200_000 // len(piece))
    started = time.perf_counter()
    assert parse_conversations(reply) == []
    list(find_json(reply))
    assert time.perf_counter() - started < 10  # a second or less where nothing else runs; the square takes minutes


def test_what_is_nested_too_deep_is_left() -> None:
    for depth in (98, 990, 5000, 100_000):
        assert parse_conversations("[" * depth + TWO + "]" * depth) in ([A, B], [])
    assert parse_conversations("[" * 50 + TWO[:-1]) == [A, B]


def test_only_outermost_values_are_found() -> None:
    assert list(find_json('x {"a": [1]} y [2] {bad} [3')) == [{"a": [1]}, [2]]
