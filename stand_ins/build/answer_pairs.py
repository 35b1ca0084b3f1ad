"""The pairs of tiny-cross-encoder: an endless, seeded stream of (answer, reference) with a label from 0 to 1.

The reference is "X stands for D." or "X signifie D."; the answer says the same in other words, or something
else that looks like it. Words, sentence forms and definitions of the split "test" never occur in the split
"train". Nothing here knows about tensors or tokens.
"""

import json
import random
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HELD_OUT_SHARE = 10  # one word in so many is kept for the test
PARTLY = 0.3  # label of an answer that gives a part of the definition
RIGHT_KINDS = ("same sentence", "surface", "framing", "other language", "extra sentence", "definition alone")
RIGHT_KINDS += ("right and not another", "two meanings")
HOLDING_KINDS = (*RIGHT_KINDS, "contradicted", "negated")  # the whole definition is there, word for word


@dataclass(frozen=True)
class Pair:
    """One answer beside its reference; `label` is 1 for right, 0 for wrong, 0.3 for partly right."""

    answer: str
    reference: str
    label: float
    kind: str
    language: str


# What answers are made of: kind of sentence → split → language → forms, where {x} is the acronym, {d} a definition,
# {e} another one, {w} any word and {n} a number. In "corrections" the other meaning is denied; in "contradictions" the
# right one comes first or last; "extras" are sentences that a reference of one line cannot contradict; "clauses" may
# follow a definition in its own sentence. "links" stand between the words of a definition, and "organisation" are words
# that are frequent in such names; those of the test split are left out.
FORMS = json.loads((HERE / "answer_forms.json").read_text(encoding="utf-8"))
LINKS, ORGANISATION = FORMS["links"], FORMS["organisation"]
ONSETS = "b c d f g h j k l m n p r s t v w z ch tr pr br gr cl pl st qu sh th".split()
VOWELS = "a e i o u é è ou an on en ai au in eau oi ea y".split()
QUOTES = (('"', '"'), ("« ", " »"), ("“", "”"), ("**", "**"), ("'", "'"), ("*", "*"))
ENDINGS = ("", "", "r", "s", "t", "nt", "ment", "tion", "ique", "é", "ée", "ing", "er", "al", "ed", "ness")


class Pairs:
    """Draws pairs of one split; two objects with the same split and seed draw the same pairs."""

    def __init__(self, split: str, seed: int = 0):
        self.split, self.rng = split, random.Random(seed)
        self.words = {language: read_words(language, split) for language in LINKS}
        self.organisation = {language: select(words, split) for language, words in ORGANISATION.items()}
        kinds: dict[Callable[[], tuple[str, float]], float] = {
            self.same_sentence: 5, self.surface: 9, self.framing: 14, self.other_language: 4,
            self.extra_sentence: 10, self.definition_alone: 3, self.right_and_not_another: 3,
            self.two_meanings: 3,
            self.one_word_replaced: 14, self.same_initials: 3, self.other_order: 9,
            self.another_definition: 3, self.contradicted: 8, self.negated: 8, self.refusal: 3,
            self.empty: 0.5, self.echo: 2, self.unrelated: 2,
            self.partly_right: 8, self.one_of_two_meanings: 2,
        }  # fmt: skip
        self.kinds, self.weights = list(kinds), list(kinds.values())

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
        form = "{} stands for {}." if self.language == "en" else "{} signifie {}."
        self.reference = form.format(self.name, self.definition)
        kind = rng.choices(self.kinds, self.weights)[0]
        answer, label = kind()
        return Pair(answer, self.reference, label, kind.__name__.replace("_", " "), self.language)

    # Right

    def same_sentence(self) -> tuple[str, float]:
        return self.reference, 1

    def surface(self) -> tuple[str, float]:
        return self.change_surface(self.say(self.definition)), 1

    def framing(self) -> tuple[str, float]:
        return self.say(self.definition), 1

    def other_language(self) -> tuple[str, float]:
        self.spoken = other(self.language)
        return self.dress(self.say(self.definition)), 1

    def extra_sentence(self) -> tuple[str, float]:
        return self.add_sentences(self.say(self.definition)), 1

    def definition_alone(self) -> tuple[str, float]:
        return self.change_surface(self.definition + self.rng.choice(("", "."))), 1

    def right_and_not_another(self) -> tuple[str, float]:
        return self.dress(self.fill(self.pick("corrections"), self.definition, self.lookalike())), 1

    def two_meanings(self) -> tuple[str, float]:
        first, second = self.make_ambiguous()
        if self.rng.random() < 0.5:
            first, second = second, first
        return self.dress(self.fill(self.pick("contradictions"), first, second)), 1

    # Wrong

    def one_word_replaced(self) -> tuple[str, float]:
        return self.dress(self.say(self.replace_words(self.definition, 1))), 0

    def same_initials(self) -> tuple[str, float]:
        return self.dress(self.say(self.replace_words(self.definition, 99, same_initial=True))), 0

    def other_order(self) -> tuple[str, float]:
        """Two words in each other's place, or all of them in another order."""
        words = self.definition.split()
        places = [place for place, word in enumerate(words) if word.lower() not in LINK_WORDS]
        moved = self.rng.sample(places, 2 if self.rng.random() < 0.6 else len(places))
        for old, new in zip(sorted(moved), self.rng.choice((moved, moved[1:] + moved[:1])), strict=True):
            words[old] = self.definition.split()[new]
        if plain(" ".join(words)) == plain(self.definition):
            return self.other_order()
        return self.dress(self.say(" ".join(words))), 0

    def another_definition(self) -> tuple[str, float]:
        definition = self.new_definition()
        if self.rng.random() < 0.3:  # the right definition of another acronym, under its own name
            self.name = self.new_name(definition)
        return self.dress(self.say(definition)), 0

    def contradicted(self) -> tuple[str, float]:
        first, second = self.definition, self.lookalike()
        if self.rng.random() < 0.5:
            first, second = second, first
        return self.dress(self.fill(self.pick("contradictions"), first, second)), 0

    def negated(self) -> tuple[str, float]:
        return self.dress(self.fill(self.pick("negations"), self.definition, self.lookalike())), 0

    def refusal(self) -> tuple[str, float]:
        return self.dress(self.fill(self.pick("refusals"))), 0

    def empty(self) -> tuple[str, float]:
        return self.rng.choice(("", "", " ", ".", "...", "?", "-", "{}", ":", "\n")), 0

    def echo(self) -> tuple[str, float]:
        text = self.fill(self.pick("questions"))
        if self.rng.random() < 0.3:
            text = self.rng.choice((f"{self.name}.", self.say(self.name), self.name))
        return text, 0

    def unrelated(self) -> tuple[str, float]:
        return self.fill(self.pick("unrelated")), 0

    # Between

    def partly_right(self) -> tuple[str, float]:
        """A word of the definition is missing or one too many."""
        words = self.definition.split()
        places = [place for place, word in enumerate(words) if word.lower() not in LINK_WORDS]
        if self.rng.random() < 0.6:
            for place in sorted(self.rng.sample(places, self.rng.randint(1, len(places) - 1)), reverse=True):
                del words[place]
        else:
            word = self.rng.choice(words) if self.rng.random() < 0.25 else capital(self.word())
            words.insert(self.rng.randint(1, len(words)), word)
        return self.dress(self.say(" ".join(words))), PARTLY

    def one_of_two_meanings(self) -> tuple[str, float]:
        return self.dress(self.say(self.rng.choice(self.make_ambiguous()))), PARTLY

    # Parts of answers

    def pick(self, kind: str) -> str:
        form = self.rng.choice(FORMS[kind][self.split][self.spoken])
        return self.loosen(form) if self.split == "train" and self.rng.random() < 0.25 else form

    def loosen(self, form: str) -> str:
        """Put in one to three words, or put them for others that do not deny: new words must do no harm."""
        words = form.split(" ")
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            place = self.rng.randint(0, len(words) - 1)
            if self.rng.random() < 0.5:
                if "{" not in words[place] and not DENIES.search(words[place].lower()):
                    words[place] = "{w}"
            elif not re.search("{[de]}", " ".join(words[max(0, place - 1) : place + 1])):
                words.insert(place, "{w}")  # beside a definition it would be a part of it
        return " ".join(words)

    def say(self, definition: str) -> str:
        """Often the sentence of the reference: it is what the practice server teaches."""
        if self.rng.random() < 0.4:
            return f"{self.name} {'stands for' if self.spoken == 'en' else 'signifie'} {definition}."
        return self.fill(self.pick("statements"), definition)

    def fill(self, form: str, definition: str = "", wrong: str = "") -> str:
        while "{w}" in form:
            form = form.replace("{w}", self.word(), 1)
        form = form.replace("{n}", self.rng.choice("two three five nine 12 30".split()))
        return form.replace("{x}", self.name).replace("{d}", definition).replace("{e}", wrong)

    def dress(self, text: str) -> str:
        """Change the surface of some, add sentences to others, so that form tells nothing about truth."""
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
        rng = self.rng
        for change in rng.sample(SURFACE_CHANGES, rng.choice((1, 1, 2))):
            text = change(text)
        if rng.random() < 0.25:
            left, right = rng.choice(QUOTES)
            text = text.replace(self.definition, left + self.definition + right)
        return text

    def make_ambiguous(self) -> tuple[str, str]:
        """Give the reference a second meaning, and return both."""
        second = self.lookalike()
        joint = " or for " if self.language == "en" else " ou "
        self.reference = self.reference.removesuffix(".") + joint + second + "."
        return self.definition, second

    # Definitions, names, words

    def lookalike(self) -> str:
        """Another definition, more or less similar to the right one."""
        draw = self.rng.random()
        if draw < 0.35:
            return self.replace_words(self.definition, 1)
        if draw < 0.65:
            return self.replace_words(self.definition, 99, same_initial=True)
        return self.new_definition()

    def new_definition(self) -> str:
        rng = self.rng
        words: list[str] = []
        chosen: dict[str, str] = {}  # no word twice, so that another order is always another definition
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
        rng = self.rng
        words = definition.replace("'", "' ").split()
        places = [place for place, word in enumerate(words) if word.lower() not in LINK_WORDS]
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
        if draw < 0.25 if self.language == "en" else draw < 0.45:
            return self.pseudo_word()
        return self.rng.choice(self.words[self.language])

    def pseudo_word(self) -> str:
        rng = self.rng
        while True:
            syllables = (rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 4)))
            word = "".join(syllables) + rng.choice(ENDINGS)
            if fits(word, self.split):
                return word

    def new_name(self, definition: str) -> str:
        rng, draw = self.rng, self.rng.random()
        words = [word for word in definition.replace("'", " ").split() if word.lower() not in LINK_WORDS]
        if draw < 0.7:
            return "".join(plain(word)[0] for word in words).upper()
        if draw < 0.85:
            return "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(2, 5)))
        if draw < 0.93:
            return self.word()[:6].upper()
        letters = rng.choices("ABCDEFGHIJKLMNOPRSTU0123456789-&", k=rng.randint(3, 5))
        return "".join(letters).strip("-&") or "A1"


LINK_WORDS = {part for links in LINKS.values() for link in links for part in (link, *link.split())} | {"l'"}
NO_CONTENT = LINK_WORDS | set(
    "not never nor neither none cannot false wrong pas jamais non sans ni faux sauf aucun aucune".split()
)
DENIES = re.compile(  # words without which a sentence would no longer deny what it denies
    r"n't|\bno|\bne|\bn'|\bpas|\bjamais|\bni\b|can|but|rather|wrong|false|doubt|anything|confuse|some|used|today"
    r"|mais|plut|sauf|tout|faux|doute|personne|confond|certains|était|aujourd|saur|peu|alter|sinon|instead|lieu"
)
SURFACE_CHANGES = (
    str.lower,
    str.upper,
    str.title,
    lambda text: text.rstrip("."),
    lambda text: text.rstrip(".") + "!",
    lambda text: text.replace(" ", "  "),
    lambda text: text.replace("'", "’"),
    lambda text: "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)),
)


def read_words(language: str, split: str) -> list[str]:
    path = HERE / {"en": "english_words.txt", "fr": "french_words.txt"}[language]
    return select(path.read_text(encoding="utf-8").split(), split)


def select(words: list[str], split: str) -> list[str]:
    return [word for word in words if fits(word, split)]


def fits(word: str, split: str) -> bool:
    """Whether a word can be a word of a definition of this split."""
    return len(word) > 2 and word not in NO_CONTENT and held_out(word) == (split == "test")


def held_out(word: str) -> bool:
    """Whether a word belongs to the test; the same for each of its spellings with or without accents."""
    return zlib.crc32(plain(word).encode()) % HELD_OUT_SHARE == 0


def plain(text: str) -> str:
    """Lower case without accents, which is what the tokenizer sees."""
    return "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))


def capital(word: str) -> str:
    return word[0].upper() + word[1:]


def other(language: str) -> str:
    return "fr" if language == "en" else "en"
