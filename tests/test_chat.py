"""The chat client against a scripted server that plays what real ones were seen to answer."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from helpers import chat as chat_module
from helpers.chat import Chat, ChatError, connect

TOKEN = "sk-recognisable-0123456789"
MODELS = {"data": [{"id": "llama-3.1:8b"}, {"id": "org/mistral"}, {"id": "arena-model"}]}


def completion(text: object, reason: str | None = "stop") -> dict:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}]}


class ScriptedServer:
    """Answers POST with the scripted replies in turn, the last one for ever; (status, body[, headers])."""

    def __init__(self) -> None:
        self.replies: list[tuple] = [(200, completion("Hello."))]
        self.models: tuple = (200, MODELS)
        self.requests: list[dict] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                self.play(None, scripted.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                several = len(scripted.replies) > 1
                self.play(body, scripted.replies.pop(0) if several else scripted.replies[0])

            def play(self, body: dict | None, reply: tuple) -> None:
                request = {"method": self.command, "path": self.path, "headers": dict(self.headers)}
                scripted.requests.append(request | {"body": body})
                status, content, headers = (*reply, {})[:3]
                if status == 0:  # the connection breaks
                    self.close_connection = True
                    return
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

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
def chat(server: ScriptedServer) -> Iterator[Chat]:
    client = Chat(f"{server.url}/api", TOKEN, "org/mistral", timeout=(1, 1))
    client.pause = 0.001
    yield client
    client.close()


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
        ("https://a.fr/sso/ch@t", "https://a.fr/sso/ch@t/api"),
        ("https://a.fr/demo@univ/api/chat/completions", "https://a.fr/demo@univ/api"),
        (' "http://localhost:11434/v1/" ', "http://localhost:11434/v1"),
        ("localhost:11434/v1", "http://localhost:11434/v1"),
        ("llm.univ.fr", "https://llm.univ.fr/api"),
        ("https://a.fr/v1beta/openai/chat/completions", "https://a.fr/v1beta/openai"),
    ],
)
def test_addresses_are_reduced_to_their_base(given: str, base: str) -> None:
    assert Chat(given, TOKEN, "m").url == base


@pytest.mark.parametrize("given", ["", "ftp://a.fr", "https://", "not an address", "https://me:pass@a.fr"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ChatError, match="OWUI_URL"):
        Chat(given, TOKEN, "m")


@pytest.mark.parametrize("token", ["sk-é", "sk a", "sk\nb"])
def test_what_is_no_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ChatError, match="OWUI_TOKEN") as caught:
        Chat("https://a.fr", token, "m")
    assert token not in str(caught.value)


def test_a_question_is_sent_whole_and_signed(server: ScriptedServer, chat: Chat) -> None:
    assert chat.ask("Hi", seed=7) == "Hello."
    request = server.requests[-1]
    assert request["path"] == "/api/chat/completions"
    assert request["headers"]["Authorization"] == f"Bearer {TOKEN}"
    message = {"role": "user", "content": "Hi"}
    settings = {"temperature": 0.0, "seed": 7, "max_tokens": 2048, "stream": False}
    assert request["body"] == {"model": "org/mistral", "messages": [message], **settings}


def test_neither_netrc_nor_proxy_comes_in_between(
    server: ScriptedServer, chat: Chat, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    chat.ask("Hi")
    assert server.requests[-1]["headers"]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("  Hello.\n", "Hello."),
        ("<think>Let me see.</think>\nHello.", "Hello."),
        ("Let me see.\n</think>Hello.", "Hello."),
        ("Hello.<think>Was that", "Hello."),
    ],
)
def test_thoughts_are_removed(server: ScriptedServer, chat: Chat, content: str, text: str) -> None:
    server.replies = [(200, completion(content))]
    assert chat.ask("Hi") == text


def test_a_stream_is_put_together(server: ScriptedServer, chat: Chat) -> None:
    deltas = ({"role": "assistant"}, {"content": "É"}, {"content": "té\u2028"})
    pieces = [*({"delta": delta} for delta in deltas), {"delta": {}, "finish_reason": "stop"}]
    lines = [f"data: {json.dumps({'choices': [piece]}, ensure_ascii=False)}\n\n" for piece in pieces]
    server.replies = [(200, "".join([*lines, "data: [DONE]\n\n"]), {"Content-Type": "text/event-stream"})]
    assert chat.ask("Hi") == "Été"
    server.replies = [(200, "".join(lines[:-1]), {"Content-Type": "text/event-stream"})]
    with pytest.raises(ChatError, match="none came"):
        chat.ask("Hi")


PASSING = [
    (500, {"detail": "Open WebUI: Server Connection Error"}),
    (429, {"error": {"message": "Too many requests"}}),
    (502, "<html>Bad gateway</html>", {"Content-Type": "text/html"}),
    (503, {}),
    (504, ""),
    (400, {"detail": "Rate limit exceeded: wait"}),
    (0, ""),
    (200, "null"),
    (200, '"upstream sent HTML"'),
    (200, "{broken"),
    (200, {"detail": "something"}),
    (200, {"error": {"message": "something"}}),
    (200, {"choices": []}),
    (200, {"choices": None}),
    (200, completion(None)),
    (200, completion("  ")),
    (200, completion("<think>only that</think>")),
    (200, completion(["parts"])),
    (200, completion("Hel", "content_filter")),
]


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: f"{reply[0]} {str(reply[1])[:30]}")
def test_what_may_pass_is_tried_again(server: ScriptedServer, chat: Chat, reply: tuple) -> None:
    server.replies = [reply, reply, (200, completion("Hello."))]
    assert chat.ask("Hi") == "Hello."
    assert len(server.requests) == 3
    server.replies = [reply]
    with pytest.raises(ChatError, match="Tried 4 times"):
        chat.ask("Hi")
    assert len(server.requests) == 7


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, {"detail": "Not authenticated"}), "401: Not authenticated.*OWUI_TOKEN"),
        ((401, {"detail": f"Incorrect API key: {TOKEN}"}), r"key: \(hidden\)"),
        (
            (403, {"detail": "Use of API key is not enabled."}),
            "403: Use of.*administrator",
        ),
        ((404, "<html>"), "404.*address is wrong"),
        ((405, {"detail": "Method Not Allowed"}), "405.*address is wrong"),
        ((422, {"detail": [{"msg": "no"}]}), "422"),
        ((400, {"detail": "Unsupported parameter"}), "400: Unsupported parameter"),
        ((301, "", {"Location": "https://b.fr/api/chat/completions"}), "sends on to https://b.fr/api"),
        ((200, "<!doctype html>", {"Content-Type": "text/html; charset=utf-8"}), "web page.*sspcloud"),
        ((200, completion("cut", "length")), "max_tokens = 2048"),
    ],
)
def test_what_will_not_pass_is_told_at_once(server: ScriptedServer, chat: Chat, reply: tuple, words: str) -> None:
    server.replies = [reply]
    with pytest.raises(ChatError, match=words) as caught:
        chat.ask("Hi")
    assert len(server.requests) == 1
    assert TOKEN not in f"{caught.getrepr()} {caught.value!r} {chat!r} {vars(chat)}"


@pytest.mark.parametrize("status", [400, 404])
def test_an_unknown_model_is_named_with_its_neighbours(server: ScriptedServer, chat: Chat, status: int) -> None:
    server.replies = [(status, {"detail": "Model not found"})]
    chat.model = "llama-3"
    with pytest.raises(ChatError, match="no model 'llama-3' for this key. Near: llama-3.1:8b"):
        chat.ask("Hi")


def test_a_model_that_answered_before_is_waited_for(server: ScriptedServer, chat: Chat) -> None:
    chat.ask("Hi")
    server.replies = [(400, {"detail": "Model not found"}), (200, completion("Hello."))]
    assert chat.ask("Hi") == "Hello."
    assert [request["method"] for request in server.requests] == ["POST", "POST", "GET", "POST"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        ("7200", 60),
        (format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True), 60),
        ("soon", 0),
    ],
)
def test_the_server_says_how_long_to_wait(
    server: ScriptedServer, chat: Chat, monkeypatch: pytest.MonkeyPatch, header: str, seconds: float
) -> None:
    pauses = []
    monkeypatch.setattr(chat_module.time, "sleep", pauses.append)
    server.replies = [(429, {}, {"Retry-After": header}), (200, completion("Hello."))]
    chat.ask("Hi")
    assert pauses == [pytest.approx(seconds, abs=0.001)]


def test_a_server_that_hangs_or_is_absent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        hanging = Chat(address, None, "m", timeout=(1, 0.05), attempts=2)
        hanging.pause = 0.001
        with pytest.raises(ChatError, match="ReadTimeout.*Tried 2 times"):
            hanging.ask("Hi")
    absent = Chat("http://127.0.0.1:9/v1", None, "m", attempts=1)
    with pytest.raises(ChatError, match="127.0.0.1:9/v1 cannot be reached.*running"):
        absent.check()
    with pytest.raises(ChatError, match="Tried 1 times"):
        absent.ask("Hi")


def test_check_tells_what_is_wrong(server: ScriptedServer, chat: Chat) -> None:
    assert chat.check() == f"{server.url}/api answers and offers 3 model(s); org/mistral is one of them."
    server.models = (200, {"data": []})
    with pytest.raises(ChatError, match="no model. Ask its administrator"):
        chat.check()
    server.models = (200, {"detail": "x"})
    with pytest.raises(ChatError, match="lists no models"):
        chat.check()
    server.models = (401, {"detail": "Your session has expired or the token is invalid."})
    with pytest.raises(ChatError, match="401: Your session has expired"):
        chat.check()


def test_connect_takes_the_first_model_listed(server: ScriptedServer) -> None:
    chat = connect(f"{server.url}/v1", SecretStr(TOKEN), None)
    assert (chat.model, chat.is_practice) == ("llama-3.1:8b", False)
    assert chat.ask("Hi") == "Hello."
    assert [request["path"] for request in server.requests] == ["/v1/models", "/v1/chat/completions"]
    chat.close()


@pytest.mark.parametrize(("model", "used"), [(None, "practice-writer"), ("practice-judge", "practice-judge")])
def test_without_an_address_the_practice_server_answers(model: str | None, used: str) -> None:
    chat = connect(None, None, model)
    assert (chat.model, chat.is_practice) == (used, True)
    assert "not an LLM" in chat.check()
    assert "not an LLM" in chat.ask("Hi")
    chat.close()


def test_a_refused_token_is_not_among_the_variables_of_our_frames() -> None:
    with pytest.raises(ChatError, match="OWUI_TOKEN holds a space") as error:
        Chat("http://localhost:1", "sk-recognisable 0123456789", "m")
    ours = [entry for entry in error.traceback if entry.path.name == "chat.py"]
    assert len(ours) == 2
    assert not [entry for entry in ours if "recognisable" in repr(entry.frame.f_locals)]


def test_a_schema_goes_along_until_the_server_refuses_it(server: ScriptedServer) -> None:
    chat = Chat(server.url, TOKEN, "llama-3.1:8b")
    assert chat.ask("x", schema={"type": "object"}) == "Hello."
    sent = server.requests[-1]["body"]["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", {"type": "object"})
    refusal = {"error": {"message": "response_format is not supported by this model"}}
    server.replies = [(400, refusal), (200, completion("Plain."))]
    assert chat.ask("x", schema={"type": "object"}) == "Plain."
    assert chat.ask("x", schema={"type": "object"}) == "Plain."
    assert ["response_format" in request["body"] for request in server.requests] == [True, True, False, False]
    server.replies = [(400, {"detail": "The prompt is too long"})]
    with pytest.raises(ChatError, match="too long"):
        chat.ask("x", schema={"type": "object"})


def test_a_refused_schema_ends_none_of_the_requests_in_flight(server: ScriptedServer) -> None:
    chat = Chat(server.url, TOKEN, "llama-3.1:8b")
    together, call = threading.Barrier(4, timeout=10), chat._call

    def call_together(method: str, path: str, body: dict) -> object:
        if "response_format" not in body:
            return call(method, path, body)
        together.wait()  # all four are sent with it
        raise ChatError("400: response_format is not supported")

    chat._call = call_together
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: chat.ask("x", schema={}), range(4))) == ["Hello."] * 4


def test_a_cut_answer_is_given_to_those_who_accept_it(server: ScriptedServer) -> None:
    chat = Chat(server.url, TOKEN, "llama-3.1:8b", attempts=1)
    server.replies = [(200, completion("[[half", "length"))]
    assert chat.ask("x", accept_cut=True) == "[[half"
    with pytest.raises(ChatError, match="max_tokens") as error:
        chat.ask("x")
    assert not error.value.may_pass
    server.replies = [(200, completion("  ", "length"))]
    with pytest.raises(ChatError, match="empty or broken") as error:
        chat.ask("x", accept_cut=True)
    assert error.value.may_pass


@pytest.mark.parametrize(("text", "reason"), [("", "stop"), ("<think>What may that be", "length"), (None, "length")])
def test_who_tests_a_model_takes_an_answer_without_a_word(server: ScriptedServer, text, reason) -> None:
    chat = Chat(server.url, TOKEN, "llama-3.1:8b", attempts=1)
    server.replies = [(200, completion(text, reason))]
    assert chat.ask("x", accept_cut=True, accept_empty=True) == ""
    server.replies = [(200, completion("", None))]  # no model has ended it: the server broke off
    with pytest.raises(ChatError, match="empty or broken"):
        chat.ask("x", accept_cut=True, accept_empty=True)


def test_the_first_check_bears_one_failure(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Chat(server.url, TOKEN, "llama-3.1:8b")
    chat.pause = 0.001
    server.models = (503, {"detail": "busy"})
    with pytest.raises(ChatError, match="busy.*Tried 2 times"):
        chat.check()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "reply", "words"),
    [
        (401, {"detail": "You do not have permission to access this resource."}, "ask the administrator"),
        (401, {"error": {"message": "Incorrect API key provided"}}, "ask the administrator"),
        (400, {"detail": "maximum context length limit is 4096 tokens"}, "does not suit this server"),
    ],
)
def test_what_another_key_or_another_try_cannot_mend_says_so(server: ScriptedServer, status, reply, words) -> None:
    chat = Chat(server.url, TOKEN, "llama-3.1:8b")
    server.replies = [(status, reply)]
    with pytest.raises(ChatError, match=words) as error:
        chat.ask("x")
    assert not error.value.may_pass and len(server.requests) == 1


@pytest.mark.parametrize("header", ["²", "soon", "0.01"])
def test_an_odd_retry_after_stops_nothing(server: ScriptedServer, header: str) -> None:
    chat = Chat(server.url, TOKEN, "llama-3.1:8b")
    chat.pause = 0.001
    server.replies = [(429, {}, {"Retry-After": header.encode("utf-8").decode("latin-1")}), (200, completion("Hello."))]
    assert chat.ask("x") == "Hello."
