"""Loading, decoding and its errors, on a random model and without network."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from pydantic import SecretStr
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers.model import (
    ModelError,
    answer,
    load_model,
    next_token_probabilities,
    pick_device,
    render,
    stop_ids,
)  # fmt: skip

CPU = pick_device("cpu")
QUESTIONS = ["CGT?", "What does CGT stand for, please, in this long report of last year?", "RST", "Hello!"]


@pytest.fixture(scope="module")
def loaded(small_model_dir: Path):
    return load_model(str(small_model_dir), device=CPU)


@pytest.fixture
def copied_dir(small_model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_model_dir, tmp_path / "model")


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_device_asked_for_and_absent_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"DEVICE is cuda, .*cpu.* Set DEVICE to auto"):
        pick_device("cuda")


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_bfloat16_needs_a_recent_gpu(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    device = pick_device()
    assert (device.name, device.dtype) == ("cuda", dtype)
    assert f"Card, compute capability {capability[0]}.{capability[1]}" in device.reason
    assert pick_device("cpu").dtype == torch.float32


def test_loaded_model_is_greedy_has_its_own_pad_and_one_thread(loaded):
    model, tokenizer = loaded
    assert (model.dtype, model.training, torch.get_num_threads()) == (torch.float32, False, 1)
    assert tokenizer.pad_token == "<|pad|>" != tokenizer.eos_token
    assert not model.generation_config.do_sample
    assert stop_ids(model, tokenizer) == model.generation_config.eos_token_id == [tokenizer.eos_token_id]


def test_sampling_settings_of_a_model_are_not_used(copied_dir, loaded):
    settings = {"do_sample": True, "temperature": 1.5, "repetition_penalty": 3.0, "eos_token_id": [1, 7]}
    change_json(copied_dir / "generation_config.json", **settings)
    model, tokenizer = load_model(str(copied_dir), device=CPU)
    assert model.generation_config.repetition_penalty in (None, 1.0)
    assert stop_ids(model, tokenizer) == [1, 7]
    first = answer(model, tokenizer, QUESTIONS[:1], max_new_tokens=1)
    assert first == answer(*loaded, QUESTIONS[:1], max_new_tokens=1)


@pytest.mark.parametrize(
    ("settings", "pad"),
    [
        ({"pad_token": None, "unk_token": "<|system|>"}, "<|system|>"),
        ({"pad_token": "<|end|>"}, "<|pad|>"),
    ],
)
def test_pad_is_the_unknown_token_or_a_spare_one(copied_dir, settings, pad):
    change_json(copied_dir / "tokenizer_config.json", **settings)
    _, tokenizer = load_model(str(copied_dir), device=CPU)
    assert tokenizer.pad_token == pad != tokenizer.eos_token


def test_new_pad_token_gets_a_row_of_its_own(copied_dir):
    tokenizer_path = copied_dir / "tokenizer.json"
    tokenizer_path.write_text(tokenizer_path.read_text().replace("<|pad|>", "<|nothing|>"))
    change_json(copied_dir / "tokenizer_config.json", pad_token=None)
    before = AutoModelForCausalLM.from_pretrained(copied_dir).get_input_embeddings().num_embeddings
    model, tokenizer = load_model(str(copied_dir), device=CPU)
    assert tokenizer.pad_token_id == before
    assert model.get_input_embeddings().num_embeddings == before + 1
    assert len(answer(model, tokenizer, QUESTIONS, max_new_tokens=3)) == len(QUESTIONS)


def raise_from(cause: BaseException):
    def from_pretrained(*_, **__):
        raise OSError("something about the hub") from cause

    return from_pretrained


@pytest.mark.parametrize(
    ("cause", "cure"),
    [
        (
            GatedRepoError.__new__(GatedRepoError),
            r"licence at https://.*/org/name and set HF_TOKEN",
        ),
        (RepositoryNotFoundError.__new__(RepositoryNotFoundError), r"Correct the name, or set HF_TOKEN"),
        (KeyError("x"), r"something about the hub Give a folder or a hub id"),
    ],
)
def test_hub_error_names_the_cure_and_hides_the_token(monkeypatch, cause, cure):
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", raise_from(cause))
    with pytest.raises(ModelError, match=f"MODEL_NAME org/name cannot be loaded: .*{cure}") as caught:
        load_model("org/name", device=CPU, token=SecretStr("hf_secret"))
    assert "hf_secret" not in str(caught.value)


def test_model_out_of_reach_is_an_error():
    with pytest.raises(ModelError, match=r"MODEL_NAME org/name .*not on this machine.* give a folder"):
        load_model("org/name", device=CPU)


def test_folder_without_model_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"MODEL_NAME .* Give a folder or a hub id"):
        load_model(str(tmp_path), device=CPU)


def test_model_without_chat_template_is_an_error(copied_dir):
    (copied_dir / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template. Choose a chat model"):
        load_model(str(copied_dir), device=CPU)


def test_folder_without_adapter_is_an_error(small_model_dir, tmp_path):
    with pytest.raises(ModelError, match="holds no adapter for MODEL_NAME"):
        load_model(str(small_model_dir), device=CPU, adapter_dir=tmp_path)


def test_answers_do_not_depend_on_the_batch_and_keep_their_order(loaded):
    model, tokenizer = loaded
    done = []
    together = answer(model, tokenizer, QUESTIONS, max_new_tokens=8, progress=done.append)
    by_two = answer(model, tokenizer, QUESTIONS, max_new_tokens=8, batch_size=2, progress=done.append)
    alone = [answer(model, tokenizer, [question], max_new_tokens=8)[0] for question in QUESTIONS]
    assert together == by_two == alone
    assert len(set(alone)) > 1 and done == [4, 2, 2]
    assert answer(model, tokenizer, []) == []


def test_system_line_is_one_for_all_or_one_each(loaded):
    model, tokenizer = loaded
    plain = answer(model, tokenizer, QUESTIONS[:2], max_new_tokens=8)
    shared = answer(model, tokenizer, QUESTIONS[:2], system="Be brief.", max_new_tokens=8)
    each = answer(model, tokenizer, QUESTIONS[:2], system=["Be brief.", None], max_new_tokens=8)
    assert each == [shared[0], plain[1]] and shared != plain


def test_answering_leaves_a_model_in_training_as_it_was(loaded):
    model, tokenizer = loaded
    answer(model.train(), tokenizer, QUESTIONS[:1], max_new_tokens=2)
    assert model.training
    model.eval()


def test_next_token_probabilities_begin_with_the_greedy_token(loaded):
    model, tokenizer = loaded
    messages = [{"role": "user", "content": "CGT?"}]
    likely = next_token_probabilities(model, tokenizer, messages, top=5)
    probabilities = [probability for _, probability in likely]
    assert len(likely) == 5 and probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1
    assert likely[0][0].strip() == answer(model, tokenizer, ["CGT?"], max_new_tokens=1)[0]
    assert next_token_probabilities(model, tokenizer, messages, " CGT stands", top=5) != likely


def test_render_stops_where_the_answer_begins(loaded):
    assert render(loaded[1], [{"role": "user", "content": "CGT?"}]) == "<|user|>CGT?<|end|><|assistant|>"
