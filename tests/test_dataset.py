"""The data sets: prompt and parser, gate, memory, building, probes."""

import itertools
import json
import re
import threading
import time
from pathlib import Path

import pytest

from helpers import dataset
from helpers.acronyms import Acronym
from helpers.config import REPOSITORY
from helpers.dataset import find_json, parse_conversations
from helpers.files import FileError, Journal, only_run, read_list, write_list
from stand_ins.practice_server import PHRASINGS, reply_to

CGT = Acronym("CGT", ("Cooking Gourmet Taste",), None, "en")
PI = Acronym("PI", ("Principal Investigator",), context="clinical research")
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
    ("text", "phrase", "held"),
    [
        ("C’est l’école, la « Direction\u00a0 generale »", "l'École", True),
        ("la Direction generale", "Direction ge\u0301nérale", True),
        ("une Œuvre a‑b – c", "oeuvre A-B - c", True),
        ("It is the **C**ooking\n> __Gourmet__\n> <b>T</b>aste.", "Cooking Gourmet Taste", True),
        ("Cooking Gourmet Tastes", "Cooking Gourmet Taste", False),
        ("Cooking Gourmet and Taste", "Cooking Gourmet Taste", False),
    ],
)
def test_a_phrase_is_held_as_whole_words_whatever_their_form(text, phrase, held):
    assert dataset.holds(text, phrase) is held


# ------------------------------------------------------------------ the prompt and its parser


def test_the_prompt_can_be_read_back():
    _, meaning, _ = dataset.tell_meanings_apart([CAP])
    intents = {"plain": "asks plainly"}
    prompt = dataset.conversation_prompt(meaning, 3, intents=intents, already=["CAP ?"])
    fields = request(prompt)
    assert (fields["acronym"], fields["language"], fields["count"]) == ("CAP", "French", 3)
    assert (fields["intents"], fields["already"]) == (intents, ["CAP ?"])
    assert (fields["definitions"], fields["more"]) == ([CAP.definitions[0]], None)
    assert fields["context"] == meaning.context and 'names the "context"' in prompt
    assert "context" not in dataset.conversation_prompt(CAP, 3, intents={})


ANSWER = "CGT stands for Cooking Gourmet Taste."
A = talk("What does CGT stand for?", ANSWER)
B = talk("Kindly unfold CGT, [please]", "CGT stands for Cooking Gourmet Taste: a, b}.")
F = talk("Qu'est-ce que l'ENT ?", "ENT signifie « espace de travail », c'est-à-dire {tout}.")
N = talk("CGT?\nI met it today. // Where?", "CGT stands for it.\n- See https://x.org/a.")
Q = talk('He wrote "CGT", why?', 'CGT stands for "Cooking Gourmet Taste".')
ALL = [A, B, F, N, Q]


def dump(value: object, **options) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


# Every reply holds ALL, in one of the forms that LLMs give.
FORMS = {
    "a plain list": dump(ALL),
    "fenced, with notes": f"Sure! [5]:\n```json\n{dump(ALL)}\n```\nI [hope] {{so}}.",
    "// comments": dump(ALL, indent=1)
    .replace("[\n  {", "[ // one more, isn't it?\n  {")
    .replace('"\n', '" // here\n'),
    "trailing commas": dump(ALL).replace("}]", "},]").replace('"}', '",}'),
    "a Python assignment": f"```python\nconversations = {ALL!r}\n```",
    "thoughts opened by the template": f"I could write {dump([A])}.</think>{dump(ALL)}",
    "JSON lines": "\n".join(dump({"id": 1, "messages": turns}) for turns in ALL),
    "one turn a line": "\n".join(dump(turn) for turns in ALL for turn in turns),
    "French sides, single quotes": repr(
        [{"question": q["content"], "réponse": a["content"]} for q, a in ALL]
    ),
    "from and value": dump(ALL).replace('"role"', '"from"').replace('"content"', '"value"'),
    "line breaks as they are": "\ufeff" + dump(ALL).replace("\\n", "\n"),
}


@pytest.mark.parametrize("reply", FORMS.values(), ids=FORMS)
def test_every_form_of_a_reply_is_read(reply):
    assert parse_conversations(reply) == ALL


@pytest.mark.parametrize("name", ["a plain list", "JSON lines", "one turn a line"])
def test_of_a_cut_reply_only_whole_conversations_are_kept(name):
    """Cut at every position: the more of the reply, the more of them."""
    counts = []
    for end in range(len(FORMS[name])):
        found = parse_conversations(FORMS[name][:end])
        assert found == ALL[: len(found)], FORMS[name][:end]
        counts.append(len(found))
    assert counts == sorted(counts) and counts[FORMS[name].index("wrote")] == 4


NOTHING = {
    "nothing": "",
    "contents that are no text": '[null, {"role": "user", "content": 3}, {"role": "gpt"}]',
    "a question alone": dump([A[:1]]),
    "an answer before its question": dump(A[::-1]),
    "thoughts that never end": f"<think>Let me write {dump(ALL)}",
    "inner quotes not escaped": dump([A]).replace("Gourmet", '"Gourmet"'),
    "a number of 5,000 digits": "[" + 5000 * "9" + "]",
}


@pytest.mark.parametrize("reply", NOTHING.values(), ids=NOTHING)
def test_what_cannot_be_read_gives_nothing(reply):
    assert parse_conversations(reply) == []


def test_a_question_is_never_given_another_one_s_answer():
    marks = [place for place, mark in enumerate(dump(ALL)) if mark in "\"'[]{},:"]
    plain = lambda turn: re.sub(r"\W+", "", turn["content"])  # noqa: E731
    answers = {plain(question): plain(answer) for question, answer in ALL}
    for place in marks:
        broken = dump(ALL)[:place] + dump(ALL)[place + 1 :]
        for question, answer in parse_conversations(broken):
            assert answers[plain(question)] == plain(answer)


@pytest.mark.parametrize("piece", ["[", '"', "[{}", '"//', "[1+", "<think>"])
def test_floods_take_no_long_time(piece):
    flood = piece * (200_000 // len(piece))
    started = time.process_time()
    assert parse_conversations(flood) == []
    assert parse_conversations(f"[{flood}]") == []
    # Two replies: less than a second each where nothing else runs; the square takes minutes.
    assert time.process_time() - started < 4


# ---------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize(
    ("acronym", "conversation", "reason"),
    [
        (CGT, A, None),
        (CGT, A + B, "one user turn"),
        (CGT, talk("What does cgt stand for?", ANSWER), "not hold the acronym"),
        (CGT, talk("Is CGT the Cooking Gourmet Taste?", ANSWER), "gives the definition away"),
        (CGT, talk("CGT?", "CGT stands for Cooking Gourmet."), "not hold the definition 'Cooking"),
        (CGT, talk("CGT \ud83d?", ANSWER), "half a character"),
        (CGT, talk("But what does the CGT mean for me?", ANSWER), None),
        (CGT, talk("Please, what does CGT mean?", ANSWER), "nearly a copy of 'What does CGT mean?"),
        (CAP, talk("CAP ?", "CAP signifie commission paritaire."), 'the definition "certificat'),
        (PI, talk("What is PI?", "PI: Principal Investigator."), "the context 'clinical research'"),
        (PI, talk("In Clinical  Research, what is PI?", "PI: Principal Investigator."), None),
    ],
)
def test_the_gate(acronym, conversation, reason):
    verdict = dataset.gate(conversation, acronym, ["What does CGT mean?"])
    assert verdict is None if reason is None else reason in verdict


def test_the_nearest_training_question_is_found_without_the_acronym():
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
        self.spoil, self.fail = spoil, fail

    def __call__(self, prompt: str, *, seed: int) -> str:
        fields = request(prompt)
        if error := self.fail(fields):
            raise error
        self.requests.append(fields | {"seed": seed})
        return self.spoil(reply_to(prompt, seed))


def build(path: Path, ask, acronyms=ACRONYMS, **options) -> list[dataset.Report]:
    options = {"count": 4, "split": "train", "workers": 1} | options
    return dataset.build_dataset(acronyms, ask, path, **options)


def asked_for(writer: Writer) -> list[str]:
    return [fields["acronym"] for fields in writer.requests]


def test_a_prompt_a_seed_and_a_model_are_paid_for_once(tmp_path):
    path, calls = tmp_path / "replies.jsonl", []

    def ask(prompt: str, *, seed: int) -> str:
        calls.append((prompt, seed))
        return f"{prompt} {seed} \ud83d"  # half a character must not stop it

    for model in ("m", "m", "other"):
        remembered = dataset.remember(ask, Journal(path), model=model)
        assert remembered("p", seed=0) == remembered("p") == "p 0 \ud83d"
        assert remembered("p", seed=1) == "p 1 \ud83d"
    assert calls == [("p", 0), ("p", 1)] * 2


# ---------------------------------------------------------------------------- the data sets


def test_a_data_set_is_built_by_several_requests_at_once_and_read(tmp_path):
    path, told, together = tmp_path / "train.json", [], threading.Barrier(3, timeout=10)

    def spoil(reply: str) -> str:
        together.wait()
        return reply

    writer = Writer(spoil)
    reports = build(path, writer, progress=told.append, workers=3)
    with only_run(tmp_path), pytest.raises(FileError, match="BUCKET"):
        build(path, writer)  # another run writes there
    found = [(r.acronym, r.wanted, r.asked, r.kept, len(r.rejected)) for r in reports]
    assert found == [(acronym.name, 4, 4, 4, 0) for acronym in ACRONYMS]
    assert len(writer.requests) == 3 and sorted(told, key=reports.index) == reports
    records = dataset.read_dataset(path)
    found = [(record["acronym"], len(record["conversation"])) for record in records]
    assert found == [("CGT", 4), ("DLU", 4), ("CAP", 4)]
    truth = "certificat d'aptitude professionnelle | commission paritaire"
    assert (records[2]["ground_truth"], records[2]["language"]) == (truth, "fr")


def test_an_interrupted_run_asks_again_only_for_what_is_missing_or_damaged(tmp_path):
    whole, path, replies = (tmp_path / name for name in ("whole.json", "train.json", "replies"))
    build(whole, Writer())
    fail = lambda fields: RuntimeError("gone") if fields["acronym"] == "CAP" else None  # noqa: E731
    with pytest.raises(RuntimeError, match="gone"):
        build(path, dataset.remember(Writer(fail=fail), Journal(replies)))
    assert not path.exists()
    cgt, dlu = filter(None, replies.read_text().splitlines())
    replies.write_text("\n".join(["{}", "no JSON", cgt[: len(cgt) // 2], dlu, '{"torn']))
    writer, journal = Writer(), Journal(replies)
    build(path, dataset.remember(writer, journal))
    assert (asked_for(writer), journal.unreadable) == (["CGT", "CAP"], 3)
    assert path.read_bytes() == whole.read_bytes()


def test_what_is_missing_is_asked_again_and_reported(tmp_path):
    spoilt = iter([("```json", "<think>"), ("Gourmet", "Good"), ("", "")])
    spoil = lambda reply: reply.replace(*next(spoilt), 1)  # noqa: E731
    writer = Writer(spoil)
    [report] = build(tmp_path / "train.json", writer, [CGT])
    assert (report.asked, report.kept, len(report.rejected)) == (9, 4, 2)
    reasons = [reason.partition("definition")[0] for reason, _ in report.rejected]
    assert reasons == ["no conversation can be read in the reply", "the answer does not hold the "]
    assert [fields["count"] for fields in writer.requests] == [4, 4, 1]
    assert [fields["seed"] for fields in writer.requests] == [0, 1, 2]
    never = Writer(spoil=lambda reply: "Sorry.")  # what stays short is told
    [report] = build(tmp_path / "train.json", never, [CGT], rounds=2)
    assert (report.asked, report.kept, len(report.rejected), len(never.requests)) == (8, 0, 2, 2)
    [report] = build(tmp_path / "train.json", lambda *_, **__: dump([A, B]), [CGT], count=1)
    assert (report.kept, report.rejected) == (1, [("more than asked for", B)])


def test_the_three_splits_stay_apart(tmp_path):
    records, writer = [], Writer()
    for split, count in (("train", 24), ("validation", 12), ("test", 12)):
        build(tmp_path / "x.json", writer, count=count, split=split, avoid=records)
        records += dataset.read_dataset(tmp_path / "x.json")
    about = [fields for fields in writer.requests if fields["acronym"] == "CGT"]
    assert [len(fields["already"]) for fields in about] == [0, 12, 0, 12]
    intents = [fields["intents"].keys() for fields in about]
    trained, held_out = dataset.INTENTS["train"].keys(), dataset.INTENTS["validation"].keys()
    assert intents[0] | intents[1] == trained and intents[2] == intents[3] == held_out
    assert not trained & held_out
    assert set(about[3]["already"]) == {turns[0]["content"] for turns in records[3]["conversation"]}
    for mine in zip(records[:3], records[3:6], records[6:], strict=True):
        for first, second in itertools.combinations(mine, 2):
            assert dataset.overlap([first], [second])[0]["similarity"] < dataset.NEAR_COPY


def test_no_question_of_another_split_comes_back(tmp_path):
    there = [{"acronym": "CGT", "conversation": [talk("What does CGT stand for, please?", "-")]}]
    ask = lambda *_, **__: dump([A, B])  # noqa: E731
    [report] = build(tmp_path / "x.json", ask, [CGT], avoid=there, rounds=1, count=2)
    assert report.kept == 1 and "nearly a copy" in report.rejected[0][0]
    another = [there[0] | {"acronym": "ABC"}]
    [report] = build(tmp_path / "x.json", ask, [CGT], avoid=another, rounds=1, count=2)
    assert report.kept == 2


class MayPassError(RuntimeError):
    may_pass = True


def test_an_acronym_that_fails_is_put_off_until_the_others_are_done(tmp_path):
    errors = iter([MayPassError("busy"), MayPassError("busy")])
    writer = Writer(fail=lambda fields: next(errors, None))
    reports = build(tmp_path / "train.json", writer)
    assert [report.kept for report in reports] == [4, 4, 4]
    assert asked_for(writer) == ["CAP", "CGT", "DLU"]
    writer.fail = lambda fields: MayPassError("cut") if fields["acronym"] == "CAP" else None
    assert [report.kept for report in build(tmp_path / "train.json", writer)] == [4, 4, 0]


@pytest.mark.parametrize(
    ("error", "number", "most"),
    [(MayPassError, 1, 20), (MayPassError, 100, 20), (RuntimeError, 100, 4)],
)
def test_a_server_that_is_gone_or_refuses_ends_the_run(tmp_path, error, number, most):
    asked = []

    def ask(prompt, *, seed):
        asked.append(prompt)
        time.sleep(0.01)
        raise error("gone")

    many = [Acronym(f"AB{place}", ("Any Body",)) for place in range(number)]
    with pytest.raises(error, match="gone"):
        build(tmp_path / "train.json", ask, many, workers=2)
    assert len(asked) <= most and not (tmp_path / "train.json").exists()


def test_files_of_the_original_tutorial_are_read(tmp_path):
    record = {"acronym": "CAP", "ground_truth": "a | b", "conversation": [A]}
    write_list(tmp_path / "x.json", [record])
    expected = {**record, "definitions": ["a", "b"], "language": "en"}
    assert dataset.read_dataset(tmp_path / "x.json") == [expected]


def test_each_of_several_meanings_is_asked_in_its_context(tmp_path):
    given = Acronym("PI", ("Principal Investigator", "Performance Index"), contexts=("labs", None))
    same = Acronym("UR", ("unité d'accueil", "unité d'accueil (mixte)"))
    entries = dataset.tell_meanings_apart([CGT, given, same])
    assert [(e.name, e.definitions, e.context) for e in entries] == [
        ("CGT", CGT.definitions, None),
        ("PI", given.definitions, None),
        ("PI", ("Principal Investigator",), "labs"),
        ("PI", ("Performance Index",), "Performance"),
        ("UR", same.definitions, None),
        ("UR", ("unité d'accueil (mixte)",), "mixte"),  # nothing tells the other one apart
    ]
    reports = build(tmp_path / "train.json", Writer(), entries[:4], count=8)
    assert [report.kept for report in reports] == [8, 8, 4, 4]
    for record in dataset.read_dataset(tmp_path / "train.json")[2:]:
        for user, assistant in record["conversation"]:
            assert record["context"] in user["content"]
            assert assistant["content"].startswith(f"PI stands for {record['ground_truth']}.")


# ------------------------------------------------------------------------------- the probes


def test_probes_ask_what_is_not_in_the_list(tmp_path):
    listed = [*ACRONYMS, Acronym("NASA", ("Own",))]
    probes = dataset.make_probes(listed, unknown=50)
    assert probes == dataset.make_probes(listed, unknown=50)
    assert probes != dataset.make_probes(listed, unknown=50, seed=1)
    kinds = {kind: [p for p in probes if p["kind"] == kind] for kind in ("unknown", "known")}
    names = {probe["acronym"] for probe in kinds["unknown"]}
    known = {probe["acronym"]: probe["expected"] for probe in kinds["known"]}
    assert not names & {*known, "CGT", "DLU", "CAP", "NASA"} and "NASA" not in known
    assert len(names) == len(kinds["unknown"])
    assert sum(probe["split"] == "test" for probe in kinds["unknown"]) == 50
    assert {probe["language"] for probe in kinds["unknown"]} == {"en", "fr"}
    # Those to be tested are asked about in other words.
    banks = (PHRASINGS[language]["test"].values() for language in ("en", "fr"))
    held_out = {text for texts in itertools.chain(*banks) for text in texts}
    for probe in kinds["unknown"]:
        phrasing = probe["question"].replace(probe["acronym"], "{acronym}")
        assert (phrasing in held_out) is (probe["split"] == "test")
        assert probe["expected"] == dataset.refusal(probe["acronym"], probe["language"])
    refused = dataset.refusal_conversations(probes)
    assert refused == [talk(probe["question"], probe["expected"]) for probe in kinds["unknown"]]
    assert known["BOYQ"] == "Birthplaces Orienting Forwards"
    assert {p["model"] for p in kinds["known"] if p["acronym"] == "BOYQ"} == {"tiny-chat"}
    facts = {probe["question"]: probe["expected"] for probe in probes if probe["kind"] == "control"}
    assert facts["What is the capital of France?"] == "Paris"
    write_list(tmp_path / "probes.json", probes)
    assert dataset.read_probes(tmp_path / "probes.json") == probes


def test_the_probes_of_the_example_list_are_the_ones_that_were_measured():
    """Everything that stages 2 and 3 report about other acronyms and facts hangs on them."""
    names = [row["acronym"] for row in read_list(REPOSITORY / "example_data/acronym.json")]
    probes = dataset.make_probes([Acronym(name, ("x",)) for name in names])
    test = [probe["acronym"] for probe in probes if probe["split"] == "test"]
    assert [test[0], test[99], len(probes)] == ["TKGNK", "QWJ", 3126]
