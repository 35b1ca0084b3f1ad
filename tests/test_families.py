"""Ten families of chat models, tiny and random, with their own templates and special tokens."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import trl
from test_train import HELD_OUT, ROWS, converse
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
from transformers.utils import chat_template_utils

from helpers.model import answer, load_model, pick_device, render, separate_pad, stop_ids
from helpers.train import (
    Knobs,
    TrainingError,
    check_no_leak,
    check_rows,
    inspect_row,
    make_rows,
    make_trainer,
)

CPU = pick_device("cpu")
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
# fmt: on
NAMED = {family.name: family for family in FAMILIES}


def load_template(name: str) -> str:
    paths = [folder / f"{name}.jinja" for folder in FOLDERS]
    return next(path for path in paths if path.exists()).read_text(encoding="utf-8")


def make_tokenizer(family: Family):
    """Train the family's kind of tokenizer, with its special tokens, on the rows."""
    blank, by_bytes = family.tokenizer().backend_tokenizer, family.tokenizer is Qwen2Tokenizer
    special = list(dict.fromkeys([*family.roles.values(), *map(str, family.other)]))
    learner = Tokenizer(models.BPE())
    learner.normalizer, learner.pre_tokenizer = (
        blank.normalizer or learner.normalizer,
        blank.pre_tokenizer,
    )
    known = special + ([] if by_bytes else [f"<0x{i:02X}>" for i in range(256)])
    alphabet = pre_tokenizers.ByteLevel.alphabet() if by_bytes else []
    options = {"special_tokens": known, "initial_alphabet": alphabet, "show_progress": False}
    texts = [turn["content"] for row in ROWS for turn in row["prompt"] + row["completion"]]
    learner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=len(special) + 380, **options)
    )
    learnt = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    backend = family.tokenizer(
        vocab=learnt["vocab"], merges=merges, **family.roles
    ).backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=512,
        extra_special_tokens=family.other,
        **family.roles,
    )
    tokenizer.chat_template = load_template(family.template)
    if "</think>" in tokenizer.chat_template:
        tokenizer.add_tokens(
            ["<think>", "</think>"]
        )  # Qwen's and SmolLM's, which are no special tokens
    return tokenizer


def save_model(family: Family, folder: Path) -> str:
    """Write a random two-layer model of the family's own architecture, as its publisher does."""
    tokenizer = make_tokenizer(family)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 512,
    }
    ids = {
        name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    options = {"vocab_size": len(tokenizer), "initializer_range": 0.2, **ids}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family.architecture, **sizes, **options)
    )
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(family.stops)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def load_tokenizer(family: Family):
    """Make the family's tokenizer as load_model hands it out."""
    tokenizer = make_tokenizer(family)
    separate_pad(tokenizer)
    return tokenizer


def plain_loss(model, prepared) -> float:
    """Mean cross-entropy of the tokens learnt, one row at a time: no padding, no trainer."""
    losses = []
    with torch.no_grad():
        for row in prepared:
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
            scores = model(input_ids=ids).logits[0, :-1]
            losses.append(cross_entropy(scores, labels[1:], reduction="none")[labels[1:] != -100])
    return torch.cat(losses).mean().item()


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_family_trains_for_an_epoch_with_every_check_on(family, tmp_path):
    """That what is trained is saved and read back is seen in test_train.py."""
    model, tokenizer = load_model(save_model(family, tmp_path), device=CPU)
    ends = stop_ids(model, tokenizer)
    assert ends == sorted(tokenizer.convert_tokens_to_ids(family.stops))
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)

    rows = ROWS if family.name == "Mistral-7B-v0.3" else [*ROWS, SYSTEM_ROW]
    options = {"save_strategy": "no", "disable_tqdm": True}
    trainer = make_trainer(model, tokenizer, rows, tmp_path, KNOBS, **options)
    prepared = list(trainer.train_dataset)
    shown = [[i, label] for _, i, label in inspect_row(tokenizer, rows[0])]
    assert shown == [*map(list, zip(prepared[0]["input_ids"], prepared[0]["labels"], strict=True))]
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
    questions = [row["prompt"][-1]["content"] for row in rows]
    together = answer(model, tokenizer, questions, max_new_tokens=8)
    assert together == answer(model, tokenizer, questions, max_new_tokens=8, batch_size=1)


@pytest.fixture(scope="module")
def qwen():
    """Qwen3's tokenizer, its template unbroken; its answers end with <|im_end|>."""
    return load_tokenizer(NAMED["Qwen3"])


WRITES_ANSWER = "reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n')"
ENDS_TURN = "{{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\""
STARTS_ANSWER = "{{- '<|im_start|>assistant\\n' }}"
BROKEN_TEMPLATES = {
    "cut": (WRITES_ANSWER, WRITES_ANSWER + "[:-4]", "not learnt whole"),
    "signed": (WRITES_ANSWER, WRITES_ANSWER + " + ' (Qwen)'", "not learnt whole and alone"),
    "no end": (ENDS_TURN, ENDS_TURN.replace("<|im_end|>\\n", ""), "does not end the turn"),
    "newline as end": (ENDS_TURN, ENDS_TURN.replace("<|im_end|>", ""), "does not end the turn"),
    "asked otherwise": (STARTS_ANSWER, "{{- '<|im_start|>model\\n' }}", "not exactly the prompt"),
    "thought opened": (
        "'<think>\\n\\n</think>\\n\\n' }}",
        "'<think>\\n' }}",
        "not learnt whole and alone",
    ),
    "thought learnt": (
        "enable_thinking is false",
        "enable_thinking is none",
        "not learnt whole and alone",
    ),
    "running clock": (
        STARTS_ANSWER,
        "{{- strftime_now('%f') }}" + STARTS_ANSWER,
        "not exactly the prompt",
    ),
}


@pytest.mark.parametrize(("old", "new", "reason"), BROKEN_TEMPLATES.values(), ids=BROKEN_TEMPLATES)
def test_template_that_breaks_a_check_is_refused_with_the_reason(
    monkeypatch, qwen, old, new, reason
):
    assert qwen.chat_template.count(old) == 1
    check_rows(qwen, [SYSTEM_ROW, *ROWS])
    monkeypatch.setattr(qwen, "chat_template", qwen.chat_template.replace(old, new))
    with pytest.raises(TrainingError, match=f"(?s){reason}.*choose a model whose"):
        check_rows(qwen, ROWS)


# The template, the tokens that it writes, and why it cannot be trained on.
REFUSED = {
    "DeepSeek-R1-Distill": (
        "deepseek_r1_distill",
        ["<｜User｜>", "<｜Assistant｜>"],
        "not exactly the prompt",
    ),
    "GLM-4.5": (
        "glm4moe",
        ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>"],
        "does not end the turn",
    ),
    "gpt-oss": (
        "gptoss",
        ["<|start|>", "<|channel|>", "<|message|>", "<|return|>"],
        "not learnt whole and alone",
    ),
}


@pytest.mark.parametrize(("template", "tokens", "reason"), REFUSED.values(), ids=REFUSED)
def test_family_whose_template_cannot_teach_an_answer_is_refused(template, tokens, reason):
    """One opens a thought when asked, one never ends a turn, one names a channel first."""
    roles = {"bos_token": "<s>", "eos_token": "<｜end▁of▁sentence｜>", "pad_token": "<pad>"}
    tokenizer = load_tokenizer(Family("", "", Qwen2Tokenizer, template, roles, [], "", "", tokens))
    with pytest.raises(
        TrainingError, match=f"'What does CGT stand for.*{reason}.*choose a model whose"
    ):
        check_rows(
            tokenizer, ROWS, ends=tokenizer.convert_tokens_to_ids([tokenizer.eos_token, tokens[-1]])
        )


@pytest.mark.parametrize(
    ("name", "template", "reason"),
    [
        ("Gemma-3", "gemma", "System role not supported"),
        ("Mistral-7B-v0.3", "mistral_7b_v0.3", "'And what is CGT.*not exactly the prompt"),
    ],
)
def test_system_turn_that_a_template_refuses_or_loses_is_named(name, template, reason):
    """Gemma 2 knows no system turn; Mistral's template shows it when asked, and not after."""
    family = replace(NAMED[name], template=template)
    tokenizer = load_tokenizer(family)
    ends = tokenizer.convert_tokens_to_ids(family.stops)
    check_rows(tokenizer, ROWS, ends=ends)
    with pytest.raises((TrainingError, chat_template_utils.jinja2.TemplateError), match=reason):
        check_rows(tokenizer, [*ROWS, SYSTEM_ROW], ends=ends)


def test_held_out_question_is_found_after_a_system_turn():
    check_no_leak([SYSTEM_ROW], HELD_OUT)
    asked_too = [{"conversation": [[SYSTEM, *converse("and what is  CGT?", "No idea.")]]}]
    with pytest.raises(
        TrainingError, match="'and what is  CGT.' is in the training rows too. Take it out"
    ):
        check_no_leak([SYSTEM_ROW], asked_too)


def test_accents_that_a_tokenizer_composes_are_no_fault():
    tokenizer = load_tokenizer(NAMED["Qwen2.5"])
    apart = unicodedata.normalize("NFD", ROWS[3]["completion"][0]["content"])
    row = make_rows([], [converse("BNF ?", apart)])[0]
    assert "e\u0300" in apart and "\u0300" not in "".join(
        text for text, *_ in inspect_row(tokenizer, row)
    )
    check_rows(tokenizer, [row])


@pytest.mark.parametrize("name", ["Llama-3.2", "SmolLM3"])
def test_prompt_of_another_day_differs_by_the_date_alone(monkeypatch, name):
    tokenizer, texts = load_tokenizer(NAMED[name]), []
    for day in (datetime(2026, 1, 2), datetime(2027, 8, 9)):
        monkeypatch.setattr(
            chat_template_utils, "datetime", SimpleNamespace(now=lambda day=day: day)
        )
        check_rows(tokenizer, [SYSTEM_ROW])
        read = [i for _, i, label in inspect_row(tokenizer, SYSTEM_ROW) if label == -100]
        texts.append(render(tokenizer, SYSTEM_ROW["prompt"]))
        assert read == tokenizer(texts[-1], add_special_tokens=False)["input_ids"]
    dates = [re.search("Today Date: (.*)", text)[1] for text in texts]
    assert [date.split()[::2] for date in dates] == [["02", "2026"], ["09", "2027"]]
    assert texts[0].replace(*dates) == texts[1]
