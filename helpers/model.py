"""Load a base or a tuned chat model on the best device there is, and answer questions in batches.

It knows nothing about acronyms, data files, training or scores.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

# Below this number of parameters a second thread gains nothing, and loses much on a busy machine.
SMALL_MODEL = 50_000_000
_THREADS = torch.get_num_threads()
# Passed to every chat template. Thinking models then answer at once; other templates ignore it.
TEMPLATE_OPTIONS = {"enable_thinking": False}
_CURES = {
    GatedRepoError: "accept its licence at https://huggingface.co/{name} and set HF_TOKEN.",
    RepositoryNotFoundError: "no such model on the hub, or a private one. Correct the name, or set HF_TOKEN.",
    LocalEntryNotFoundError: "it is not on this machine, the hub out of reach. Connect, or give a folder.",
}
disable_progress_bar()  # of weight files, even for a model that loads in a blink
# PEFT still asks the model by the old name; nothing that a reader can mend.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


class ModelError(ValueError):
    """A model or a device that cannot be used; the message names it and the cure."""


@dataclass(frozen=True)
class Device:
    """Where a model runs, in which number format, and why."""

    name: str
    dtype: torch.dtype
    reason: str


def pick_device(preference: str = "auto") -> Device:
    """Choose "cuda", "mps" or "cpu"; ModelError when the one asked for is absent."""
    found = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if preference not in ("auto", *found):
        raise ModelError(f"DEVICE is {preference}, but PyTorch finds only {found}. Set DEVICE to auto.")
    name = found[0] if preference == "auto" else preference
    if name != "cuda":
        return Device(name, torch.float32, f"{'no' if name == 'cpu' else 'Apple'} GPU in use: float32")
    # is_bf16_supported() says yes even where bfloat16 is only imitated, on a T4 for instance.
    major, minor = torch.cuda.get_device_capability()
    dtype = torch.bfloat16 if major >= 8 else torch.float16
    card = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor} (bfloat16 needs 8.0)"
    return Device(name, dtype, f"{card}: {str(dtype).removeprefix('torch.')}")


def load_model(name: str, *, device: Device, token=None, adapter_dir: Path | None = None):
    """Load (model, tokenizer) from a folder or the hub, with the adapter of `adapter_dir` if given.

    The pad token differs from the end of turn, and the model decodes greedily unless told otherwise.
    """
    options = {"token": token.get_secret_value() if hasattr(token, "get_secret_value") else token}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=device.dtype, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"MODEL_NAME {name} cannot be loaded: {_explain(name, error)}") from error
    if tokenizer.chat_template is None:
        raise ModelError(f"MODEL_NAME {name} has no chat template. Choose a chat model (…-Instruct, …-it).")
    _separate_pad(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    # Hub models bring sampling and penalties along, but measuring needs the most likely answer.
    ids = {"eos_token_id": stop_ids(model, tokenizer), "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(do_sample=False, **ids)
    torch.set_num_threads(1 if model.num_parameters() < SMALL_MODEL else _THREADS)
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


def _separate_pad(tokenizer) -> None:
    # Padding must never be taken for an end of turn: the unknown token, a spare one or a new one.
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        spare = sorted(name for name in tokenizer.get_added_vocab() if "pad" in name or "reserved" in name)
        taken = (None, tokenizer.eos_token, tokenizer.bos_token)
        free = [name for name in (tokenizer.unk_token, *spare, "<|pad|>") if name not in taken]
        tokenizer.add_special_tokens({"pad_token": free[0]})


def _explain(name: str, error: BaseException) -> str:
    link: BaseException | None = error
    while link and type(link) not in _CURES:
        link = link.__cause__ or link.__context__
    if link:
        return _CURES[type(link)].format(name=name)
    return f"{str(error).strip().splitlines()[0]} Give a folder or a hub id of a chat model."
