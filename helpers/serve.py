"""Bring a tuned model to where colleagues chat: serve it on this machine, and list it in an Open WebUI.

It knows nothing of the config, of training and of acronyms; what goes over HTTP goes through a Chat.
"""

import atexit
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import torch
from pydantic import SecretStr

from helpers.chat import Chat, ChatError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYONE = {"principal_type": "user", "principal_id": "*", "permission": "read"}
# Several requests in one pass. Without a limit, their keys and values would take nearly all the memory that is free.
_AT_ONCE = ["--continuous-batching", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "512"]


class ServeError(RuntimeError):
    """A model that cannot be served or listed; the message says why, and what to do."""


class ModelServer:
    """`transformers serve` for one whole model's folder, on loopback; `with ModelServer(folder) as server: …`.

    It answers many at once, all of them greedily or sampled as the first request wants it. They share room for
    64 × 256 tokens, and a longer message ends it. It has no key: whoever reaches the port may ask.
    """

    def __init__(self, model_dir: Path, *, port: int = 0, device: str = "auto", patience: float = 300) -> None:
        self.model_dir, self.name, self.port = Path(model_dir), Path(model_dir).name, port
        self.device, self.patience = device, patience  # seconds that loading may take
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """Its address, to be given to whatever speaks the OpenAI protocol."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> "ModelServer":
        """Start it, and wait until it answers; ServeError, with its last words, when it does not."""
        if not (self.model_dir / "config.json").exists():
            raise ServeError(f"{self.model_dir} holds no whole model. Make one of base and adapter with train.merge.")
        self.port = _take_port(self.port)
        self._log = tempfile.TemporaryFile()
        # From the parent, by the bare name: the server answers to exactly what it was started with.
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", self.name, "--reasoning", "off"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--device", self.device, *_AT_ONCE]
        settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}  # as load_model set them
        options = {"cwd": self.model_dir.parent, "env": os.environ | settings}
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, **options)
        atexit.register(self.stop)
        self._wait()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        atexit.unregister(self.stop)
        if self._process:
            self._process.kill()  # at once: it holds nothing that would be lost
            self._process.wait()
            self._process = self._log.close()

    def __enter__(self) -> "ModelServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self) -> None:
        chat, end = Chat(self.url, None, self.name, timeout=(1, 5)), time.monotonic() + self.patience
        problem = f"does not answer after {self.patience:.0f} seconds. Give it more `patience`"
        while time.monotonic() < end:
            if self._process.poll() is not None:
                problem = "is not served"
                break
            try:
                return chat.call("GET", "/health")
            except ChatError:
                time.sleep(0.2)
            finally:
                chat.close()
        self._log.seek(0)
        lines = re.split(r"[\r\n]+", self._log.read().decode("utf-8", errors="replace").strip())
        self.stop()
        raise ServeError("\n".join([f"{self.name} {problem}; transformers serve says:", *lines[-5:]]))


class _Hidden(dict):
    """A dictionary with keys of others in it, which no traceback and no notebook is to show."""

    def __repr__(self) -> str:
        return "(hidden)"


def register(chat: Chat, url: str, name: str, *, everyone: bool, key: str | SecretStr = "none") -> str:
    """List the model `name`, served at `url`, in the Open WebUI of `chat`, and say what was done.

    The chat's key is an administrator's. `everyone` lets every account of that server ask the model, and so ask it
    for the whole glossary; else it stays the administrators' until they grant it. A second call changes nothing;
    one from another port of the same host moves the entry there. Raises ServeError, and before any change.
    """
    url, key = url.rstrip("/"), SecretStr(key) if isinstance(key, str) else key
    if len(name.split()) != 1:
        raise ServeError(f"{name!r} cannot be the id of a model: give its folder a name without spaces.")
    listed = chat.models()  # also says whether address and key are right
    config = _read_connections(chat, url, name)
    chat.hide(filter(None, [*config["OPENAI_API_KEYS"], key.get_secret_value()]))  # some servers repeat what they get
    if urlsplit(url).hostname in LOOPBACK and urlsplit(chat.url).hostname not in LOOPBACK:
        cure = "Serve the model where that server reaches it (03-test/README.md says how), and give its `url`."
        raise ServeError(f"{url} is an address inside this machine: {chat.url} cannot reach it. {cure}")
    place = _find_place(config, url, name)
    if place is None and name in listed:
        raise ServeError(f"{chat.url} has another model {name!r}. Serve yours from a folder of another name.")
    wanted = _with_connection(config, place, url, name, key)
    if wanted != config:
        chat.call("POST", "/openai/config/update", wanted, attempts=3)
    form = {"id": name, "name": name, "meta": {"description": "Knows the acronyms of the organisation."}, "params": {}}
    form |= {"access_grants": [EVERYONE] if everyone else []}
    try:
        chat.call("POST", "/api/v1/models/create", form)
        access = "everyone with an account may ask it" if everyone else "administrators alone may ask it"
    except ChatError as error:
        if "already registered" not in str(error):
            raise
        access = "who may ask it stays as it was"
    if name not in chat.models():  # reading the list also makes the server refresh it
        raise ServeError(f"{chat.url} took {name!r}, but does not list it. Does {url} answer from there?")
    return f"{chat.url} lists {name}, served at {url}: {access}."


def _read_connections(chat: Chat, url: str, name: str) -> _Hidden:
    try:
        config = _Hidden(chat.call("GET", "/openai/config", attempts=3) or {})
    except (ChatError, TypeError, ValueError) as error:
        if getattr(error, "may_pass", False):
            raise
        problem = f"{chat.url} is no Open WebUI of a known kind ({error})"
        if getattr(error, "status", None) in (401, 403):
            wish = f"under Settings, Connections: the address {url}, the model id {name}; and to let you use it"
            problem = f"this key is not an administrator's of {chat.url}. Ask one to add, {wish}"
        raise ServeError(f"Nothing was changed: {problem}. The model goes on answering at {url}.") from None
    if not isinstance(config.get("OPENAI_API_CONFIGS"), dict) or config.get("ENABLE_OPENAI_API") is False:
        cure = "Are they switched off (Settings, Connections)? Is it an Open WebUI?"
        raise ServeError(f"Nothing was changed: {chat.url} has no OpenAI connections. {cure}")
    return config


def _find_place(config: _Hidden, url: str, name: str) -> int | None:
    """Find the connection to replace: the same address, or this model alone on another port of the same host."""
    for place, other in enumerate(config["OPENAI_API_BASE_URLS"]):
        own = config["OPENAI_API_CONFIGS"].get(str(place), {}).get("model_ids") == [name]
        if other.rstrip("/") == url or (own and urlsplit(other).hostname == urlsplit(url).hostname):
            return place
    return None


def _with_connection(config: _Hidden, place: int | None, url: str, name: str, key: SecretStr) -> _Hidden:
    """Give the whole list with this connection in it, all others as they are: what is sent replaces what is there."""
    count, wanted = len(config["OPENAI_API_BASE_URLS"]), _Hidden(config)
    place = count if place is None else place
    for field, value in (("OPENAI_API_BASE_URLS", url), ("OPENAI_API_KEYS", key.get_secret_value())):
        padded = [*config[field], *[""] * (count - len(config[field]))]
        wanted[field] = [*padded[:place], value, *padded[place + 1 :]]
    about = config["OPENAI_API_CONFIGS"].get(str(place), {})
    ids = [*dict.fromkeys([*(about.get("model_ids") or []), name])]
    own = {str(place): about | {"enable": True, "model_ids": ids}}
    wanted["OPENAI_API_CONFIGS"] = config["OPENAI_API_CONFIGS"] | own
    return wanted


def _take_port(port: int) -> int:
    try:
        with socket.create_server(("127.0.0.1", port)) as found:
            return found.getsockname()[1]
    except OSError as error:
        cure = "Stop what serves there, or give another port."
        raise ServeError(f"Port {port} of this machine is not free ({error.strerror}). {cure}") from error
