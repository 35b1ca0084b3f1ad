"""The data sets: prompt and parser, gate, resumable building, files, probes."""

import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers import dataset
from helpers.acronyms import Acronym
from helpers.config import REPOSITORY
from helpers.dataset import DatasetError, Report
from helpers.replies import find_json
from stand_ins.practice_server import PHRASINGS, reply_to

CGT = Acronym("CGT", ("Cooking Gourmet Taste",), None, "en")
CAP = Acronym("CAP", ("certificat d'aptitude professionnelle", "commission paritaire"), "Elle siège.", "fr")
ACRONYMS = [CGT, Acronym("DLU", ("Document Labelling Unit",), "It is new.", "en"), CAP]


def talk(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


GOOD = talk("What does CGT stand for?", "CGT stands for Cooking Gourmet Taste.")
OTHER = talk("Kindly unfold CGT.", "CGT stands for Cooking Gourmet Taste.")


class Writer:
    """Answers as the practice server does, and notes what it was asked; `fail_at` raises at that request."""

    def __init__(self, fail_at: int | None = None, spoil=lambda reply: reply) -> None:
        self.prompts: list[dict] = []
        self.fail_at, self.spoil, self.lock = fail_at, spoil, threading.Lock()

    def __call__(self, prompt: str) -> str:
        with self.lock:
            if len(self.prompts) == self.fail_at:
                raise RuntimeError("the server is gone")
            self.prompts.append(next(find_json(prompt)))
        return self.spoil(reply_to(prompt))


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
    assert dataset.definition_sentence("CGT", CGT.definitions) == GOOD[1]["content"]
    two = "CAP signifie certificat d'aptitude professionnelle ou commission paritaire."
    assert dataset.definition_sentence("CAP", CAP.definitions, "fr") == two
    assert dataset.refusal("XYZ", "en") == "XYZ is not in my glossary: I don't know what it stands for."
    french = "XYZ n'est pas dans mon glossaire : je ne sais pas ce que ce sigle veut dire."
    assert dataset.refusal("XYZ", "fr") == french
    assert dataset.glossary_prompt([CGT]) == "Glossary:\n- CGT: Cooking Gourmet Taste"


def test_the_prompt_can_be_read_back() -> None:
    intents = {"plain": "asks plainly"}
    prompt = dataset.conversation_prompt(CAP, 3, intents=intents, already=["CAP ?"])
    fields = next(find_json(prompt))
    assert (fields["acronym"], fields["language"], fields["count"]) == ("CAP", "French", 3)
    assert (fields["intents"], fields["already"]) == (intents, ["CAP ?"])
    assert (fields["definitions"], fields["more"]) == (list(CAP.definitions), "Elle siège.")


ANSWER = GOOD[1]["content"]


@pytest.mark.parametrize(
    ("conversation", "acronym", "reason"),
    [
        (GOOD, CGT, None),
        (talk("CGT?", "cgt stands for cooking gourmet  taste"), CGT, None),
        (GOOD[:1], CGT, "one user turn"),
        (GOOD + OTHER, CGT, "one user turn"),
        (GOOD[::-1], CGT, "one user turn"),
        ([{"role": "user"}, {"role": "assistant"}], CGT, "one user turn"),
        (talk("CGT?", " "), CGT, "one user turn"),
        ("text", CGT, "one user turn"),
        (talk("What does cgt stand for?", ANSWER), CGT, "not hold the acronym"),
        (talk("What are CGTs?", ANSWER), CGT, "not hold the acronym"),
        (talk("Is CGT the Cooking Gourmet Taste?", ANSWER), CGT, "gives the definition away"),
        (talk("CGT?", "CGT stands for Cooking Gourmet Food."), CGT, "not hold the definition 'Cooking"),
        (talk("CAP ?", "CAP signifie commission paritaire."), CAP, 'not hold the definition "certificat'),
        (talk("But what does the CGT mean for me?", ANSWER), CGT, None),
        (talk("Please, what does CGT mean?", ANSWER), CGT, "nearly a copy of 'what does mean'"),
    ],
)
def test_the_gate(conversation: object, acronym: Acronym, reason: str | None) -> None:
    verdict = dataset.gate(conversation, acronym, [dataset.shape("What does XYZ mean?", "XYZ")])
    assert verdict is None if reason is None else reason in verdict


def build(path: Path, ask, acronyms=ACRONYMS, **options) -> list[Report]:
    return dataset.build_dataset(acronyms, ask, path, **{"count": 4, "split": "train", **options})


def test_a_data_set_is_built_once(tmp_path: Path) -> None:
    path, progress, writer = tmp_path / "train.json", [], Writer()
    told = lambda done, **counts: progress.append((done, counts))  # noqa: E731
    reports = build(path, writer, progress=told, writer="someone")
    assert reports == [Report(acronym.name, 4, 4, 4, []) for acronym in ACRONYMS]
    assert (len(writer.prompts), progress) == (3, [(1, {"failed": 0, "rejected": 0})] * 3)
    records = dataset.read_dataset(path)
    assert [record["acronym"] for record in records] == ["CGT", "DLU", "CAP"]
    truth = "certificat d'aptitude professionnelle | commission paritaire"
    assert (records[2]["ground_truth"], records[2]["language"]) == (truth, "fr")
    assert all(len(record["conversation"]) == 4 and record["writer"] == "someone" for record in records)
    assert [file.name for file in tmp_path.iterdir()] == ["train.json"]
    before = path.read_bytes()
    assert build(path, writer, writer="someone") == reports
    assert (len(writer.prompts), path.read_bytes()) == (3, before)


@pytest.mark.parametrize(
    "change",
    [{"count": 5}, {"split": "test"}, {"writer": "other"}, {"acronyms": ACRONYMS[:2]}],
    ids=lambda change: next(iter(change)),
)
def test_a_finished_file_is_never_overwritten(tmp_path: Path, change: dict) -> None:
    path, writer = tmp_path / "train.json", Writer()
    build(path, Writer())
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="train.json is finished.*another BUCKET"):
        build(path, writer, **change)
    assert (writer.prompts, path.read_bytes()) == ([], before)


def test_an_empty_file_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(DatasetError, match="train.json is finished"):
        build(tmp_path / "train.json", Writer())
    assert (tmp_path / "train.json").read_text() == "[]"


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.json", tmp_path / "train.json"
    build(whole, Writer(), workers=1)
    with pytest.raises(RuntimeError, match="gone"):
        build(path, Writer(fail_at=2), workers=1)
    assert not path.exists()
    with (tmp_path / "train.json.journal").open("a") as journal:
        journal.write('["torn')
    writer = Writer()
    build(path, writer, workers=1)
    assert [fields["acronym"] for fields in writer.prompts] == ["CAP"]
    assert path.read_bytes() == whole.read_bytes()


def test_after_an_interruption_only_what_changed_is_asked_again(tmp_path: Path) -> None:
    path, writer = tmp_path / "train.json", Writer()
    with pytest.raises(RuntimeError, match="gone"):
        build(path, Writer(fail_at=2), workers=1)
    changed = [Acronym("CGT", ("Cold Green Tea",), None, "en"), *ACRONYMS[1:]]
    build(path, writer, changed, workers=1)
    assert [fields["acronym"] for fields in writer.prompts] == ["CGT", "CAP"]
    assert "Cold Green Tea" in str(dataset.read_dataset(path)[0]["conversation"])


def test_what_is_missing_is_asked_again_and_reported(tmp_path: Path) -> None:
    broken = iter(["Sorry.", "bad", "good"])

    def spoil(reply: str) -> str:
        kind = next(broken)
        return reply.replace("Gourmet", "Good", 1) if kind == "bad" else reply if kind == "good" else kind

    writer = Writer(spoil=spoil)
    [report] = build(tmp_path / "train.json", writer, [CGT])
    assert (report.asked, report.received, report.kept) == (9, 6, 4)
    assert [reason for reason, _ in report.rejected] == [
        "no conversation can be read in the reply",
        "the answer does not hold the definition 'Cooking Gourmet Taste'",
    ]
    assert [len(fields["already"]) for fields in writer.prompts] == [0, 0, 3]
    assert [fields["count"] for fields in writer.prompts] == [4, 4, 1]
    used = [set(fields["intents"]) for fields in writer.prompts]
    assert not used[0] & used[1] and not used[1] & used[2]


def test_what_stays_short_is_told(tmp_path: Path) -> None:
    writer = Writer(spoil=lambda reply: "Sorry.")
    [report] = build(tmp_path / "train.json", writer, [CGT], rounds=2)
    assert (report.asked, report.received, report.kept, len(writer.prompts)) == (8, 2, 0, 2)
    assert build(tmp_path / "train.json", writer, [CGT], rounds=2) == [report]


def test_more_than_asked_for_is_not_kept(tmp_path: Path) -> None:
    reply = json.dumps([GOOD, OTHER])
    [report] = build(tmp_path / "train.json", lambda _: reply, [CGT], count=1)
    assert (report.received, report.kept, report.rejected[0][0]) == (2, 1, "more than asked for")


def test_train_and_test_stay_apart(tmp_path: Path) -> None:
    build(tmp_path / "train.json", Writer(), count=8)
    train = dataset.read_dataset(tmp_path / "train.json")
    build(tmp_path / "test.json", Writer(), count=3, split="test", avoid=train)
    test = dataset.read_dataset(tmp_path / "test.json")
    rows = dataset.overlap(train, test)
    assert len(rows) == 9
    assert max(row["similarity"] for row in rows) < dataset.NEAR_COPY
    [same] = dataset.overlap([{"acronym": "CGT", "conversation": [GOOD]}], [
        {"acronym": "ABC", "conversation": [talk("What does ABC stand for?", "-")]}
    ])  # fmt: skip
    assert same == {
        "acronym": "ABC", "question": "What does ABC stand for?", "nearest": GOOD[0]["content"],
        "similarity": 1.0,
    }  # fmt: skip
    copied = [{"acronym": "ABC", "conversation": [talk("What does ABC stand for?", "-")]}]
    [report] = build(tmp_path / "x.json", lambda _: json.dumps([GOOD]), [CGT], avoid=copied, rounds=1)
    assert report.kept == 0 and "nearly a copy" in report.rejected[0][0]


def test_no_request_is_paid_for_when_the_disk_refuses(tmp_path: Path) -> None:
    writer = Writer()
    with pytest.raises(DatasetError, match="journal cannot be written.*another BUCKET"):
        build(tmp_path / "absent" / "train.json", writer)
    assert writer.prompts == []


def test_files_of_the_original_tutorial_are_read(tmp_path: Path) -> None:
    record = {"acronym": "CAP", "ground_truth": "a | b", "conversation": [GOOD]}
    dataset.write_dataset(tmp_path / "x.json", [record])
    assert dataset.read_dataset(tmp_path / "x.json") == [{**record, "definitions": ["a", "b"], "language": "en"}]


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[1]", '[{"acronym": "CGT"}]'])
def test_a_bad_file_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    with pytest.raises(DatasetError, match=r"x\.json.*notebook 1"):
        dataset.read_dataset(tmp_path / "x.json")


@pytest.fixture
def general_path(tmp_path: Path) -> Path:
    entry = {"language": "en", "split": "rehearsal"}
    facts = [{**entry, "question": "Capital of France?", "answer": "Paris"}]
    known = [{**entry, "acronym": name, "definition": f"{name} in full"} for name in ("NASA", "CGT")]
    known.append({"language": "fr", "split": "test", "acronym": "TGV", "definition": "train"})
    path = tmp_path / "general.json"
    invented = [{**entry, "acronym": name, "definition": f"{name} alone", "model": "tiny"} for name in ("DLV", "DLU")]
    path.write_text(json.dumps({"facts": facts, "acronyms": known, "invented_acronyms": invented}))
    return path


def test_probes_ask_what_is_not_in_the_list(general_path: Path, tmp_path: Path) -> None:
    probes = dataset.make_probes(ACRONYMS, unknown=50, general_path=general_path)
    assert probes == dataset.make_probes(ACRONYMS, unknown=50, general_path=general_path)
    assert probes != dataset.make_probes(ACRONYMS, unknown=50, seed=1, general_path=general_path)
    unknown = [probe for probe in probes if probe["kind"] == "unknown"]
    names = [probe["acronym"] for probe in unknown]
    assert len(set(names)) == len(names) and not {"CGT", "DLU", "CAP", "NASA", "TGV"} & set(names)
    assert sum(probe["split"] == "test" for probe in unknown) == 50
    assert {probe["language"] for probe in unknown} == {"en", "fr"}
    near = [name for name in names if any(_letters_apart(name, a.name) == 1 for a in ACRONYMS)]
    assert 0.1 < len(near) / len(names) < 0.35
    assert all(probe["acronym"] in probe["question"] for probe in unknown)
    assert all(p["expected"] == dataset.refusal(p["acronym"], p["language"]) for p in unknown)
    known = {(probe["acronym"], probe["expected"]) for probe in probes if probe["kind"] == "known"}
    assert known == {("NASA", "NASA in full"), ("TGV", "train"), ("DLV", "DLV alone")}
    assert "DLV" not in names
    assert {p["acronym"]: p["model"] for p in probes if "model" in p} == {"DLV": "tiny"}
    [control] = [probe for probe in probes if probe["kind"] == "control"]
    assert (control["question"], control["expected"]) == ("Capital of France?", "Paris")
    dataset.write_probes(tmp_path / "probes.json", probes)
    assert dataset.read_probes(tmp_path / "probes.json") == probes


def _letters_apart(first: str, second: str) -> int | None:
    return sum(a != b for a, b in zip(first, second, strict=True)) if len(first) == len(second) else None


def test_test_probes_use_held_out_phrasings(general_path: Path) -> None:
    bank = PHRASINGS["en"]["test"]
    held_out = {text for texts in bank.values() for text in texts}
    for probe in dataset.make_probes([CGT], unknown=20, general_path=general_path):
        if probe["kind"] == "unknown":
            phrasing = probe["question"].replace(probe["acronym"], "{acronym}")
            assert (phrasing in held_out) is (probe["split"] == "test")


def test_most_acronyms_to_refuse_look_like_the_listed_ones(general_path: Path) -> None:
    acronyms = [Acronym(name, ("Some Thing",)) for name in ("ABCD", "EFGH", "IJKL")]
    probes = dataset.make_probes(acronyms, unknown=200, general_path=general_path)
    unknown = [(p["split"], len(p["acronym"])) for p in probes if p["kind"] == "unknown"]
    shares = {
        split: sum(pair == (split, 4) for pair in unknown) / sum(pair[0] == split for pair in unknown)
        for split in ("test", "rehearsal")
    }
    assert shares["rehearsal"] > 0.75 and shares["test"] < 0.5
    assert {length for _, length in unknown} == {2, 3, 4, 5}


def test_refusals_become_conversations(general_path: Path) -> None:
    probes = dataset.make_probes([CGT], unknown=1, general_path=general_path)
    conversations = dataset.refusal_conversations(probes)
    assert len(conversations) == 1 + 24
    assert conversations[0] == talk(probes[0]["question"], probes[0]["expected"])


def test_each_of_several_meanings_is_asked_in_its_context(tmp_path: Path) -> None:
    given = Acronym("PI", ("Principal Investigator", "Performance Index"), contexts=("research", None))
    entries = dataset.tell_meanings_apart([CGT, given, CAP])
    assert [(e.name, e.definitions, e.context) for e in entries] == [
        ("CGT", CGT.definitions, None),
        ("PI", given.definitions, None),
        ("PI", ("Principal Investigator",), "research"),
        ("PI", ("Performance Index",), "Performance"),
        ("CAP", CAP.definitions, None),
        ("CAP", (CAP.definitions[0],), "professionnelle"),
        ("CAP", (CAP.definitions[1],), "commission"),
    ]
    reports = build(tmp_path / "train.json", Writer(), entries, count=8)
    assert [report.kept for report in reports] == [8, 8, 2, 2, 8, 2, 2]
    records = dataset.read_dataset(tmp_path / "train.json")
    assert [record.get("context") for record in records[:4]] == [None, None, "research", "Performance"]
    for record in records[2:4]:
        for user, assistant in record["conversation"]:
            assert record["context"] in user["content"]
            assert assistant["content"].startswith(f"PI stands for {record['ground_truth']}.")


def test_an_update_asks_only_for_what_changed(tmp_path: Path) -> None:
    path, writer = tmp_path / "train.json", Writer()
    build(path, Writer())
    old = dataset.read_dataset(path)
    changed = [Acronym("CGT", ("Cold Green Tea",), None, "en"), ACRONYMS[2], Acronym("NEW", ("Not Ever Written",))]
    build(path, writer, changed, update=True)
    assert {fields["acronym"] for fields in writer.prompts} == {"CGT", "NEW"}
    records = dataset.read_dataset(path)
    assert [record["acronym"] for record in records] == ["CGT", "CAP", "NEW"]
    assert records[1] == old[2] and "Cooking" not in str(records)
    assert dataset.read_dataset(tmp_path / "train.old.json") == old
    assert build(path, writer, changed, update=True) and len(writer.prompts) == 2


class MayPassError(RuntimeError):
    may_pass = True


def test_an_acronym_that_fails_is_put_off_until_the_others_are_done(tmp_path: Path) -> None:
    failures, told = iter(["CGT", "DLU"]), []
    failing = {next(failures), next(failures)}
    writer = Writer()

    def ask(prompt: str) -> str:
        name = next(find_json(prompt))["acronym"]
        if name in failing:
            failing.remove(name)
            raise MayPassError("busy")
        return writer(prompt)

    def progress(done: int, **counts: int) -> None:
        told.append((done, counts["failed"]))

    reports = build(tmp_path / "train.json", ask, workers=1, progress=progress)
    assert [report.kept for report in reports] == [4, 4, 4]
    assert [fields["acronym"] for fields in writer.prompts] == ["CAP", "CGT", "DLU"]
    assert told == [(0, 1), (0, 2), (1, 2), (1, 0), (1, 0)]


def test_a_server_that_never_answers_ends_the_run(tmp_path: Path) -> None:
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        raise MayPassError("gone")

    many = [Acronym(f"AB{number}", ("Any Body",)) for number in range(100)]
    with pytest.raises(MayPassError, match="gone"):
        build(tmp_path / "train.json", ask, many, workers=2)
    assert len(asked) < 20 and (tmp_path / "train.json.journal").exists()


def test_only_possible_near_copies_are_compared() -> None:
    rng = random.Random(0)
    shapes = [" ".join(rng.choices("a bb ccc dd e ff ggg".split(), k=rng.randint(0, 6))) for _ in range(300)]
    index = dataset._Questions(shapes)
    for words in shapes:
        best, _ = dataset._find_nearest(words, shapes[:150])
        near, _ = dataset._find_nearest(words, dataset._Questions(shapes[:150]).near(words))
        assert near == best or best < dataset.NEAR_COPY
    assert len(index.near("unheard of")) < len(shapes)


def test_questions_that_share_a_common_word_only_are_not_compared() -> None:
    shapes = [f"abbreviation a{number} b{number} c{number} d{number}" for number in range(1000)]
    index = dataset._Questions(shapes)
    assert set(index.near(shapes[7])) == {shapes[7]}  # the search of a long list must not take the square of the time
    assert set(index.near(shapes[7] + " " + " ".join("efghijklmno"))) == set()  # too long to be a copy


def test_stage_one_stays_light() -> None:
    code = "import sys, helpers.chat; sys.exit(bool({'torch', 'transformers'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
