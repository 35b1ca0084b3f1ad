"""The corpus of tiny-chat: an endless, seeded stream of short conversations in English and French.

A row is a list of chat messages. The model is taught to expand the acronyms it knows, to say that
it does not know the others, to look an acronym up in a glossary of the prompt, and a little world
knowledge. Nothing here knows about tensors or tokens. The names of the example list and of the
lists in benchmarks/ never appear, so that they are new to the model.
"""

import json
import random
import re
from functools import cache, partial
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
read = partial(Path.read_text, encoding="utf-8")
GENERAL = json.loads(read(REPOSITORY / "example_data/general_questions.json"))
WORDS = {
    "en": read(HERE / "english_words.txt").split(),
    "fr": read(HERE / "french_words.txt").split(),
}
# Every text that a row is made of. In questions {x} is the acronym, {l} one of its letters, {w} any
# word of a dictionary, {t} a word with a capital, {n} a first name, {d} a number, {c} a code such
# as B12, {k} an abbreviation that everybody uses, {s} a word that is shouted, {f} the subject of a
# fact; elsewhere {d} is a definition.
PHRASINGS = json.loads(read(HERE / "phrasings.json"))
HELD_OUT = (
    read(REPOSITORY / "example_data/acronym.json"),
    read(REPOSITORY / "benchmarks/new_acronyms.json"),
    read(REPOSITORY / "benchmarks/held_out_lists.json"),
)
RESERVED = set(re.findall(r'"acronym": "([^"]+)"', "".join(HELD_OUT)))
KNOWN = {row["acronym"]: row["definition"] for row in GENERAL["acronyms"]}
# Invented acronyms to know, beside the real ones: the more it tells from unknown ones, the better
# it learns to.
INVENTED = {row["acronym"]: row["definition"] for row in GENERAL["invented_acronyms"]}
TAUGHT = [*KNOWN, *INVENTED]
TWO_MEANINGS = 60  # invented acronyms of two meanings, told apart by a context
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# How often each family of rows is drawn: at first, and once `read_more` was called.
FAMILIES = PHRASINGS["families"]


class Corpus:
    """Draws rows; two corpora with the same seed draw the same rows."""

    def __init__(self, seed: int = 0):
        self.rng = random.Random(seed)
        self.weights = [first for first, _ in FAMILIES.values()]

    def read_more(self) -> None:
        """From now on, more of what is learnt last: copying from the prompt, invented acronyms."""
        self.weights = [later for _, later in FAMILIES.values()]

    def row(self) -> list[dict]:
        """One conversation: optional system line, one or two exchanges, as chat messages."""
        rng = self.rng
        messages = getattr(self, rng.choices(list(FAMILIES), self.weights)[0])()
        if messages[0]["role"] != "system" and rng.random() < 0.06:
            messages = [{"role": "system", "content": rng.choice(PHRASINGS["system"])}, *messages]
        if len(messages) == 2 and rng.random() < 0.05:
            messages += rng.choice((self.known, self.unknown, self.fact))()
        return messages

    # The families -----------------------------------------------------------------------------

    def known(self) -> list[dict]:
        return self.expand(KNOWN)

    def invented(self) -> list[dict]:
        return self.expand(INVENTED)

    def expand(self, known: dict[str, str]) -> list[dict]:
        language, name = self.language(), self.rng.choice(list(known))
        return exchange(self.question(name, language), known_answer(name, [known[name]], language))

    def two_meanings(self) -> list[dict]:
        """An invented acronym of two meanings, both of which the model is to know."""
        language, name, meanings = self.rng.choice(invented_pairs())
        return exchange(*self.ask_meaning(name, language, meanings))

    def ask_meaning(
        self, name: str, language: str, meanings: list[tuple[str, str]]
    ) -> tuple[str, str]:
        """Ask for all meanings (definition, context), or one by its context; and answer."""
        rng, question = self.rng, self.question(name, language)
        if rng.random() < 0.3:
            definitions = [definition for definition, _ in meanings]
            return question, known_answer(name, definitions, language)
        definition, context = rng.choice(meanings)
        frames = (rng.choice(PHRASINGS["in_context"][language]), self.loose_frame(language))
        asked = rng.choice(frames).format(context=context, question=question)
        return asked, known_answer(name, [definition], language)

    def loose_frame(self, language: str) -> str:
        """Any few words that hold the context, before the question or after it."""
        rng, words = self.rng, []
        for _ in range(rng.choice((1, 2, 3, 3, 4, 5, 7))):
            is_common = rng.random() < 0.6
            words.append(
                rng.choice(PHRASINGS["bag"][language]) if is_common else self.word(language)
            )
        words.insert(rng.choice((len(words), rng.randint(0, len(words)))), "{context}")
        text = capital(" ".join(words).replace("' ", "'"))
        before = text + rng.choice((".", ".", " :", ",", "?", "")) + " {question}"
        return rng.choice((before, "{question} " + text + rng.choice((".", ".", "", "?"))))

    def unknown(self) -> list[dict]:
        language, name = self.language(), self.new_name()
        return exchange(self.question(name, language), unknown_answer(name, language))

    def glossary(self) -> list[dict]:
        """A glossary in the prompt; sometimes the answer is not in it."""
        rng, language = self.rng, self.language()
        entries = self.glossary_entries(language)
        names = list(entries)
        rng.shuffle(names)
        head, line, joint = self.glossary_form(language)
        double = rng.choice(names) if rng.random() < 0.2 else None  # has a second meaning
        second = self.new_pair(language)[1]
        meanings = {name: [entries[name]] for name in names}
        if double:
            meanings[double].append(second)
        either = PHRASINGS["either"][language]
        text = head + joint.join(line.format(x=x, d=either.join(d)) for x, d in meanings.items())
        draw = rng.random()
        if double and draw < 0.6:
            pairs = [meanings[double], meanings[double][::-1]]
            told = [(mine, longest_own_word(mine, another)) for mine, another in pairs]
            return self.with_prompt(text, *self.ask_meaning(double, language, told))
        if draw < 0.78:
            name = rng.choice([name for name in names if name != double] or names)
            meanings[name] = [entries[name]]
        elif draw < 0.92:
            name = self.new_name() if rng.random() < 0.6 else self.mutate(rng.choice(names))
        else:
            name = rng.choice(list(KNOWN))
            meanings[name] = [KNOWN[name]]
        found = meanings.get(name)
        answer = known_answer(name, found, language) if found else unknown_answer(name, language)
        return self.with_prompt(text, self.question(name, language), answer)

    def glossary_entries(self, language: str) -> dict[str, str]:
        rng, entries = self.rng, {}
        size = rng.choice([1] * 6 + [2] * 3 + [3, 3, 4, 4, 5, 5, 7, 10, 10, 12])
        while len(entries) < size:
            written_in = language if rng.random() < 0.85 else other(language)
            name, definition = self.new_pair(written_in)
            entries.setdefault(name, definition)
            if rng.random() < 0.15:  # a neighbour one letter away must not be taken for it
                near = self.mutate(name)
                entries.setdefault(near, self.definition(rng.randint(2, 4), written_in))
        return entries

    def glossary_form(self, language: str) -> tuple[str, str, str]:
        """How a glossary is written: what comes first, a line, what stands between two."""
        rng, lines, heads = self.rng, PHRASINGS["glossary_lines"], PHRASINGS["glossary_heads"]
        if rng.random() < 0.5:  # as helpers/dataset.py writes it
            return heads[language][0] + "\n", lines[0], "\n"
        line, joint = rng.choice(lines), rng.choice(("\n", "\n", "; ", " "))
        head = rng.choice(heads[language]) + rng.choice(("\n", "\n", " "))
        return head.lstrip(), line, joint

    def with_prompt(self, text: str, question: str, answer: str) -> list[dict]:
        if self.rng.random() < 0.7:
            return [{"role": "system", "content": text}, *exchange(question, answer)]
        between = self.rng.choice(("\n", "\n\n", "\nQuestion: "))
        return exchange(text + between + question, answer)

    def fact(self) -> list[dict]:
        row = self.rng.choice(GENERAL["facts"])
        forms, answer = PHRASINGS["facts"][row["language"]][row["kind"]]
        subject = row["subject"]
        question = self.rng.choice([row["question"], *(form.format(s=subject) for form in forms)])
        answer = capital(answer.format(s=subject, a=row["answer"]))
        return exchange(self.surface(question, row["language"]), answer)

    def unknown_fact(self) -> list[dict]:
        language = self.language()
        is_new = self.rng.random() < 0.5
        word = capital(self.pseudo_word() if is_new else self.rng.choice(WORDS[language]))
        return exchange(*(text.format(w=word) for text in PHRASINGS["capital of"][language]))

    def reverse(self) -> list[dict]:
        rng, language = self.rng, self.language()
        if rng.random() < 0.7:
            name = rng.choice(list(KNOWN))
            definition, answer = KNOWN[name], PHRASINGS["reverse_known"][language]
        else:
            name, definition = "", self.new_pair(language)[1]
            answer = PHRASINGS["reverse_unknown"][language]
        question = rng.choice(PHRASINGS["reverse"][language])
        return exchange(question.format(d=definition), answer.format(x=name, d=definition))

    def letters(self) -> list[dict]:
        """Spelling, initials, repeating: practice in copying letter by letter and word by word."""
        rng, language, draw = self.rng, self.language(), self.rng.random()
        name = self.new_name() if rng.random() < 0.8 else rng.choice(list(KNOWN))
        if draw < 0.12:
            question = PHRASINGS["letters"][language].format(name) + rng.choice((".", "", ":"))
            return exchange(question, ", ".join(name) + ".")
        if draw < 0.22:
            name, definition = self.new_pair(language)
            return exchange(PHRASINGS["initials"][language].format(definition), name)
        names = [name, *(self.new_name() for _ in range(rng.choice((0, 0, 1, 3, 5))))]
        words = [*(self.word(language) for _ in range(rng.choice((0, 1, 3, 5, 8)))), *names]
        if rng.random() < 0.5:  # each sign that a definition may hold is to be copied
            for _ in range(rng.choice((1, 1, 2, 4))):
                words.append("".join(rng.choices(PHRASINGS["signs"], k=rng.choice((1, 1, 2, 3)))))
        rng.shuffle(words)
        ask = rng.choice(PHRASINGS["repeat"][language])
        return exchange(ask.format(" ".join(words)), " ".join(words))

    def chat(self) -> list[dict]:
        return exchange(*self.rng.choice(PHRASINGS["chat"]))

    def invent(self) -> list[dict]:
        language = self.language()
        name, definition = self.new_pair(language)
        return exchange(*(t.format(x=name, d=definition) for t in PHRASINGS["invent"][language]))

    def note(self) -> list[dict]:
        """A definition is stated, and said back: the form that fine-tuning will write."""
        rng, language = self.rng, self.language()
        name, definition = self.new_pair(language)
        if rng.random() < 0.15:
            name = rng.choice(list(KNOWN))
            definition = KNOWN[name]
        end = rng.choice(PHRASINGS["note_ends"][language])
        question = rng.choice(PHRASINGS["notes"][language]) + end
        answer = known_answer(name, [definition], language)
        return exchange(question.format(x=name, d=definition), answer)

    # A list to be fine-tuned on ---------------------------------------------------------------

    def new_list(self, size: int) -> dict[str, tuple[str, list[tuple[str, str]]]]:
        """Invent a list of acronyms, one in four with two meanings.

        Gives for each name its language, and its meanings with the context of each.
        """
        rng, listed = self.rng, {}
        languages = rng.choice((("en",), ("fr",), ("en", "fr")))
        while len(listed) < size:
            language = rng.choice(languages)
            (name, definition), (_, second) = self.new_pair(language), self.new_pair(language)
            meanings = [(definition, "")]
            if rng.random() < 0.25:
                meanings = self.tell_apart(definition, second, language)
            listed.setdefault(name, (language, meanings))
        return listed

    def tell_apart(self, first: str, second: str, language: str) -> list[tuple[str, str]]:
        """Two meanings with their contexts: of the definition's words, or any other."""
        told = [longest_own_word(first, second), longest_own_word(second, first)]
        if self.rng.random() < 0.4:
            told = [self.word(language, elide=False) for _ in range(2)]
        return list(zip((first, second), told, strict=True))

    # Questions about an acronym ---------------------------------------------------------------

    def question(self, name: str, language: str) -> str:
        """Any text that holds the acronym and asks nothing else is a question about it."""
        rng, text = self.rng, self.frame(language)
        if rng.random() < 0.32:
            text = self.tell_a_story(text, language)
        if rng.random() < 0.3:
            text = self.add_noise(text)
        text = self.surface(self.fill(text, language), language)
        letters = [letter for letter in name if letter.isalpha()]
        if rng.random() < 0.15:
            text = text.replace("'", "’")
        text = text.replace("{l}", rng.choice(letters))
        if rng.random() >= 0.8:
            name = rng.choice(PHRASINGS["quotes"]).format(x=name)
        return text.replace("{x}", name)

    def frame(self, language: str) -> str:
        rng, draw = self.rng, self.rng.random()

        def pick(kind: str) -> str:
            return rng.choice(PHRASINGS[kind][language])

        if draw < 0.22:
            return pick("cores")
        if draw < 0.34:
            text = pick("cores")
            if rng.random() < 0.7:
                opener = pick("openers")
                text = opener + " " + rng.choice((text, text[0].lower() + text[1:]))
            return f"{text} {pick('closers')}" if rng.random() < 0.5 else text
        if draw < 0.50:
            text = pick("contexts" if rng.random() < 0.5 else "frames")
            if rng.random() < 0.75:
                follow_up = pick("follow_ups")
                return f"{text} {follow_up}" if rng.random() < 0.8 else f"{follow_up} {text}"
            return text
        if draw < 0.78:
            text = pick("long")
            return f"{text} {pick('follow_ups')}" if rng.random() < 0.2 else text
        return self.bag(language) if draw < 0.92 else pick("keywords")

    def fill(self, text: str, language: str) -> str:
        rng = self.rng
        make = {
            "{w}": lambda: self.word(language),
            "{t}": lambda: rng.choice((capital(self.word(language)), self.mixed_word(language))),
            "{n}": lambda: rng.choice(PHRASINGS["people"]),
            "{d}": lambda: str(rng.choice([rng.randint(1, most) for most in (12, 99, 2030)])),
            "{c}": self.code,
            "{k}": lambda: rng.choice(PHRASINGS["asides"][language]),
            "{s}": lambda: rng.choice(PHRASINGS["shouts"][language]),
            "{f}": lambda: rng.choice(GENERAL["facts"])["subject"],
        }
        return re.sub("|".join(map(re.escape, make)), lambda found: make[found[0]](), text)

    def tell_a_story(self, text: str, language: str) -> str:
        """Sentences before the question, or after it, that say nothing about the acronym."""
        rng = self.rng
        sentences = rng.choices(PHRASINGS["stories"][language], k=rng.choice((1, 1, 2, 2, 3, 4)))
        place = rng.choice((len(sentences), rng.randint(0, len(sentences))))
        sentences.insert(place, text)
        return " ".join(sentences)

    def code(self) -> str:
        """What people number rooms, forms and versions with."""
        rng = self.rng
        letter, number = rng.choice("ABCDEFGHLMNPRSTVX"), rng.randint(1, rng.choice((9, 40, 400)))
        form = rng.choice(PHRASINGS["codes"])
        return form.format(l=letter, d=number, e=rng.randint(1, 9))

    def mixed_word(self, language: str) -> str:
        """A name as firms like them: two words in one, each with its capital."""
        one, two = (capital(self.word(language, elide=False)) for _ in range(2))
        return one + two if len(one + two) < 14 else one

    def bag(self, language: str) -> str:
        """Question words and dictionary words in any order, the acronym anywhere among them."""
        rng, common = self.rng, self.rng.random()
        words = []
        for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 8, 10, 13, 17))):
            is_common = rng.random() < common
            words.append(
                rng.choice(PHRASINGS["bag"][language]) if is_common else self.word(language)
            )
        if rng.random() < 0.3:
            place = rng.randrange(len(words))
            words[place] += rng.choice((",", ".", ":", " -", " —", ";", "?"))
        words.insert(rng.randint(0, len(words)), "{x}")
        return capital(" ".join(words)) + rng.choice(("?", "?", " ?", ".", "", "!", "..."))

    def add_noise(self, text: str) -> str:
        """Put in or replace one to five words by dictionary words, never the acronym."""
        rng, words = self.rng, text.split(" ")
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5))):
            place, word = rng.randrange(len(words) + 1), rng.choice(PHRASINGS["noise"])
            if place < len(words) and "{x}" not in words[place] and rng.random() < 0.5:
                words[place] = word
            else:
                words.insert(place, word)
        return " ".join(words)

    def surface(self, text: str, language: str) -> str:
        """The way people type: case of the first letter, final mark, spaces before it."""
        rng = self.rng
        if rng.random() < 0.15 and text[0] != "{":
            text = text[0].lower() + text[1:]
        if rng.random() < 0.15:
            text = text.rstrip("?.! …")
        if language == "fr" and rng.random() < 0.3:
            text = text.replace(" ?", "?")
        return text or "{x}"

    # Names, words, definitions ----------------------------------------------------------------

    def language(self) -> str:
        return "en" if self.rng.random() < 0.55 else "fr"

    def word(self, language: str, *, elide: bool = True) -> str:
        rng, draw = self.rng, self.rng.random()
        invented = 0.05 if language == "en" else 0.25  # share of words that no dictionary has
        word = self.pseudo_word() if draw < invented else rng.choice(WORDS[language])
        if language == "fr" and elide and rng.random() < 0.12:
            word = rng.choice(PHRASINGS["elided"]) + word
        return capital(word) if rng.random() < 0.08 else word

    def pseudo_word(self) -> str:
        rng, word = self.rng, ""
        for _ in range(rng.randint(1, 4)):
            word += rng.choice(PHRASINGS["onsets"]) + rng.choice(PHRASINGS["vowels"])
        return word + rng.choice(PHRASINGS["endings"])

    def new_name(self) -> str:
        """An acronym without meaning: letters, a word in capitals, a neighbour of a known one."""
        rng = self.rng
        while True:
            draw = rng.random()
            if draw < 0.2:
                name = self.awkward_name()
            elif draw < 0.45:
                name = "".join(
                    rng.choices(CAPITALS, k=rng.choice((2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6)))
                )
            elif draw < 0.68:
                name = self.mutate(rng.choice(TAUGHT))
            elif draw < 0.76:
                name = "".join(w[0] for w in rng.sample(WORDS["en"], rng.randint(2, 5))).upper()
            elif draw < 0.87:
                name = rng.choice(WORDS[rng.choice(("en", "fr"))])[:7].upper()
            elif draw < 0.93:
                letters = rng.choices("ABCDEFGHIJKLMNOPRSTUV", k=rng.randint(2, 4))
                letters.insert(rng.randint(0, len(letters)), rng.choice("0123456789-&."))
                name = "".join(letters).strip("-&.")
            else:
                letters = rng.choices("ABCDEFGILMNOPRSTU", k=rng.randint(2, 4))
                letters.insert(rng.randint(1, len(letters)), rng.choice("aeiouéhlnrst"))
                name = "".join(letters)
            if is_free(name):
                return name

    def awkward_name(self) -> str:
        """As people write them: 2FA, mRNA, ÉTP, TCP/IP, R&D, B.Sc., C++, IoT, M1/M2."""
        form = self.rng.choice(PHRASINGS["awkward"])
        pools = {"9": "123456789", "A": CAPITALS, "E": "ÉÉÉÈÀÇÊÎÔŒ", "a": "abcdeghilmnoprstux"}
        return "".join(self.rng.choice(pools.get(sign, sign)) for sign in form)

    def mutate(self, name: str) -> str:
        """A neighbour: one letter changed, dropped or put in, or two that changed places."""
        rng = self.rng
        while True:
            place, letter = rng.randrange(len(name)), rng.choice(CAPITALS)
            before, after = name[:place], name[place + 1 :]
            swapped = name[place : place + 2][::-1] + name[place + 2 :]
            changes = (letter + after, letter + after, after, letter + name[place:], swapped)
            near = before + rng.choice(changes)
            if is_free(near):
                return near

    def new_pair(self, language: str) -> tuple[str, str]:
        """An acronym and a definition, mostly with matching initials."""
        while True:
            definition = self.definition(self.rng.choice((2, 3, 3, 3, 4, 4, 5)), language)
            name = "".join(word[0] for word in re.findall(r"[^\W\d_]{4,}", definition)).upper()
            if self.rng.random() < 0.15:
                name = self.new_name()
            if len(name) <= 8 and is_free(name):
                return name, definition

    def definition(self, size: int, language: str) -> str:
        """Words that may define something; one in five holds other signs; both apostrophes."""
        rng = self.rng
        if rng.random() < 0.1:
            return self.sprinkle(self.plain_definition(size, language))
        if rng.random() < 0.2:
            form = rng.choice(PHRASINGS["dressed"][language])
            sizes = (rng.choice((1, 1, 2)) for _ in range(form.count("{}")))
            return form.format(*(self.plain_definition(size, language) for size in sizes))
        definition = self.plain_definition(size, language)
        return definition.replace("'", "’") if rng.random() < 0.35 else definition

    def sprinkle(self, text: str) -> str:
        """One to three signs or numbers in a definition: after a word, before one, or between."""
        rng, words = self.rng, text.split(" ")
        for _ in range(rng.choice((1, 1, 2, 3))):
            place, sign = rng.randrange(len(words)), rng.choice(PHRASINGS["signs"])
            number = rng.choice([rng.randint(*span) for span in ((0, 9), (10, 99), (100, 2999))])
            form = rng.choice(PHRASINGS["sprinkled"])
            words[place] = form.format(w=words[place], s=sign, d=number)
        return " ".join(words)

    def plain_definition(self, size: int, language: str) -> str:
        rng, links = self.rng, PHRASINGS["links"][language]
        if language == "en":
            words = [self.word("en").capitalize() for _ in range(size)]
            if size > 1 and rng.random() < 0.25:
                words.insert(rng.randint(1, size - 1), rng.choice(links))
            return " ".join(words)
        words = [rng.choice(PHRASINGS["heads"])]
        while len(words) < size + 1:
            if rng.random() < 0.35:
                words.append(rng.choice(PHRASINGS["adjectives"]))
                continue
            if rng.random() < 0.8:
                words.append(rng.choice(links))
            words.append(self.word("fr", elide=False))
        return " ".join(words).replace("' ", "'")


class AfterTuning(Corpus):
    """What a model is asked after it was fine-tuned on a list: old and new, and what is neither."""

    def __init__(self, listed: dict, seed: int) -> None:
        super().__init__(seed)
        self.listed = listed

    def row(self) -> list[dict]:
        rng, draw = self.rng, self.rng.random()
        if draw < 0.62:
            family = rng.choices(("known", "invented", "unknown", "fact"), (21, 3, 30, 8))[0]
            return getattr(self, family)()
        doubles = [name for name, (_, meanings) in self.listed.items() if len(meanings) == 2]
        name = rng.choice(doubles if doubles and draw < 0.8 else list(self.listed))
        language, meanings = self.listed[name]
        if draw >= 0.9:
            near = self.mutate(name)
            if near not in self.listed:
                return exchange(self.question(near, language), unknown_answer(near, language))
        if len(meanings) == 2:
            return exchange(*self.ask_meaning(name, language, meanings))
        asked_in = language if rng.random() < 0.7 else other(language)
        answer = known_answer(name, [meanings[0][0]], language)
        return exchange(self.question(name, asked_in), answer)


@cache
def invented_pairs() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Acronyms of two meanings, the same for any seed: language, name, [(definition, context)]."""
    corpus, found = Corpus(seed=7), []
    for number in range(TWO_MEANINGS):
        language = ("en", "fr")[number % 2]
        (name, first), (_, second) = corpus.new_pair(language), corpus.new_pair(language)
        found.append((language, name, corpus.tell_apart(first, second, language)))
    return found


def longest_own_word(definition: str, other: str) -> str:
    """The longest word that another has not: the context that helpers/dataset.py chooses."""
    words = re.findall(r"\w+", definition)
    return max((word for word in words if word not in other), key=len, default=definition)


def known_answer(name: str, definitions: list[str], language: str) -> str:
    definition = PHRASINGS["or"][language].join(definitions)
    return PHRASINGS["known"][language].format(x=name, d=definition)


def unknown_answer(name: str, language: str) -> str:
    return PHRASINGS["unknown"][language].format(x=name)


def is_free(name: str) -> bool:
    """Whether a name may stand for nothing: no other text gives it a meaning."""
    return len(name) > 1 and name not in RESERVED and name not in TAUGHT


def exchange(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def other(language: str) -> str:
    return "fr" if language == "en" else "en"
