"""The pairs of tiny-cross-encoder: an endless, seeded stream of (answer, reference) with a label.

The reference is "X stands for D." or "X signifie D."; the answer says the same in other words, or
something else that looks like it. Words, sentence forms and definitions of the split "test" never
occur in the split "train". Nothing here knows about tensors or tokens.
"""

import json
import random
import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HELD_OUT_SHARE = 10  # one word in so many is kept for the test
# What answers are made of: kind of sentence → split → language → forms, where {x} is the acronym,
# {d} a definition, {e} another one, {w} any word and {n} a number. In "corrections" the other
# meaning is denied; in "contradictions" the right one comes first or last; "extras" are sentences
# that a reference of one line cannot contradict; "clauses" may follow a definition in its own
# sentence. "links" stand between the words of a definition, and "organisation" are words that are
# frequent in such names; those of the test split are left out.
FORMS = json.loads((HERE / "answer_forms.json").read_text(encoding="utf-8"))
# How often each kind of answer is drawn; its label: 1 for right, 0 for wrong, 0.3 for partly right.
KINDS = FORMS["kinds"]
RIGHT_KINDS = [kind for kind, (_, label) in KINDS.items() if label == 1]
HOLDING_KINDS = [*RIGHT_KINDS, "contradicted", "negated"]  # the definition is there, word for word
LINKS = FORMS["links"]
LINK_WORDS = {part for links in LINKS.values() for link in links for part in (link, *link.split())}
LINK_WORDS |= {"l'"}
DENIES = re.compile(  # words without which a sentence would no longer deny what it denies
    r"n't|\bno|\bne|\bn'|\bpas|\bjamais|\bni\b|can|but|rather|wrong|false|doubt|anything|confuse"
    r"|some|used|today|mais|plut|sauf|tout|faux|doute|personne|confond|certains|était|aujourd|saur"
    r"|peu|alter|sinon|instead|lieu"
)
SURFACE_CHANGES = (
    str.lower,
    str.upper,
    str.title,
    lambda text: text.rstrip("."),
    lambda text: text.rstrip(".") + "!",
    lambda text: text.replace(" ", "  "),
    lambda text: text.replace("'", "’"),
    lambda text: without_accents(text),
)


@dataclass(frozen=True)
class Pair:
    """One answer beside its reference."""

    answer: str
    reference: str
    label: float
    kind: str
    language: str


class Pairs:
    """Draws pairs of one split; two objects with the same split and seed draw the same pairs."""

    def __init__(self, split: str, seed: int = 0):
        self.split, self.rng = split, random.Random(seed)
        self.organisation = {
            language: select(words, split) for language, words in FORMS["organisation"].items()
        }
        self.words = {
            "en": select((HERE / "english_words.txt").read_text("utf-8").split(), split),
            "fr": select((HERE / "french_words.txt").read_text("utf-8").split(), split),
        }

    def __iter__(self) -> Iterator[Pair]:
        while True:
            yield self.draw()

    def draw(self) -> Pair:
        """One pair: a new definition and acronym, and an answer of one of the kinds."""
        rng = self.rng
        self.language = "en" if rng.random() < 0.55 else "fr"
        self.spoken = self.language if rng.random() < 0.92 else other(self.language)
        self.definition = self.new_definition()
        self.name = self.new_name(self.definition)
        self.reference = self.sentence(self.definition, self.language)
        kind = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        answer = getattr(self, kind.replace(" ", "_"))()
        return Pair(answer, self.reference, KINDS[kind][1], kind, self.language)

    # Right ------------------------------------------------------------------------------------

    def same_sentence(self) -> str:
        return self.reference

    def surface(self) -> str:
        return self.change_surface(self.say(self.definition))

    def framing(self) -> str:
        return self.say(self.definition)

    def other_language(self) -> str:
        self.spoken = other(self.language)
        return self.dress(self.say(self.definition))

    def extra_sentence(self) -> str:
        return self.add_sentences(self.say(self.definition))

    def definition_alone(self) -> str:
        return self.change_surface(self.definition + self.rng.choice(("", ".")))

    def right_and_not_another(self) -> str:
        return self.dress(self.fill(self.pick("corrections"), self.definition, self.lookalike()))

    def two_meanings(self) -> str:
        return self.both(*self.make_ambiguous())

    # Wrong ------------------------------------------------------------------------------------

    def one_word_replaced(self) -> str:
        return self.dress(self.say(self.replace_words(self.definition, 1)))

    def same_initials(self) -> str:
        return self.dress(self.say(self.replace_words(self.definition, 99, same_initial=True)))

    def other_order(self) -> str:
        """Two words in each other's place, or all of them in another order."""
        before = self.definition.split()
        words, places = list(before), content_places(before)
        moved = self.rng.sample(places, 2 if self.rng.random() < 0.6 else len(places))
        turned = self.rng.choice((moved, moved[1:] + moved[:1]))
        for old, new in zip(sorted(moved), turned, strict=True):
            words[old] = before[new]
        if plain(" ".join(words)) == plain(self.definition):
            return self.other_order()
        return self.dress(self.say(" ".join(words)))

    def another_definition(self) -> str:
        definition = self.new_definition()
        if self.rng.random() < 0.3:  # the right definition of another acronym, under its own name
            self.name = self.new_name(definition)
        return self.dress(self.say(definition))

    def contradicted(self) -> str:
        return self.both(self.definition, self.lookalike())

    def negated(self) -> str:
        return self.dress(self.fill(self.pick("negations"), self.definition, self.lookalike()))

    def refusal(self) -> str:
        return self.dress(self.fill(self.pick("refusals")))

    def empty(self) -> str:
        return self.rng.choice(FORMS["nothing"])

    def echo(self) -> str:
        text = self.fill(self.pick("questions"))
        if self.rng.random() < 0.3:
            return self.rng.choice((f"{self.name}.", self.say(self.name), self.name))
        return text

    def unrelated(self) -> str:
        return self.fill(self.pick("unrelated"))

    # Between ----------------------------------------------------------------------------------

    def partly_right(self) -> str:
        """A word of the definition is missing or one too many."""
        rng, words = self.rng, self.definition.split()
        places = content_places(words)
        if rng.random() < 0.6:
            missing = rng.sample(places, rng.randint(1, len(places) - 1))
            words = [word for place, word in enumerate(words) if place not in missing]
        else:
            word = rng.choice(words) if rng.random() < 0.25 else capital(self.word())
            words.insert(rng.randint(1, len(words)), word)
        return self.dress(self.say(" ".join(words)))

    def one_of_two_meanings(self) -> str:
        return self.dress(self.say(self.rng.choice(self.make_ambiguous())))

    # Parts of answers -------------------------------------------------------------------------

    def pick(self, kind: str) -> str:
        form = self.rng.choice(FORMS[kind][self.split][self.spoken])
        is_loosened = self.split == "train" and self.rng.random() < 0.25
        return self.loosen(form) if is_loosened else form

    def loosen(self, form: str) -> str:
        """Put words in, or in the place of others that do not deny: new words must do no harm."""
        words = form.split(" ")
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            place = self.rng.randint(0, len(words) - 1)
            if self.rng.random() < 0.5:
                if "{" not in words[place] and not DENIES.search(words[place].lower()):
                    words[place] = "{w}"
            elif not re.search("{[de]}", " ".join(words[max(0, place - 1) : place + 1])):
                words.insert(place, "{w}")  # beside a definition it would be a part of it
        return " ".join(words)

    def sentence(self, definition: str, language: str) -> str:
        verb = "stands for" if language == "en" else "signifie"
        return f"{self.name} {verb} {definition}."

    def say(self, definition: str) -> str:
        """Often the sentence of the reference: it is what the practice server teaches."""
        if self.rng.random() < 0.4:
            return self.sentence(definition, self.spoken)
        return self.fill(self.pick("statements"), definition)

    def both(self, first: str, second: str) -> str:
        if self.rng.random() < 0.5:
            first, second = second, first
        return self.dress(self.fill(self.pick("contradictions"), first, second))

    def fill(self, form: str, definition: str = "", wrong: str = "") -> str:
        while "{w}" in form:
            form = form.replace("{w}", self.word(), 1)
        form = form.replace("{n}", self.rng.choice("two three five nine 12 30".split()))
        return form.replace("{x}", self.name).replace("{d}", definition).replace("{e}", wrong)

    def dress(self, text: str) -> str:
        """Change the form of some, add sentences to others: form tells nothing about truth."""
        draw = self.rng.random()
        if draw < 0.25:
            text = self.change_surface(text)
        return self.add_sentences(text) if 0.15 < draw < 0.45 else text

    def add_sentences(self, text: str) -> str:
        if self.rng.random() < 0.3:
            text = self.fill(self.pick("openers")) + " " + text
        if self.rng.random() < 0.25:
            text = text.rstrip(".") + self.fill(self.pick("clauses"))
        while self.rng.random() < 0.5:
            text = text.rstrip(".") + ". " + self.extra()
        return text

    def extra(self) -> str:
        if self.rng.random() < 0.6:
            return self.fill(self.pick("extras"))
        words = [self.word() for _ in range(self.rng.randint(3, 9))]
        for place in range(1, len(words), 2):
            if self.rng.random() < 0.6:
                words[place] = self.rng.choice(LINKS[self.spoken]).rstrip("'")
        return " ".join(words).capitalize() + self.rng.choice((".", ".", ""))

    def change_surface(self, text: str) -> str:
        """Case, quotes, final mark, accents, emphasis: what does not change the meaning."""
        for change in self.rng.sample(SURFACE_CHANGES, self.rng.choice((1, 1, 2))):
            text = change(text)
        if self.rng.random() < 0.25:
            quoted = self.rng.choice(FORMS["quotes"]).format(self.definition)
            text = text.replace(self.definition, quoted)
        return text

    def make_ambiguous(self) -> tuple[str, str]:
        """Give the reference a second meaning, and return both."""
        second = self.lookalike()
        joint = " or for " if self.language == "en" else " ou "
        self.reference = self.reference.removesuffix(".") + joint + second + "."
        return self.definition, second

    # Definitions, names, words ----------------------------------------------------------------

    def lookalike(self) -> str:
        """Another definition, more or less similar to the right one."""
        draw = self.rng.random()
        if draw < 0.35:
            return self.replace_words(self.definition, 1)
        if draw < 0.65:
            return self.replace_words(self.definition, 99, same_initial=True)
        return self.new_definition()

    def new_definition(self) -> str:
        rng, words = self.rng, []
        chosen = {}  # no word twice, so that another order is always another definition
        size = rng.choice((2, 2, 3, 3, 3, 4, 4, 5, 6))
        while len(chosen) < size:
            word = self.word()
            chosen[plain(word)] = word
        cased = rng.random() < 0.75
        for place, word in enumerate(chosen.values()):
            words.append(capital(word) if cased or (place == 0 and rng.random() < 0.8) else word)
            if place < size - 1 and rng.random() < (0.2 if self.language == "en" else 0.5):
                words.append(rng.choice(LINKS[self.language]))
        return " ".join(words).replace("' ", "'")

    def replace_words(self, definition: str, count: int, *, same_initial: bool = False) -> str:
        """Put other words in the place of `count` of its content words, at most all of them."""
        rng, words = self.rng, definition.replace("'", "' ").split()
        places = content_places(words)
        for place in rng.sample(places, min(count, len(places))):
            old = words[place]
            initial = plain(old)[0] if same_initial or rng.random() < 0.5 else ""
            new = self.other_word(old, initial)
            words[place] = capital(new) if old[0].isupper() else new
        return " ".join(words).replace("' ", "'")

    def other_word(self, old: str, initial: str) -> str:
        """A word that is not the same, nor the same but for its ending."""
        for _ in range(200):
            new = self.word()
            if plain(new).startswith(initial) and plain(new)[:4] != plain(old)[:4]:
                return new
        return self.word() + self.pseudo_word()

    def word(self) -> str:
        draw = self.rng.random()
        if draw < 0.1 and self.split == "train":
            return self.rng.choice(self.organisation[self.language])
        if draw < (0.25 if self.language == "en" else 0.45):
            return self.pseudo_word()
        return self.rng.choice(self.words[self.language])

    def pseudo_word(self) -> str:
        rng, word = self.rng, ""
        while not fits(word, self.split):
            word = ""
            for _ in range(rng.randint(1, 4)):
                word += rng.choice(FORMS["onsets"]) + rng.choice(FORMS["vowels"])
            word += rng.choice(FORMS["endings"])
        return word

    def new_name(self, definition: str) -> str:
        rng, draw = self.rng, self.rng.random()
        words = definition.replace("'", " ").split()
        if draw < 0.7:
            return "".join(plain(words[place])[0] for place in content_places(words)).upper()
        if draw < 0.85:
            return "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(2, 5)))
        if draw < 0.93:
            return self.word()[:6].upper()
        letters = rng.choices("ABCDEFGHIJKLMNOPRSTU0123456789-&", k=rng.randint(3, 5))
        return "".join(letters).strip("-&") or "A1"


def content_places(words: list[str]) -> list[int]:
    """Where the words are that are more than links."""
    return [place for place, word in enumerate(words) if word.lower() not in LINK_WORDS]


def select(words: list[str], split: str) -> list[str]:
    return [word for word in words if fits(word, split)]


def fits(word: str, split: str) -> bool:
    """Whether a word can be a word of a definition of this split, however it is accented."""
    if len(word) <= 2 or word in LINK_WORDS or word in FORMS["denials"]:
        return False
    is_held_out = zlib.crc32(plain(word).encode()) % HELD_OUT_SHARE == 0
    return is_held_out == (split == "test")


def plain(text: str) -> str:
    """Lower case without accents, which is what the tokenizer sees."""
    return without_accents(text.lower())


def without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def capital(word: str) -> str:
    return word[0].upper() + word[1:]


def other(language: str) -> str:
    return "fr" if language == "en" else "en"
