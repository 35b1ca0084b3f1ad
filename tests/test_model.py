"""Loading and decoding on random models, without network: the hub is a server of our own."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from helpers import model as model_module
from helpers.model import (
    ModelError,
    answer,
    estimate_memory,
    free_memory,
    load_model,
    next_token_probabilities,
    pick_device,
    read_shape,
    render,
    stop_ids,
)

CPU = pick_device("cpu")
LONG = "What does CGT stand for, please, in this long report of last year?"
QUESTIONS = ["CGT?", LONG, "RST", "Hello!"]


@pytest.fixture(scope="module")
def loaded(small_model_dir):
    return load_model(str(small_model_dir), device=CPU)


@pytest.fixture
def copied_dir(small_model_dir, tmp_path):
    return shutil.copytree(small_model_dir, tmp_path / "model")


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# The machine


@pytest.mark.parametrize(
    ("preference", "capability", "dtype"),
    [
        ("auto", (7, 5), torch.float16),
        ("auto", (8, 0), torch.bfloat16),
        ("cpu", (8, 0), torch.float32),
    ],
)
def test_bfloat16_needs_a_recent_gpu(monkeypatch, preference, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    device = pick_device(preference)
    name = "cpu" if preference == "cpu" else "cuda"
    assert (device.name, device.dtype) == (name, dtype)


def kept_bytes(model, tokens: int) -> int:
    """Count the bytes that a training step keeps for its way back, the weights not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held: no address comes twice
        return tensor

    ids = torch.arange(tokens)[None]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # train.py computes the logits of the answers alone: here, of a third of the tokens.
        model(input_ids=ids, labels=ids[:, -(tokens // 3) :], logits_to_keep=tokens // 3)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_estimate_is_near_what_training_keeps(tmp_path):
    sizes = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6}
    heads = {"num_attention_heads": 3, "num_key_value_heads": 1}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=4096, tie_word_embeddings=True, **sizes, **heads)
    )
    model.save_pretrained(tmp_path)
    shape = read_shape(str(tmp_path))
    parts = estimate_memory(shape, torch.float32, batch_size=3, length=64, rank=8)
    memory = {what: count for what, count, _ in parts}
    assert memory["weights"] == sum(parameter.nbytes for parameter in model.parameters())
    lora = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, lora).train()
    trained = [parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad]
    assert memory["adapter"] == 16 * sum(trained)
    # A process holds up to twice what is kept: the C library is slow to give memory back.
    assert 1.2 < memory["activations"] / kept_bytes(tuned, 192) < 2.4


@pytest.mark.parametrize(
    ("limit", "free"),
    [(None, 8_000_000), ("max", 8_000_000), ("5000000", 3_900_000), ("99000000", 8_000_000)],
)
def test_free_memory_is_that_of_the_machine_or_of_the_container(monkeypatch, tmp_path, limit, free):
    available = SimpleNamespace(available=8_000_000)
    monkeypatch.setattr(model_module.psutil, "virtual_memory", lambda: available)
    stat = "anon 1100000\ninactive_file 600000\nactive_file 300000\n"
    (tmp_path / "memory.current").write_text("2000000")
    (tmp_path / "memory.stat").write_text(stat)
    if limit:
        (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(model_module, "_CGROUP", tmp_path)
    assert free_memory("cpu") == free


# The model


def test_loaded_model_is_greedy_has_its_own_pad_and_one_thread(loaded):
    model, tokenizer = loaded
    assert (model.dtype, model.training, torch.get_num_threads()) == (torch.float32, False, 1)
    assert tokenizer.pad_token == "<|pad|>" != tokenizer.eos_token
    messages = [{"role": "user", "content": "CGT?"}]
    assert render(tokenizer, messages) == "<|user|>CGT?<|end|><|assistant|>"


def test_sampling_settings_of_a_model_are_not_used(copied_dir, loaded):
    settings = {"do_sample": True, "temperature": 1.5, "repetition_penalty": 3.0}
    change_json(copied_dir / "generation_config.json", eos_token_id=[1, 7], **settings)
    model, tokenizer = load_model(str(copied_dir), device=CPU)
    assert model.generation_config.repetition_penalty in (None, 1.0)
    assert stop_ids(model, tokenizer) == [1, 7]
    first = answer(model, tokenizer, QUESTIONS[:1], max_new_tokens=1)
    assert first == answer(*loaded, QUESTIONS[:1], max_new_tokens=1)


@pytest.mark.parametrize(
    ("settings", "spare", "pad"),
    [
        ({"pad_token": None, "unk_token": "<|system|>"}, "<|pad|>", "<|system|>"),
        ({"pad_token": "<|end|>"}, "<|pad|>", "<|pad|>"),
        ({"pad_token": None}, "<|nothing|>", "<|pad|>"),  # a new one, with a row of its own
    ],
)
def test_pad_is_the_unknown_token_a_spare_or_a_new_one(copied_dir, settings, spare, pad):
    words_path = copied_dir / "tokenizer.json"
    words_path.write_text(words_path.read_text().replace("<|pad|>", spare))
    change_json(copied_dir / "tokenizer_config.json", **settings)
    model, tokenizer = load_model(str(copied_dir), device=CPU)
    assert tokenizer.pad_token == pad != tokenizer.eos_token
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert len(answer(model, tokenizer, QUESTIONS, max_new_tokens=3)) == len(QUESTIONS)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("org/name", "MODEL_NAME org/name cannot be loaded: .*https://"),  # without network
        (str(Path(__file__).parent), "MODEL_NAME .* Give a folder that holds a chat model"),
        ("copy without template", "no chat template. Choose a chat model"),
    ],
)
def test_what_is_no_chat_model_is_an_error(copied_dir, name, problem):
    """What a hub answers is in test_hub.py."""
    (copied_dir / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=problem) as caught:
        load_model(name.replace("copy without template", str(copied_dir)), device=CPU)
    assert len(str(caught.value).splitlines()) == 1


# The answers


def test_answers_do_not_depend_on_the_batch_and_keep_their_order(loaded):
    model, tokenizer = loaded
    together = answer(model, tokenizer, QUESTIONS, max_new_tokens=8)
    by_two = answer(model, tokenizer, QUESTIONS, max_new_tokens=8, batch_size=2)
    alone = [answer(model, tokenizer, [question], max_new_tokens=8)[0] for question in QUESTIONS]
    assert together == by_two == alone
    assert len(set(alone)) > 1
    assert answer(model, tokenizer, []) == []


def test_what_is_known_is_not_asked_again(loaded):
    prompt, known = render(loaded[1], [{"role": "user", "content": QUESTIONS[0]}]), {}
    said = answer(*loaded, QUESTIONS[:2], max_new_tokens=8, known=known)
    assert known[prompt] == said[0] and len(known) == 2
    assert answer(*loaded, QUESTIONS[:1], known={prompt: "as before"}) == ["as before"]


def test_system_line_is_one_for_all_or_one_each(loaded):
    model, tokenizer = loaded
    plain = answer(model, tokenizer, QUESTIONS[:2], max_new_tokens=8)
    shared = answer(model, tokenizer, QUESTIONS[:2], system="Be brief.", max_new_tokens=8)
    each = answer(model, tokenizer, QUESTIONS[:2], system=["Be brief.", None], max_new_tokens=8)
    assert each == [shared[0], plain[1]] and shared != plain


def test_next_token_probabilities_begin_with_the_greedy_token(loaded):
    model, tokenizer = loaded
    messages = [{"role": "user", "content": "CGT?"}]
    likely = next_token_probabilities(model, tokenizer, messages, top=5)
    assert 0 < sum(probability for _, probability in likely) <= 1
    assert likely[0][0].strip() == answer(model, tokenizer, ["CGT?"], max_new_tokens=1)[0]
    assert next_token_probabilities(model, tokenizer, messages, " CGT stands", top=5) != likely
