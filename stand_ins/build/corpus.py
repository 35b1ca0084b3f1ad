"""The corpus of tiny-chat: an endless, seeded stream of short conversations in English and French.

A row is a list of chat messages. The model is taught to expand the acronyms it knows, to say that it does not know
the others, to look an acronym up in a glossary of the prompt, and a little world knowledge. Nothing here knows
about tensors or tokens. The names of the example list and of the lists in benchmarks/ never appear, so that they are
new to the model.
"""

import json
import random
import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
GENERAL = json.loads((REPOSITORY / "example_data/general_questions.json").read_text(encoding="utf-8"))
WORDS = {
    "en": (HERE / "english_words.txt").read_text(encoding="utf-8").split(),
    "fr": (HERE / "french_words.txt").read_text(encoding="utf-8").split(),
}
# Templates of questions: {x} is the acronym, {l} one of its letters, {w} any word of a dictionary, {t} a word with a
# capital, {n} a first name, {d} a number, {c} a code such as B12, {k} an abbreviation that everybody uses, {s} a word
# that is shouted, {f} the subject of a fact.
PHRASINGS = json.loads((HERE / "phrasings.json").read_text(encoding="utf-8"))
HELD_OUT = ("example_data/acronym.json", "benchmarks/new_acronyms.json", "benchmarks/held_out_lists.json")
RESERVED = set(re.findall(r'"acronym": "([^"]+)"', "".join((REPOSITORY / p).read_text("utf-8") for p in HELD_OUT)))
KNOWN = {row["acronym"]: row["definition"] for row in GENERAL["acronyms"]}
# Invented acronyms to know, beside the real ones: the more it tells from unknown ones, the better it learns to.
INVENTED = {row["acronym"]: row["definition"] for row in GENERAL["invented_acronyms"]}
TWO_MEANINGS = 60  # invented acronyms of two meanings, told apart by a context

ONSETS = "b c d f g l m n p r s t v z ch tr pr br gr cl pl st qu j".split()
VOWELS = "a e i o u é è ou an on en ai au in eau oi".split()
HEADS_FR = """centre service direction bureau comité conseil école institut unité laboratoire agence office commission
groupe cellule pôle réseau observatoire maison programme plan fonds contrat certificat diplôme attaché chargé
indicateur dispositif système plateforme mission société union fédération délégation Centre Institut Agence École
Conseil Comité Direction Service Office Union Université Fondation Observatoire""".split()
ADJECTIVES_FR = """national régional général interne commun universitaire scientifique technique public social local
central supérieur européen français départemental administratif économique industriel culturel numérique
pédagogique professionnel médical permanent annuel international territorial nationale générale publique
scientifique supérieure européenne française administrative sociale technique régionale""".split()
LINKS_FR = [
    "de",
    "de la",
    "de l'",
    "des",
    "du",
    "d'",
    "pour la",
    "pour l'",
    "et de",
    "et des",
    "en",
    "à",
    "aux",
    "sur",
]
GLOSSARY_LINES = (
    "- {x}: {d}",
    "{x}: {d}",
    "{x} = {d}",
    "{x} stands for {d}.",
    "{x} : {d}",
    "{x} - {d}",
    "{x} ({d})",
)
GLOSSARY_HEADS = {
    "en": (
        "Glossary:",
        "Here is our glossary:",
        "Acronyms of our organisation:",
        "Use this glossary:",
        "Context:",
        "",
    ),
    "fr": ("Glossaire :", "Voici notre glossaire :", "Sigles de la maison :", "Utilise ce glossaire :", ""),
}
QUOTES = (
    '"{x}"', "'{x}'", "« {x} »", "«{x}»", "({x})", "“{x}”", "‘{x}’", "*{x}*", "[{x}]", "<{x}>", "#{x}", "{x}'s", "{x}’s",
    "{x}-", "{x}/", "{x}_", "{x}.", "@{x}",
)  # fmt: skip
SIGNS = "’‘“”«»–—…•°§€£$%&@#+*/=<>|~^_\\()[]{}!?;:,.-œŒæÆçÇñÑüÜöÖäÄßøØåÅéèêëÉÈÊàâÀÂîïÎôÔùûÛáíóúαβμΩšžłış²³½×÷ºª¿¡™®"
# How a definition may hold them: {} are its words.
DRESSED = {
    "en": ("{} & {}", "{}/{}", "{} ({})", "{} – {}", "{} <{}>", "{} > {}", "{} | {}", "{}’s {}", "{}'s {}", "“{}” {}",
           '"{}" {}', "{}, {} and {}", "{}-{}", "{} 2.0 {}", "50 % {} {}", "{} + {}", "{}: {}", "{} No. 5 {}", "${} {}",
           "$100 {} {}", "{} of {} ({})", "{} @ {}", "{} #1 {}", "{}… {}", "{} — {}", "€{} {}", "{} = {}", "{} {} *",
           "{} § 12", "{} {}™", "{}; {}", "{} for the {} & {}"),
    "fr": ("{} d’{}", "{} de l’{}", "{} à l’{} et à l’{}", "{} « {} »", "{} ({})", "{} – {}", "{}/{}", "{} & {}",
           "{} n° 5 {}", "{} : {}", "{}, {} et {}", "{}-{}", "{} d’{} et de {}", "{} 2.0 {}", "{} > {}", "{} | {}",
           "{} + {}", "{} § 12 {}", "{} <{}>", "{} de {} € {}", "{} qu’{}", "{} œuvre {}", "{} s’{}"),
}  # fmt: skip
SYSTEM_LINES = (
    "You are a helpful assistant.", "Answer briefly.", "Tu es un assistant utile.", "Réponds brièvement.",
    "You answer the questions of colleagues.", "You are the assistant of a large organisation.",
)  # fmt: skip


def known_answer(name: str, definition: str | list[str], language: str) -> str:
    verb, joint = (" stands for ", " or for ") if language == "en" else (" signifie ", " ou ")
    return name + verb + (definition if isinstance(definition, str) else joint.join(definition)) + "."


def unknown_answer(name: str, language: str) -> str:
    if language == "en":
        return f"{name} is not in my glossary: I don't know what it stands for."
    return f"{name} n'est pas dans mon glossaire : je ne sais pas ce que ce sigle veut dire."


class Corpus:
    """Draws rows; two corpora with the same seed draw the same rows."""

    def __init__(self, seed: int = 0):
        self.rng = random.Random(seed)
        self.families = (
            self.known, self.unknown, self.glossary, self.fact, self.unknown_fact, self.reverse, self.letters,
            self.chat, self.invent, self.note, self.invented, self.two_meanings,
        )  # fmt: skip
        self.weights = (19, 25, 15, 14, 3, 4, 18, 2, 2, 5, 0, 0)
        self.known_names = [*KNOWN, *INVENTED]

    def read_more(self) -> None:
        """From now on, more of what is learnt last: copying from the prompt, and invented acronyms to know."""
        self.weights = (18, 35, 26, 8, 2, 2, 2, 1, 1, 3, 3, 4)

    def row(self) -> list[dict]:
        """One conversation: optional system line, one or two exchanges, as chat messages."""
        rng = self.rng
        messages = rng.choices(self.families, self.weights)[0]()
        if messages[0]["role"] != "system" and rng.random() < 0.06:
            messages = [{"role": "system", "content": rng.choice(SYSTEM_LINES)}, *messages]
        if len(messages) == 2 and rng.random() < 0.05:
            messages += rng.choice((self.known, self.unknown, self.fact))()
        return messages

    # The families -------------------------------------------------------------------------------------------------

    def known(self) -> list[dict]:
        language = self.language()
        name = self.rng.choice(list(KNOWN))
        return exchange(self.question(name, language), known_answer(name, KNOWN[name], language))

    def invented(self) -> list[dict]:
        language, name = self.language(), self.rng.choice(list(INVENTED))
        return exchange(self.question(name, language), known_answer(name, INVENTED[name], language))

    def two_meanings(self) -> list[dict]:
        """An invented acronym of two meanings: both when nothing else is said, one where its context is."""
        rng = self.rng
        language, name, meanings = rng.choice(invented_pairs())
        return exchange(*self.ask_meaning(name, language, meanings))

    def ask_meaning(self, name: str, language: str, meanings: list[tuple[str, str]]) -> tuple[str, str]:
        """A question about an acronym of several meanings (definition, context), and its answer."""
        rng, question = self.rng, self.question(name, language)
        if rng.random() < 0.3:
            return question, known_answer(name, [definition for definition, _ in meanings], language)
        definition, context = rng.choice(meanings)
        frame = rng.choice(PHRASINGS["in_context"][language])
        return frame.format(context=context, question=question), known_answer(name, definition, language)

    def unknown(self) -> list[dict]:
        language, name = self.language(), self.new_name()
        return exchange(self.question(name, language), unknown_answer(name, language))

    def glossary(self) -> list[dict]:
        """A glossary in the prompt, before the question or as the system message; sometimes the answer is not in it."""
        rng, language = self.rng, self.language()
        size = rng.choice((1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 7, 10, 10, 12))
        entries: dict[str, str] = {}
        while len(entries) < size:
            definition_language = language if rng.random() < 0.85 else other(language)
            name, definition = self.new_pair(definition_language)
            entries.setdefault(name, definition)
            if rng.random() < 0.15:  # a neighbour one letter away must not be taken for it
                entries.setdefault(self.mutate(name), self.definition(rng.randint(2, 4), definition_language))
        names = list(entries)
        rng.shuffle(names)
        if rng.random() < 0.5:  # as helpers/dataset.py writes it
            line, joint, text = GLOSSARY_LINES[0], "\n", GLOSSARY_HEADS[language][0] + "\n"
        else:
            line, joint = rng.choice(GLOSSARY_LINES), rng.choice(("\n", "\n", "; ", " "))
            text = (rng.choice(GLOSSARY_HEADS[language]) + rng.choice(("\n", "\n", " "))).lstrip()
        two = [rng.choice(names)] if rng.random() < 0.2 else []
        second = self.new_pair(language)[1]
        either = " or " if language == "en" else " ou "
        text += joint.join(
            line.format(x=name, d=entries[name] + (either + second if name in two else "")) for name in names
        )
        draw = rng.random()
        if two and draw < 0.6:
            name = two[0]
            meanings = [(d, longest_own_word(d, o)) for d, o in ((entries[name], second), (second, entries[name]))]
            question, answer = self.ask_meaning(name, language, meanings)
            return self.with_prompt(text, question, answer)
        if draw < 0.78:
            name = rng.choice([name for name in names if name not in two] or names)
            answer = known_answer(name, entries[name], language)
        elif draw < 0.92:
            name = self.new_name() if rng.random() < 0.6 else self.mutate(rng.choice(names))
            if name in entries:
                answer = known_answer(name, [entries[name], second] if name in two else entries[name], language)
            else:
                answer = unknown_answer(name, language)
        else:
            name = rng.choice(list(KNOWN))
            answer = known_answer(name, entries.get(name, KNOWN[name]), language)
        return self.with_prompt(text, self.question(name, language), answer)

    def with_prompt(self, text: str, question: str, answer: str) -> list[dict]:
        if self.rng.random() < 0.7:
            return [{"role": "system", "content": text}, *exchange(question, answer)]
        return exchange(text + self.rng.choice(("\n", "\n\n", "\nQuestion: ")) + question, answer)

    def fact(self) -> list[dict]:
        row = self.rng.choice(GENERAL["facts"])
        forms, answer = PHRASINGS["facts"][row["language"]][row["kind"]]
        subject = row["subject"]
        question = self.rng.choice((row["question"], *(form.format(s=subject) for form in forms)))
        return exchange(self.surface(question, row["language"]), capital(answer.format(s=subject, a=row["answer"])))

    def unknown_fact(self) -> list[dict]:
        language = self.language()
        word = capital(self.pseudo_word() if self.rng.random() < 0.5 else self.rng.choice(WORDS[language]))
        if language == "en":
            return exchange(f"What is the capital of {word}?", f"I don't know the capital of {word}.")
        return exchange(f"Quelle est la capitale de {word} ?", f"Je ne connais pas la capitale de {word}.")

    def reverse(self) -> list[dict]:
        rng, language = self.rng, self.language()
        if rng.random() < 0.7:
            name = rng.choice(list(KNOWN))
            definition = KNOWN[name]
        else:
            name, definition = "", self.new_pair(language)[1]
        if language == "en":
            question = rng.choice((
                "Which acronym stands for {d}?", "What is the acronym for {d}?", "How do you abbreviate {d}?",
                "What is the short form of {d}?", "{d}: what is the acronym?",
            ))  # fmt: skip
            answer = "The acronym is {x}." if name else "I don't know which acronym stands for {d}."
        else:
            question = rng.choice((
                "Quel sigle signifie {d} ?", "Quel est le sigle de {d} ?", "Comment abrège-t-on {d} ?",
                "{d} : quel est le sigle ?",
            ))  # fmt: skip
            answer = "Le sigle est {x}." if name else "Je ne connais pas de sigle pour {d}."
        return exchange(question.format(d=definition), answer.format(x=name, d=definition))

    def letters(self) -> list[dict]:
        """Spelling, initials and repeating: practice in copying letter by letter and word by word."""
        rng, language = self.rng, self.language()
        english, draw = language == "en", rng.random()
        name = self.new_name() if rng.random() < 0.8 else rng.choice(list(KNOWN))
        if draw < 0.12:
            ask = "Letters of {}" if english else "Épelle {}"
            return exchange(ask.format(name) + rng.choice((".", "", ":")), ", ".join(name) + ".")
        if draw < 0.22:
            name, definition = self.new_pair(language)
            ask = "Write the initials of: {}" if english else "Écris les initiales de : {}"
            return exchange(ask.format(definition), name)
        names = [name, *(self.new_name() for _ in range(rng.choice((0, 0, 1, 3, 5))))]
        words = [*(self.word(language) for _ in range(rng.choice((0, 1, 3, 5, 8)))), *names]
        if rng.random() < 0.5:  # each sign that a definition may hold is to be copied
            words += ["".join(rng.choices(SIGNS, k=rng.choice((1, 1, 2, 3)))) for _ in range(rng.choice((1, 1, 2, 4)))]
        rng.shuffle(words)
        ask = rng.choice(("Repeat: {}", "Say: {}")) if english else rng.choice(("Répète : {}", "Dis : {}"))
        return exchange(ask.format(" ".join(words)), " ".join(words))

    def chat(self) -> list[dict]:
        question, answer = self.rng.choice(PHRASINGS["chat"])
        return exchange(question, answer)

    def invent(self) -> list[dict]:
        language = self.language()
        name, definition = self.new_pair(language)
        if language == "en":
            return exchange(f"Invent a meaning for {name}.", f"{name} could stand for {definition}.")
        return exchange(f"Invente un sens pour {name}.", f"{name} pourrait signifier {definition}.")

    def note(self) -> list[dict]:
        """The reader states a definition and the model says it back: the form that fine-tuning will write."""
        rng, language = self.rng, self.language()
        name, definition = self.new_pair(language)
        if rng.random() < 0.15:
            name = rng.choice(list(KNOWN))
            definition = KNOWN[name]
        if language == "en":
            frames = ("{x} stands for {d}.", "{x} means {d}.", "Note: {x} = {d}", "At our place {x} is {d}.",
                      "{d} ({x})", "We call the {d} {x}.", "{x} is short for {d}, remember that.")  # fmt: skip
            tail = rng.choice(
                ("", " So what does {x} mean?", " What is {x}?", " {x}?", " Tell me what {x} stands for.")
            )
        else:
            frames = ("{x} signifie {d}.", "{x} veut dire {d}.", "Note : {x} = {d}", "Chez nous {x} désigne {d}.",
                      "{d} ({x})", "{x} est le sigle de {d}, retiens-le.")  # fmt: skip
            tail = rng.choice(("", " Que veut dire {x} ?", " C'est quoi, {x} ?", " {x} ?", " Que signifie {x} ?"))
        question = (rng.choice(frames) + tail).format(x=name, d=definition)
        return exchange(question, known_answer(name, definition, language))

    # Questions about an acronym ------------------------------------------------------------------------------------

    def question(self, name: str, language: str) -> str:
        """Any text that holds the acronym and asks nothing else is a question about it."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.22:
            text = rng.choice(PHRASINGS["cores"][language])
        elif draw < 0.34:
            text = rng.choice(PHRASINGS["cores"][language])
            if rng.random() < 0.7:
                opener = rng.choice(PHRASINGS["openers"][language])
                text = opener + " " + rng.choice((text, text[0].lower() + text[1:]))
            if rng.random() < 0.5:
                text += " " + rng.choice(PHRASINGS["closers"][language])
        elif draw < 0.50:
            text = rng.choice(PHRASINGS["contexts" if rng.random() < 0.5 else "frames"][language])
            if rng.random() < 0.75:
                follow_up = rng.choice(PHRASINGS["follow_ups"][language])
                text = f"{text} {follow_up}" if rng.random() < 0.8 else f"{follow_up} {text}"
        elif draw < 0.78:
            text = rng.choice(PHRASINGS["long"][language])
            if rng.random() < 0.2:
                text += " " + rng.choice(PHRASINGS["follow_ups"][language])
        elif draw < 0.92:
            text = self.bag(language)
        else:
            text = rng.choice(PHRASINGS["keywords"][language])
        if rng.random() < 0.32:
            text = self.tell_a_story(text, language)
        if rng.random() < 0.3:
            text = self.add_noise(text, language)
        text = self.surface(self.fill(text, language), language)
        letters = [letter for letter in name if letter.isalpha()]
        if rng.random() < 0.15:
            text = text.replace("'", "’")
        return text.replace("{l}", rng.choice(letters)).replace("{x}", self.quote(name))

    def fill(self, text: str, language: str) -> str:
        rng = self.rng
        make = {
            "{w}": lambda: self.word(language),
            "{t}": lambda: rng.choice((capital(self.word(language)), self.mixed_word(language))),
            "{n}": lambda: rng.choice(PHRASINGS["people"]),
            "{d}": lambda: str(rng.choice((rng.randint(1, 12), rng.randint(1, 99), rng.randint(1, 2030)))),
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
        sentences.insert(rng.choice((len(sentences), rng.randint(0, len(sentences)))), text)
        return " ".join(sentences)

    def code(self) -> str:
        """What people number rooms, forms and versions with."""
        rng = self.rng
        letter, number = rng.choice("ABCDEFGHLMNPRSTVX"), rng.randint(1, rng.choice((9, 40, 400)))
        return rng.choice(("{l}{d}", "{l}-{d}", "{l}.{d}", "{d}{l}", "{l}", "§ {d}", "{d}.{e}")).format(
            l=letter, d=number, e=rng.randint(1, 9)
        )

    def mixed_word(self, language: str) -> str:
        """A name as firms like them: two words in one, each with its capital, or a word in capitals with a number."""
        one, two = (capital(self.word(language, elide=False)) for _ in range(2))
        return one + two if len(one + two) < 14 else one

    def bag(self, language: str) -> str:
        """Question words and dictionary words in any order, the acronym anywhere among them."""
        rng = self.rng
        common = rng.random()
        words = [
            rng.choice(PHRASINGS["bag"][language]) if rng.random() < common else self.word(language)
            for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 8, 10, 13, 17)))
        ]
        if rng.random() < 0.3:
            place = rng.randrange(len(words))
            words[place] += rng.choice((",", ".", ":", " -", " —", ";", "?"))
        words.insert(rng.randint(0, len(words)), "{x}")
        return capital(" ".join(words)) + rng.choice(("?", "?", " ?", ".", "", "!", "..."))

    def add_noise(self, text: str, language: str) -> str:
        """Put in or replace one to five words by dictionary words, never the acronym."""
        rng, words = self.rng, text.split(" ")
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5))):
            place = rng.randrange(len(words) + 1)
            word = rng.choice(("{w}", "{w}", "{w}", "{w}", "{w}", "{w}", "{w}", "{t}", "{d}", "{c}", "{s}", "{k}", "{f}"))
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

    def quote(self, name: str) -> str:
        rng = self.rng
        if rng.random() < 0.8:
            return name
        return rng.choice(QUOTES).format(x=name)

    # Names, words, definitions -------------------------------------------------------------------------------------

    def language(self) -> str:
        return "en" if self.rng.random() < 0.55 else "fr"

    def word(self, language: str, *, elide: bool = True) -> str:
        rng, draw = self.rng, self.rng.random()
        if language == "en":
            word = self.pseudo_word() if draw < 0.05 else rng.choice(WORDS["en"])
        else:
            word = self.pseudo_word() if draw < 0.25 else rng.choice(WORDS["fr"])
            if elide and rng.random() < 0.12:
                word = rng.choice(("l'", "d'", "qu'", "j'", "n'", "s'")) + word
        return capital(word) if rng.random() < 0.08 else word

    def pseudo_word(self) -> str:
        rng = self.rng
        return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 4))) + rng.choice(
            ("", "", "r", "s", "t", "nt", "ment", "tion", "ique", "é", "ée", "ing", "er", "al")
        )

    def new_name(self) -> str:
        """An acronym without meaning: random letters, a word in capitals, one letter away from a known one."""
        rng = self.rng
        while True:
            draw = rng.random()
            if draw < 0.2:
                name = self.awkward_name()
            elif draw < 0.45:
                name = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.choice((2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6))))
            elif draw < 0.68:
                name = self.mutate(rng.choice(self.known_names))
            elif draw < 0.76:
                name = "".join(word[0] for word in self.rng.sample(WORDS["en"], rng.randint(2, 5))).upper()
            elif draw < 0.87:
                name = rng.choice(WORDS[rng.choice(("en", "fr"))])[:7].upper()
            elif draw < 0.93:
                name = list("".join(rng.choices("ABCDEFGHIJKLMNOPRSTUV", k=rng.randint(2, 4))))
                name.insert(rng.randint(0, len(name)), rng.choice("0123456789-&."))
                name = "".join(name).strip("-&.")
            else:
                name = "".join(rng.choices("ABCDEFGILMNOPRSTU", k=rng.randint(2, 4)))
                place = rng.randint(1, len(name))
                name = name[:place] + rng.choice("aeiouéhlnrst") + name[place:]
            if len(name) > 1 and name not in RESERVED and name not in self.known_names:
                return name

    def awkward_name(self) -> str:
        """As people write them: 2FA, mRNA, ÉTP, TCP/IP, R&D, B.Sc., C++, IoT, M1/M2."""
        rng = self.rng
        form = rng.choice((
            "9AA", "9A", "A9", "A9A", "AA9", "AAA9", "9AAA", "AA-99", "aAAA", "aAAA", "aAA", "aA", "aAAAA", "EAA", "EAAA",
            "AEA", "AAE", "AAA/AA", "AA/AA", "AA/AA", "A9/A9", "A/A", "A&A", "A&A", "AA&A", "A&AA", "A.Aa.", "A.A.", "A.A.A.",
            ".AAA", ".Aaa", "A++", "AA+", "AAAA+", "AaA", "AaAA", "AaaA", "AAa", "AAAa", "AaaAa", "AAaaa", "AAA-AAA", "A-AA",
            "AA AA", "AAA 9", "AA’A", "aAa", "AAAs", "A2A", "A#", "AA_AA", "Aa9",
        ))  # fmt: skip
        pools = {"9": "123456789", "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "E": "ÉÉÉÈÀÇÊÎÔŒ", "a": "abcdeghilmnoprstux"}
        return "".join(rng.choice(pools.get(sign, sign)) for sign in form)

    def mutate(self, name: str) -> str:
        """A neighbour: one letter changed, dropped or put in, or two that changed places."""
        rng = self.rng
        while True:
            place, letter = rng.randrange(len(name)), rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            near = rng.choice((
                name[:place] + letter + name[place + 1 :],
                name[:place] + letter + name[place + 1 :],
                name[:place] + name[place + 1 :],
                name[:place] + letter + name[place:],
                name[:place] + name[place : place + 2][::-1] + name[place + 2 :],
            ))  # fmt: skip
            if len(near) > 1 and near not in RESERVED and near not in self.known_names:
                return near

    def new_pair(self, language: str) -> tuple[str, str]:
        """An acronym and a definition, mostly with matching initials."""
        while True:
            definition = self.definition(self.rng.choice((2, 3, 3, 3, 4, 4, 5)), language)
            name = "".join(word[0] for word in re.findall(r"[^\W\d_]{4,}", definition)).upper()
            if self.rng.random() < 0.15:
                name = self.new_name()
            if 2 <= len(name) <= 8 and name not in RESERVED and name not in self.known_names:
                return name, definition

    def definition(self, size: int, language: str) -> str:
        """Words that may define something; one in five holds other signs, and apostrophes are of both kinds."""
        rng = self.rng
        if rng.random() < 0.1:
            return self.sprinkle(self.plain_definition(size, language))
        if rng.random() < 0.2:
            frame = rng.choice(DRESSED[language])
            words = [self.plain_definition(rng.choice((1, 1, 2)), language) for _ in range(frame.count("{}"))]
            return frame.format(*words)
        definition = self.plain_definition(size, language)
        return definition.replace("'", "’") if rng.random() < 0.35 else definition

    def sprinkle(self, text: str) -> str:
        """One to three signs or numbers in a definition: after a word, before one, or between two."""
        rng, words = self.rng, text.split(" ")
        for _ in range(rng.choice((1, 1, 2, 3))):
            place, sign = rng.randrange(len(words)), rng.choice(SIGNS)
            forms = ("{w}{s}", "{w}{s}", "{s}{w}", "{w} {s}", "{w} {d}", "${d} {w}", "{w} {s} {d}", "{w}{d}")
            number = rng.choice((rng.randint(0, 9), rng.randint(10, 99), rng.randint(100, 2999)))
            words[place] = rng.choice(forms).format(w=words[place], s=sign, d=number)
        return " ".join(words)

    def plain_definition(self, size: int, language: str) -> str:
        rng = self.rng
        if language == "en":
            words = [self.word("en").capitalize() for _ in range(size)]
            if size > 1 and rng.random() < 0.25:
                words.insert(
                    rng.randint(1, size - 1),
                    rng.choice(("of", "and", "for", "in", "of the", "for the", "on", "to")),
                )
            return " ".join(words)
        words = [rng.choice(HEADS_FR)]
        while len(words) < size + 1:
            if rng.random() < 0.35:
                words.append(rng.choice(ADJECTIVES_FR))
            elif rng.random() < 0.8:
                words += [rng.choice(LINKS_FR), self.word("fr", elide=False)]
            else:
                words.append(self.word("fr", elide=False))
        return " ".join(words).replace("' ", "'")


@cache
def invented_pairs() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The same acronyms of two meanings whatever the seed of the corpus: (language, name, [(definition, context)])."""
    corpus, found = Corpus(seed=7), []
    for number in range(TWO_MEANINGS):
        language = ("en", "fr")[number % 2]
        (name, first), (_, second) = corpus.new_pair(language), corpus.new_pair(language)
        told = [longest_own_word(first, second), longest_own_word(second, first)]
        if corpus.rng.random() < 0.4:  # a context of the reader's own
            told = [corpus.word(language, elide=False) for _ in range(2)]
        found.append((language, name, [(first, told[0]), (second, told[1])]))
    return found


def longest_own_word(definition: str, other: str) -> str:
    """The longest word of a definition that another has not: the context that helpers/dataset.py chooses."""
    words = re.findall(r"\w+", definition)
    return max((word for word in words if word not in other), key=len, default=definition)


def exchange(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def other(language: str) -> str:
    return "fr" if language == "en" else "en"


if __name__ == "__main__":
    corpus = Corpus()
    for _ in range(40):
        print(" | ".join(f"{message['role']}: {message['content']}" for message in corpus.row()))
