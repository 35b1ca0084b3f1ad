"""A hub on loopback with tiny-chat's files: what a user reads who loads from it.

It speaks what huggingface_hub asks for a small model. The real hub keeps weights in a store of its
own (Xet), which is not imitated.
"""

import hashlib
import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import PIPE, Popen
from threading import Thread

import pytest

from helpers.config import REPOSITORY

pytestmark = pytest.mark.long
FILES = REPOSITORY / "stand_ins/tiny-chat"
COMMIT = "0123456789" * 4
CODES = {"gated": "GatedRepo", "private": "RepoNotFound"}
MEMBER = "hf_member"  # who has accepted the licence
STRANGER, MISTYPED = "hf_stranger", "hf_mistyped"
NASA = "NASA stands for National Aeronautics and Space Administration."
CHILD = """
import json, os, sys, time
from huggingface_hub import constants
from helpers.model import ModelError, answer, load_model, pick_device, read_shape

time.sleep = lambda seconds: None  # the library waits before it tries again
for line in sys.stdin:
    name, os.environ["HF_TOKEN"], constants.HF_HUB_OFFLINE = json.loads(line)
    try:
        read_shape(name)
        loaded = load_model(name, device=pick_device("cpu"))
        [said] = answer(*loaded, ["What does NASA stand for?"])
    except ModelError as error:
        said = str(error)
    print(json.dumps(said), flush=True)
"""


class Hub(BaseHTTPRequestHandler):
    broken = {"drops"}  # it answers nothing

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api/models")
        name, file_name = path.split("/")[2], path.split("/")[-1]
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if name in self.broken:
            return
        if token == MISTYPED:
            self.send(401, **{"X-Error-Message": "Invalid credentials in Authorization header"})
        elif path == f"/org/{name}" and name != "private":
            self.send(200, json.dumps({"id": path[1:], "sha": COMMIT}).encode())
        elif name in CODES and token != MEMBER:
            status = 401 if not token else 403 if name == "gated" else 404
            self.send(status, **{"X-Error-Code": CODES[name]})
        elif "resolve" not in path or not (FILES / file_name).exists():
            self.send(404, **{"X-Error-Code": "EntryNotFound"})
        else:
            content = (FILES / file_name).read_bytes()
            self.send(200, content, ETag=hashlib.sha256(content).hexdigest())

    do_HEAD = do_GET

    def send(self, status: int, body: bytes = b"", **headers) -> None:
        self.send_response(status)
        headers = {"X-Repo-Commit": COMMIT, "Content-Length": len(body)} | headers
        for header, value in headers.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def hub():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def user(hub, tmp_path_factory):
    """A process of its own, as HF_ENDPOINT is read at the first import; its errors go to a file."""
    folder = tmp_path_factory.mktemp("user")
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(folder)}
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("HF_")}
    options = {"cwd": REPOSITORY, "env": environment | settings, "stdin": PIPE, "stdout": PIPE}
    command = [sys.executable, "-c", CHILD]
    with (
        open(folder / "errors", "w+") as errors,
        Popen(command, stderr=errors, text=True, **options) as process,
    ):

        def load(name: str, token: str = "", *, offline: bool = False) -> str:
            print(json.dumps([f"org/{name}", token, offline]), file=process.stdin, flush=True)
            said = process.stdout.readline()
            errors.seek(0)
            printed = said + errors.read()
            assert said and "Traceback" not in printed, printed
            assert not re.search(f"{MEMBER}|{STRANGER}|{MISTYPED}", printed)
            return json.loads(said)

        yield load
        process.stdin.close()


def is_refused(said: str, name: str, reason: str) -> bool:
    """Whether it is one line with the name, the reason, and the page to open."""
    cure = rf"Open https://huggingface\.co/org/{name}: .*accept its licence and set HF_TOKEN.*"
    line = rf"MODEL_NAME org/{name} cannot be loaded: .*{reason}.*\. {cure}"
    return re.fullmatch(line, said) is not None


@pytest.mark.parametrize(
    ("name", "reason"), [("gated", "gated repo"), ("private", "not a valid model identifier")]
)
def test_what_a_user_may_not_see_names_the_page_and_then_loads(user, name, reason):
    for token in ("", STRANGER):
        assert is_refused(user(name, token), name, reason)
    assert user(name, MEMBER) == NASA


def test_a_public_model_needs_no_token_and_refuses_a_wrong_one(user):
    assert is_refused(user("public", MISTYPED), "public", "401 Unauthorized")
    assert user("public") == NASA


def test_a_hub_that_breaks_off_is_named_and_the_next_load_is_whole(user):
    assert is_refused(user("drops"), "drops", "disconn")
    Hub.broken.clear()
    assert user("drops") == NASA


def test_without_a_network_the_cached_copy_serves(user, hub):
    """Asked for by HF_HUB_OFFLINE, then with the hub gone; the last test, for that reason."""
    assert user("public") == NASA
    for offline in (True, False):
        assert user("public", offline=offline) == NASA
        assert is_refused(user("absent", offline=offline), "absent", "couldn't connect")
        hub.shutdown()
        hub.server_close()
