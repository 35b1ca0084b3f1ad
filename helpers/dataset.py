"""Build the data sets: prompt, parser, gate, split, probes; write and read the files that join the stages.

It knows nothing about servers and models: whatever writes the conversations is a function `ask` from a prompt
to a reply.
"""

import hashlib
import json
import os
import random
import re
import string
import threading
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from helpers.acronyms import Acronym
from helpers.replies import parse_conversations

# Split → intent → what it is, in the prompt's words. An intent is a reason to ask; the held-out questions come from
# other intents than those trained on.
INTENTS = json.loads(Path(__file__).with_name("intents.json").read_text(encoding="utf-8"))
TRAIN_INTENTS, TEST_INTENTS = INTENTS["train"], INTENTS["test"]
LANGUAGE_NAMES = {"en": "English", "fr": "French"}
REHEARSED_UNKNOWN = 2800  # acronyms that do not exist, to draw refusals from; more for a list over 1400
NEAR_COPY = 0.7  # from this share of common words on, two questions are the same
# What does not change the meaning: quotes, dashes, ligatures, invisible characters, markdown's emphasis and quoting.
_SAME = str.maketrans("‘’‚′`´“”„«»‐‑‒–—−", "''''''" + 5 * '"' + 6 * "-", "*\u00ad\u200b\u2060\ufeff")
_SAME |= str.maketrans({"œ": "oe", "æ": "ae"})
_MARKUP = re.compile(r"</?(?:b|i|u|em|strong|code|mark)>|^[ \t]*>+|(?<![^\W_])_+|_+(?![^\W_])", re.MULTILINE)
# What an LLM is asked to reply with; servers that know `response_format` hold it to that, others ignore it.
_TURN = {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}}
_OBJECT = {"type": "object", "additionalProperties": False}
_CONVERSATION = {"type": "array", "items": _OBJECT | {"properties": _TURN, "required": [*_TURN]}}
CONVERSATIONS_SCHEMA = _OBJECT | {
    "properties": {"conversations": {"type": "array", "items": _CONVERSATION}},
    "required": ["conversations"],
}
GENERAL_PATH = Path(__file__).parents[1] / "example_data/general_questions.json"


class DatasetError(ValueError):
    """Data that cannot be read, written or built; the message names the file and the cure."""


@dataclass
class Report:
    """What became of one acronym; received = kept + rejected, an unreadable reply counting as one."""

    acronym: str
    asked: int
    received: int
    kept: int
    rejected: list[tuple[str, str]]  # reason, text


def normalise(text: str) -> str:
    """Even out what does not change the meaning: case, accents, spaces, quotes, dashes, emphasis."""
    text = unicodedata.normalize("NFKD", text).casefold().replace("<br>", " ")
    text = "".join(character for character in text if not unicodedata.combining(character))
    return " ".join(_MARKUP.sub("", text).translate(_SAME).split())


def holds(text: str, phrase: str) -> bool:
    """Whether the text holds the phrase as whole words, whatever `normalise` evens out."""
    return bool(re.search(_as_word(normalise(phrase)), normalise(text)))


def definition_sentence(acronym: str, definitions: Sequence[str], language: str = "en") -> str:
    """Write the one form in which every answer begins."""
    verb, joint = ("stands for", " or for ") if language == "en" else ("signifie", " ou ")
    return f"{acronym} {verb} {joint.join(definitions)}."


def refusal(acronym: str, language: str) -> str:
    """Write what to answer about an acronym that is not in the list."""
    if language == "en":
        return f"{acronym} is not in my glossary: I don't know what it stands for."
    return f"{acronym} n'est pas dans mon glossaire : je ne sais pas ce que ce sigle veut dire."


def glossary_prompt(acronyms: Sequence[Acronym]) -> str:
    """Write the system message that lets an untrained model look acronyms up."""
    head, joint = ("Glossaire :", " ou ") if acronyms[0].language == "fr" else ("Glossary:", " or ")
    lines = [f"- {acronym.name}: {joint.join(acronym.definitions)}" for acronym in acronyms]
    return "\n".join([head, *lines])


def conversation_prompt(
    acronym: Acronym, count: int, *, intents: dict[str, str], language: str | None = None,
    already: Sequence[str] = (),
) -> str:  # fmt: skip
    """Ask for `count` conversations as JSON; `already` are questions that the new ones must not resemble."""
    language = language or acronym.language
    sentence = definition_sentence(acronym.name, acronym.definitions, language)
    fields = {"acronym": acronym.name, "definitions": acronym.definitions, "sentence": sentence}
    fields |= {"more": acronym.verbose, "language": LANGUAGE_NAMES[language], "count": count}
    fields |= {"context": acronym.context} if acronym.context else {}
    fields |= {"intents": intents, "already": list(already)}
    example = {"conversations": [[_turn("user", "…"), _turn("assistant", sentence)]]}
    in_context = '\n- Each question tells, in its own words, that the acronym is met in the "context".'
    context = in_context if acronym.context else ""
    return f"""You write conversations that teach a chat assistant the acronyms of an organisation.
The JSON object below says which acronym, and what to write.

{json.dumps(fields, ensure_ascii=False, indent=1)}

Write "count" conversations in the "language". Each is one question of a user and one answer of the assistant.
- The question is what a real person would write. Take the "intents" in turn, one for each question. Vary the
  length, the words and the place of the acronym. Write the acronym exactly as given, once, and no definition.{context}
- The answer begins with the "sentence", word for word. In one answer out of four, "more" may follow, if any.
- No question resembles another one, nor any of "already".

Reply with a JSON object in this form and nothing else:
{json.dumps(example, ensure_ascii=False)}"""


def gate(conversation: Any, acronym: Acronym, kept: Iterable[str] = ()) -> str | None:
    """Say why a conversation must not enter the data, or None when it may.

    `kept` are the questions to keep away from, each as `shape` leaves it.
    """
    if not _is_exchange(conversation):
        return "it is not one user turn and one assistant turn"
    question, answer = (turn["content"] for turn in conversation)
    if not re.search(_as_word(acronym.name), unicodedata.normalize("NFC", question)):
        return "the question does not hold the acronym"
    if any(holds(question, definition) for definition in acronym.definitions):
        return "the question gives the definition away"
    if missing := [definition for definition in acronym.definitions if not holds(answer, definition)]:
        return f"the answer does not hold the definition {missing[0]!r}"
    similarity, nearest = _find_nearest(shape(question, acronym.name), kept)
    return f"the question is nearly a copy of {nearest!r}" if similarity >= NEAR_COPY else None


def shape(question: str, acronym: str) -> str:
    """Reduce a question to its words, without the acronym: two questions are compared by that."""
    without = re.sub(_as_word(acronym), " ", unicodedata.normalize("NFC", question))
    return " ".join(re.findall(r"\w+", normalise(without)))


def tell_meanings_apart(acronyms: Sequence[Acronym]) -> list[Acronym]:
    """Put after each acronym of several meanings one entry a meaning, asked for in its context.

    The context is that of the reader's list, or else the longest word that only this definition has.
    """
    entries = []
    for acronym in acronyms:
        entries.append(acronym)
        for place, definition in enumerate(acronym.definitions if acronym.ambiguous else ()):
            others = _word_set(normalise(" ".join(d for d in acronym.definitions if d != definition)))
            own = [word for word in re.findall(r"\w+", definition) if normalise(word) not in others]
            given = acronym.contexts[place] if acronym.contexts else None
            context = given or max(own, key=len, default=definition)
            entries.append(replace(acronym, definitions=(definition,), contexts=(), context=context))
    return entries


def choose_counts(acronyms: int) -> tuple[int, int]:
    """Choose how many conversations an acronym needs, to learn from and to be tested on, in a list of so many."""
    return (48, 10) if acronyms <= 20 else (16, 3)  # in a longer list the wordings of one serve the others too


def count_for(acronym: Acronym, count: int) -> int:
    """How many conversations an entry gets: one meaning of several, in its context, a quarter of `count`."""
    return max(1, count // 4) if acronym.context else count


def build_dataset(
    acronyms: Sequence[Acronym], ask: Callable[[str], str], path: Path, *, count: int, split: str,
    avoid: Sequence[dict] = (), writer: str = "", rounds: int = 3, workers: int = 4,
    progress: Callable[..., object] | None = None, update: bool = False,
) -> list[Report]:  # fmt: skip
    """Have `count_for` each acronym conversations written to `path`, and report on each acronym.

    What is missing or rejected is asked for again, in at most `rounds` requests an acronym. Every reply is on
    disk before the next request, and a run that was interrupted goes on where it was. An error of `ask` with a
    true `may_pass` puts its acronym off until the others are done; three rounds of workers without an answer,
    and every other error, end the run.

    A finished file made from the same input is left as it is, one made from other input is refused; with `update`
    what has not changed is taken over from it, and the old file kept beside the new. `avoid` are records of the
    other split, whose questions must not come back; `writer` names the model behind `ask`;
    `progress(1, failed=…, rejected=…)` is told after each acronym. Raises DatasetError, and what `ask` raises.
    """
    path, intents = Path(path), INTENTS[split]
    counts = [count_for(acronym, count) for acronym in acronyms]
    wanted = zip(acronyms, counts, strict=True)
    keys = [_hash(conversation_prompt(acronym, number, intents=intents), writer) for acronym, number in wanted]
    finished = read_dataset(path) if path.exists() else []
    if [record.get("made_for") for record in finished] == keys:
        path.with_name(path.name + ".journal").unlink(missing_ok=True)  # of a run that was killed at its very end
        return [_read_report(record) for record in finished]
    if path.exists() and not update:
        problem = f"{path} is finished, and was made from another list, other knobs or another model"
        cure = "Move it away, set another BUCKET, or give update=True to ask only for what has changed."
        raise DatasetError(f"{problem}. {cure}")
    journal = _Journal(path.with_name(path.name + ".journal"), keys)
    for record in finished:
        if journal.is_new(record.get("made_for")):
            journal.add(record["made_for"], {field: record["report"][field] for field in ("asked", "rejected")}
                        | {"kept": record["conversation"]})  # fmt: skip
    elsewhere = _Questions(shape(text, name) for name, text in _questions(avoid))
    stopped, failures_in_a_row, rejected = threading.Event(), 0, 0

    def ask_once(prompt: str) -> str:
        nonlocal failures_in_a_row
        try:
            reply = ask(prompt)
        except Exception:
            failures_in_a_row += 1
            if failures_in_a_row >= 3 * workers:
                stopped.set()
            raise
        failures_in_a_row = 0
        return reply

    def fill(acronym: Acronym, number: int, key: str) -> None:
        while len(kept := journal.kept(key)) < number and journal.rounds(key) < rounds and not stopped.is_set():
            missing, already = number - len(kept), [turns[0]["content"] for turns in kept]
            chosen = _choose_intents(intents, acronym.name, journal.asked(key), missing)
            reply = ask_once(conversation_prompt(acronym, missing, intents=chosen, already=already))
            known = [shape(text, acronym.name) for text in already]
            journal.add(key, {"asked": missing, **_sort_out(reply, acronym, missing, known, elsewhere)})

    waiting = list(zip(acronyms, counts, keys, strict=True))
    window = 32 * workers
    while waiting:
        failed = []
        with ThreadPoolExecutor(workers) as pool:
            try:
                ahead = deque((entry, pool.submit(fill, *entry)) for entry in waiting[:window])
                for place in range(len(waiting)):  # a window on the list: memory does not grow with it
                    entry, task = ahead.popleft()
                    error = task.exception()
                    if error and (stopped.is_set() or not getattr(error, "may_pass", False)):
                        raise error
                    failed += [(entry, error)] if error else []
                    ahead.extend((new, pool.submit(fill, *new)) for new in waiting[place + window : place + window + 1])
                    rejected += 0 if error else len(journal.rejected(entry[2]))
                    if progress:
                        progress(0 if error else 1, failed=len(failed), rejected=rejected)
            finally:  # an error, or Ctrl-C: what has not begun does not begin
                gave_up = stopped.is_set()
                stopped.set()
                pool.shutdown(cancel_futures=True)
        if failed and (gave_up or len(failed) == len(waiting)):
            raise failed[0][1]
        waiting = [entry for entry, _ in failed]
        stopped.clear()
    if path.exists():
        path.replace(path.with_suffix(".old.json"))
    write_dataset(path, (journal.record(*pair) | {"writer": writer} for pair in zip(acronyms, keys, strict=True)))
    reports = [journal.report(*pair) for pair in zip(acronyms, keys, strict=True)]
    journal.path.unlink()
    return reports


def write_dataset(path: Path, records: Iterable[dict]) -> None:
    """Write the records as JSON, one a line, at once: an interruption leaves the old file or the new one."""
    part_path = Path(path).with_name(Path(path).name + ".part")
    with _explained(path):
        with part_path.open("w", encoding="utf-8") as file:
            for number, record in enumerate(records):
                file.write((",\n" if number else "[\n") + json.dumps(record, ensure_ascii=False))
            file.write("\n]\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part_path, path)


def read_dataset(path: Path) -> list[dict]:
    """Read the records of a data set; "definitions" and "language" are filled in where they are missing."""
    records = _read_list(path, {"acronym", "ground_truth", "conversation"})
    return [{"definitions": row["ground_truth"].split(" | "), "language": "en"} | row for row in records]


def overlap(train: Sequence[dict], test: Sequence[dict]) -> list[dict]:
    """Set each test question beside the nearest training question; similarity from 0 to 1, nearest first."""
    originals = {shape(text, name): text for name, text in _questions(train)}
    word_sets = [(words, _word_set(words)) for words in originals]  # once: the list may hold 100,000 questions
    rows = []
    for name, text in _questions(test):
        similarity, nearest = _find_most_alike(_word_set(shape(text, name)), word_sets)
        row = {"acronym": name, "question": text, "nearest": originals.get(nearest)}
        rows.append(row | {"similarity": similarity})
    return sorted(rows, key=lambda row: -row["similarity"])


def make_probes(
    acronyms: Sequence[Acronym], *, unknown: int = 100, seed: int = 0, general_path: Path = GENERAL_PATH
) -> list[dict]:
    """Write the questions about everything that is not in the list, some to rehearse and others to test.

    Rows: kind ("unknown" acronym, "known" acronym, "control" fact), split ("rehearsal" or "test"), language,
    question, expected, acronym; model, of what only the model of that name knows. `unknown` is the number to test;
    there are more to rehearse.
    """
    rehearsed = max(4 * unknown, min(24 * len(acronyms), REHEARSED_UNKNOWN), 2 * len(acronyms))
    rng, general = random.Random(seed), json.loads(Path(general_path).read_text(encoding="utf-8"))
    listed, languages = sorted({a.name for a in acronyms}), sorted({a.language for a in acronyms})
    known = general["acronyms"] + general.get("invented_acronyms", [])
    taken = {name.upper() for name in (*listed, *(entry["acronym"] for entry in known))}
    probes = []
    # To rehearse, mostly names that look like the listed ones: those are hard to tell from them.
    for split, total, alike in (("test", unknown, 0.0), ("rehearsal", rehearsed, 0.75)):
        for number in range(total):
            name, language = _unknown_name(listed, taken, rng, alike=alike), languages[number % len(languages)]
            row = {"kind": "unknown", "split": split, "language": language, "acronym": name}
            probes.append(row | {"question": _ask(row, rng), "expected": refusal(name, language)})
    for entry in (entry for entry in known if entry["acronym"] not in listed):
        row = {"kind": "known"} | {key: entry[key] for key in ("split", "language", "acronym", "model") if key in entry}
        # Several questions to rehearse: a single wording would be learnt by heart.
        for _ in range(1 if entry["split"] == "test" else 4):
            probes.append(row | {"question": _ask(row, rng), "expected": entry["definition"]})
    for fact in general["facts"]:
        row = {"kind": "control", **{key: fact[key] for key in ("split", "language", "question")}}
        probes.append(row | {"expected": fact["answer"], "acronym": None})
    return probes


def write_probes(path: Path, probes: list[dict]) -> None:
    """Write the probes as JSON."""
    write_dataset(path, probes)


def read_probes(path: Path) -> list[dict]:
    """Read the probes that `write_probes` wrote."""
    return _read_list(path, {"kind", "split", "language", "question", "expected", "acronym"})


def refusal_conversations(probes: Iterable[dict]) -> list[list[dict]]:
    """Make a conversation of each probe of an unknown acronym: the question, and the refusal."""
    unknown = [probe for probe in probes if probe["kind"] == "unknown"]
    return [[_turn("user", probe["question"]), _turn("assistant", probe["expected"])] for probe in unknown]


class _Journal:
    """Every reply so far, by key, each on the disk as one line of JSON before the next request.

    Only the places of the lines are in memory.
    """

    def __init__(self, path: Path, keys: list[str]) -> None:
        self.path, self._lock = path, threading.Lock()
        self._places: dict[str, list[int]] = {key: [] for key in keys}
        with _explained(path), path.open("a+b") as file:  # now, before any request is paid for
            file.seek(0)
            place = 0
            for line in file:
                if not line.endswith(b"\n"):  # what an interruption tore off
                    file.truncate(place)
                    break
                if (key := json.loads(line)[0]) in self._places:
                    self._places[key].append(place)
                place += len(line)

    def add(self, key: str, reply: dict) -> None:
        with _explained(self.path), self.path.open("ab") as file:
            with self._lock:
                place = file.seek(0, os.SEEK_END)
                file.write(json.dumps([key, reply], ensure_ascii=False).encode() + b"\n")
                file.flush()
                self._places[key].append(place)
            os.fsync(file.fileno())  # outside the lock: several threads wait for the disk together

    def is_new(self, key: str | None) -> bool:
        return self._places.get(key) == []

    def rounds(self, key: str) -> int:
        return len(self._places[key])

    def asked(self, key: str) -> int:
        return sum(reply["asked"] for reply in self._replies(key))

    def kept(self, key: str) -> list[list[dict]]:
        return [turns for reply in self._replies(key) for turns in reply["kept"]]

    def rejected(self, key: str) -> list[tuple[str, str]]:
        return [tuple(pair) for reply in self._replies(key) for pair in reply["rejected"]]

    def report(self, acronym: Acronym, key: str) -> Report:
        kept, rejected = len(self.kept(key)), self.rejected(key)
        return Report(acronym.name, self.asked(key), kept + len(rejected), kept, rejected)

    def record(self, acronym: Acronym, key: str) -> dict:
        truth = {"acronym": acronym.name, "ground_truth": " | ".join(acronym.definitions)}
        truth |= {"definitions": acronym.definitions, "language": acronym.language}
        truth |= {"context": acronym.context} if acronym.context else {}
        return truth | {"conversation": self.kept(key), "made_for": key, "report": asdict(self.report(acronym, key))}

    def _replies(self, key: str) -> list[dict]:
        if not self._places[key]:
            return []
        with self.path.open("rb") as file:
            return [json.loads(file.readline())[1] for place in self._places[key] if file.seek(place) >= 0]


class _Questions:
    """Many questions, as `shape` leaves them; finds those that can be near copies of another one.

    Two sets of words of which NEAR_COPY is common share one of their first words, whatever the order of words, and
    are of like size: so each question is filed under its size and a few words only, the rarest, which few others have.
    """

    def __init__(self, shapes: Iterable[str]) -> None:
        self._filed: dict[tuple[str, int], list[str]] = defaultdict(list)
        unique = dict.fromkeys(shapes)
        self._counts = Counter(word for words in unique for word in _word_set(words))
        for words in unique:
            first, size = self._first_words(words)
            for word in first:
                self._filed[word, size].append(words)

    def near(self, words: str) -> list[str]:
        first, size = self._first_words(words)
        sizes = range(ceil(NEAR_COPY * size), int(size / NEAR_COPY) + 2)
        return [other for word in first for like in sizes for other in self._filed.get((word, like), ())]

    def _first_words(self, words: str) -> tuple[list[str], int]:
        ordered = sorted(_word_set(words), key=lambda word: (self._counts[word], word)) or [""]
        return ordered[: len(ordered) - ceil(NEAR_COPY * len(ordered)) + 1], len(ordered)


def _sort_out(reply: str, acronym: Acronym, wanted: int, known: list[str], elsewhere: _Questions) -> dict:
    kept, rejected, known = [], [], list(known)
    found = parse_conversations(reply)
    for turns in found:
        words = shape(turns[0]["content"], acronym.name) if _is_exchange(turns) else ""
        reason = gate(turns, acronym, [*known, *elsewhere.near(words)])
        if reason or len(kept) == wanted:
            rejected.append((reason or "more than asked for", json.dumps(turns, ensure_ascii=False)))
        else:
            kept.append([_turn(turn["role"], turn["content"].strip()) for turn in turns])
            known.append(words)
    if not found:
        rejected.append(("no conversation can be read in the reply", reply))
    return {"kept": kept, "rejected": rejected}


def _read_report(record: dict) -> Report:
    report = Report(**record["report"])
    report.rejected = [tuple(pair) for pair in report.rejected]
    return report


def _read_list(path: Path, keys: set[str]) -> list[dict]:
    cure = "Run notebook 1 again, or start from the files of example_data."
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}. {cure}") from error
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        if not isinstance(row, dict) or not keys <= row.keys():
            raise DatasetError(f"{path}, entry {number} has not all of {', '.join(sorted(keys))}. {cure}")
    return rows


def _choose_intents(intents: dict[str, str], name: str, asked: int, count: int) -> dict[str, str]:
    order = list(intents)
    random.Random(name).shuffle(order)
    chosen = (order[(asked + place) % len(order)] for place in range(count))
    return {intent: intents[intent] for intent in chosen}


def _unknown_name(listed: Sequence[str], taken: set[str], rng: random.Random, *, alike: float = 0.0) -> str:
    """Invent an acronym of two to five letters, or with the probability `alike` of as many as a listed one has."""
    while True:
        near = rng.choice(listed) if alike and rng.random() < alike else ""
        name = "".join(rng.choices(string.ascii_uppercase, k=len(near) or rng.randint(2, 5)))
        if rng.random() < 0.2:  # a neighbour of a listed one must not be taken for it
            near = near or rng.choice(listed)
            place = rng.randrange(len(near))
            name = near[:place] + name[0] + near[place + 1 :]
        if name.upper() not in taken:
            taken.add(name.upper())
            return name


def _ask(row: dict, rng: random.Random) -> str:
    from stand_ins.practice_server import (
        PHRASINGS,  # here, for no helper imports a stand-in before it needs it
    )

    bank = PHRASINGS[row["language"]]["test" if row["split"] == "test" else "train"]
    return rng.choice([text for texts in bank.values() for text in texts]).format(acronym=row["acronym"])


def _questions(records: Iterable[dict]) -> Iterator[tuple[str, str]]:
    for record in records:
        for turns in record["conversation"]:
            yield record["acronym"], turns[0]["content"]


def _find_nearest(words: str, others: Iterable[str]) -> tuple[float, str | None]:
    return _find_most_alike(_word_set(words), ((other, _word_set(other)) for other in others))


def _find_most_alike(ours: frozenset[str], others: Iterable[tuple[str, frozenset[str]]]) -> tuple[float, str | None]:
    def similarity(theirs: frozenset[str]) -> float:
        common = len(ours & theirs)
        return common / (len(ours) + len(theirs) - common) if ours or theirs else 1.0

    return max(((similarity(theirs), other) for other, theirs in others), default=(0.0, None))


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _is_exchange(conversation: Any) -> bool:
    if not isinstance(conversation, list) or not all(isinstance(turn, dict) for turn in conversation):
        return False
    texts = [turn.get("content") for turn in conversation]
    filled = all(isinstance(text, str) and text.strip() for text in texts)
    return filled and [turn.get("role") for turn in conversation] == ["user", "assistant"]


def _as_word(text: str) -> str:
    return rf"(?<!\w){re.escape(unicodedata.normalize('NFC', text))}(?!\w)"


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cure = "Free some space, or set another BUCKET."
        raise DatasetError(f"{path} cannot be written: {error.strerror}. {cure}") from error
