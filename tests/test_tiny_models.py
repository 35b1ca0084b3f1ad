"""The models that ship with the tutorial: small, loadable, and new to what they are tested on."""

import json
import re
import sys

import pytest
from transformers import AutoTokenizer

from helpers.config import EXAMPLE_DATA, REPOSITORY
from stand_ins.practice_server import PHRASINGS

FOLDER = REPOSITORY / "stand_ins"
BENCHMARKS = REPOSITORY / "benchmarks"
HELD_OUT = [BENCHMARKS / "new_acronyms.json", BENCHMARKS / "held_out_lists.json", EXAMPLE_DATA / "acronym.json"]
NEW = set(re.findall(r'"acronym": "([^"]+)"', " ".join(path.read_text(encoding="utf-8") for path in HELD_OUT)))
NATURAL = json.loads((BENCHMARKS / "natural_questions.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def corpus_module():
    sys.path.insert(0, str(FOLDER / "build"))
    import corpus

    yield corpus
    sys.path.remove(str(FOLDER / "build"))


def test_the_weights_are_small_enough_for_git():
    sizes = {path.parent.name: path.stat().st_size for path in FOLDER.rglob("model.safetensors")}
    assert set(sizes) == {"tiny-chat", "tiny-cross-encoder"}
    assert sum(sizes.values()) < 16e6


def test_the_corpus_is_the_same_for_the_same_seed(corpus_module):
    rows = [[corpus.row() for _ in range(200)] for corpus in (corpus_module.Corpus(3), corpus_module.Corpus(3))]
    assert rows[0] == rows[1]
    assert rows[0] != [corpus_module.Corpus(4).row() for _ in range(200)]


def test_the_corpus_never_holds_the_new_acronyms(corpus_module):
    corpus = corpus_module.Corpus(5)
    rows = [corpus.row() for _ in range(5000)]
    corpus.read_more()
    rows += [corpus.row() for _ in range(5000)]
    text = " ".join(message["content"] for row in rows for message in row)
    assert len(NEW) == 242
    alone = r"(?<![\w./&+-]){}(?![\w/&+-])"  # BU-42 is another name than BU
    assert not [name for name in NEW if re.search(alone.format(re.escape(name)), text)]


def test_the_invented_acronyms_to_rehearse_are_those_that_tiny_chat_was_taught(corpus_module):
    entries = corpus_module.GENERAL["invented_acronyms"]
    assert {entry["acronym"]: entry["definition"] for entry in entries} == corpus_module.INVENTED
    assert len(entries) == 250 and {entry["model"] for entry in entries} == {"tiny-chat"}
    assert {entry["split"] for entry in entries} == {"rehearsal"}


def test_only_the_plainest_natural_questions_stand_in_corpus_or_bank(corpus_module):
    def strip(text: str) -> str:
        return text.replace("{acronym}", "{x}").lower().rstrip(" ?.!")

    kinds = ("cores", "contexts", "frames", "keywords", "long")
    lists = [texts for kind in kinds for texts in corpus_module.PHRASINGS[kind].values()]
    lists += [texts for language in NATURAL for split in PHRASINGS[language].values() for texts in split.values()]
    natural = {strip(text) for texts in NATURAL.values() for text in texts}
    assert len(natural) == 60
    # "What does X stand for?" and the like: no list of questions can do without them.
    assert len(natural & {strip(text) for texts in lists for text in texts}) <= 3


def test_the_tokenizer_spells_acronyms_and_ends_turns():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "tiny-chat")
    for name in ("CNRS", "BREW", "TCP/IP", "ÉTP", "R&D"):
        letters = tokenizer.tokenize(name)
        assert tokenizer.convert_tokens_to_string(letters) == name and len(letters) == len(name)
        for text in (f"le {name}", f"({name}", f"«{name}", f"What is\n{name}"):
            assert tokenizer.tokenize(text)[-len(letters) :] == letters
    # Rare signs are single pieces or bytes, each of which the corpus has the model copy.
    assert tokenizer.decode(tokenizer.encode("d’œuvre – 5 € <a|b> $")) == "d’œuvre – 5 € <a|b> $"
    assert tokenizer.decode(tokenizer.encode("Où est l'École « Ça va » ?")) == "Où est l'École « Ça va » ?"
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False).endswith("<|assistant|>Hello<|end|>")
    assert tokenizer.pad_token != tokenizer.eos_token == "<|end|>"
