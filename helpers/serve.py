"""Bring a tuned model to where colleagues chat: serve it, list it in an Open WebUI, write it out.

It knows nothing of the config, of training and of acronyms; what goes over HTTP goes through a
Chat.
"""

import atexit
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig

from helpers.chat import LOOPBACK, Chat, ChatError
from helpers.model import render


class ServeError(RuntimeError):
    """A model that cannot be served, listed or written out; the message says what to do."""


# --------------------------------------------------------------------------------------- serve

# Several requests in one pass. Without a limit, their keys and values would take nearly all the
# memory that is free.
AT_ONCE = ["--continuous-batching", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "512"]


class ModelServer:
    """`transformers serve` for a whole model's folder, on loopback, until `stop` or the end.

    It answers many at once, all greedily or all sampled, as the first request wants it; a message
    of over 64 × 256 tokens ends it. It has no key: whoever reaches the port may ask.
    """

    def __init__(
        self, model_dir: Path, *, port: int = 0, device: str = "auto", patience: float = 300
    ) -> None:
        """Start it and wait until it answers, `patience` seconds at most; raises ServeError."""
        if not Path(model_dir, "config.json").exists():
            raise ServeError(f"{model_dir} holds no whole model. Make one with train.merge.")
        try:
            with socket.create_server(("127.0.0.1", port)) as found:
                port = found.getsockname()[1]
        except OSError as error:  # a server of an earlier try may still be there
            raise ServeError(f"Port {port}: {error.strerror}. Choose another, or 0.") from None
        self.name, self.url = Path(model_dir).name, f"http://127.0.0.1:{port}/v1"
        # From the parent, by the bare name: it answers to exactly what it was started with.
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", self.name]
        command += ["--host", "127.0.0.1", "--port", str(port), "--device", device]
        command += ["--reasoning", "off", *AT_ONCE]
        threads = str(torch.get_num_threads())  # as load_model has set them
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            cwd=Path(model_dir).parent,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        atexit.register(self.stop)
        self._wait(time.monotonic() + patience)

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._process.kill()  # at once: it holds nothing that would be lost
        self._process.wait()

    def __enter__(self) -> "ModelServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self, end):
        chat = Chat(self.url, None, timeout=(1, 5))
        while time.monotonic() < end and self._process.poll() is None:
            try:
                chat.call("GET", "/health")
                return
            except ChatError:
                time.sleep(0.2)
        self.stop()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")[-1000:]
        raise ServeError(f"{self.name} is not served; transformers serve says:\n{said}")


# ---------------------------------------------------------------------------------------- list

EVERYONE = {"principal_type": "user", "principal_id": "*", "permission": "read"}


def register(
    chat: Chat,
    url: str,
    name: str,
    *,
    everyone: bool,
    key: str = "none",
    url_there: str | None = None,
) -> str:
    """List the model `name`, served at `url`, in the Open WebUI of `chat`, and say what was done.

    The chat's key is an administrator's. `everyone` lets every account ask the model, and so ask it
    for the whole glossary; else it stays the administrators'. `key` is the model server's;
    `url_there` is its address as Open WebUI sees it, where that is another one. A second call
    changes nothing. Raises ServeError before any change.
    """
    there = (url_there or url).rstrip("/")
    if re.match(LOOPBACK, there) and not re.match(LOOPBACK, chat.url):
        cure = "Serve the model where that server reaches it (03-test/README.md)."
        raise ServeError(f"{there} is an address of this machine, not of {chat.url}. {cure}")
    try:
        Chat(url, key).models()  # it need not list the model: transformers serve lists no folder
    except ChatError as error:
        if error.status != 500:  # what transformers serve answers where the hub's cache is empty
            raise ServeError(f"Nothing was changed: no model server answers. {error}") from None
    listed = chat.models()  # also says whether the chat's address and key are right
    config = _read_connections(chat, there, name)
    urls, keys = config["OPENAI_API_BASE_URLS"], config["OPENAI_API_KEYS"]
    chat.hide([*keys, key])  # some servers repeat what they get
    place = urls.index(there) if there in urls else len(urls)
    about = config["OPENAI_API_CONFIGS"].setdefault(str(place), {})
    ids = about.get("model_ids") or []
    if name in listed and name not in ids:
        cure = "Give your folder another name, or delete that model's connection."
        raise ServeError(f"{chat.url} has another model {name!r}. {cure}")
    # What is sent replaces the whole list: all others stay in it as they are.
    urls[place : place + 1], keys[place : place + 1] = [there], [key]
    about |= {"enable": True, "model_ids": list(dict.fromkeys([*ids, name]))}
    chat.call("POST", "/openai/config/update", config)
    access = _add_entry(chat, name, everyone)
    if name not in chat.models():  # reading the list also makes the server refresh it
        raise ServeError(f"{chat.url} took {name!r}, but does not list it.")
    return f"{chat.url} lists {name}, served at {there}: {access}."


def _read_connections(chat, there, name):
    try:
        config = chat.call("GET", "/openai/config")
        missing = len(config["OPENAI_API_BASE_URLS"]) - len(config["OPENAI_API_KEYS"])
        config["OPENAI_API_KEYS"] += [""] * missing
        config["OPENAI_API_CONFIGS"] = dict(config["OPENAI_API_CONFIGS"])
        return config
    except (ChatError, TypeError, KeyError, ValueError) as error:
        raise ServeError(
            f"Nothing was changed: {chat.url} shows this key no connections ({error}). Ask an "
            f"administrator to add, under Settings, Connections: the address {there}, the model id "
            f"{name}; and to let you use it. The model goes on answering at its own address."
        ) from None


def _add_entry(chat, name, everyone):
    form = {"id": name, "name": name, "params": {}}
    form["meta"] = {"description": "Knows the acronyms of the organisation."}
    form["access_grants"] = [EVERYONE] if everyone else []
    try:
        chat.call("POST", "/api/v1/models/create", form)
    except ChatError as error:
        if "already registered" not in str(error):
            raise
        return "who may ask it stays as it was"
    return f"{'everyone with an account' if everyone else 'administrators alone'} may ask it"


# ----------------------------------------------------------------------------------- write out

# How byte-level tokenizers cut a text into words, as tokenizer.json says it and as llama.cpp, the
# engine inside Ollama, names it. A GGUF holds the name alone: read by another rule, the same
# letters become other tokens.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHER_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {
    ("ByteLevel",): "gpt-2",
    ("Digits", "ByteLevel"): "smollm",
    (rf"{_CONTRACTIONS}|\p{{N}}{{1,3}}{_OTHER_SIGNS}", "ByteLevel"): "llama-bpe",
    (rf"{_CONTRACTIONS}|\p{{N}}{_OTHER_SIGNS}", "ByteLevel"): "qwen2",
}
LONGEST_CONTEXT = 4096  # tokens that Ollama keeps room for; all that large models read is too much


def name_pre_tokenizer(tokenizer) -> str:
    """Give llama.cpp's name for how a byte-level tokenizer cuts a text, "" for one of another kind.

    Raises ServeError for a rule that is not known here.
    """
    found = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    steps = found.get("pretokenizers", [found])
    parts = [(step.get("pattern") or {}).get("Regex") or step.get("type") for step in steps]
    if "ByteLevel" in parts and tuple(parts) not in PRE_TOKENIZERS:
        raise ServeError(
            f"The tokenizer cuts texts by {parts}, which is none of the rules known here: Ollama's "
            "engine would read other tokens. If llama.cpp's convert_hf_to_gguf.py takes the model, "
            "it knows better: give the file that it wrote, as gguf=."
        )
    return PRE_TOKENIZERS.get(tuple(parts), "")


def write_modelfile(folder: Path, *, gguf: Path | None = None) -> Path:
    """Write a Modelfile beside a whole model; then: `ollama create NAME -f Modelfile`.

    It names the GGUF that llama.cpp's converter writes: `gguf`, else NAME.gguf in the folder NAME.
    Template, stop tokens and context come from the tokenizer. Raises ServeError for a chat template
    or, without `gguf`, a tokenizer that Ollama would read otherwise.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not gguf:
        name_pre_tokenizer(tokenizer)
        gguf = f"./{folder.resolve().name}.gguf"
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
    stops = [json.dumps(tokenizer.decode([end]), ensure_ascii=False) for end in sorted(ends)]
    lines = [
        f"FROM {gguf}",
        f'TEMPLATE """{ollama_template(tokenizer)}"""',
        *(f"PARAMETER stop {stop}" for stop in stops),
        "PARAMETER temperature 0",  # greedy, as it was tested
        "PARAMETER seed 0",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_ctx {min(LONGEST_CONTEXT, tokenizer.model_max_length)}",
    ]
    path = folder / "Modelfile"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# In Go's text/template: what comes before, between and after the texts of a conversation.
OLLAMA = (
    "{{ if .System }}%s{{ .System }}%s{{ else }}%s{{ end }}"
    '{{ range .Messages }}{{ if eq .Role "user" }}{{ .Content }}'
    '{{ else if eq .Role "assistant" }}%s{{ .Content }}%s{{ end }}{{ end }}%s'
)


def ollama_template(tokenizer) -> str:
    """Write the chat template in Ollama's language, by what it prints for two conversations."""
    opening, *turns = _cut(tokenizer, ["user", "assistant", "user"])
    before, after, *with_system = _cut(tokenizer, ["system", "user", "assistant", "user"])
    if turns != with_system or "strftime" in tokenizer.chat_template:  # which prints the date
        raise ServeError("The chat template is not regular: write the Modelfile by hand.")
    bos = tokenizer.bos_token
    if bos and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:  # Ollama puts it there too
        opening, before = opening.removeprefix(bos), before.removeprefix(bos)
    return OLLAMA % (before, after, opening, *turns)


def _cut(tokenizer, roles):
    """Give what the template prints before, between and after the texts of turns."""
    texts = [f"probe {number}, l'été" for number in range(len(roles))]
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    try:
        pieces = re.split("|".join(texts), render(tokenizer, turns))
    except Exception as error:  # whatever a template raises for what it does not know
        raise ServeError(f"The chat template does not print {roles}: {error}") from error
    if len(pieces) != len(roles) + 1:
        raise ServeError("The chat template is not regular: write the Modelfile by hand.")
    return pieces
