"""What the two tests on request share: a tuned model, another program's server, an Open WebUI."""

import contextlib
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from helpers import chat, dataset, model, train
from helpers.acronyms import Acronym
from helpers.config import REPOSITORY

TINY_CHAT = str(REPOSITORY / "stand_ins/tiny-chat")
OPEN_WEBUI = REPOSITORY / ".venv-openwebui/bin/open-webui"


def peak_megabytes(process: subprocess.Popen) -> int:
    status = Path(f"/proc/{process.pid}/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) // 1024 if found else 0


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def tune(acronyms: list[Acronym], records: list[dict], folder: Path) -> Path:
    """Teach tiny-chat the records, as notebook 2 does, and merge it."""
    device = model.pick_device("cpu")
    base, tokenizer = model.load_model(TINY_CHAT, device=device)
    knobs = train.Knobs.for_size(base.num_parameters(), len(acronyms))
    probes = dataset.make_probes(acronyms)
    rows = train.make_rows(records, train.rehearsal_conversations(base, tokenizer, probes, knobs))
    train.train(base, tokenizer, rows, folder / "adapter", knobs)
    train.merge(TINY_CHAT, folder / "adapter", folder / "acronyms", device=device)
    return folder / "acronyms"


@contextlib.contextmanager
def running(command: list, url: str, log_path: Path, **options) -> Iterator[subprocess.Popen]:
    """Start a server, wait until it answers at `url`, and end it afterwards."""
    with log_path.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **options)
    end = time.monotonic() + 300
    try:
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=5).status_code < 500:
                    break
            is_starting = process.poll() is None and time.monotonic() < end
            assert is_starting, log_path.read_text()[-3000:]
            time.sleep(0.3)
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def open_webui(upstream_url: str, key: str, folder: Path) -> Iterator[tuple]:
    """Boot it on loopback, another server behind it; give its process and address."""
    port = find_port()
    ours = {"DATA_DIR": str(folder / "data"), "OFFLINE_MODE": "true", "ENABLE_OLLAMA_API": "false"}
    ours |= {"OPENAI_API_BASE_URLS": upstream_url, "OPENAI_API_KEYS": key}
    ours |= {"ENABLE_API_KEYS": "true", "USER_PERMISSIONS_FEATURES_API_KEYS": "true"}
    ours |= {"NO_PROXY": "127.0.0.1,localhost", "WEBUI_SECRET_KEY": secrets.token_hex(16)}
    command = [OPEN_WEBUI, "serve", "--host", "127.0.0.1", "--port", str(port)]
    (folder / "data").mkdir()
    url, options = f"http://127.0.0.1:{port}", {"cwd": folder, "env": os.environ | ours}
    with running(command, f"{url}/health", folder / "log", **options) as process:
        yield process, url


def sign_up(url: str) -> tuple[str, str]:
    """Make an administrator and a learner; give his session and her API key."""
    visitor, password = chat.Chat(url, None), secrets.token_hex(12)
    person = {"name": "Admin", "email": "admin@example.org", "password": password}
    admin_token = visitor.call("POST", "/api/v1/auths/signup", person)["token"]
    admin = chat.Chat(url, admin_token)
    person = {
        "name": "Learner",
        "email": "learner@example.org",
        "password": password,
        "role": "user",
    }
    learner = chat.Chat(url, admin.call("POST", "/api/v1/auths/add", person)["token"])
    key = learner.call("POST", "/api/v1/auths/api_key")["api_key"]
    for each in (visitor, admin, learner):
        each.close()
    return admin_token, key
