"""Give a byte-level BPE tokenizer SmolLM's pre-tokenizer, under which every engine reads it, and keep acronyms spelled.

That pre-tokenizer hands a word over with the space before it: " BREW" in one piece. So that an acronym is always the
same letters, wherever it stands, no merge may join a space with a lone capital, nor two capitals. A merge that did
(" B" + "ook") is replaced by two that do not ("B" + "ook", " " + "Book"): nearly every text keeps its tokens.
"""

import json
from collections import Counter

from tokenizers import Tokenizer

SPACE = "Ġ"  # as byte-level BPE writes it
# "Ã" begins the two bytes of É, À, Ç …; their second byte is one of the 31 that follow.
ACCENTED = {"Ã" + chr(0x100 + place) for place in (*range(0x22, 0x41),)} | {"Ã"}
CAPITALS = {*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *ACCENTED}
# Characters of several bytes that definitions hold: ’ ‘ – … œ €
CHARACTERS = (("âĢ", "Ļ"), ("âĢ", "ĺ"), ("âĢ", "ĵ"), ("âĢ", "¦"), ("Å", "ĵ"), ("â", "Ĥ"), ("âĤ", "¬"))
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}


def respell(spec: dict, words: list[str], heads: int = 160) -> tuple[dict, dict[int, list[int]]]:
    """Rewire a tokenizer's specification; give it with, for each new id, the ids whose embeddings it begins with.

    `words` are words in which the most frequent beginnings are looked for: `heads` of them become tokens.
    """
    model = spec["model"]
    old, vocab = model["vocab"], dict(model["vocab"])
    lone = {SPACE + capital for capital in CAPITALS} & set(vocab)
    free, begins = sorted(vocab.pop(token) for token in lone), {}
    merges: dict[tuple[str, str], None] = {}

    def add(left: str, right: str, like: list[int]) -> None:
        if left + right not in vocab:
            vocab[left + right] = free.pop(0) if free else max(vocab.values()) + 1
            begins[vocab[left + right]] = like
        merges[left, right] = None

    for left, right in map(tuple, model["merges"]):
        if left + right in lone:
            continue
        if left in lone:
            whole = left[1:] + right
            add(left[1:], right, [old[left + right]])
            add(SPACE, whole, [old[left + right]])
        else:
            add(left, right, [])
    for left, right in CHARACTERS:
        add(left, right, [vocab[left], vocab[right]])
    spec = {**spec, "pre_tokenizer": PRE_TOKENIZER, "model": {**model, "vocab": vocab, "merges": [*map(list, merges)]}}
    counts = Counter()
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    for word in words:
        tokens = tokenizer.encode(" " + word[:1].upper() + word[1:]).tokens
        if len(tokens) > 2 and tokens[0] == SPACE and tokens[1] in CAPITALS:
            counts[tokens[1], tokens[2]] += 1
    for (capital, piece), _ in counts.most_common(heads):
        add(capital, piece, [vocab[capital], vocab[piece]])
        add(SPACE, capital + piece, [vocab[capital], vocab[piece]])
    for place in free:  # none is left over: ids would have a gap
        raise ValueError(f"id {place} is without a token")
    spec["model"] |= {"vocab": vocab, "merges": [*map(list, merges)]}
    return spec, begins
