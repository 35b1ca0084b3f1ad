"""A served model answers as the loaded one, and an Open WebUI lists it: once, and without telling a key."""

import json
import socket
import threading
import traceback
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from json_handler import JsonHandler

from helpers import chat, compare, model, serve
from stand_ins.practice_server import PracticeServer

OTHER_KEY = "sk-" + "another-connection-s-key"
URL = "http://127.0.0.1:8123/v1"


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer() as running:
        others = {"OPENAI_API_BASE_URLS": ["https://llm.example.org/v1"], "OPENAI_API_KEYS": [OTHER_KEY]}
        running.connections |= others | {"OPENAI_API_CONFIGS": {"0": {"enable": True, "model_ids": ["big"]}}}
        yield running


@pytest.fixture
def admin(server: PracticeServer) -> Iterator[chat.Chat]:
    talk = chat.Chat(server.url, server.token)
    yield talk
    talk.close()


@pytest.fixture
def learner(server: PracticeServer) -> Iterator[chat.Chat]:
    talk = chat.Chat(server.url, server.learner_token)
    yield talk
    talk.close()


def test_a_listed_model_is_added_to_the_others(server, admin) -> None:
    said = serve.register(admin, URL + "/", "acronyms", everyone=False, key="sk-of-ours")
    assert said == f"{server.url} lists acronyms, served at {URL}: administrators alone may ask it."
    assert server.connections == {
        "ENABLE_OPENAI_API": True,
        "OPENAI_API_BASE_URLS": ["https://llm.example.org/v1", URL],
        "OPENAI_API_KEYS": [OTHER_KEY, "sk-of-ours"],
        "OPENAI_API_CONFIGS": {
            "0": {"enable": True, "model_ids": ["big"]}, "1": {"enable": True, "model_ids": ["acronyms"]}
        },
    }  # fmt: skip


def test_listing_again_changes_nothing_and_another_port_moves_the_entry(server, admin) -> None:
    serve.register(admin, URL, "acronyms", everyone=True)
    before = json.dumps(server.connections)
    assert "stays as it was" in serve.register(admin, URL, "acronyms", everyone=False)
    assert json.dumps(server.connections) == before and server.entries["acronyms"]["access_grants"] == [serve.EVERYONE]
    serve.register(admin, URL.replace("8123", "8124"), "acronyms", everyone=True)
    assert server.connections["OPENAI_API_BASE_URLS"] == ["https://llm.example.org/v1", URL.replace("8123", "8124")]
    assert server.connections["OPENAI_API_KEYS"] == [OTHER_KEY, "none"]
    serve.register(admin, URL.replace("8123", "8124"), "more-acronyms", everyone=True)
    assert server.connections["OPENAI_API_CONFIGS"]["1"]["model_ids"] == ["acronyms", "more-acronyms"]
    assert admin.models().count("acronyms") == 1


@pytest.mark.parametrize("everyone", [True, False])
def test_a_learner_sees_what_is_granted(admin, learner, everyone: bool) -> None:
    serve.register(admin, URL, "acronyms", everyone=everyone)
    assert ("acronyms" in learner.models()) is everyone and "acronyms" in admin.models()


def test_a_learner_s_key_is_told_what_to_ask_for_and_changes_nothing(server, learner) -> None:
    before = json.dumps(server.connections)
    with pytest.raises(serve.ServeError, match="Nothing was changed: this key is not an administrator's") as refused:
        serve.register(learner, URL, "acronyms", everyone=True)
    assert URL in str(refused.value) and "the model id acronyms" in str(refused.value)
    assert json.dumps(server.connections) == before and not server.entries


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("my model", {}, "'my model' cannot be the id"),
        ("", {}, "cannot be the id"),
        ("practice-judge", {}, "has another model 'practice-judge'"),
        ("big", {}, "has another model 'big'"),
        ("acronyms", {"ENABLE_OPENAI_API": False}, "no OpenAI connections. Are they switched off"),
    ],
)
def test_what_cannot_be_listed_is_refused_before_any_change(server, admin, name, change, problem) -> None:
    server.connections |= change
    before = json.dumps(server.connections)
    with pytest.raises(serve.ServeError, match=problem):
        serve.register(admin, URL, name, everyone=True)
    assert json.dumps(server.connections) == before and not server.entries


def test_a_far_server_is_not_given_an_address_of_this_machine(server, monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    far = chat.Chat(f"http://127.1:{server.port}/api", server.token)  # an address that is not known as this machine's
    with pytest.raises(serve.ServeError, match="cannot reach it"):
        serve.register(far, URL, "acronyms", everyone=True)
    assert "lists acronyms" in serve.register(far, "https://gpu.example.org/v1", "acronyms", everyone=True)
    far.close()


def test_a_listed_model_that_does_not_answer_is_an_error_of_its_own(server, admin) -> None:
    serve.register(admin, "http://127.0.0.1:9/v1", "acronyms", everyone=True)
    admin.model, admin.attempts = "acronyms", 1
    with pytest.raises(chat.ChatError, match="Server Connection Error"):
        admin.ask("What is CNU?")


class Hostile(JsonHandler):
    """An Open WebUI that repeats what it is sent, keys too, in an error."""

    def do_GET(self) -> None:
        lists = {"OPENAI_API_BASE_URLS": ["https://a.example.org"], "OPENAI_API_KEYS": [OTHER_KEY]}
        config = lists | {"OPENAI_API_CONFIGS": self.server.configs}
        self.send(
            200, {"data": []} if self.path == "/api/models" else config if self.server.configs is not None else {}
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send(422, {"detail": [{"input": body[body.index("OPENAI_API_KEYS") :]}]})


@pytest.mark.parametrize("configs", [{}, ["of another kind"], None])
def test_no_key_is_in_a_message_or_in_a_traceback_that_shows_variables(configs) -> None:
    hostile = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    hostile.configs = configs
    threading.Thread(target=hostile.serve_forever, args=(0.05,), daemon=True).start()
    ours = "sk-" + "our-own-server-s-key"
    talk = chat.Chat(f"http://127.0.0.1:{hostile.server_port}", "sk-" + "administrator-s-key")
    with pytest.raises((chat.ChatError, serve.ServeError)) as caught:
        serve.register(talk, URL, "acronyms", everyone=True, key=ours)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    own_frames = shown[shown.index("in register") :]  # above is this test, which knows the keys
    assert OTHER_KEY not in own_frames and ours not in own_frames and "administrator-s-key" not in own_frames
    talk.close()
    hostile.shutdown()
    hostile.server_close()


# transformers serve


@pytest.fixture(scope="module")
def served(small_model_dir: Path) -> Iterator[serve.ModelServer]:
    with serve.ModelServer(small_model_dir, device="cpu") as running:
        yield running


def test_the_served_model_answers_as_the_loaded_one_also_through_the_list(served, server, admin) -> None:
    whole, tokenizer = model.load_model(str(served.model_dir), device=model.pick_device("cpu"))
    questions = ["What does CGT stand for?", "Que veut dire BNF ?", "Hello"]
    wanted = model.answer(whole, tokenizer, questions, max_new_tokens=12)
    direct = chat.Chat(served.url, None, served.name)
    ask_many = compare.in_threads(partial(direct.ask, max_tokens=12, accept_cut=True), 24)
    assert ask_many(questions * 8) == wanted * 8
    direct.close()
    serve.register(admin, served.url, served.name, everyone=True)
    admin.model = served.name
    assert [admin.ask(question, max_tokens=12, accept_cut=True) for question in questions] == wanted
    body = {"model": served.name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    reply = admin.call("POST", "/api/chat/completions", body)
    assert reply["system_fingerprint"] == f"passed on to {served.url} by the practice server"


def test_a_stopped_server_frees_its_port(small_model_dir: Path) -> None:
    server = serve.ModelServer(small_model_dir, device="cpu", patience=0.1)
    with pytest.raises(serve.ServeError, match="does not answer after 0 seconds. Give it more `patience`"):
        server.start()
    assert serve._take_port(server.port) == server.port


def test_what_cannot_be_served_says_why(tmp_path: Path) -> None:
    with pytest.raises(serve.ServeError, match="holds no whole model. Make one of base and adapter"):
        serve.ModelServer(tmp_path).start()
    (tmp_path / "config.json").write_text('{"model_type": "no such type"}', encoding="utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(serve.ServeError, match=f"Port {port} of this machine is not free"):
            serve.ModelServer(tmp_path, port=port).start()
    with pytest.raises(serve.ServeError, match="is not served; transformers serve says:\n(?s:.)*Error: "):
        serve.ModelServer(tmp_path, device="cpu").start()
