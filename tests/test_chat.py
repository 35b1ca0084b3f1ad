"""The chat client against a scripted server that plays what real ones were seen to answer."""

import json
import logging
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from json_server import JsonServer
from pydantic import SecretStr

from helpers import chat as module
from helpers.chat import Chat, ChatError, connect

TOKEN = "sk-recognisable-0123456789"
MODELS = {"data": [{"id": "llama-3.1:8b"}, {"id": "org/mistral"}, {"id": "arena-model"}]}
PAGE = {"Content-Type": "text/html; charset=utf-8"}
STREAM = {"Content-Type": "text/event-stream"}


def completion(text: object, reason: str | None = "stop") -> dict:
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}]}


HELLO = (200, completion("Hello."))


@pytest.fixture
def server():
    """Gives POST the scripted replies in turn, the last one for ever; `refuse` goes before."""

    def play(request: dict) -> tuple:
        if request["body"] is None:
            return scripted.models
        refused = scripted.refuse(request["body"])
        replies = scripted.replies
        return refused or (replies.pop(0) if len(replies) > 1 else replies[0])

    with JsonServer(play) as scripted:
        scripted.replies, scripted.models = [HELLO], (200, MODELS)
        scripted.refuse = lambda body: None
        yield scripted


@pytest.fixture
def chat(server, caplog):
    caplog.set_level(logging.DEBUG)
    client = Chat(f"{server.url}/api", TOKEN, "org/mistral", timeout=(10, 10))
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
        ("a.fr", "https://a.fr/api"),
        ("https://a.fr/openai/chat/completions", "https://a.fr/api"),
        ("https://a.fr/api/v1/chat/completions/", "https://a.fr/api"),
        ("https://a.fr/demo@univ/api/chat/completions", "https://a.fr/demo@univ/api"),
        (' "http://localhost:11434/v1/" ', "http://localhost:11434/v1"),
        ("[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1"),
        ("https://a.fr/v1beta/openai/chat/completions", "https://a.fr/v1beta/openai"),
    ],
)
def test_addresses_are_reduced_to_their_base(given, base):
    assert Chat(given, TOKEN, "m").url == base


@pytest.mark.parametrize(
    ("url", "token", "key"),
    [
        ("", TOKEN, "OWUI_URL"),
        ("ftp://a.fr", TOKEN, "OWUI_URL"),
        ("http://[::1", TOKEN, "OWUI_URL"),
        ("https://me:p/pw9@a.fr", TOKEN, "OWUI_URL"),
        ("https://a.fr/api?key=pw9", TOKEN, "OWUI_URL"),
        ("https://a.fr", "é pw9", "OWUI_TOKEN"),
    ],
)
def test_what_is_no_address_or_no_token_is_refused_and_not_shown(url, token, key):
    with pytest.raises(ChatError, match=key) as caught:
        Chat(url, token, "m")
    assert "pw9" not in str(caught.value)


def test_a_question_is_sent_whole_signed_and_straight(server, chat, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert chat.ask("Hi", seed=7) == "Hello."
    request = server.requests[-1]
    assert request["path"] == "/api/chat/completions"
    assert request["headers"]["Authorization"] == f"Bearer {TOKEN}"
    assert request["body"].pop("messages") == [{"role": "user", "content": "Hi"}]
    settings = {"temperature": 0.0, "seed": 7, "max_tokens": 2048, "stream": False}
    assert request["body"] == {"model": "org/mistral", **settings}
    Chat(server.url, None, "m").ask("Hi")
    assert "Authorization" not in server.requests[-1]["headers"]


def test_a_stream_that_was_not_asked_for_is_put_together(server, chat):
    pieces = [{"delta": delta} for delta in ({"content": "É"}, {"content": "té\u2028"})]
    pieces.append({"delta": {}, "finish_reason": "stop"})
    lines = [f"data: {json.dumps({'choices': [piece]}, ensure_ascii=False)}\n" for piece in pieces]
    server.replies = [(200, "".join([": note\r\n", *lines, "data: [DONE]\n"]), STREAM)]
    assert chat.ask("Hi") == "Été"
    server.replies = [(200, "".join(lines[:-1]), STREAM), (200, "data: {", STREAM), HELLO]
    assert chat.ask("Hi") == "Hello."  # one that broke off is no answer


PASSING = [
    (429, {"error": {"message": f"Too many requests of {TOKEN}"}}),
    (502, "<html>Bad gateway</html>", PAGE),
    (400, {"detail": "Rate limit exceeded: wait"}),
    (0, ""),
    (200, "{broken"),
    (200, {"error": {"message": f"something with {TOKEN}"}}),
    (200, {"choices": []}),
    (200, completion("<think>only that</think>")),
    (200, completion("Hel", "content_filter")),
    (200, "data: [1]", STREAM),
]


@pytest.mark.parametrize("reply", PASSING)
def test_what_may_pass_is_tried_again(server, chat, reply):
    server.replies = [reply, reply, HELLO]
    assert chat.ask("Hi") == "Hello."
    assert len(server.requests) == 3
    server.replies = [reply]
    assert fail(chat, ".").may_pass and len(server.requests) == 3 + chat.attempts


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, {"detail": "Not authenticated"}), "401: Not authenticated.*OWUI_TOKEN"),
        ((401, {"detail": "You do not have permission to access this."}), "administrator"),
        ((403, {"detail": "Use of API key is not enabled."}), "403: .*administrator"),
        ((404, f"<html>{TOKEN}"), "404.*OWUI_URL"),
        ((404, {"error": {"message": "no such deployment"}}), "404: no such.*administrator"),
        ((400, {"detail": "maximum context length limit is 4096 tokens"}), "context length"),
        ((301, "", {"Location": f"https://b.fr/api?key={TOKEN}"}), "to https://b.fr/api.*OWUI_URL"),
        ((200, f"<!doctype html>{TOKEN}", PAGE), "text/html.*OWUI_URL"),
        ((200, completion("cut", "length")), "max_tokens = 2048"),
    ],
)
def test_what_will_not_pass_is_told_at_once(server, chat, reply, words):
    server.replies = [reply]
    error = fail(chat, words)
    assert (error.may_pass, error.status) == (False, reply[0] if reply[0] != 200 else 0)
    assert len(server.requests) == 1


def test_a_server_that_has_answered_is_waited_for(server, chat):
    chat.ask("Hi")
    server.replies = [(200, "<html>Login", PAGE), (400, {"detail": "Model not found"}), HELLO]
    assert chat.ask("Hi") == "Hello."
    server.replies = [(404, {"detail": "Not Found"})]
    fail(chat, "404.*administrator")  # its address is not the mistake


def test_an_unknown_model_is_named_with_its_neighbours(server, chat):
    server.replies, chat.model = [(404, {"detail": "Model not found"})], "llama-3"
    fail(chat, "no model 'llama-3'.*llama-3.1:8b")


def test_the_server_says_how_long_to_wait(server, chat, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.3)
    server.replies = [(429, {}, {"Retry-After": wait}) for wait in ("7200", "\xb2")] + [HELLO]
    start = time.monotonic()
    chat.ask("Hi")
    assert 0.3 <= time.monotonic() - start < 30


def test_a_server_that_cannot_be_reached_is_named(server):
    encrypted = server.url.replace("http:", "https:")
    fail(Chat(encrypted, None, "m", attempts=1), "SSLError.*http://.*Certificates")
    fail(Chat("http://127.0.0.1:9/v1", None, "m", attempts=1), "127.0.0.1:9/v1.*OWUI_URL")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        hanging = Chat(address, None, "m", timeout=(1, 0.05), attempts=1)
        fail(hanging, "ReadTimeout.*OWUI_URL")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ((200, {"data": []}), "no model.*administrator"),
        ((200, {"detail": "x"}), "lists no models.*OWUI_URL"),
    ],
)
def test_check_tells_what_is_wrong(server, chat, models, words):
    assert "3 model(s); org/mistral is one" in chat.check()
    server.models = (200, {"data": [{"id": "org/mistral:latest"}]})
    assert "1 model(s); org/mistral is one" in chat.check()
    server.models = models
    with pytest.raises(ChatError, match=words):
        chat.check()


def test_connect_takes_the_first_model_listed(server):
    chat = connect(f"{server.url}/v1", SecretStr(TOKEN), None)
    assert (chat.model, chat.ask("Hi")) == ("llama-3.1:8b", "Hello.")
    assert server.requests[-1]["path"] == "/v1/chat/completions"
    assert connect(server.url, None, "mine").model == "mine"


def test_without_an_address_the_practice_server_answers():
    for model in (None, "practice-judge", "of another server"):
        chat = connect(None, None, model)
        assert chat.model == (model if model == "practice-judge" else "practice-writer")
        assert "not an LLM" in chat.check() and chat.ask("Hi")
        chat.close()


def test_a_schema_goes_along_until_the_server_refuses_it(server, chat):
    schema = {"type": "object"}
    chat.ask("x", schema=schema)
    assert server.requests[-1]["body"]["response_format"]["json_schema"]["schema"] == schema
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
        ("Well.\n</think>Hello.\n", "stop", {}, "Hello."),
        ("Hello.<think>So", "eos_token", {}, "Hello."),
        ("", "stop", {"accept_empty": True}, ""),
        ("<think>What may that be", "length", {"accept_cut": True, "accept_empty": True}, ""),
        ("", None, {"accept_empty": True}, None),  # no model has ended it: the server broke off
    ],
)
def test_thoughts_are_removed_and_who_tests_a_model_takes_the_rest(
    server, chat, text, reason, options, expected
):
    chat.attempts = 1
    server.replies = [(200, completion(text, reason))]
    if expected is None:
        assert fail(chat, "empty or broken", **options).may_pass
    else:
        assert chat.ask("x", **options) == expected
