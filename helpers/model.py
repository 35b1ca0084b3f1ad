"""Load a base or a tuned chat model on the best device there is, and answer questions in batches.

It knows nothing about acronyms, data files, training or scores.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

# Below so many parameters a second thread gains nothing, and loses much on a busy machine.
SMALL_MODEL = 50_000_000
# Above so many, training keeps one activation per layer and computes the others again.
LARGE_MODEL = 1_000_000_000
RUN_FILE = "run.json"  # what a run is made of, then its log; a folder that holds it is finished
# For every chat template. Thinking models then answer at once; other templates ignore it.
TEMPLATE_OPTIONS = {"enable_thinking": False}

_ALL_THREADS = torch.get_num_threads()
_CGROUP = Path("/sys/fs/cgroup")  # where Linux tells a container what it may use
disable_progress_bar()  # of weight files, even for a model that loads in a blink
# PEFT still asks the model by an old name; nothing that a reader can mend.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


class ModelError(ValueError):
    """A model or a device that cannot be used; the message names it and the cure."""


# ---------------------------------------------------------------------------------- the machine


@dataclass(frozen=True)
class Device:
    """Where a model runs, in which number format, and why."""

    name: str
    dtype: torch.dtype
    reason: str


def pick_device(preference: str = "auto") -> Device:
    """Choose "cuda", "mps" or "cpu" and a number format; ModelError when it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found = [*filter(there.get, there), "cpu"]
    if preference not in ("auto", *found):
        raise ModelError(
            f"DEVICE is {preference}, but PyTorch finds only {found}. Set DEVICE to auto."
        )
    name = found[0] if preference == "auto" else preference
    if name == "mps":
        return Device(name, torch.float32, "an Apple GPU; older ones only imitate bfloat16")
    if name == "cpu":
        return Device(name, torch.float32, "no GPU in use")
    # is_bf16_supported() says yes even where bfloat16 is only imitated, on a T4 for instance.
    is_recent = torch.cuda.get_device_capability() >= (8, 0)
    dtype = torch.bfloat16 if is_recent else torch.float16
    return Device(name, dtype, torch.cuda.get_device_name())


def free_memory(device_name: str) -> int:
    """Count the bytes free for a model: of the GPU, or of the machine and the container."""
    if device_name == "cuda":
        return torch.cuda.mem_get_info()[0]
    free = psutil.virtual_memory().available
    limit_path = _CGROUP / "memory.max"
    if not limit_path.exists() or (limit := limit_path.read_text().strip()) == "max":
        return free
    # Files kept in memory count as used, and give way.
    files = re.findall(r"(?m)^(?:in)?active_file (\d+)", (_CGROUP / "memory.stat").read_text())
    used = int((_CGROUP / "memory.current").read_text()) - sum(map(int, files))
    return min(free, int(limit) - used)


def read_shape(name: str):
    """Build a model from its configuration alone, without weights or memory; raises ModelError."""
    config = _load(AutoConfig, name)
    with torch.device("meta"):  # shapes without numbers
        return AutoModelForCausalLM.from_config(config)


def estimate_memory(
    shape, dtype: torch.dtype, *, batch_size: int = 16, length: int = 64, rank: int = 32
) -> list[tuple]:
    """Estimate what LoRA training takes, as (what, bytes, why); libraries come on top.

    The defaults are the largest batch and rank that train.py chooses, and rows longer than most.
    """
    last = shape.get_output_embeddings()
    features = sum(
        layer.in_features + layer.out_features
        for layer in shape.modules()
        if isinstance(layer, torch.nn.Linear) and layer is not last
    )
    vocabulary, width = shape.get_input_embeddings().weight.shape
    count = shape.num_parameters()
    # Half of it is kept for the way back; the rest is what the C library holds on to.
    kept = features * (4 + dtype.itemsize)
    if count > LARGE_MODEL:
        layers = shape.config.get_text_config().num_hidden_layers
        kept = kept // layers + layers * width * dtype.itemsize
    activations = batch_size * length * (kept + 4 * vocabulary)
    # For each trained number 4 bytes: itself, its gradient, and the optimiser's two averages.
    return [
        ("weights", count * dtype.itemsize, f"{count:,} parameters"),
        ("adapter", 16 * rank * features, f"LoRA of rank {rank}, and what trains it"),
        ("activations", activations, f"for a batch of {batch_size} rows of {length} tokens"),
    ]


def hardware_table(device: Device, shape, **sizes: int) -> list[tuple]:
    """List (what, value, why): where a model runs, the memory to train it, and what is free."""
    memory = estimate_memory(shape, device.dtype, **sizes)
    needed, free = sum(count for _, count, _ in memory), free_memory(device.name)
    verdict = "it fits"
    if needed > 0.8 * free:
        verdict = "too much: a smaller batch_size or model (02-fine_tune/README.md)"
    memory += [
        ("memory needed", needed, f"estimated; {verdict}"),
        ("memory free", free, "of the GPU, or of the machine or container"),
    ]
    number_format = str(device.dtype).removeprefix("torch.")
    return [
        ("device", device.name, device.reason),
        ("number format", number_format, f"{device.dtype.itemsize} bytes for each number"),
        *((what, f"{count / 1e9:.2f} GB", why) for what, count, why in memory),
    ]


# ------------------------------------------------------------------------------------ the model


def find_newest(models_dir: Path, mark: str = RUN_FILE) -> Path:
    """Give the folder of the newest finished run, or of the newest that holds `mark`."""
    newest = max(models_dir.glob(f"*/{mark}"), default=None)
    if not newest:
        raise ModelError(f"{models_dir} holds no run with a {mark}. Run notebook 2 first.")
    return newest.parent


def load_model(name: str, *, device: Device, adapter_dir: Path | None = None):
    """Load (model, tokenizer) from a folder or the hub, with the adapter of `adapter_dir` if given.

    The pad token differs from the end of turn, and the model decodes greedily unless told
    otherwise. Raises ModelError.
    """
    tokenizer = _load(AutoTokenizer, name)
    model = _load(AutoModelForCausalLM, name, dtype=device.dtype)
    if tokenizer.chat_template is None:
        raise ModelError(
            f"MODEL_NAME {name} has no chat template. Choose a chat model (…-Instruct, …-it)."
        )
    separate_pad(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    # Hub models bring sampling and penalties along, but measuring needs the most likely answer.
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=stop_ids(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.set_num_threads(1 if model.num_parameters() < SMALL_MODEL else _ALL_THREADS)
    if adapter_dir:
        model = PeftModel.from_pretrained(model, str(adapter_dir))
    return model.to(device.name).eval(), tokenizer


def separate_pad(tokenizer) -> None:
    """Pad with the unknown token, a spare or a new one, where padding would be an end of turn."""
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        spare = filter(re.compile("pad|reserved").search, sorted(tokenizer.get_added_vocab()))
        used = (None, tokenizer.eos_token, tokenizer.bos_token)
        free = (token for token in (tokenizer.unk_token, *spare, "<|pad|>") if token not in used)
        tokenizer.add_special_tokens({"pad_token": next(free)})


def stop_ids(model, tokenizer) -> list[int]:
    """List the ids of the tokens that end an answer."""
    ids = model.generation_config.eos_token_id
    ids = ids if isinstance(ids, list) else [ids]
    return sorted({*ids, tokenizer.eos_token_id} - {None})


def _load(kind, name, **options):
    """Call `from_pretrained`, which finds HF_TOKEN in the environment; raises ModelError."""
    try:
        return kind.from_pretrained(name, **options)
    except Exception as error:  # the hub's client, safetensors and tokenizers each raise their own
        cause = error
        if re.match("Can't load|There was a specific", str(error)):  # they go on about the name
            cause = error.__context__ or error
        reason = str(cause).strip().partition("\n")[0].rstrip(".:")
        cure = "Give a folder that holds a chat model, or a hub id."
        if not Path(name).is_dir():
            cure = (
                f"Open https://huggingface.co/{name}: if it opens, accept its licence and set "
                "HF_TOKEN to a token of the same account; "
                "if not, mend the name, the network or HF_HUB_OFFLINE."
            )
        raise ModelError(f"MODEL_NAME {name} cannot be loaded: {reason}. {cure}") from error


# ---------------------------------------------------------------------------------- the answers


def render(tokenizer, messages: list[dict]) -> str:
    """Write messages out through the chat template, up to where the answer begins."""
    return tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **TEMPLATE_OPTIONS
    )


def answer(
    model,
    tokenizer,
    questions: list[str],
    *,
    system: str | list | None = None,
    max_new_tokens: int = 48,
    batch_size: int = 64,
    known: dict[str, str] | None = None,
) -> list[str]:
    """Answer each question greedily; `system` is one system line for all, or one for each.

    `known` holds the answers by prompt: what is there is not asked again, the others come in.
    """
    systems = system if isinstance(system, list) else [system] * len(questions)
    texts = []
    for line, question in zip(systems, questions, strict=True):
        first = [{"role": "system", "content": line}] if line else []
        texts.append(render(tokenizer, [*first, {"role": "user", "content": question}]))
    known = {} if known is None else known
    # Like lengths together: little padding. The longest first: too little memory shows at once.
    waiting = sorted(sorted({*texts} - known.keys()), key=len, reverse=True)
    model.eval()
    for start in range(0, len(waiting), batch_size):
        batch = waiting[start : start + batch_size]
        inputs = _encode(model, tokenizer, batch)
        output = model.generate(**inputs, max_new_tokens=max_new_tokens)
        new = output[:, inputs["input_ids"].shape[1] :]  # (batch, tokens of the answer)
        replies = tokenizer.batch_decode(new, skip_special_tokens=True)
        known |= zip(batch, map(str.strip, replies), strict=True)
    return [known[text] for text in texts]


@torch.no_grad()
def next_token_probabilities(model, tokenizer, messages, prefix="", top=8) -> list[tuple]:
    """List the likeliest (token, probability) after messages and the first words of an answer."""
    inputs = _encode(model, tokenizer, [render(tokenizer, messages) + prefix])
    scores = model(**inputs).logits[0, -1]  # one for each token of the vocabulary
    likeliest = scores.float().softmax(-1).topk(top)
    return [(tokenizer.decode(i), p.item()) for p, i in zip(*likeliest, strict=True)]


def _encode(model, tokenizer, texts):
    """Pad on the left: each answer begins where its question ends."""
    return tokenizer(
        texts,
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=False,  # the template has written them
        return_token_type_ids=False,
    ).to(model.device)
