"""Loading, decoding and its errors, on random models, without network: the hub is a server of our own."""

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from pydantic import SecretStr
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from helpers import model as model_module
from helpers.model import (
    Device,
    ModelError,
    answer,
    estimate_memory,
    free_memory,
    hardware_table,
    load_model,
    locate,
    measure_rate,
    next_token_probabilities,
    pick_device,
    read_shape,
    render,
    stop_ids,
)  # fmt: skip

README = Path(__file__).parents[1] / "02-fine_tune" / "README.md"
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
    assert device.reason == f"Card, compute capability {capability[0]}.{capability[1]}"
    assert pick_device("cpu").dtype == torch.float32


@pytest.mark.parametrize(("gain", "dtype"), [(1.5, torch.float32), (4.0, torch.bfloat16)])
def test_bfloat16_on_a_processor_must_be_measured_twice_as_fast(monkeypatch, gain, dtype):
    monkeypatch.setattr(model_module, "_time_product", lambda dtype: 1.0 if dtype == torch.bfloat16 else gain)
    model_module._bfloat16_gain.cache_clear()
    device = pick_device("cpu", parameters=100_000_000)
    model_module._bfloat16_gain.cache_clear()
    assert device.dtype == dtype and f"{gain} times as fast" in device.dtype_reason
    assert pick_device("cpu", parameters=5_000_000).dtype == torch.float32


def test_speed_of_bfloat16_is_measured_in_milliseconds():
    assert 0 < model_module._time_product(torch.float32) < 1


def as_dict(rows: list[tuple[str, str, str]]) -> dict[str, tuple[str, str]]:
    return {what: (value, why) for what, value, why in rows}


@pytest.mark.parametrize(
    ("free", "verdict"), [(10**10, "it fits"), (12 * 10**6, "tight: try a smaller"), (10**6, "too much: try a smaller")]
)
def test_table_says_what_runs_where_and_whether_it_fits(monkeypatch, small_model_dir, free, verdict):
    monkeypatch.setattr(model_module, "free_memory", lambda name: free)
    shape = read_shape(str(small_model_dir))
    table = as_dict(hardware_table(CPU, shape, batch_size=16, length=64, rank=8))
    needed = sum(estimate_memory(shape, torch.float32, batch_size=16, length=64, rank=8).values())
    assert 0.8 * 12e6 < needed < 12e6, "so that the three cases differ"
    assert table["number format"][0] == "float32" and table["threads"][0] == "1"
    assert table["memory needed"][0] == f"{needed / 1e9:.2f} GB" and verdict in table["memory needed"][1]
    assert "four_bit" not in table["memory needed"][1]
    cuda = as_dict(hardware_table(Device("cuda", torch.float16, "Card"), shape))
    assert cuda["memory free"][1] == "of the GPU"
    assert ("four_bit=True" in cuda["memory needed"][1]) == (free == 10**6)


def kept_bytes(model, tokens: int) -> int:
    """Count the bytes that a training step keeps for its way back, the weights not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address comes twice
        return tensor

    ids = torch.arange(tokens)[None]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # TRL and train.py compute the logits of the answers alone: here, of a third of the tokens.
        model(input_ids=ids, labels=ids[:, -(tokens // 3) :], logits_to_keep=tokens // 3)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_estimate_is_near_what_training_keeps(tmp_path, dtype):
    sizes = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 3}
    config = LlamaConfig(vocab_size=4096, num_key_value_heads=1, tie_word_embeddings=True, **sizes)
    model = LlamaForCausalLM(config).to(dtype)
    model.save_pretrained(tmp_path)
    shape = read_shape(str(tmp_path))
    assert {parameter.device.type for parameter in shape.parameters()} == {"meta"}
    memory = estimate_memory(shape, dtype, batch_size=3, length=64, rank=8)
    assert memory["weights"] == sum(parameter.nbytes for parameter in model.parameters())
    tuned = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")).train()
    trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    assert memory["adapter"] == 16 * sum(parameter.numel() for parameter in trained)
    # A process holds up to twice what is kept: the C library is slow to give memory back.
    assert 1.2 < memory["activations"] / kept_bytes(tuned, 192) < 2.4
    packed = estimate_memory(shape, dtype, four_bit=True)["weights"]
    inner = shape.num_parameters() - 4096 * 192
    assert packed == round(0.55 * inner) + 4096 * 192 * dtype.itemsize


def test_large_model_keeps_one_activation_a_layer(monkeypatch, small_model_dir):
    shape = read_shape(str(small_model_dir))
    plain = estimate_memory(shape, torch.float32)
    monkeypatch.setattr(model_module, "LARGE_MODEL", 1000)
    checkpointed = estimate_memory(shape, torch.float32)
    features = sum(i + o for i, o in [(32, 32)] * 4 + [(32, 64)] * 2 + [(64, 32)])
    words = shape.config.vocab_size
    assert plain["activations"] == 16 * 64 * (2 * features * 8 + 4 * words)
    assert checkpointed["activations"] == 16 * 64 * (features * 8 + 2 * 32 * 4 + 4 * words)


@pytest.mark.parametrize(
    ("limit", "free"), [(None, 8_000_000), ("max", 8_000_000), ("5000000", 3_900_000), ("99000000", 8_000_000)]
)
def test_free_memory_is_that_of_the_machine_or_of_the_container(monkeypatch, tmp_path, limit, free):
    monkeypatch.setattr(model_module.psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000))
    files = {"memory.current": "2000000", "memory.stat": "anon 1100000\ninactive_file 600000\nactive_file 300000\n"}
    for name, text in files.items() | {("memory.max", limit)} if limit else ():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(model_module, "_CGROUP", tmp_path)
    assert free_memory("cpu") == free


def test_free_memory_of_a_gpu_counts_what_pytorch_keeps(monkeypatch):
    for name, value in (("mem_get_info", (500, 1000)), ("memory_reserved", 70), ("memory_allocated", 50)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert free_memory("cuda") == 520


@pytest.mark.parametrize(("name", "packed"), [("cpu", False), ("cuda", True)])
def test_model_that_cannot_fit_is_refused_before_its_weights(monkeypatch, small_model_dir, name, packed):
    monkeypatch.setattr(model_module, "free_memory", lambda name: 90_000)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(
        ModelError, match=r"need 0\.00 GB, 0\.00 GB are free. Choose a smaller model .*README"
    ) as caught:
        load_model(str(small_model_dir), device=Device(name, torch.float32, ""))
    assert ("four_bit=True" in str(caught.value)) == packed


def test_four_bit_needs_cuda_and_bitsandbytes(monkeypatch, small_model_dir):
    cuda = Device("cuda", torch.float16, "Card")
    monkeypatch.setattr(model_module, "find_spec", lambda name: None)
    for device in (CPU, cuda):
        with pytest.raises(ModelError, match=f"the device is {device.name}. Run pip install bitsandbytes"):
            load_model(str(small_model_dir), device=device, four_bit=True)


def test_four_bit_reaches_the_loader(monkeypatch, small_model_dir):
    given = {}

    def stop(name, **options):
        given.update(options)
        raise OSError("enough seen.")

    monkeypatch.setattr(model_module, "find_spec", lambda name: "found")
    monkeypatch.setattr(model_module, "free_memory", lambda name: 10**9)
    monkeypatch.setattr("transformers.utils.quantization_config.BitsAndBytesConfig.post_init", lambda self: None)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", stop)
    with pytest.raises(ModelError, match="enough seen"):
        load_model(str(small_model_dir), device=Device("cuda", torch.float16, "Card"), four_bit=True)
    packing = given["quantization_config"]
    assert packing.load_in_4bit and packing.bnb_4bit_quant_type == "nf4"
    assert packing.bnb_4bit_compute_dtype == given["dtype"] == torch.float16


def shape_of(kind, width: int, inner: int, layers: int, heads: int, key_heads: int, words: int, **others):
    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": words}
    heads_of = {"num_attention_heads": heads, "num_key_value_heads": key_heads}
    config = kind(**sizes, **heads_of, tie_word_embeddings=True, pad_token_id=0, **others)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", (LlamaConfig, 576, 1536, 30, 9, 3, 49152)),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", (LlamaConfig, 960, 2560, 32, 15, 5, 49152)),
        ("Qwen/Qwen3-0.6B", (Qwen3Config, 1024, 3072, 28, 16, 8, 151936)),
        ("Qwen/Qwen2.5-1.5B-Instruct", (Qwen2Config, 1536, 8960, 28, 12, 2, 151936)),
        ("Qwen/Qwen3-1.7B", (Qwen3Config, 2048, 6144, 28, 16, 8, 151936)),
        ("HuggingFaceTB/SmolLM3-3B", (SmolLM3Config, 2048, 11008, 36, 16, 4, 128256)),
        ("Qwen/Qwen3-4B-Instruct-2507", (Qwen3Config, 2560, 9728, 36, 32, 8, 151936)),
        ("meta-llama/Llama-3.2-1B-Instruct", (LlamaConfig, 2048, 8192, 16, 32, 8, 128256)),
        ("meta-llama/Llama-3.2-3B-Instruct", (LlamaConfig, 3072, 8192, 28, 24, 8, 128256)),
        ("google/gemma-3-1b-it", (Gemma3TextConfig, 1152, 6912, 26, 4, 1, 262144)),
    ],
)
def test_memory_in_the_readme_is_what_the_formula_gives(name, shape):
    heads = {Qwen3Config: {"head_dim": 128}, Gemma3TextConfig: {"head_dim": 256}}
    model = shape_of(*shape, **heads.get(shape[0], {}))
    formats = ((torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True))
    needed = [sum(estimate_memory(model, dtype, four_bit=packed).values()) / 1e9 for dtype, packed in formats]
    row = next(line for line in README.read_text(encoding="utf-8").splitlines() if f"`{name}`" in line)
    cells = [cell.strip() for cell in row.split("|")]
    millions = model.num_parameters() / 1e6
    parameters = f"{millions:.0f} M" if millions < 999 else f"{millions / 1000:.1f} B"
    assert cells[4:8] == [parameters, *(f"{gigabytes:.1f}" for gigabytes in needed)]


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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict]:
    """Give the answer, to change, of a server that stands for the hub; it notes the tokens that it was sent."""
    says = {"status": 200, "headers": {}, "tokens": set()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            says["tokens"].add(self.headers.get("Authorization"))
            self.send_response(says["status"])
            for name, value in ({"Content-Length": "0"} | says["headers"]).items():
                self.send_header(name, value)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "".join(template[1:]))
    yield says
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("token", "status", "headers", "cure"),
    [
        (None, 401, {"X-Error-Code": "GatedRepo"}, r"licence at https://huggingface.co/org/name and set HF_TOKEN"),
        ("hf_secret", 403, {"X-Error-Code": "GatedRepo"}, r"HF_TOKEN may not .* licence at https://\S+/org/name"),
        ("hf_secret", 403, {"X-Error-Message": "Enable access to gated"}, r"settings/tokens if .* fine-grained"),
        ("hf_secret", 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "refuses HF_TOKEN"),
        ("hf_secret", 401, {"X-Error-Code": "ExpiredToken"}, "refuses HF_TOKEN. Make a new one at https://"),
        (None, 401, {"X-Error-Code": "RepoNotFound"}, r"no such model .* or set HF_TOKEN"),
        ("hf_secret", 404, {"X-Error-Code": "RepoNotFound"}, r"no such model .* or set HF_TOKEN"),
        ("hf_secret\nhf_secret", 401, {}, "Give a folder or a hub id"),
    ],
)
@pytest.mark.parametrize("wrap", [str, SecretStr])
def test_hub_error_names_the_cure_and_hides_the_token(hub, token, status, headers, cure, wrap):
    hub |= {"status": status, "headers": headers}
    with pytest.raises(ModelError, match=f"MODEL_NAME org/name cannot be loaded: .*{cure}") as caught:
        load_model("org/name", device=CPU, token=token and wrap(token))
    assert hub["tokens"] == {token and f"Bearer {token}"} or "\n" in token
    assert "hf_secret" not in caught.exconly()
    assert caught.value.__cause__ is caught.value.__context__ is None, "whose frames hold the token"
    ours = [entry for entry in caught.traceback if entry.path.name == "model.py"]
    assert len(ours) >= 3 and "hf_secret" not in repr([entry.frame.f_locals for entry in ours])


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


def test_a_model_is_located_in_a_folder_in_the_cache_or_on_the_hub(hub, small_model_dir, tmp_path):
    assert locate(str(small_model_dir)) == "a folder"
    assert locate("org/name", token="hf_secret") == "on the hub" and hub["tokens"] == {"Bearer hf_secret"}
    snapshot = tmp_path / "models--org--name/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("abc")
    hub["status"] = 500
    assert locate("org/name") == "kept here"


@pytest.mark.parametrize(
    ("status", "headers", "cure"),
    [
        (401, {"X-Error-Code": "GatedRepo"}, "accept its licence"),
        (404, {"X-Error-Code": "RepoNotFound"}, "no such model"),
        (None, {}, "out of reach"),
    ],
)
def test_locating_names_the_setting_and_the_cure(hub, monkeypatch, status, headers, cure):
    hub |= {"status": status, "headers": headers}
    if status is None:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=f"CROSS_ENCODER org/name cannot be loaded: .*{cure}"):
        locate("org/name", key="CROSS_ENCODER")


@pytest.mark.parametrize(("parameters", "threads"), [(1_000_000, 1), (10**9, model_module._THREADS)])
def test_the_rate_of_a_device_is_measured_with_the_model_s_threads(parameters, threads):
    before = torch.get_num_threads()
    assert 1e8 < measure_rate(CPU, parameters=parameters) < 1e14 and torch.get_num_threads() == threads
    torch.set_num_threads(before)
