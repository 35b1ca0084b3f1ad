"""A hub on loopback with tiny-chat's files: what a user reads who loads from it.

It speaks what huggingface_hub asks for a small model. The real hub keeps weights in a store of its
own (Xet), which is not imitated.
"""

import hashlib
import json
import os
import re
import sys
from subprocess import PIPE, Popen

import pytest
from json_server import JsonServer

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
constants.DOWNLOAD_CHUNK_SIZE = 2**20  # it goes on at whole chunks, else of 10 MB
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


class Hub(JsonServer):
    """Knows whoever has accepted a licence, and breaks off the answers that `cuts` counts."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.cuts = {"cut-once": 1, "cut-always": 99, "drops": 99}

    def answer(self, request: dict) -> tuple:
        status, content, headers = (*self.find(request), {})[:3]
        return status, content, headers | {"Connection": "close"}  # none outlives the hub

    def find(self, request: dict) -> tuple:
        path, headers = request["path"].partition("?")[0], request["headers"]
        name, file_name = path.removeprefix("/api/models").split("/")[2], path.split("/")[-1]
        token = (headers["Authorization"] or "").removeprefix("Bearer ")
        if name == "drops" in self.cuts:
            return 0, ""
        if token == MISTYPED:
            return 401, "", {"X-Error-Message": "Invalid credentials in Authorization header"}
        if path == f"/api/models/org/{name}" and name != "private":
            return 200, {"id": f"org/{name}", "sha": COMMIT}
        if name in CODES and token != MEMBER:
            status = 401 if not token else 403 if name == "gated" else 404
            return status, "", {"X-Error-Code": CODES[name]}
        if "resolve" not in path or not (FILES / file_name).exists():
            return 404, "", {"X-Error-Code": "EntryNotFound"}
        content = (FILES / file_name).read_bytes()
        start = int(re.sub(r"\D", "", headers["Range"] or "0"))
        about = {"X-Repo-Commit": COMMIT, "ETag": hashlib.sha256(content).hexdigest()}
        about["Content-Length"] = len(content) - start
        if start:
            about["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if request["method"] == "GET" and len(content) > 10**6 and self.cuts.get(name):
            self.cuts[name] -= 1
            content = content[: len(content) // 2]
        return 206 if start else 200, content[start:], about


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        yield server


@pytest.fixture(scope="module")
def user(hub, tmp_path_factory):
    """A process of its own, as HF_ENDPOINT is read at the first import; its errors go to a file."""
    folder = tmp_path_factory.mktemp("user")
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder)}
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


def test_a_download_cut_off_is_gone_on_with(user, hub):
    assert user("cut-once") == NASA
    asked = [
        request["headers"]["Range"] for request in hub.requests if "cut-once" in request["path"]
    ]
    assert [*filter(None, asked)] == ["bytes=2097152-"]


@pytest.mark.parametrize(("name", "reason"), [("cut-always", "peer closed"), ("drops", "disconn")])
def test_a_hub_that_breaks_off_is_named_and_the_next_load_is_whole(user, hub, name, reason):
    assert is_refused(user(name), name, reason)
    hub.cuts.pop(name)
    assert user(name) == NASA


def test_without_a_network_the_cached_copy_serves(user, hub):
    """Asked for by HF_HUB_OFFLINE, then with the hub gone; the last test, for that reason."""
    assert user("public") == NASA
    for offline in (True, False):
        assert user("public", offline=offline) == NASA
        assert is_refused(user("absent", offline=offline), "absent", "couldn't connect")
        hub.shutdown()
        hub.server_close()
