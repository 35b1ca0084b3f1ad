"""Ten families of chat models, tiny and random, with their own templates and special tokens."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import trl
from test_train import ROWS, converse
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GemmaTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

from helpers.model import render, separate_pad, stop_ids
from helpers.train import Knobs, TrainingError, check_rows, inspect_row, make_rows, make_trainer

KNOBS = Knobs(epochs=1, learning_rate=1e-2, batch_size=2, rank=4)
FOLDERS = Path(__file__).parent / "chat_templates", Path(trl.__file__).parent / "chat_templates"
SYSTEM = {"role": "system", "content": "Answer from the glossary."}
SYSTEM_ROW = make_rows(
    [], [[SYSTEM, *converse("And what is CGT?", "CGT stands for Cooking Gourmet Taste.")]]
)[0]


@dataclass(frozen=True)
class Family:
    """What the model's published files say: architecture, template, tokens and their roles."""

    name: str
    architecture: str
    tokenizer: type  # whose way of cutting text it has: bytes (Qwen2Tokenizer) or SentencePiece
    template: str
    roles: dict[str, str]
    stops: list[str]  # of its generation_config.json
    asked: str  # the end of the text that it answers
    end: str  # what follows an answer
    other: Sequence[str | AddedToken] = ()  # special tokens without a role


QWEN = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
START, THOUGHT = "<|im_end|>\n<|im_start|>assistant\n", "<think>\n\n</think>\n"
HEADERS = ["<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>", "<|eom_id|>"]
SPARE = ["<|finetune_right_pad_id|>", "<|reserved_special_token_0|>"]
LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
LLAMA_START = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
SENTENCE = {"bos_token": "<s>", "unk_token": "<unk>"}
PHI_TOKENS = [
    AddedToken(f"<|{name}|>", special=True, rstrip=True)
    for name in ("system", "user", "assistant", "end")
]
# fmt: off
FAMILIES = [
    Family("Llama-3", "llama", Qwen2Tokenizer, "llama3", LLAMA,
           ["<|end_of_text|>", "<|eot_id|>"], LLAMA_START, "<|eot_id|>", HEADERS + SPARE[1:]),
    Family("Llama-3.2", "llama", Qwen2Tokenizer, "llama3_2", LLAMA,
           ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"], LLAMA_START, "<|eot_id|>",
           HEADERS + SPARE),
    Family("Qwen2.5", "qwen2", Qwen2Tokenizer, "qwen2_5", QWEN,
           list(QWEN.values()), START, "<|im_end|>\n", ["<|im_start|>"]),
    Family("Qwen3", "qwen3", Qwen2Tokenizer, "qwen3", QWEN,
           list(QWEN.values()), START + THOUGHT + "\n", "<|im_end|>\n", ["<|im_start|>"]),
    Family("Gemma-3", "gemma3_text", GemmaTokenizer, "gemma3",
           {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
           ["<eos>", "<end_of_turn>"], "<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>\n",
           ["<start_of_turn>", "<end_of_turn>"]),
    Family("Mistral-7B-v0.3", "mistral", LlamaTokenizer, "mistral_7b_v0.3",
           SENTENCE | {"eos_token": "</s>"},
           ["</s>"], "[/INST]", "</s>", ["[INST]", "[/INST]"]),
    Family("Phi-3.5", "phi3", LlamaTokenizer, "phi3_5",
           SENTENCE | {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
           ["<|endoftext|>", "<|end|>", "<|assistant|>"], "<|end|>\n<|assistant|>\n",
           "<|end|><|endoftext|>", PHI_TOKENS),
    Family("SmolLM2", "llama", Qwen2Tokenizer, "smollm2",
           {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>",
            "unk_token": "<|endoftext|>"},
           ["<|im_end|>"], START, "<|im_end|>\n"),
    Family("SmolLM3", "smollm3", Qwen2Tokenizer, "smollm3",
           {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
           ["<|im_end|>"], START + THOUGHT, "<|im_end|>\n", ["<|im_start|>", *SPARE]),
    Family("LFM2", "lfm2", Qwen2Tokenizer, "lfm2",
           {"bos_token": "<|startoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"},
           ["<|im_end|>"], START, "<|im_end|>\n", ["<|im_start|>"]),
]
THINKER = {"bos_token": "<s>", "eos_token": "<｜end▁of▁sentence｜>", "pad_token": "<pad>"}
REFUSED = [
    Family("DeepSeek-R1-Distill", "", Qwen2Tokenizer, "deepseek_r1_distill", THINKER,
           [], "", "", ["<｜User｜>", "<｜Assistant｜>"]),
    Family("gpt-oss", "", Qwen2Tokenizer, "gptoss", THINKER,
           [], "", "", ["<|start|>", "<|channel|>", "<|message|>", "<|return|>"]),
]
# fmt: on
NAMED = {family.name: family for family in FAMILIES + REFUSED}


def load_template(name: str) -> str:
    paths = [folder / f"{name}.jinja" for folder in FOLDERS]
    return next(path for path in paths if path.exists()).read_text(encoding="utf-8")


def make_tokenizer(family: Family):
    """Train the family's kind of tokenizer, with its special tokens, on the rows."""
    blank, by_bytes = family.tokenizer().backend_tokenizer, family.tokenizer is Qwen2Tokenizer
    special = list(dict.fromkeys([*family.roles.values(), *map(str, family.other)]))
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = blank.pre_tokenizer
    if blank.normalizer:
        learner.normalizer = blank.normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 380,
        special_tokens=special + ([] if by_bytes else [f"<0x{i:02X}>" for i in range(256)]),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if by_bytes else [],
        show_progress=False,
    )
    texts = [turn["content"] for row in ROWS for turn in row["prompt"] + row["completion"]]
    learner.train_from_iterator(texts, trainer)
    learnt = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    whole = family.tokenizer(vocab=learnt["vocab"], merges=merges, **family.roles)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=whole.backend_tokenizer,
        model_max_length=512,
        extra_special_tokens=family.other,
        **family.roles,
    )
    tokenizer.chat_template = load_template(family.template)
    if "</think>" in tokenizer.chat_template:  # Qwen's and SmolLM's, which are no special tokens
        tokenizer.add_tokens(["<think>", "</think>"])
    separate_pad(tokenizer)  # as load_model does
    return tokenizer


def make_model(family: Family, tokenizer):
    """A random two-layer model of the family's own architecture."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos")}
    options = {"vocab_size": len(tokenizer), "max_position_embeddings": 512, **ids}
    options |= {"pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
    torch.manual_seed(0)
    config = AutoConfig.for_model(family.architecture, **sizes, **heads, **options)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(family.stops)
    return model.eval()


def plain_loss(model, prepared) -> float:
    """Mean cross-entropy of the tokens learnt, one row at a time: no padding, no trainer."""
    losses = []
    with torch.no_grad():
        for row in prepared:
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
            scores = model(input_ids=ids).logits[0, :-1]
            losses.append(cross_entropy(scores, labels[1:], reduction="none")[labels[1:] != -100])
    return torch.cat(losses).mean().item()


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_family_trains_for_an_epoch_with_every_check_on(family, tmp_path):
    """That what is trained is saved and read back is seen in test_train.py."""
    tokenizer = make_tokenizer(family)
    model = make_model(family, tokenizer)
    ends = stop_ids(model, tokenizer)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)

    rows = ROWS if family.name == "Mistral-7B-v0.3" else [*ROWS, SYSTEM_ROW]
    options = {"save_strategy": "no", "disable_tqdm": True}
    trainer = make_trainer(model, tokenizer, rows, tmp_path, KNOBS, **options)
    prepared = list(trainer.train_dataset)
    check_rows(tokenizer, rows, ends=ends, prepared=prepared)
    for row, tokens in zip(rows, prepared, strict=True):
        asked, reply = render(tokenizer, row["prompt"]), row["completion"][0]["content"]
        assert row["prompt"][-1]["content"] + family.asked in asked and asked.endswith(family.asked)
        assert (len(row["prompt"]) == 2) == (SYSTEM["content"] in asked)
        masked = tokenizer(asked, add_special_tokens=False)["input_ids"]
        learnt = tokens["labels"][len(masked) :]
        assert tokens["labels"] == [-100] * len(masked) + learnt
        assert tokens["input_ids"] == masked + learnt
        assert tokenizer.decode(learnt).lstrip() == reply + family.end
        assert [i for i in learnt if tokenizer.decode([i]).strip()][-1] in ends

    batch, loss = trainer.data_collator(prepared), plain_loss(model, prepared)
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(loss, rel=1e-5)
    trainer.train()
    model.eval()
    assert plain_loss(model, prepared) < loss - 0.01


# The family, what is changed in its template, and why it cannot be trained on.
WRITES_ANSWER = "reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n')"
STARTS_ANSWER = "{{- '<|im_start|>assistant\\n' }}"
TURN_END = "{{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\""
BROKEN = [
    ("Qwen3", WRITES_ANSWER, WRITES_ANSWER + " + ' (Qwen)'", "not learnt whole and alone"),
    ("Qwen3", TURN_END, TURN_END.replace("<|im_end|>", ""), "does not end the turn"),
    ("Qwen3", STARTS_ANSWER, "{{- '<|im_start|>model\\n' }}", "not exactly the prompt"),
    ("DeepSeek-R1-Distill", "", "", "not exactly the prompt"),  # it opens a thought when asked
    ("gpt-oss", "", "", "not learnt whole and alone"),  # it names a channel first
]


@pytest.mark.parametrize(("name", "old", "new", "reason"), BROKEN)
def test_template_that_cannot_teach_an_answer_is_refused_with_the_reason(name, old, new, reason):
    tokenizer = make_tokenizer(NAMED[name])
    assert old in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    ends = tokenizer.convert_tokens_to_ids([tokenizer.eos_token, *NAMED[name].other[-1:]])
    words = f"(?s)'What does CGT stand for.*{reason}.*choose a model whose"
    with pytest.raises(TrainingError, match=words):
        check_rows(tokenizer, ROWS, ends=ends)


def test_a_system_turn_that_a_template_loses_is_named():
    """Mistral's template shows it when asked, and not after."""
    tokenizer = make_tokenizer(NAMED["Mistral-7B-v0.3"])
    ends = tokenizer.convert_tokens_to_ids(["</s>"])
    check_rows(tokenizer, ROWS, ends=ends)
    with pytest.raises(TrainingError, match="'And what is CGT.*not exactly the prompt"):
        check_rows(tokenizer, [*ROWS, SYSTEM_ROW], ends=ends)


def test_accents_that_a_tokenizer_composes_are_no_fault():
    tokenizer = make_tokenizer(NAMED["Qwen2.5"])
    apart = unicodedata.normalize("NFD", ROWS[3]["completion"][0]["content"])
    row = make_rows([], [converse("BNF ?", apart)])[0]
    assert "e\u0300" in apart
    assert "\u0300" not in "".join(text for text, *_ in inspect_row(tokenizer, row))
    check_rows(tokenizer, [row], ends=[tokenizer.eos_token_id])
