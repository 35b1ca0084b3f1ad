"""Build the data sets: prompt, parser, gate, three splits, probes.

It knows nothing about servers and models: whatever writes the conversations is a function `ask`,
from a prompt and a seed to a reply.
"""

import ast
import hashlib
import json
import random
import re
import string
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from math import ceil
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from zlib import crc32

from helpers.acronyms import Acronym, fold
from helpers.files import Journal, only_run, read_list, write_list

# Split → intent → what it is, in the prompt's words. An intent is a reason to ask; the held-out
# questions, for validation and for the test, come from other intents than those trained on.
INTENTS = json.loads(Path(__file__).with_name("intents.json").read_text(encoding="utf-8"))
INTENTS["test"] = INTENTS["validation"]
Ask = Callable[..., str]  # ask(prompt, seed=…) gives a reply
LANGUAGE_NAMES = {"en": "English", "fr": "French"}
REQUEST = 12  # conversations of one request: with more, a reply does not fit its max_tokens
NEAR_COPY = 0.7  # from this share of common words on, two questions are the same
PATIENCE = 3  # failures in a row, for each worker, until a server counts as gone
REHEARSED_UNKNOWN = 2800  # acronyms that do not exist, to draw refusals from; more beyond 1400
GENERAL_PATH = Path(__file__).parents[1] / "example_data/general_questions.json"


# ------------------------------------------------------------------------------------- words

# What does not change the meaning: quotes, dashes, ligatures, invisible characters, and what
# markdown and HTML emphasise or quote with.
_SAME = str.maketrans(
    "‘’‚′`´“”„«»‐‑‒–—−",
    "''''''\"\"\"\"\"------",
    "*\u00ad\u200b\u2060\ufeff",
)
_SAME |= str.maketrans({"œ": "oe", "æ": "ae"})
_MARKUP = r"(?m)</?(?:b|i|u|em|strong|code|mark)>|^[ \t]*>+|(?<![^\W_])_+|_+(?![^\W_])"


def normalise(text: str) -> str:
    """Even out what does not change the meaning: case, accents, spaces, quotes, emphasis."""
    text = re.sub(_MARKUP, "", fold(text).replace("<br>", " "))
    return " ".join(text.translate(_SAME).split())


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
    is_english = acronyms[0].language == "en"
    head, joint = ("Glossary:", " or ") if is_english else ("Glossaire :", " ou ")
    lines = [f"- {acronym.name}: {joint.join(acronym.definitions)}" for acronym in acronyms]
    return "\n".join([head, *lines])


def _as_word(text):
    return rf"(?<!\w){re.escape(unicodedata.normalize('NFC', text))}(?!\w)"


def _turn(role, content):
    return {"role": role, "content": content}


# ------------------------------------------------------------------ the prompt and its parser

# What an LLM is asked to reply with: servers that know `response_format` hold it to that, others
# ignore it.
CONVERSATIONS_SCHEMA = json.loads("""
{"type": "object", "required": ["conversations"], "additionalProperties": false, "properties": {
  "conversations": {"type": "array", "items": {"type": "array", "items":
    {"type": "object", "required": ["role", "content"], "additionalProperties": false,
     "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}}}}}}}
""")
# Who speaks, under the names that LLMs give them.
ROLES = {
    "user": "user",
    "human": "user",
    "question": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "answer": "assistant",
    "réponse": "assistant",
}
# What a model thought aloud is no reply, also where its thoughts never end.
_THOUGHTS = r"(?s)\A.*(?:</think(?:ing)?>|\[/THINK\])|(?:<think(?:ing)?>|\[THINK\]).*"
_IN_VAIN = 10_000_000  # characters read for nothing: a flood of brackets must not take the square
# A comment as in JavaScript; or a text from its quote on, in which "//" is none. That a text may
# lack its end keeps the search linear.
_COMMENT = r"""("(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?)|//[^\n]*"""


def conversation_prompt(
    acronym: Acronym,
    count: int,
    *,
    intents: dict[str, str],
    already: Sequence[str] = (),
) -> str:
    """Ask for `count` conversations as JSON, whose questions resemble none `already` there."""
    sentence = definition_sentence(acronym.name, acronym.definitions, acronym.language)
    fields = {
        "acronym": acronym.name,
        "definitions": acronym.definitions,
        "sentence": sentence,
        "more": acronym.verbose,
        "language": LANGUAGE_NAMES[acronym.language],
        "count": count,
        "intents": intents,
        "already": already,
    }
    in_context = ""
    if acronym.context:
        fields["context"] = acronym.context
        in_context = '\n- Each question names the "context", word for word: there it is met.'
    example = {"conversations": [[_turn("user", "…"), _turn("assistant", sentence)]]}
    return f"""You write conversations that teach a chat assistant the acronyms of an organisation.
The JSON object below says which acronym, and what to write.

{json.dumps(fields, ensure_ascii=False, indent=1)}

Write "count" conversations in the "language". Each is one question of a user and one answer of the
assistant.
- The question is what a real person would write. Take the "intents" in turn, one for each
  question. Vary the length, the words and the place of the acronym. Write the acronym exactly as
  given, once, and no definition.{in_context}
- The answer begins with the "sentence", word for word. In one answer out of four, "more" may
  follow, if any.
- No question resembles another one, nor any of "already".

Reply with a JSON object in this form and nothing else:
{json.dumps(example, ensure_ascii=False)}"""


def parse_conversations(reply: str) -> list[list[dict]]:
    """Find every question with its answer in a reply: strict JSON, else what Python can read.

    Nothing is guessed: what cannot be read as it stands is left out, and asked for again.
    """
    text = re.sub(_THOUGHTS, "", reply)
    values = list(find_json(text)), _read_literal(text)
    # The second where the first finds less: a comma too many splits a list in two.
    return max((list(_exchanges(value)) for value in values), key=len)


def find_json(text: str) -> Iterator[Any]:
    """Find every JSON list and object, outermost ones only; None stands for text between them."""
    decoder = json.JSONDecoder(strict=False)  # line breaks within a text are forgiven
    end = in_vain = 0
    for match in re.finditer(r"[\[{]", text):
        start = match.start()
        if start < end or in_vain >= _IN_VAIN:
            continue
        try:
            value, new_end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            in_vain += getattr(error, "pos", _IN_VAIN)
        else:
            if text[end:start].strip(" \t\r\n,"):
                yield None
            yield value
            end = new_end


def _read_literal(text):
    """Read single quotes, a comma too many and comments, as Python does; None if it cannot."""
    start = re.search(r"[\[{]|\Z", text).start()
    end = max(text.rfind("]"), text.rfind("}")) + 1
    try:
        return ast.literal_eval(re.sub(_COMMENT, r"\1", text[start:end]))
    except Exception:  # text that is no Python ends its parser in half a dozen ways
        return None


def _exchanges(value):
    """Pair each question with the answer that follows it in the same list or object."""
    if isinstance(value, dict):  # {"question": "…", "answer": "…"}: each is like a turn
        said = [_turn(*pair) for pair in value.items()]
        value = [*filter(_as_turn, said), *value.values()]
    before = None
    for part in value if isinstance(value, list) else ():
        turn = _as_turn(part)
        if turn is None:
            yield from _exchanges(part)
        elif turn["role"] == "assistant" and before and before["role"] == "user":
            yield [before, turn]
        before = turn


def _as_turn(value):
    if not isinstance(value, dict):
        return None
    role = ROLES.get(str(value.get("role", value.get("from"))).strip().lower())
    text = value.get("content", value.get("value"))
    return _turn(role, text.strip()) if role and isinstance(text, str) else None


# ---------------------------------------------------------------------------------- the gate


def gate(conversation: list[dict], acronym: Acronym, others: Iterable[str] = ()) -> str | None:
    """Say why a conversation must not enter the data, or None when it may.

    `others` are questions about this acronym that it must not nearly copy.
    """
    if [turn.get("role") for turn in conversation] != ["user", "assistant"]:
        return "it is not one user turn and one assistant turn"
    question, answer = (turn["content"] for turn in conversation)
    if re.search("[\ud800-\udfff]", question + answer):
        return "it holds half a character"
    if not re.search(_as_word(acronym.name), unicodedata.normalize("NFC", question)):
        return "the question does not hold the acronym"
    if acronym.context and not holds(question, acronym.context):
        return f"the question does not name the context {acronym.context!r}"
    if any(holds(question, definition) for definition in acronym.definitions):
        return "the question gives the definition away"
    for definition in acronym.definitions:
        if not holds(answer, definition):
            return f"the answer does not hold the definition {definition!r}"
    words = words_of(question, acronym.name)
    for other in others:
        if similarity(words, words_of(other, acronym.name)) >= NEAR_COPY:
            return f"the question is nearly a copy of {other!r}"
    return None


@lru_cache(maxsize=4096)  # a question is compared with many
def words_of(question: str, acronym: str) -> frozenset:
    """Reduce a question to the set of its words, without the acronym."""
    without = re.sub(_as_word(acronym), " ", unicodedata.normalize("NFC", question))
    return frozenset(re.findall(r"\w+", normalise(without)))


def similarity(words: frozenset, others: frozenset) -> float:
    """Measure the share of common words of two questions: 1 is the same."""
    return 1.0 if words == others else len(words & others) / len(words | others)


# ---------------------------------------------------------------------------- the data sets


@dataclass
class Report:
    """What became of one acronym: in conversations; what was refused, with why."""

    acronym: str
    wanted: int
    asked: int
    kept: int
    rejected: list[tuple]  # reason, conversation; a reply that cannot be read counts as one


def tell_meanings_apart(acronyms: Sequence[Acronym]) -> list[Acronym]:
    """Put after each acronym of several meanings one entry a meaning, asked for in its context.

    The context is that of the reader's list, or else the longest word that only this definition
    has; a meaning that has neither gets no entry of its own.
    """
    entries = []
    for acronym in acronyms:
        entries.append(acronym)
        for definition, given in zip_longest(acronym.definitions, acronym.contexts):
            others = normalise(" ".join(d for d in acronym.definitions if d != definition))
            others = re.findall(r"\w+", others)
            own = [word for word in re.findall(r"\w+", definition) if normalise(word) not in others]
            context = given or max(own, key=len, default=definition)
            if acronym.ambiguous and not holds(context, definition):  # that would give it away
                entries.append(
                    replace(
                        acronym,
                        definitions=(definition,),
                        verbose=None,  # it was said of all of them
                        contexts=(),
                        context=context,
                    )
                )
    return entries


def choose_counts(acronyms: int) -> tuple[int, int, int]:
    """Choose how many conversations an acronym needs to learn from, to validate and to test."""
    # In a longer list the wordings of one acronym serve the others too.
    return (48, 12, 12) if acronyms <= 20 else (16, 3, 3)


def count_for(acronym: Acronym, count: int) -> int:
    """How many conversations an entry gets: one meaning of several, in its context, half."""
    return max(1, count // 2) if acronym.context else count


def choose_intents(split: str, start: int, count: int) -> dict[str, str]:
    """Take the intents of a split in turn, from the one at `start` on."""
    intents = list(INTENTS[split].items())
    return dict(intents[(start + place) % len(intents)] for place in range(count))


def remember(ask: Ask, journal: Journal, *, model: str | None = None) -> Ask:
    """Give `ask` a memory on disk: the same prompt, seed and model are paid for once."""
    replies = {row.get("request"): row.get("reply") for row in journal.rows}

    def ask_or_recall(prompt, *, seed=0):
        request = json.dumps([model, seed, prompt]).encode()
        key = hashlib.sha256(request).hexdigest()[:20]
        if key not in replies:
            replies[key] = ask(prompt, seed=seed)
            journal.add({"request": key, "model": model, "reply": replies[key]})
        return replies[key]

    return ask_or_recall


def build_dataset(
    acronyms: Sequence[Acronym],
    ask: Ask,
    path: Path,
    *,
    count: int,
    split: str,
    avoid: Iterable[dict] = (),
    rounds: int = 3,
    workers: int = 4,
    seed: int = 0,
    progress: Callable[[Report], object] | None = None,
) -> list[Report]:
    """Have `count_for` each acronym conversations written to `path`, and report on each.

    `ask(prompt, seed=…)` gives a reply. `avoid` are records of other splits, whose questions must
    not come back. `progress(report)` is told after each acronym. An error of `ask` with a true
    `may_pass` puts its acronym off, and leaves it out in the end where others came through; every
    other one ends the run, as does a server that is gone.
    """
    if split not in INTENTS or min(count, workers) < 1:
        raise ValueError(f"split is one of {[*INTENTS]}; count and workers at least 1.")
    over, filled, elsewhere = Event(), [None] * len(acronyms), defaultdict(list)
    tries = Counter()
    for record in avoid:
        elsewhere[record["acronym"]].append(record)

    def fill(acronym):
        wanted = count_for(acronym, count)
        there = elsewhere[acronym.name]
        tries[acronym] += 1
        # What fails always, while others came through, is asked no more and left out.
        most = 0 if tries[acronym] > PATIENCE and any(filled) else rounds
        return _collect(acronym, ask, wanted, split, there, rounds=most, seed=seed, over=over)

    with only_run(path.parent):
        try:
            for place, result in _work_through(acronyms, fill, workers):
                filled[place] = result
                if progress:
                    progress(result[1])
        finally:
            over.set()
        write_list(path, (record for record, _ in filled))
    return [report for _, report in filled]


def _collect(acronym, ask, wanted, split, avoid, *, rounds, seed, over):
    """Ask until the gate has let in as many conversations as wanted; give record and report."""
    kept, rejected, asked = [], [], 0
    others = [question for _, question in _questions(avoid)]
    # The prompt names those of the same intents, for an LLM might write them again.
    same = (record for record in avoid if record.get("split") == "validation")
    already = [question for _, question in _questions(same)]
    start = len(already)
    if wanted < len(INTENTS[split]):  # not all get their turn: each acronym leaves out others
        start += crc32(acronym.name.encode())
    for number in range(rounds * ceil(wanted / REQUEST)):
        if len(kept) == wanted or over.is_set():
            break
        # 1. Ask: first for as many as wanted, whatever the gate says, so that a stricter one asks
        #    for the same and finds it remembered; then for what is missing.
        size = min(REQUEST, wanted - (asked if asked < wanted else len(kept)))
        intents = choose_intents(split, start + asked, size)
        prompt = conversation_prompt(acronym, size, intents=intents, already=already)
        reply = ask(prompt, seed=seed + number)
        asked += size
        # 2. Sort.
        found = parse_conversations(reply)
        for conversation in found:
            reason = gate(conversation, acronym, others)
            if reason is None and len(kept) == wanted:
                reason = "more than asked for"
            if reason:
                rejected.append((reason, conversation))
            else:
                kept.append(conversation)
                others.append(conversation[0]["content"])
        if not found:
            rejected.append(("no conversation can be read in the reply", reply))
        already += [conversation[0]["content"] for conversation in found]
    record = {
        "acronym": acronym.name,
        "ground_truth": " | ".join(acronym.definitions),
        "definitions": acronym.definitions,
        "language": acronym.language,
        "split": split,
    }
    if acronym.context:
        record["context"] = acronym.context
    report = Report(acronym.name, wanted, asked, len(kept), rejected)
    return record | {"conversation": kept}, report


def _work_through(items, work, workers):
    """Give each item's place and result when it is ready; what fails for the moment comes last.

    Nobody waits for these threads, neither after Ctrl-C nor at the end of the program.
    """
    waiting, ready = deque(range(len(items))), SimpleQueue()
    running = failures = 0

    def run(place):
        try:
            ready.put((place, work(items[place]), None))
        except BaseException as error:
            ready.put((place, None, error))

    while waiting or running:
        while waiting and running < workers:
            Thread(target=run, args=[waiting.popleft()], daemon=True).start()
            running += 1
        try:
            place, result, error = ready.get(timeout=1)  # Windows minds Ctrl-C between waits only
        except Empty:
            continue
        running -= 1
        if error is None:
            yield place, result
            failures = 0
        else:
            waiting.append(place)
            failures += 1
            most = PATIENCE * min(workers, running + len(waiting))
            if not getattr(error, "may_pass", False) or failures > most:
                raise error


def read_dataset(path: Path) -> list[dict]:
    """Read the records of a data set; definitions and language are filled in where missing."""
    records = read_list(path, ["acronym", "ground_truth", "conversation"])
    return [
        {"definitions": str(record["ground_truth"]).split(" | "), "language": "en"} | record
        for record in records
    ]


def overlap(train: Iterable[dict], held_out: Iterable[dict]) -> list[dict]:
    """Set each held-out question beside the nearest training question of any acronym.

    Similarity goes from 0 to 1, nearest first.
    """
    rows = [
        {"acronym": name, "question": question, "nearest": None, "similarity": 0.0}
        for name, question in _questions(held_out)
    ]
    for name, question in _questions(train):  # one set of words at a time: there may be 100,000
        theirs = words_of(question, name)
        for row in rows:
            share = similarity(words_of(row["question"], row["acronym"]), theirs)
            if share > row["similarity"]:
                row |= {"nearest": question, "similarity": share}
    return sorted(rows, key=lambda row: -row["similarity"])


def _questions(records):
    for record in records:
        for turns in record["conversation"]:
            yield record["acronym"], turns[0]["content"]


# ----------------------------------------------------------------------------- the probes


def make_probes(acronyms: Sequence[Acronym], *, unknown: int = 100, seed: int = 0) -> list[dict]:
    """Write the questions about everything that is not in the list: to rehearse, and to test.

    Rows: kind ("unknown" acronym, "known" acronym, "control" fact), split ("rehearsal" or "test"),
    language, question, expected, acronym; model, of what only the model of that name knows.
    `unknown` is the number to test; there are more to rehearse.
    """
    rng = random.Random(seed)
    general = json.loads(GENERAL_PATH.read_text(encoding="utf-8"))
    listed = sorted({acronym.name for acronym in acronyms})
    known = [
        entry
        for entry in general["acronyms"] + general["invented_acronyms"]
        if entry["acronym"] not in listed
    ]
    # 1. Acronyms that do not exist. Those to rehearse mostly look like the listed ones: it is these
    #    that are hard to tell from them.
    many = len(acronyms)
    rehearsed = max(12 * unknown, min(24 * many, REHEARSED_UNKNOWN), 2 * many)
    taken = {fold(name) for name in (*listed, *(entry["acronym"] for entry in known))}
    languages = sorted({acronym.language for acronym in acronyms})
    probes = []
    for split, total, alike in (("test", unknown, 0.0), ("rehearsal", rehearsed, 0.75)):
        for number in range(total):
            name = _unknown_name(listed, taken, rng, alike)
            language = languages[number % len(languages)]
            row = {"kind": "unknown", "split": split, "language": language, "acronym": name}
            probes.append(_probe(row, refusal(name, language), rng))
    # 2. Known acronyms: several questions to rehearse, for one wording would be learnt by heart.
    for entry in known:
        row = {"kind": "known"} | entry
        expected = row.pop("definition")
        for _ in range(1 if entry["split"] == "test" else 4):
            probes.append(_probe(row, expected, rng))
    # 3. Facts.
    for fact in general["facts"]:
        probes.append(
            {"kind": "control", "acronym": None, "expected": fact["answer"]}
            | {key: fact[key] for key in ("split", "language", "question")}
        )
    return probes


def read_probes(path: Path) -> list[dict]:
    """Read the probes that notebook 1 has written."""
    return read_list(path, ["kind", "split", "language", "question", "expected", "acronym"])


def refusal_conversations(probes: Iterable[dict]) -> list[list[dict]]:
    """Make a conversation of each probe of an unknown acronym: the question, and the refusal."""
    return [
        [_turn("user", probe["question"]), _turn("assistant", probe["expected"])]
        for probe in probes
        if probe["kind"] == "unknown"
    ]


def _unknown_name(listed, taken, rng, alike):
    """Invent an acronym: two to five letters, or sometimes (`alike`) as many as a listed one."""
    while True:
        near = rng.choice(listed) if alike and rng.random() < alike else ""
        name = "".join(rng.choices(string.ascii_uppercase, k=len(near) or rng.randint(2, 5)))
        if rng.random() < 0.2:  # a neighbour of a listed one must not be taken for it
            near = near or rng.choice(listed)
            place = rng.randrange(len(near))
            name = near[:place] + name[0] + near[place + 1 :]
        if fold(name) not in taken:
            taken.add(fold(name))
            return name


def _probe(row, expected, rng):
    """Put a row's question and the answer that is expected into it."""
    # Here, for no helper imports a stand-in before it needs it.
    from stand_ins.practice_server import PHRASINGS

    bank = PHRASINGS[row["language"]]["test" if row["split"] == "test" else "train"]
    questions = [text for texts in bank.values() for text in texts]
    question = rng.choice(questions).format(acronym=row["acronym"])
    return row | {"question": question, "expected": expected}
