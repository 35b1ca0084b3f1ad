"""The models that ship with the tutorial: small, loadable, and new to what they are tested on."""

import re
import sys

import pytest
from transformers import AutoTokenizer

from helpers.config import REPOSITORY

FOLDER = REPOSITORY / "stand_ins"
HELD_OUT = ("benchmarks/new_acronyms", "benchmarks/held_out_lists", "example_data/acronym")
TEXT = "".join((REPOSITORY / f"{name}.json").read_text("utf-8") for name in HELD_OUT)
NEW = set(re.findall(r'"acronym": "([^"]+)"', TEXT))


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


@pytest.mark.long
def test_the_corpus_is_the_same_for_a_seed_and_never_holds_the_new_acronyms(corpus_module):
    corpora = [corpus_module.Corpus(seed) for seed in (5, 5, 4)]
    rows, again, other = ([corpus.row() for _ in range(2000)] for corpus in corpora)
    assert rows == again != other
    corpora[0].read_more()
    rows += [corpora[0].row() for _ in range(2000)]
    listed = corpora[0].new_list(10)
    after = corpus_module.AfterTuning(listed, seed=5)
    rows += (about_list := [after.row() for _ in range(1000)])
    text = " ".join(message["content"] for row in rows for message in row)
    alone = r"(?<![\w./&+-]){}(?![\w/&+-])"  # BU-42 is another name than BU
    assert not [name for name in NEW if re.search(alone.format(re.escape(name)), text)]
    answers = " ".join(row[-1]["content"] for row in about_list)
    assert all(text in answers for _, meanings in listed.values() for text, _ in meanings)
    entries = corpus_module.GENERAL["invented_acronyms"]  # which are rehearsed: it was taught them
    assert {entry["acronym"]: entry["definition"] for entry in entries} == corpus_module.INVENTED


def test_the_tokenizer_spells_acronyms_and_ends_turns():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "tiny-chat")
    for name in ("CNRS", "TCP/IP", "ÉTP"):
        letters = tokenizer.tokenize(name)
        assert tokenizer.convert_tokens_to_string(letters) == name and len(letters) == len(name)
        for text in (f"le {name}", f"«{name}", f"What is\n{name}"):
            assert tokenizer.tokenize(text)[-len(letters) :] == letters
    # Rare signs are single pieces or bytes, each of which the corpus has the model copy.
    assert tokenizer.decode(tokenizer.encode("d’œuvre – 5 € <a|b> $")) == "d’œuvre – 5 € <a|b> $"
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text.endswith("<|assistant|>Hello<|end|>")
    assert tokenizer.pad_token != tokenizer.eos_token == "<|end|>"
