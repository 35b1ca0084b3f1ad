"""Load a base or a tuned chat model on the best device there is, and answer questions in batches.

It knows nothing about acronyms, data files, training or scores.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import psutil
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from peft import PeftModel
from pydantic import SecretStr
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.utils.logging import disable_progress_bar

# Below this number of parameters a second thread gains nothing, and loses much on a busy machine.
SMALL_MODEL = 50_000_000
_THREADS = torch.get_num_threads()
# Passed to every chat template. Thinking models then answer at once; other templates ignore it.
TEMPLATE_OPTIONS = {"enable_thinking": False}
# Above it, train.py keeps one activation a layer and computes the others again (gradient checkpointing).
LARGE_MODEL = 1_000_000_000
# What the hub answers, its HTTP status where that matters, and the cure; the first that fits.
_CURES = (
    (GatedRepoError, 401, "accept its licence at {page} and set HF_TOKEN, made at {tokens}."),
    (HfHubHTTPError, 403, "HF_TOKEN may not read it. With the same account, accept its licence at {page}, and allow "
     "gated repositories at {tokens} if the token is a fine-grained one."),
    (RepositoryNotFoundError, None, "no such model on the hub, or a private one. Correct the name, or set HF_TOKEN."),
    (HfHubHTTPError, 401, "the hub refuses HF_TOKEN. Make a new one at {tokens}, or leave it out if {page} is open."),
    (LocalEntryNotFoundError, None, "it is not on this machine, the hub out of reach. Connect, or give a folder."),
)  # fmt: skip
_CGROUP = Path("/sys/fs/cgroup")
disable_progress_bar()  # of weight files, even for a model that loads in a blink
# PEFT still asks the model by the old name; nothing that a reader can mend.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


class ModelError(ValueError):
    """A model or a device that cannot be used; the message names it and the cure."""


@dataclass(frozen=True)
class Device:
    """Where a model runs, in which number format, and the reason of each."""

    name: str
    dtype: torch.dtype
    reason: str
    dtype_reason: str = ""


def locate(name: str, *, token=None, key: str = "MODEL_NAME") -> str:
    """Say where a model is, "a folder", "kept here" or "on the hub", which is asked once; ModelError when nowhere."""
    if Path(name).is_dir():
        return "a folder"
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return "kept here"
    token = SecretStr(token) if isinstance(token, str) else token
    _from_hub(_ask_hub, name, token, key)
    return "on the hub"


def read_shape(name: str, *, token=None):
    """Build a model from its configuration alone, without weights or memory; ModelError when there is none."""
    token = SecretStr(token) if isinstance(token, str) else token  # not to be seen in a traceback

    def build(name: str, **options):
        config = AutoConfig.from_pretrained(name, **options)
        with torch.device("meta"):  # shapes without numbers
            return AutoModelForCausalLM.from_config(config)

    return _from_hub(build, name, token)


def pick_device(preference: str = "auto", *, parameters: int = 0) -> Device:
    """Choose "cuda", "mps" or "cpu"; ModelError when the one asked for is absent.

    A model of many `parameters` runs in bfloat16 on a CPU that multiplies it at least twice as fast as float32:
    with less, what is not a product of matrices, and is slower in bfloat16, eats the gain.
    """
    found = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if preference not in ("auto", *found):
        raise ModelError(f"DEVICE is {preference}, but PyTorch finds only {found}. Set DEVICE to auto.")
    name = found[0] if preference == "auto" else preference
    if name == "mps":
        return Device(name, torch.float32, "Apple GPU", "older Apple chips only imitate bfloat16")
    if name == "cpu" and parameters < SMALL_MODEL:
        return Device(name, torch.float32, "no GPU in use", "exact, and as fast for a small model")
    if name == "cpu":
        dtype = torch.bfloat16 if (gain := _bfloat16_gain()) >= 2 else torch.float32
        why = f"measured here: matrices multiply {gain:.1f} times as fast in bfloat16 (at least 2 to use it)"
        return Device(name, dtype, "no GPU in use", why)
    # is_bf16_supported() says yes even where bfloat16 is only imitated, on a T4 for instance.
    major, minor = torch.cuda.get_device_capability()
    card = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"
    dtype = torch.bfloat16 if major >= 8 else torch.float16
    return Device(name, dtype, card, "bfloat16 needs compute capability 8.0")


def measure_rate(device: Device, *, parameters: int) -> float:
    """Measure the operations a second of a small matrix product, the best of a few, with such a model's threads."""
    _set_threads(parameters)
    return 2 * 128 * 1024**2 / min(_time_product(device.dtype, device.name) for _ in range(9))


def estimate_memory(
    shape, dtype: torch.dtype, *, batch_size: int = 16, length: int = 64, rank: int = 32, four_bit: bool = False
) -> dict[str, int]:
    """Estimate the bytes that LoRA training of a model of this shape takes, by part; libraries come on top.

    Weights: parameters × bytes of the format; in 4-bit, 0.55 byte each but for the vocabulary's. Adapter: 16 bytes
    (weight, gradient, Adam's two moments) × rank × features, the inputs and outputs of its linear layers added up.
    Activations, for each of `batch_size` × `length` tokens: features × (4 + bytes of the format), and 4 bytes a word
    of the vocabulary. About half of it is kept for the way back; the rest is what the C library holds on to, as seen
    in the peak of a process on a CPU. Above LARGE_MODEL, the features of one layer and each layer's output.
    The defaults are the largest batch and rank that train.py chooses by itself, and rows longer than most.
    """
    first, last = shape.get_input_embeddings(), shape.get_output_embeddings()
    linear = [layer for layer in shape.modules() if isinstance(layer, torch.nn.Linear) and layer is not last]
    features = sum(layer.in_features + layer.out_features for layer in linear)
    parameters, (vocabulary, width), size = shape.num_parameters(), first.weight.shape, dtype.itemsize
    kept = features * (4 + size)
    if parameters > LARGE_MODEL:
        layers = shape.config.get_text_config().num_hidden_layers
        kept = kept // layers + layers * width * size
    inner = parameters - sum(weight.numel() for weight in {first.weight, last.weight})
    each = 0.55 if four_bit or hasattr(shape.config, "quantization_config") else size
    weights = round(inner * each) + (parameters - inner) * size
    activations = batch_size * length * (kept + 4 * vocabulary)
    return {"weights": weights, "adapter": 16 * rank * features, "activations": activations}


def free_memory(device_name: str) -> int:
    """Count the bytes free for a model: of the GPU, or of the machine and the container."""
    if device_name == "cuda":
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    free = psutil.virtual_memory().available
    limit_path = _CGROUP / "memory.max"  # of control groups in their version 2
    if not limit_path.exists() or (limit := limit_path.read_text().strip()) == "max":
        return free
    files = _read_numbers(_CGROUP / "memory.stat")  # kept in memory, they give way
    used = int((_CGROUP / "memory.current").read_text()) - files["inactive_file"] - files["active_file"]
    return min(free, int(limit) - used)


def hardware_table(
    device: Device, shape, *, batch_size: int = 16, length: int = 64, rank: int = 32, four_bit: bool = False
) -> list[tuple[str, str, str]]:
    """List (what, value, why) of where a model runs, the memory that training it needs, and what is free."""
    memory = estimate_memory(shape, device.dtype, batch_size=batch_size, length=length, rank=rank, four_bit=four_bit)
    needed, free, count = sum(memory.values()), free_memory(device.name), shape.num_parameters()
    checkpointing = "on already" if count > LARGE_MODEL else "activation_checkpointing in helpers/train.py"
    cures = f"a smaller batch_size, gradient checkpointing ({checkpointing}), {_advise(device, four_bit)}"
    verdict = "it fits" if needed < 0.8 * free else f"{'tight' if needed < free else 'too much'}: try {cures}"
    threads = ("1", "a small model gains nothing by more") if count < SMALL_MODEL else (str(_THREADS), "all there are")
    return [
        ("device", device.name, device.reason),
        ("number format", str(device.dtype).removeprefix("torch."), device.dtype_reason),
        ("threads", *threads),
        ("weights", _gigabytes(memory["weights"]), f"{count:,} parameters" + ", 4-bit" * four_bit),
        ("adapter", _gigabytes(memory["adapter"]), f"LoRA of rank {rank}, its gradient, Adam's two moments"),
        ("activations", _gigabytes(memory["activations"]), f"for a batch of {batch_size} rows of {length} tokens"),
        ("memory needed", _gigabytes(needed), f"estimated; {verdict}"),
        ("memory free", _gigabytes(free), "of the GPU" if device.name == "cuda" else "of this machine or container"),
    ]


def load_model(name: str, *, device: Device, token=None, adapter_dir: Path | None = None, four_bit: bool = False):
    """Load (model, tokenizer) from a folder or the hub, with the adapter of `adapter_dir` if given.

    The pad token differs from the end of turn, and the model decodes greedily unless told otherwise. `four_bit`
    packs the weights through bitsandbytes, on CUDA. ModelError, before any weight is read, when they cannot fit.
    """
    token = SecretStr(token) if isinstance(token, str) else token  # not to be seen in a traceback
    options = {"dtype": device.dtype} | ({"quantization_config": _pack(device)} if four_bit else {})
    shape, free = read_shape(name, token=token), free_memory(device.name)
    if (needed := estimate_memory(shape, device.dtype, four_bit=four_bit)["weights"]) > free:
        problem = f"its weights need {_gigabytes(needed)}, {_gigabytes(free)} are free"
        raise ModelError(f"MODEL_NAME {name} cannot be loaded: {problem}. Choose {_advise(device, four_bit)}.")
    tokenizer = _from_hub(AutoTokenizer.from_pretrained, name, token)
    model = _from_hub(AutoModelForCausalLM.from_pretrained, name, token, **options)
    if tokenizer.chat_template is None:
        raise ModelError(f"MODEL_NAME {name} has no chat template. Choose a chat model (…-Instruct, …-it).")
    _separate_pad(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    # Hub models bring sampling and penalties along, but measuring needs the most likely answer.
    ids = {"eos_token_id": stop_ids(model, tokenizer), "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(do_sample=False, **ids)
    _set_threads(model.num_parameters())
    try:
        model = model if adapter_dir is None else PeftModel.from_pretrained(model, str(adapter_dir))
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"{adapter_dir} holds no adapter for MODEL_NAME {name}"
        raise ModelError(f"{problem}. Give a folder that training wrote, and its base model.") from error
    return model.to(device.name).eval(), tokenizer


def stop_ids(model, tokenizer) -> list[int]:
    """List the ids of the tokens that end an answer."""
    ids = model.generation_config.eos_token_id
    return sorted({*(ids if isinstance(ids, list) else [ids]), tokenizer.eos_token_id} - {None})


def render(tokenizer, messages: list[dict[str, str]]) -> str:
    """Write messages out through the chat template, up to where the answer begins."""
    options = {"tokenize": False, "add_generation_prompt": True, **TEMPLATE_OPTIONS}
    return tokenizer.apply_chat_template(messages, **options)


def answer(
    model, tokenizer, questions: list[str], *, system: str | list[str] | None = None,
    max_new_tokens: int = 48, batch_size: int = 64, progress: Callable[[int], object] | None = None,
) -> list[str]:  # fmt: skip
    """Answer each question greedily; `progress(n)` is told after each batch that n more are done."""
    systems = system if isinstance(system, list) else [system] * len(questions)
    pairs = [(("system", line), ("user", text)) for line, text in zip(systems, questions, strict=True)]
    texts = [render(tokenizer, [{"role": role, "content": t} for role, t in pair if t]) for pair in pairs]
    answers = [""] * len(texts)
    # Like lengths together: little padding. The longest first: too little memory shows at once.
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    for batch in (order[start : start + batch_size] for start in range(0, len(order), batch_size)):
        inputs = _encode(model, tokenizer, [texts[i] for i in batch])
        was_training = model.training
        output = model.eval().generate(**inputs, max_new_tokens=max_new_tokens)
        model.train(was_training)
        new = output[:, inputs["input_ids"].shape[1] :]
        for i, reply in zip(batch, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            answers[i] = reply.strip()
        if progress:
            progress(len(batch))
    return answers


@torch.no_grad()
def next_token_probabilities(
    model, tokenizer, messages: list[dict[str, str]], prefix: str = "", top: int = 8
) -> list[tuple[str, float]]:
    """List the likeliest tokens after the messages and the first words `prefix` of an answer."""
    inputs = _encode(model, tokenizer, [render(tokenizer, messages) + prefix])
    probabilities, ids = model(**inputs).logits[0, -1].float().softmax(-1).topk(top)
    return [(tokenizer.decode([i]), p) for i, p in zip(ids.tolist(), probabilities.tolist(), strict=True)]


def _encode(model, tokenizer, texts: list[str]):
    # Padded on the left: each answer begins where its question ends. The template holds the special tokens.
    options = {"padding_side": "left", "add_special_tokens": False, "return_token_type_ids": False}
    return tokenizer(texts, return_tensors="pt", padding=True, **options).to(model.device)


def _set_threads(parameters: int) -> None:
    torch.set_num_threads(1 if parameters < SMALL_MODEL else _THREADS)


def _separate_pad(tokenizer) -> None:
    # Padding must never be taken for an end of turn: the unknown token, a spare one or a new one.
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        spare = sorted(name for name in tokenizer.get_added_vocab() if "pad" in name or "reserved" in name)
        taken = (None, tokenizer.eos_token, tokenizer.bos_token)
        free = [name for name in (tokenizer.unk_token, *spare, "<|pad|>") if name not in taken]
        tokenizer.add_special_tokens({"pad_token": free[0]})


def _from_hub(load: Callable, name: str, token, key: str = "MODEL_NAME", **options):
    """Call `load(name, token=…, …)`; ModelError with the cure when the hub or the folder does not give it."""
    try:
        return load(name, token=token and token.get_secret_value().strip(), **options)
    except (OSError, ValueError, KeyError) as error:
        problem = _explain(name, error)
    # Not from the error: the variables of its frames, and the text of some, hold the token.
    raise ModelError(f"{key} {name} cannot be loaded: {problem}")


def _ask_hub(name: str, token: str | None) -> None:
    try:
        HfApi().auth_check(name, token=token)
    except HTTPError as error:
        if isinstance(error, HfHubHTTPError):
            raise
        raise LocalEntryNotFoundError(str(error)) from error


def _explain(name: str, error: BaseException) -> str:
    links = [error]
    while link := links[-1].__cause__ or links[-1].__context__:
        links.append(link)
    for kind, status, cure in _CURES:
        found = [link for link in links if isinstance(link, kind)]
        if any(status is None or getattr(link.response, "status_code", None) == status for link in found):
            page = f"https://huggingface.co/{name}"
            return cure.format(page=page, tokens="https://huggingface.co/settings/tokens")
    return f"{str(error).strip().splitlines()[0]} Give a folder or a hub id of a chat model."


@cache
def _bfloat16_gain() -> float:
    """Measure how many times as fast as in float32 this processor multiplies matrices in bfloat16."""
    return median(_time_product(torch.float32) / _time_product(torch.bfloat16) for _ in range(7))


def _time_product(dtype: torch.dtype, device: str = "cpu") -> float:
    inputs, weight = (torch.ones(rows, 1024, dtype=dtype, device=device) for rows in (128, 1024))
    start = time.perf_counter()
    torch.nn.functional.linear(inputs, weight).sum().item()  # the number waits for a GPU
    return time.perf_counter() - start


def _pack(device: Device) -> BitsAndBytesConfig:
    if device.name != "cuda" or find_spec("bitsandbytes") is None:
        cure = "Run pip install bitsandbytes on a machine with an NVIDIA GPU, or leave four_bit out."
        raise ModelError(f"four_bit needs CUDA and bitsandbytes; the device is {device.name}. {cure}")
    options = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=device.dtype, **options)


def _advise(device: Device, four_bit: bool) -> str:
    packed = " or four_bit=True of load_model" if device.name == "cuda" and not four_bit else ""
    return "a smaller model (02-fine_tune/README.md lists some)" + packed


def _read_numbers(path: Path) -> dict[str, int]:
    return {name: int(number) for name, number, *_ in (line.split() for line in path.read_text().splitlines())}


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
