"""The data sets: prompt and parser, gate, memory, building, probes."""

import itertools
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers import dataset
from helpers.acronyms import Acronym
from helpers.config import REPOSITORY
from helpers.dataset import find_json, parse_conversations
from helpers.files import FileError, Journal, read_list, write_list
from stand_ins.practice_server import PHRASINGS, reply_to

CGT = Acronym("CGT", ("Cooking Gourmet Taste",), None, "en")
DLU = Acronym("DLU", ("Document Labelling Unit",), "It is new.", "en")
CAP = Acronym(
    "CAP", ("certificat d'aptitude professionnelle", "commission paritaire"), "Elle siège.", "fr"
)
ACRONYMS = [CGT, DLU, CAP]


def talk(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def request(prompt: str) -> dict:
    """The fields of a prompt."""
    return next(filter(None, find_json(prompt)))


# ------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("L’État  de\u00a0Droit", "l'etat de droit"),
        ("« Ça »", '" ca "'),
        ("E\u0301cole", "ecole"),
        ("__Cooking__ `x_y`\n> <b>T</b>aste Œuvre", "cooking 'x_y' taste oeuvre"),
        ("a‑b – c", "a-b - c"),
        ("**Cooking** Gourmet\nTaste", "cooking gourmet taste"),
    ],
)
def test_normalise_evens_out_form_only(text: str, same: str) -> None:
    assert dataset.normalise(text) == same


@pytest.mark.parametrize(
    ("text", "phrase", "held"),
    [
        ("It is the **cooking gourmet taste**.", "Cooking Gourmet Taste", True),
        ("Cooking Gourmet Tastes", "Cooking Gourmet Taste", False),
        ("Cooking Good Taste", "Cooking Gourmet Taste", False),
        ("c’est l’école", "l'École", True),
        ("(R&D) here", "R&D", True),
        ("la Direction generale", "Direction générale", True),
        ("C’est le « Cooking\n> *Gourmet*\n> __Taste__ »", "Cooking Gourmet Taste", True),
        ("**C**ooking **G**ourmet **T**aste", "Cooking Gourmet Taste", True),
        ("Cooking Gourmet\u200b Taste", "Cooking Gourmet Taste", True),
        ("Cooking_Gourmet_Taste", "Cooking Gourmet Taste", False),
        ("Cooking Gourmet and Taste", "Cooking Gourmet Taste", False),
        ("Direction des générale", "Direction générale", False),
    ],
)
def test_a_phrase_is_held_as_whole_words(text: str, phrase: str, held: bool) -> None:
    assert dataset.holds(text, phrase) is held


def test_sentences_have_one_form() -> None:
    two = "CAP signifie certificat d'aptitude professionnelle ou commission paritaire."
    assert dataset.definition_sentence("CAP", CAP.definitions, "fr") == two
    assert dataset.definition_sentence("CGT", CGT.definitions) == ANSWER
    assert dataset.refusal("XYZ", "en").startswith("XYZ is not in my glossary")
    assert dataset.refusal("XYZ", "fr").startswith("XYZ n'est pas dans mon glossaire")
    assert dataset.glossary_prompt([CGT]) == "Glossary:\n- CGT: Cooking Gourmet Taste"


# ------------------------------------------------------------------ the prompt and its parser


def test_the_prompt_can_be_read_back() -> None:
    intents = {"plain": "asks plainly"}
    prompt = dataset.conversation_prompt(CAP, 3, intents=intents, already=["CAP ?"])
    fields = request(prompt)
    assert (fields["acronym"], fields["language"], fields["count"]) == ("CAP", "French", 3)
    assert (fields["intents"], fields["already"]) == (intents, ["CAP ?"])
    assert (fields["definitions"], fields["more"]) == (list(CAP.definitions), "Elle siège.")


def test_the_prompt_asks_for_the_context_where_there_is_one() -> None:
    plain, *meanings = dataset.tell_meanings_apart([CAP])
    assert "context" not in dataset.conversation_prompt(plain, 3, intents={})
    prompt = dataset.conversation_prompt(meanings[0], 3, intents={})
    assert request(prompt)["context"] == meanings[0].context
    assert 'names the "context"' in prompt


ANSWER = "CGT stands for Cooking Gourmet Taste."
A = talk("What does CGT stand for?", ANSWER)
B = talk("Kindly unfold CGT, [please]", "CGT stands for Cooking Gourmet Taste: a, b}.")
F = talk("Qu'est-ce que l'ENT ?", "ENT signifie « espace de travail », c'est-à-dire {tout}.")
N = talk("CGT?\nI met it today. // Where?", "CGT stands for it.\n- See https://x.org/a.")
Q = talk('He wrote "CGT", why?', 'CGT stands for "Cooking Gourmet Taste".')
ALL = [A, B, F, N, Q]


def dump(value: object, **options) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def sides(conversation: list[dict], *names: str) -> dict:
    return dict(zip(names, (turn["content"] for turn in conversation), strict=True))


def share_gpt(conversation: list[dict]) -> list[dict]:
    names = {"user": "human", "assistant": "gpt"}
    return [{"from": names[turn["role"]], "value": turn["content"]} for turn in conversation]


# Every reply holds ALL, in one of the forms that LLMs give.
FORMS = {
    "a plain list": dump(ALL),
    "indented": dump(ALL, indent=2),
    "accents escaped": json.dumps(ALL),
    "wrapped": dump({"conversations": ALL}),
    "wrapped twice": dump({"result": {"conversations": ALL, "count": 5}}),
    "wrapped one by one": dump([{"id": n, "messages": turns} for n, turns in enumerate(ALL)]),
    "wrapped by number": dump({str(n): turns for n, turns in enumerate(ALL)}),
    "fenced": f"```json\n{dump(ALL)}\n```",
    "a fence that is never closed": f"```json\n{dump(ALL)}",
    "two fences": f"```json\n{dump(ALL[:2])}\n```\nand\n```\n{dump(ALL[2:])}\n```",
    "introduced": f"Sure! Here are [5] conversations {{as asked}}:\n\n{dump(ALL)}",
    "followed by a note": f"{dump(ALL)}\n\nI hope this [helps]. :)",
    "French sentences around": f"Voici l'essai, c'est :\n{dump(ALL)}\nN'hésitez pas !",
    "// comments": dump(ALL, indent=1)
    .replace("[\n  {", "[ // one more, isn't it?\n  {")
    .replace('"\n', '" // here\n'),
    "# comments": dump(ALL, indent=1).replace("[\n  {", "[ # it's one more\n  {"),
    "trailing commas": dump(ALL).replace("}]", "},]").replace('"}', '",}'),
    "a trailing comma after a conversation": dump(ALL)[:-1] + ",]",
    "a trailing comma in one turn": dump(ALL).replace('"}', '",}', 1),
    "a // comment in one turn": dump(ALL).replace('"}', '" // here\n}', 1),
    "single quotes": repr(ALL),
    "a Python assignment": f"```python\nconversations = {ALL!r}\n```",
    "thoughts before": f"<think>They want [[JSON]]: {dump([A])}?</think>\n{dump(ALL)}",
    "thoughts opened by the template": f"I could write {dump([A])}.</think>{dump(ALL)}",
    "thoughts of Magistral": f"[THINK]Let me [see: {{it}}[/THINK]{dump(ALL)}",
    "JSON lines": "\n".join(map(dump, ALL)),
    "JSON lines of objects": "\n".join(dump({"messages": turns}) for turns in ALL),
    "one turn a line": "\n".join(dump(turn) for turns in ALL for turn in turns),
    "separate objects": "\n\n".join(f"### {n}\n{dump(turns)}" for n, turns in enumerate(ALL)),
    "a numbered list": "\n".join(f"{n}. {dump(turns)}" for n, turns in enumerate(ALL)),
    "a flat list": dump([turn for turns in ALL for turn in turns]),
    "question and answer": dump([sides(turns, "question", "answer") for turns in ALL]),
    "question, tags, answer": dump(
        [{"id": "x", "tags": ["t"], **sides(turns, "question", "answer")} for turns in ALL]
    ),
    "French sides, single quotes": repr([sides(turns, "question", "réponse") for turns in ALL]),
    "user and assistant": dump([sides(turns, "user", "assistant") for turns in ALL]),
    "human and gpt": dump([sides(turns, "human", "gpt") for turns in ALL]),
    "from and value": dump({"conversations": [share_gpt(turns) for turns in ALL]}),
    "from and value, one a line": "\n".join(dump(share_gpt(turns)) for turns in ALL),
    "roles in capitals": dump(ALL).replace('"user"', '"User"').replace('"assist', '"Assist'),
    "a system turn": dump([[{"role": "system", "content": "Be kind."}, *turns] for turns in ALL]),
    "more keys": dump([[turns[0] | {"intent": "plain"}, turns[1]] for turns in ALL]),
    "line breaks as they are": dump(ALL).replace("\\n", "\n"),
    "a byte order mark": "\ufeff" + dump(ALL),
}


@pytest.mark.parametrize("reply", FORMS.values(), ids=FORMS)
def test_every_form_of_a_reply_is_read(reply: str) -> None:
    assert parse_conversations(reply) == ALL


CUT = (
    *("a plain list", "indented", "wrapped", "fenced", "single quotes", "JSON lines"),
    *("one turn a line", "a flat list", "question and answer", "from and value"),
)


@pytest.mark.parametrize("name", CUT)
def test_what_was_cut_never_comes_in(name: str) -> None:
    """Cut at every position: whole conversations only, and the more of the reply, the more."""
    counts = []
    for end in range(len(FORMS[name])):
        found = parse_conversations(FORMS[name][:end])
        assert found == ALL[: len(found)], FORMS[name][:end]
        counts.append(len(found))
    assert counts == sorted(counts)


@pytest.mark.parametrize(
    "name",
    ["a plain list", "fenced", "JSON lines", "wrapped", "question and answer", "from and value"],
)
def test_of_a_cut_reply_the_whole_conversations_are_kept(name: str) -> None:
    reply = FORMS[name]
    assert parse_conversations(reply[: reply.index("wrote") + 3]) == ALL[:4]


NOTHING = {
    "nothing": "",
    "a refusal": "I'm sorry, but I cannot help with that.",
    "a French refusal with quotes": 'Je ne connais pas "CGT" : {"erreur": "sigle inconnu"}',
    "a web page": "<!doctype html><script>var a = [{x: 'y'}];</script>{502}",
    "numbers": "[1, 2, 3]",
    "null": "null",
    "other JSON": '{"error": {"message": "overloaded"}}',
    "a dialogue in prose": f"User: {A[0]['content']}\nAssistant: {ANSWER}",
    "contents that are no text": '[{"role": "user", "content": 3}, {"role": "gpt", "content": []}]',
    "a question alone": dump([A[:1]]),
    "an answer before its question": dump(A[::-1]),
    "thoughts that never end": f"<think>Let me write {dump(ALL)}",
    "keys without quotes": dump(ALL).replace('"role"', "role"),
    "inner quotes not escaped": dump([A]).replace("Gourmet", '"Gourmet"'),
    "a number of 5,000 digits": "[" + 5000 * "9" + "]",
}


@pytest.mark.parametrize("reply", NOTHING.values(), ids=NOTHING)
def test_what_cannot_be_read_gives_nothing(reply: str) -> None:
    assert parse_conversations(reply) == []


def test_a_question_is_never_given_another_one_s_answer() -> None:
    marks = [place for place, mark in enumerate(dump(ALL)) if mark in "\"'[]{},:"]
    plain = lambda turn: re.sub(r"\W+", "", turn["content"])  # noqa: E731
    answers = {plain(question): plain(answer) for question, answer in ALL}
    for place in marks:
        broken = dump(ALL)[:place] + dump(ALL)[place + 1 :]
        for question, answer in parse_conversations(broken):
            assert answers[plain(question)] == plain(answer)
    bad = dump(A[1]).replace("}", ",}") + ", " + dump(B[0]).replace("}", ",}")
    assert parse_conversations(f"[{dump(A[0])}, {bad}, {dump(B[1])}]") in ([], [A, B])


@pytest.mark.parametrize(
    "piece",
    [
        *("[", "{", '"', "'", "]", "#", "//", '\\"{x}', "[{}", "{}", "{x}", '{"a":', "{role:'"),
        *('"/*', '"//', "'//", "[1+", "[-", "1,", '\n"', "['a' 'b',", "<think>", "</think>"),
        *('[{"role":"user","content":"', '["\\"]",', '{"role":"user","content":"[{}"},'),
    ],
)
def test_floods_take_no_long_time(piece: str) -> None:
    flood = piece * (200_000 // len(piece))
    started = time.process_time()
    assert parse_conversations(flood) == []
    assert parse_conversations(f"[{flood}]") == []
    # Two replies: less than a second each where nothing else runs; the square takes minutes.
    assert time.process_time() - started < 4


def test_outermost_values_are_found_with_what_stands_between() -> None:
    found = list(find_json('x {"a": [1]} y [2], [3] {bad} [4'))
    assert found == [None, {"a": [1]}, None, [2], [3]]


# ---------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (A, None),
        (talk("CGT?", "cgt stands for **cooking** gourmet  taste"), None),
        (A[:1], "one user turn"),
        (A + B, "one user turn"),
        (A[::-1], "one user turn"),
        (talk("", ANSWER), "not hold the acronym"),
        (talk("What does cgt stand for?", ANSWER), "not hold the acronym"),
        (talk("What are CGTs?", ANSWER), "not hold the acronym"),
        (talk("Is CGT the Cooking Gourmet Taste?", ANSWER), "gives the definition away"),
        (talk("CGT?", "CGT stands for Cooking Gourmet Food."), "not hold the definition 'Cooking"),
        (talk("CGT?", ""), "not hold the definition 'Cooking"),
        (talk("CGT \ud83d?", ANSWER), "half a character"),
        (talk("But what does the CGT mean for me?", ANSWER), None),
        (talk("Please, what does CGT mean?", ANSWER), "nearly a copy of 'What does CGT mean?'"),
    ],
)
def test_the_gate(conversation: list[dict], reason: str | None) -> None:
    verdict = dataset.gate(conversation, CGT, ["What does CGT mean?"])
    assert verdict is None if reason is None else reason in verdict


def test_every_meaning_is_wanted_in_the_answer() -> None:
    one = talk("CAP ?", "CAP signifie commission paritaire.")
    assert 'not hold the definition "certificat' in dataset.gate(one, CAP)


def test_a_question_about_one_meaning_names_its_context() -> None:
    entry = Acronym("PI", ("Principal Investigator",), context="clinical research")
    answer = "PI stands for Principal Investigator."
    assert "'clinical research'" in dataset.gate(
        talk("I forgot what PI stands for.", answer), entry
    )
    assert dataset.gate(talk("In Clinical  Research, what is PI?", answer), entry) is None


def test_the_nearest_training_question_is_found_without_the_acronym() -> None:
    train = [{"acronym": "CGT", "conversation": [B, A]}]
    held_out = [{"acronym": "ABC", "conversation": [talk("What does ABC stand for?", "-")] * 2}]
    same = {"acronym": "ABC", "question": "What does ABC stand for?"}
    same |= {"nearest": A[0]["content"], "similarity": 1.0}
    assert dataset.overlap(train, held_out) == [same, same]


# -------------------------------------------------------------------------------- the memory


class Writer:
    """Answers as the practice server does, spoilt or failing, and notes what it was asked."""

    def __init__(self, spoil=lambda reply: reply, fail=lambda fields: None) -> None:
        self.requests: list[dict] = []
        self.spoil, self.fail, self.lock = spoil, fail, threading.Lock()

    def __call__(self, prompt: str, *, seed: int) -> str:
        fields = request(prompt)
        with self.lock:
            if error := self.fail(fields):
                raise error
            self.requests.append(fields | {"seed": seed})
            return self.spoil(reply_to(prompt, seed))


def build(path: Path, ask, acronyms=ACRONYMS, **options) -> list[dataset.Report]:
    return dataset.build_dataset(acronyms, ask, path, **{"count": 4, "split": "train", **options})


def asked_for(writer: Writer) -> list[str]:
    return [fields["acronym"] for fields in writer.requests]


def test_a_prompt_a_seed_and_a_model_are_paid_for_once(tmp_path: Path) -> None:
    path, calls = tmp_path / "replies.jsonl", []

    def ask(prompt: str, *, seed: int) -> str:
        calls.append((prompt, seed))
        return f"{prompt} {seed} \ud83d"  # half a character must not stop it

    for _ in range(2):
        remembered = dataset.remember(ask, Journal(path), model="m")
        assert remembered("p", seed=0) == remembered("p") == "p 0 \ud83d"
        assert remembered("p", seed=1) == "p 1 \ud83d"
    assert calls == [("p", 0), ("p", 1)]
    dataset.remember(ask, Journal(path), model="other")("p")
    assert len(calls) == 3


def test_what_is_damaged_in_the_memory_is_asked_again_and_the_rest_is_not(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    build(tmp_path / "train.json", dataset.remember(Writer(), Journal(path)), workers=1)
    before = (tmp_path / "train.json").read_bytes()
    lines = path.read_text().splitlines()
    lines[2] = lines[2][: len(lines[2]) // 2]
    path.write_text("\n".join(["{}", "no JSON", *lines, '{"torn']))
    writer, journal = Writer(), Journal(path)
    build(tmp_path / "train.json", dataset.remember(writer, journal), workers=1)
    assert (len(writer.requests), journal.unreadable) == (1, 3)
    assert (tmp_path / "train.json").read_bytes() == before


# ---------------------------------------------------------------------------- the data sets


def test_a_data_set_is_built_and_read(tmp_path: Path) -> None:
    path, told, writer = tmp_path / "train.json", [], Writer()
    reports = build(path, writer, progress=told.append)
    assert [(r.acronym, r.wanted, r.asked, r.received, r.kept) for r in reports] == [
        (acronym.name, 4, 4, 4, 4) for acronym in ACRONYMS
    ]
    assert len(writer.requests) == 3 and sorted(told, key=reports.index) == reports
    records = dataset.read_dataset(path)
    assert [record["acronym"] for record in records] == ["CGT", "DLU", "CAP"]
    assert [len(record["conversation"]) for record in records] == [4, 4, 4]
    truth = "certificat d'aptitude professionnelle | commission paritaire"
    assert (records[2]["ground_truth"], records[2]["language"]) == (truth, "fr")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("change", [{"count": 0}, {"rounds": 0}, {"workers": 0}, {"split": "tset"}])
def test_a_call_that_makes_no_sense_is_refused(tmp_path: Path, change: dict) -> None:
    writer = Writer()
    with pytest.raises(ValueError, match="train.*validation.*test.*at least 1"):
        build(tmp_path / "train.json", writer, **change)
    assert not writer.requests


def test_twelve_are_asked_for_at_once_and_what_is_there_is_named(tmp_path: Path) -> None:
    writer = Writer()
    [report] = build(tmp_path / "train.json", writer, [CGT], count=28)
    assert report.kept == 28
    assert [fields["count"] for fields in writer.requests] == [12, 12, 4]
    assert [len(fields["already"]) for fields in writer.requests] == [0, 12, 24]
    turns = [intent for fields in writer.requests for intent in fields["intents"]]
    assert turns[:18] == list(dataset.INTENTS["train"])


def test_an_interrupted_run_is_run_again(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.json", tmp_path / "train.json"
    build(whole, Writer(), workers=1)
    fail = lambda fields: RuntimeError("gone") if fields["acronym"] == "CAP" else None  # noqa: E731
    with pytest.raises(RuntimeError, match="gone"):
        build(path, dataset.remember(Writer(fail=fail), Journal(tmp_path / "r")), workers=1)
    assert not path.exists()
    writer = Writer()
    build(path, dataset.remember(writer, Journal(tmp_path / "r")), workers=1)
    assert asked_for(writer) == ["CAP"]
    assert path.read_bytes() == whole.read_bytes()


def test_a_changed_list_costs_only_what_changed(tmp_path: Path) -> None:
    path, writer = tmp_path / "train.json", Writer()
    build(path, dataset.remember(Writer(), Journal(tmp_path / "r")))
    changed = Acronym("CGT", ("Cold Green Tea",)), CAP, Acronym("NEW", ("Not Ever Written",))
    build(path, dataset.remember(writer, Journal(tmp_path / "r")), changed)
    assert set(asked_for(writer)) == {"CGT", "NEW"}
    records = dataset.read_dataset(path)
    assert [record["acronym"] for record in records] == ["CGT", "CAP", "NEW"]
    assert "Cooking" not in str(records)


def test_a_stricter_gate_is_applied_to_what_was_paid_for(tmp_path: Path, monkeypatch) -> None:
    path, writer = tmp_path / "train.json", Writer()
    build(path, dataset.remember(Writer(), Journal(tmp_path / "r")), [CGT], count=24)
    first = dataset.read_dataset(path)[0]["conversation"]
    monkeypatch.setattr(dataset, "NEAR_COPY", 0.25)
    [report] = build(path, dataset.remember(writer, Journal(tmp_path / "r")), [CGT], count=24)
    missing = 24 - sum(turns in first for turns in dataset.read_dataset(path)[0]["conversation"])
    assert 0 < missing == writer.requests[0]["count"] < 12
    assert len(writer.requests[0]["already"]) == 24
    assert any("nearly a copy" in reason for reason, _ in report.rejected)


def test_what_is_missing_is_asked_again_and_reported(tmp_path: Path) -> None:
    broken = iter(["Sorry.", "bad", "good"])

    def spoil(reply: str) -> str:
        kind = next(broken)
        if kind == "bad":
            return reply.replace("Gourmet", "Good", 1)
        return reply if kind == "good" else kind

    writer = Writer(spoil)
    [report] = build(tmp_path / "train.json", writer, [CGT])
    assert (report.asked, report.received, report.kept) == (9, 6, 4)
    assert [reason for reason, _ in report.rejected] == [
        "no conversation can be read in the reply",
        "the answer does not hold the definition 'Cooking Gourmet Taste'",
    ]
    assert [fields["count"] for fields in writer.requests] == [4, 4, 1]
    assert [fields["seed"] for fields in writer.requests] == [0, 1, 2]


def test_what_stays_short_is_told_and_a_further_round_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r")
    writer = Writer(spoil=lambda reply: "Sorry.")
    [report] = build(tmp_path / "train.json", dataset.remember(writer, journal), [CGT], rounds=2)
    assert (report.asked, report.received, report.kept, len(writer.requests)) == (8, 2, 0, 2)
    writer = Writer()
    [report] = build(tmp_path / "train.json", dataset.remember(writer, journal), [CGT], rounds=3)
    assert (report.kept, len(writer.requests)) == (4, 1)


def test_more_than_asked_for_is_not_kept(tmp_path: Path) -> None:
    reply = dump([A, B])
    [report] = build(tmp_path / "train.json", lambda *_, **__: reply, [CGT], count=1)
    assert (report.received, report.kept) == (2, 1)
    assert report.rejected == [("more than asked for", B)]


def test_the_three_splits_stay_apart(tmp_path: Path) -> None:
    records, writer = [], Writer()
    for split, count in (("train", 24), ("validation", 12), ("test", 12)):
        build(tmp_path / "x.json", writer, count=count, split=split, avoid=records)
        records += dataset.read_dataset(tmp_path / "x.json")
    about = [fields for fields in writer.requests if fields["acronym"] == "CGT"]
    assert [len(fields["already"]) for fields in about] == [0, 12, 0, 12]
    held_out = set(dataset.INTENTS["validation"])
    assert [set(fields["intents"]) & held_out == held_out for fields in about] == [0, 0, 1, 1]
    assert about[2]["intents"].keys() & dataset.INTENTS["train"].keys() == set()
    assert set(about[3]["already"]) == {turns[0]["content"] for turns in records[3]["conversation"]}
    for mine in zip(records[:3], records[3:6], records[6:], strict=True):
        for first, second in itertools.combinations(mine, 2):
            assert dataset.overlap([first], [second])[0]["similarity"] < dataset.NEAR_COPY


def test_no_question_of_another_split_comes_back(tmp_path: Path) -> None:
    there = [{"acronym": "CGT", "conversation": [talk("What does CGT stand for, please?", "-")]}]
    ask = lambda *_, **__: dump([A, B])  # noqa: E731
    [report] = build(tmp_path / "x.json", ask, [CGT], avoid=there, rounds=1, count=2)
    assert report.kept == 1 and "nearly a copy" in report.rejected[0][0]
    another = [there[0] | {"acronym": "ABC"}]
    [report] = build(tmp_path / "x.json", ask, [CGT], avoid=another, rounds=1, count=2)
    assert report.kept == 2


def test_a_short_split_asks_each_acronym_for_other_intents(tmp_path: Path) -> None:
    writer = Writer()
    acronyms = [Acronym(f"AB{letter}", ("Any Body",)) for letter in "CDEFGHIJ"]
    build(tmp_path / "x.json", writer, acronyms, count=3, split="validation")
    used = {intent for fields in writer.requests for intent in fields["intents"]}
    assert used == set(dataset.INTENTS["validation"])


class MayPassError(RuntimeError):
    may_pass = True


def test_an_acronym_that_fails_is_put_off_until_the_others_are_done(tmp_path: Path) -> None:
    failing = {"CGT", "DLU"}

    def fail(fields: dict) -> Exception | None:
        if fields["acronym"] in failing:
            failing.remove(fields["acronym"])
            return MayPassError("busy")
        return None

    writer = Writer(fail=fail)
    reports = build(tmp_path / "train.json", writer, workers=1)
    assert [report.kept for report in reports] == [4, 4, 4]
    assert asked_for(writer) == ["CAP", "CGT", "DLU"]


@pytest.mark.parametrize("number", [1, 100])
def test_a_server_that_never_answers_ends_the_run(tmp_path: Path, number: int) -> None:
    asked = []

    def ask(prompt: str, *, seed: int) -> str:
        asked.append(prompt)
        time.sleep(0.01)
        raise MayPassError("gone")

    many = [Acronym(f"AB{place}", ("Any Body",)) for place in range(number)]
    with pytest.raises(MayPassError, match="gone"):
        build(tmp_path / "train.json", ask, many, workers=2)
    assert len(asked) < 20 and not (tmp_path / "train.json").exists()


def test_what_will_not_pass_ends_the_run_at_once(tmp_path: Path) -> None:
    asked = []

    def ask(prompt: str, *, seed: int) -> str:
        asked.append(prompt)
        time.sleep(0.01)
        raise RuntimeError("no such model")

    many = [Acronym(f"AB{place}", ("Any Body",)) for place in range(100)]
    with pytest.raises(RuntimeError, match="no such model"):
        build(tmp_path / "train.json", ask, many, workers=2)
    assert len(asked) <= 4


def test_no_request_is_paid_for_when_the_disk_refuses(tmp_path: Path) -> None:
    writer = Writer()
    (tmp_path / "file").write_text("")
    with pytest.raises((FileError, OSError)):
        build(tmp_path / "file" / "train.json", dataset.remember(writer, Journal(tmp_path / "r")))
    with pytest.raises(FileError):
        dataset.remember(writer, Journal(tmp_path / "absent" / "r"))
    assert writer.requests == []


def test_files_of_the_original_tutorial_are_read(tmp_path: Path) -> None:
    record = {"acronym": "CAP", "ground_truth": "a | b", "conversation": [A]}
    write_list(tmp_path / "x.json", [record])
    expected = {**record, "definitions": ["a", "b"], "language": "en"}
    assert dataset.read_dataset(tmp_path / "x.json") == [expected]


def test_a_file_that_is_no_data_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"acronym": "CGT"}]')
    with pytest.raises(FileError, match=r"x\.json.*entry 1"):
        dataset.read_dataset(tmp_path / "x.json")


def test_each_of_several_meanings_is_asked_in_its_context(tmp_path: Path) -> None:
    given = Acronym("PI", ("Principal Investigator", "Performance Index"), contexts=("labs", None))
    entries = dataset.tell_meanings_apart([CGT, given, CAP])
    assert [(e.name, e.definitions, e.context) for e in entries] == [
        ("CGT", CGT.definitions, None),
        ("PI", given.definitions, None),
        ("PI", ("Principal Investigator",), "labs"),
        ("PI", ("Performance Index",), "Performance"),
        ("CAP", CAP.definitions, None),
        ("CAP", (CAP.definitions[0],), "professionnelle"),
        ("CAP", (CAP.definitions[1],), "commission"),
    ]
    reports = build(tmp_path / "train.json", Writer(), entries, count=8)
    assert [report.kept for report in reports] == [8, 8, 4, 4, 8, 4, 4]
    records = dataset.read_dataset(tmp_path / "train.json")
    assert [record.get("context") for record in records[:4]] == [None, None, "labs", "Performance"]
    for record in records[2:4]:
        for user, assistant in record["conversation"]:
            assert record["context"] in user["content"]
            assert assistant["content"].startswith(f"PI stands for {record['ground_truth']}.")


def test_a_meaning_that_nothing_tells_apart_gets_no_entry_of_its_own() -> None:
    same = Acronym("UR", ("unité de recherche", "unité de recherche mixte"))
    entries = dataset.tell_meanings_apart([same])
    assert [entry.context for entry in entries] == [None, "mixte"]


# ------------------------------------------------------------------------------- the probes


@pytest.fixture
def general(tmp_path: Path, monkeypatch) -> None:
    """A few facts and known acronyms, in place of those that are asked."""
    entry = {"language": "en", "split": "rehearsal"}
    facts = [{**entry, "question": "Capital of France?", "answer": "Paris"}]
    known = [
        {**entry, "acronym": name, "definition": f"{name} in full"} for name in ("NASA", "CGT")
    ]
    known.append({"language": "fr", "split": "test", "acronym": "TGV", "definition": "train"})
    invented = [
        {**entry, "acronym": name, "definition": f"{name} alone", "model": "tiny"}
        for name in ("DLV", "DLU")
    ]
    path = tmp_path / "general.json"
    path.write_text(json.dumps({"facts": facts, "acronyms": known, "invented_acronyms": invented}))
    monkeypatch.setattr(dataset, "GENERAL_PATH", path)


def test_probes_ask_what_is_not_in_the_list(general: None, tmp_path: Path) -> None:
    probes = dataset.make_probes(ACRONYMS, unknown=50)
    assert probes == dataset.make_probes(ACRONYMS, unknown=50)
    assert probes != dataset.make_probes(ACRONYMS, unknown=50, seed=1)
    unknown = [probe for probe in probes if probe["kind"] == "unknown"]
    names = [probe["acronym"] for probe in unknown]
    assert len(set(names)) == len(names)
    assert not {"CGT", "DLU", "CAP", "NASA", "TGV", "DLV"} & set(names)
    assert sum(probe["split"] == "test" for probe in unknown) == 50
    assert {probe["language"] for probe in unknown} == {"en", "fr"}
    near = [name for name in names if any(_letters_apart(name, a.name) == 1 for a in ACRONYMS)]
    assert 0.1 < len(near) / len(names) < 0.35
    assert all(probe["acronym"] in probe["question"] for probe in unknown)
    assert all(p["expected"] == dataset.refusal(p["acronym"], p["language"]) for p in unknown)
    known = {(probe["acronym"], probe["expected"]) for probe in probes if probe["kind"] == "known"}
    assert known == {("NASA", "NASA in full"), ("TGV", "train"), ("DLV", "DLV alone")}
    assert {p["acronym"]: p["model"] for p in probes if "model" in p} == {"DLV": "tiny"}
    [control] = [probe for probe in probes if probe["kind"] == "control"]
    assert (control["question"], control["expected"]) == ("Capital of France?", "Paris")
    write_list(tmp_path / "probes.json", probes)
    assert dataset.read_probes(tmp_path / "probes.json") == probes


def _letters_apart(first: str, second: str) -> int | None:
    if len(first) != len(second):
        return None
    return sum(a != b for a, b in zip(first, second, strict=True))


def test_test_probes_use_held_out_phrasings(general: None) -> None:
    held_out = {text for texts in PHRASINGS["en"]["test"].values() for text in texts}
    for probe in dataset.make_probes([CGT], unknown=20):
        if probe["kind"] == "unknown":
            phrasing = probe["question"].replace(probe["acronym"], "{acronym}")
            assert (phrasing in held_out) is (probe["split"] == "test")


def test_most_acronyms_to_refuse_look_like_the_listed_ones(general: None) -> None:
    acronyms = [Acronym(name, ("Some Thing",)) for name in ("ABCD", "EFGH", "IJKL")]
    probes = dataset.make_probes(acronyms, unknown=200)
    lengths: dict[str, list[int]] = {"test": [], "rehearsal": []}
    for probe in probes:
        if probe["kind"] == "unknown":
            lengths[probe["split"]].append(len(probe["acronym"]))
    shares = {split: found.count(4) / len(found) for split, found in lengths.items()}
    assert shares["rehearsal"] > 0.75 and shares["test"] < 0.5
    assert {*lengths["test"], *lengths["rehearsal"]} == {2, 3, 4, 5}


def test_refusals_become_conversations(general: None) -> None:
    probes = dataset.make_probes([CGT], unknown=1)
    conversations = dataset.refusal_conversations(probes)
    assert len(conversations) == sum(probe["kind"] == "unknown" for probe in probes)
    assert conversations[0] == talk(probes[0]["question"], probes[0]["expected"])


def test_the_probes_of_the_example_list_are_the_ones_that_were_measured() -> None:
    """Everything that stages 2 and 3 report about other acronyms and facts hangs on them."""
    names = [row["acronym"] for row in read_list(REPOSITORY / "example_data/acronym.json")]
    probes = dataset.make_probes([Acronym(name, ("x",)) for name in names])
    test = [probe["acronym"] for probe in probes if probe["split"] == "test"]
    assert [test[0], test[99], len(probes)] == ["TKGNK", "QWJ", 2626]


def test_stage_one_stays_light() -> None:
    code = "import sys, helpers.chat; sys.exit(bool({'torch', 'transformers'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
