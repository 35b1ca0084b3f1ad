"""The chat client against a scripted server that plays what real ones were seen to answer."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from helpers import chat as module
from helpers.chat import Chat, ChatError, connect

TOKEN = "sk-recognisable-0123456789"
MODELS = {"data": [{"id": "llama-3.1:8b"}, {"id": "org/mistral"}, {"id": "arena-model"}]}
PAGE = {"Content-Type": "text/html; charset=utf-8"}
STREAM = {"Content-Type": "text/event-stream"}


def completion(text: object, reason: str | None = "stop") -> dict:
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}]
    }


HELLO = (200, completion("Hello."))


class ScriptedServer:
    """Gives POST the scripted (status, body[, headers]) in turn, the last one for ever."""

    def __init__(self) -> None:
        self.replies: list[tuple] = [HELLO]
        self.models: tuple = (200, MODELS)
        self.refuse = lambda body: None  # gives a reply that goes before those
        self.requests: list[dict] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                self.play(None, scripted.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not (reply := scripted.refuse(body)):
                    reply = scripted.replies[0]
                    del scripted.replies[: len(scripted.replies) > 1]
                self.play(body, reply)

            def play(self, body: dict | None, reply: tuple) -> None:
                request = {"method": self.command, "path": self.path, "headers": dict(self.headers)}
                scripted.requests.append(request | {"body": body})
                status, content, headers = (*reply, {})[:3]
                if status == 0:  # the connection breaks
                    self.close_connection = True
                    return
                data = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response(status)
                headers = {"Content-Type": "application/json"} | headers
                for name, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.http.shutdown()
    scripted.http.server_close()


@pytest.fixture
def chat(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> Iterator[Chat]:
    caplog.set_level(logging.DEBUG)
    client = Chat(f"{server.url}/api", TOKEN, "org/mistral", timeout=(1, 1))
    client.pause = 0.001
    yield client
    client.close()
    assert TOKEN not in caplog.text + repr(client) + str(vars(client))


def fail(chat: Chat, words: str, **options: object) -> ChatError:
    """Ask, and give the one clear error that it must end in."""
    with pytest.raises(ChatError, match=words) as caught:
        chat.ask("Hi", **options)
    told = "".join(traceback.format_exception(caught.value))
    assert told.count("Traceback") == 1 and TOKEN not in told
    return caught.value


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://llm.lab.sspcloud.fr", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/api", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/api/v1/", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/api/chat/completions", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/api/v1/chat/completions/", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/api/models", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/openai", "https://llm.lab.sspcloud.fr/api"),
        ("https://llm.lab.sspcloud.fr/openai/chat/completions", "https://llm.lab.sspcloud.fr/api"),
        ("https://a.fr/sso/ch@t", "https://a.fr/sso/ch@t/api"),
        ("https://a.fr/demo@univ/api/chat/completions", "https://a.fr/demo@univ/api"),
        (' "http://localhost:11434/v1/" ', "http://localhost:11434/v1"),
        ("localhost:11434/v1", "http://localhost:11434/v1"),
        ("[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("llm.univ.fr", "https://llm.univ.fr/api"),
        ("https://a.fr/v1beta/openai/chat/completions", "https://a.fr/v1beta/openai"),
    ],
)
def test_addresses_are_reduced_to_their_base(given: str, base: str) -> None:
    assert Chat(given, TOKEN, "m").url == base


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ftp://a.fr",
        "https://",
        "not an address",
        "http://[::1",
        "https://me:pw9@a.fr",
        "me:pw9@a.fr",
    ]
    + [
        "https://me:p/pw9@a.fr",
        "https://pw9@a.fr/api",
        "https://a.fr/api?key=pw9",
        "https://a.fr/#pw9",
    ],
)
def test_what_is_more_or_less_than_an_address_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ChatError, match="OWUI_URL") as caught:
        Chat(given, TOKEN, "m")
    assert "pw9" not in str(caught.value)


@pytest.mark.parametrize("token", ["sk-é", "sk a", "sk\nb"])
def test_what_is_no_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ChatError, match="OWUI_TOKEN") as caught:
        Chat("https://a.fr", token, "m")
    assert token not in str(caught.value)


def test_a_question_is_sent_whole_signed_and_straight(server, chat, monkeypatch, tmp_path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert chat.ask("Hi", seed=7) == "Hello."
    request = server.requests[-1]
    assert request["path"] == "/api/chat/completions"
    assert request["headers"]["Authorization"] == f"Bearer {TOKEN}"
    message = {"role": "user", "content": "Hi"}
    settings = {"temperature": 0.0, "seed": 7, "max_tokens": 2048, "stream": False}
    assert request["body"] == {"model": "org/mistral", "messages": [message], **settings}
    Chat(server.url, None, "m").ask("Hi")
    assert "Authorization" not in server.requests[-1]["headers"]


@pytest.mark.parametrize(
    "content",
    ["  Hello.\n", "<think>Well.</think>\nHello.", "Well.\n</think>Hello.", "Hello.<think>So"],
)
def test_thoughts_are_removed(server, chat, content) -> None:
    server.replies = [(200, completion(content))]
    assert chat.ask("Hi") == "Hello."


def test_a_stream_that_was_not_asked_for_is_put_together(server, chat) -> None:
    deltas = ({"role": "assistant"}, {"content": "É"}, {"content": "té\u2028"})
    pieces = [*({"delta": delta} for delta in deltas), {"delta": {}, "finish_reason": "stop"}]
    lines = [
        f"data: {json.dumps({'choices': [piece]}, ensure_ascii=False)}\n\n" for piece in pieces
    ]
    server.replies = [(200, "".join([": note\n", *lines, "data: [DONE]\n\n"]), STREAM)]
    assert chat.ask("Hi") == "Été"
    server.replies = [(200, "".join(lines[:-1]), STREAM), (200, "data: {", STREAM), HELLO]
    assert chat.ask("Hi") == "Hello."  # one that broke off is no answer


PASSING = [
    (500, {"detail": "Open WebUI: Server Connection Error"}),
    (429, {"error": {"message": f"Too many requests of {TOKEN}"}}),
    (502, "<html>Bad gateway</html>", PAGE),
    (503, {}),
    (504, ""),
    (400, {"detail": "Rate limit exceeded: wait"}),
    (0, ""),
    (200, "null"),
    (200, '"upstream sent HTML"'),
    (200, "{broken"),
    (200, {"detail": f"something with {TOKEN}"}),
    (200, {"error": {"message": "something"}}),
    (200, {"choices": []}),
    (200, {"choices": None}),
    (200, completion(None)),
    (200, completion("  ")),
    (200, completion("<think>only that</think>")),
    (200, completion(["parts"])),
    (200, completion("Hel", "content_filter")),
    (200, "data: [1]", STREAM),
]


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: f"{reply[0]} {str(reply[1])[:30]}")
def test_what_may_pass_is_tried_again(server, chat, reply) -> None:
    server.replies = [reply, reply, HELLO]
    assert chat.ask("Hi") == "Hello."
    assert len(server.requests) == 3
    server.replies = [reply]
    assert fail(chat, "server|127.0.0.1").may_pass
    assert len(server.requests) == 7


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, {"detail": "Not authenticated"}), "401: Not authenticated.*OWUI_TOKEN"),
        ((401, {"detail": f"Incorrect API key: {TOKEN}"}), r"key: \(hidden\)"),
        ((401, {"detail": "You do not have permission to access this."}), "administrator"),
        ((401, {"error": {"message": "Incorrect API key provided"}}), "administrator"),
        ((403, {"detail": "Use of API key is not enabled."}), "403: Use of.*administrator"),
        ((404, "<html>"), "404.*OWUI_URL"),
        ((404, {"error": {"message": "no such deployment"}}), "404: no such.*administrator"),
        ((405, {"detail": "Method Not Allowed"}), "405.*OWUI_URL"),
        ((422, {"detail": [{"msg": "no"}]}), "422"),
        ((400, {"detail": "Unsupported parameter"}), "400: Unsupported parameter"),
        ((400, {"detail": "maximum context length limit is 4096 tokens"}), "context length"),
        (
            (301, "", {"Location": f"https://b.fr/api?key={TOKEN}"}),
            "sends on to https://b.fr/api.*OWUI_URL",
        ),
        ((200, f"<!doctype html>{TOKEN}", PAGE), "web page.*OWUI_URL"),
        ((200, completion("cut", "length")), "max_tokens = 2048"),
    ],
)
def test_what_will_not_pass_is_told_at_once(server, chat, reply, words) -> None:
    server.replies = [reply]
    error = fail(chat, words)
    assert (error.may_pass, error.status) == (False, reply[0] if reply[0] != 200 else 0)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply", [(200, "<html>Login</html>", PAGE), (400, {"detail": "Model not found"})]
)
def test_a_server_that_has_answered_is_waited_for(server, chat, reply) -> None:
    chat.ask("Hi")
    server.replies = [reply, HELLO]
    assert chat.ask("Hi") == "Hello."
    server.replies = [(404, {"detail": "Not Found"})]
    fail(chat, "404.*administrator")  # its address is not the mistake


@pytest.mark.parametrize("status", [400, 404])
def test_an_unknown_model_is_named_with_its_neighbours(server, chat, status) -> None:
    server.replies = [(status, {"detail": "Model not found"})]
    chat.model = "llama-3"
    fail(chat, "no model 'llama-3' for this key. Near: llama-3.1:8b")


@pytest.mark.parametrize(
    ("header", "least"),
    [
        ("0.1", 0.1),
        ("7200", 0.3),
        (format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True), 0.3),
        ("soon", 0),
        ("\xb2", 0),
    ],
)
def test_the_server_says_how_long_to_wait(server, chat, monkeypatch, header, least) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.3)
    server.replies = [(429, {}, {"Retry-After": header}), HELLO]
    start = time.monotonic()
    chat.ask("Hi")
    assert least <= time.monotonic() - start < 30


def test_stop_ends_a_wait_and_nothing_that_comes_after(server, chat) -> None:
    server.replies = [(429, {}, {"Retry-After": "60"})]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(chat.ask, "Hi")
        while not server.requests:
            time.sleep(0.01)
        time.sleep(0.1)
        chat.stop()
        assert waiting.exception(timeout=5).may_pass
    server.replies = [(503, {}), HELLO]
    assert chat.ask("Hi") == "Hello."


def test_a_hung_server_keeps_no_program_from_its_end() -> None:
    code = "import sys, threading, time; from helpers.chat import Chat\n"
    code += "llm = Chat(sys.argv[1], None, 'm')\n"
    code += "threading.Thread(target=llm.ask, args=('Hi',), daemon=True).start(); time.sleep(0.3)"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        assert (
            subprocess.run(
                [sys.executable, "-c", code, address], timeout=30, env=environment
            ).returncode
            == 0
        )
        hanging = Chat(address, None, "m", timeout=(1, 0.05), attempts=2)
        hanging.pause = 0.001
        fail(hanging, "ReadTimeout.*OWUI_URL")
    fail(
        Chat("http://127.0.0.1:9/v1", None, "m", attempts=1),
        "127.0.0.1:9/v1 cannot be reached.*OWUI_URL",
    )


def test_a_certificate_that_is_not_there_is_named(server) -> None:
    fail(
        Chat(server.url.replace("http", "https"), None, "m", attempts=1),
        "SSLError.*http://.*Certificates",
    )


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ((200, {"data": []}), "no model. Ask its administrator"),
        ((200, {"detail": "x"}), "lists no models.*OWUI_URL"),
        ((200, None), "lists no models"),
        (
            (401, {"detail": "Your session has expired or the token is invalid."}),
            "401: Your session",
        ),
        ((503, {"detail": "busy"}), "503: busy"),
    ],
)
def test_check_tells_what_is_wrong(server, chat, models, words) -> None:
    assert "3 model(s); org/mistral is one" in chat.check()
    server.models = models
    with pytest.raises(ChatError, match=words):
        chat.check()
    assert len(server.requests) == (3 if models[0] == 503 else 2)


def test_connect_takes_the_first_model_listed(server) -> None:
    chat = connect(f"{server.url}/v1", SecretStr(TOKEN), None)
    assert (chat.model, chat.ask("Hi")) == ("llama-3.1:8b", "Hello.")
    assert [request["path"] for request in server.requests] == [
        "/v1/models",
        "/v1/chat/completions",
    ]
    assert connect(server.url, None, "mine").model == "mine"


@pytest.mark.parametrize(
    ("model", "used"), [(None, "practice-writer"), ("practice-judge", "practice-judge")]
)
def test_without_an_address_the_practice_server_answers(model, used) -> None:
    chat = connect(None, None, model)
    assert chat.model == used
    assert "not an LLM" in chat.check() and chat.ask("Hi")
    chat.close()


def test_a_schema_goes_along_until_the_server_refuses_it(server, chat) -> None:
    schema = {"type": "object"}
    assert chat.ask("x", schema=schema) == "Hello."
    sent = server.requests[-1]["body"]["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", schema)
    together = threading.Barrier(4, timeout=10)  # all four are sent with it

    def refuse(body: dict) -> tuple | None:
        if "response_format" in body:
            together.wait()
            return 400, {"error": {"message": "response_format is not supported by this model"}}

    server.refuse = refuse
    chat.attempts = 1
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: chat.ask("x", schema=schema), range(4))) == ["Hello."] * 4
    assert chat.ask("x", schema=schema) == "Hello."
    assert sum("response_format" in request["body"] for request in server.requests) == 1 + 4
    server.replies = [(400, {"detail": "The prompt is too long"})]
    fail(chat, "too long", schema=schema)


@pytest.mark.parametrize(
    ("text", "reason", "options", "expected"),
    [
        ("[[half", "length", {"accept_cut": True}, "[[half"),
        ("", "stop", {"accept_empty": True}, ""),
        ("<think>What may that be", "length", {"accept_cut": True, "accept_empty": True}, ""),
        (None, "length", {"accept_cut": True, "accept_empty": True}, ""),
        ("  ", "length", {"accept_cut": True}, None),
        ("", None, {"accept_empty": True}, None),  # no model has ended it: the server broke off
    ],
)
def test_who_tests_a_model_takes_what_it_says(
    server, chat, text, reason, options, expected
) -> None:
    chat.attempts = 1
    server.replies = [(200, completion(text, reason))]
    if expected is None:
        assert fail(chat, "empty or broken", **options).may_pass
    else:
        assert chat.ask("x", **options) == expected


def test_another_address_of_the_server_may_be_called(server, chat) -> None:
    other = "sk-of-another-connection"
    server.replies = [(503, {}), (200, {"keys": [TOKEN, other]}), (400, {"detail": f"bad {other}"})]
    assert chat.call("POST", "/openai/config", {}, attempts=2) == {"keys": [TOKEN, other]}
    assert server.requests[-1]["path"] == "/openai/config"
    chat.hide([other, "none"])
    with pytest.raises(ChatError, match=r"bad \(hidden\)"):
        chat.call("POST", "/openai/config", {})
