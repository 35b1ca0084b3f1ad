"""Ask a chat model over HTTP, and get text or one clear error: Open WebUI, Ollama, any OpenAI-like server.

It knows nothing about prompts and acronyms. The token lives in the session alone, never in a message.
"""

import difflib
import itertools
import json
import random
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter

LONGEST_PAUSE = 60.0  # seconds, even if the server asks for more
ADDRESSES = "OWUI_URL is like https://llm.lab.sspcloud.fr/api, or http://localhost:11434/v1 for Ollama."
CURES = {
    401: "Make a new key in Open WebUI (Settings, Account) and set OWUI_TOKEN; it revokes the old one.",
    403: "This account may not use the key or the model: ask the administrator of the server.",
    404: f"The address is wrong. {ADDRESSES}",
    405: f"The address is wrong. {ADDRESSES}",
}


class ChatError(RuntimeError):
    """No answer; the message says why, in the server's words too, and what to do."""

    may_pass = False  # whether a later try may succeed
    status: int | None = None  # of the server's answer, where there was one


class _PassingError(ChatError):
    may_pass = True

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait  # seconds that the server asked for


class Chat:
    """One model of one server; several threads may ask at once."""

    def __init__(
        self, url: str, token: str | SecretStr | None, model: str | None = None, *,
        timeout: tuple[float, float] = (10, 300), attempts: int = 4,
    ) -> None:  # fmt: skip
        self.url, self.model, self.timeout, self.attempts = _normalise(url), model, timeout, attempts
        self.is_practice = False
        self.pause = 1.0  # seconds before the second attempt, doubled before each further one
        token = SecretStr(token) if isinstance(token, str) else token  # not to be seen in a traceback either
        self._token = SecretStr(_check_token(token))
        self._hidden = [self._token]
        self._session = requests.Session()
        self._session.auth = self._sign  # a function, so that no .netrc replaces the token
        self._session.trust_env = urlsplit(self.url).hostname not in ("localhost", "127.0.0.1", "::1")
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=32))
        self._has_answered = self._refuses_schema = False
        self._practice_server: Any = None

    def __repr__(self) -> str:
        return f"Chat({self.url!r}, model={self.model!r})"

    def models(self) -> list[str]:
        """List the ids of the models that this key may use."""
        reply = self._patiently(lambda: self._call("GET", "/models"), attempts=2)
        if not isinstance(reply, dict) or not isinstance(reply.get("data"), list):
            raise ChatError(f"{self.url} answers, but lists no models. {ADDRESSES}")
        return [entry["id"] for entry in reply["data"] if isinstance(entry, dict) and "id" in entry]

    def check(self) -> str:
        """Say who answers, or raise a ChatError that tells what is wrong: address, key or model."""
        names = self.models()
        if self.model not in names:
            raise self._unknown_model(names)
        who = "The practice server (not an LLM)" if self.is_practice else self.url
        return f"{who} answers and offers {len(names)} model(s); {self.model} is one of them."

    def ask(
        self, prompt: str, *, temperature: float = 0.0, seed: int = 0, max_tokens: int = 2048,
        schema: dict | None = None, accept_cut: bool = False, accept_empty: bool = False,
    ) -> str:  # fmt: skip
        """Send one prompt and return the answer, without the model's thoughts; what may pass is retried.

        `schema`, a JSON schema, is sent as `response_format`, until the server refuses that; it may ignore it.
        An answer cut after `max_tokens` is an error unless `accept_cut`, and one without a word unless
        `accept_empty`: whoever tests a model takes what it says. Raises ChatError.
        """
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "stream": False}
        body |= {"temperature": temperature, "seed": seed, "max_tokens": max_tokens}
        json_schema = {"name": "reply", "strict": True, "schema": schema}

        def answer() -> str:
            # Kept: another thread may learn meanwhile that the server refuses it.
            has_format = schema is not None and not self._refuses_schema
            with_format = {"response_format": {"type": "json_schema", "json_schema": json_schema}}
            try:
                reply = self._call("POST", "/chat/completions", body | (with_format if has_format else {}))
            except ChatError as error:
                if not has_format or not re.search("response.?format|json.?schema", str(error).lower()):
                    raise
                self._refuses_schema = True
                return answer()
            return _read_answer(reply, max_tokens, accept_cut, accept_empty)

        text = self._patiently(answer, self.attempts)
        self._has_answered = True
        return text

    def call(self, method: str, path: str, body: dict | None = None, *, attempts: int = 1) -> Any:
        """Call an address beside that of the chat, such as Open WebUI's /openai/config; its JSON as it is, keys too."""
        root = re.sub(r"/(api|v1)$", "", self.url)
        return self._patiently(lambda: self._call(method, path, body, root), attempts)

    def hide(self, secrets: Iterable[str]) -> None:
        """Take these too out of the server's errors."""
        self._hidden += map(SecretStr, secrets)

    def close(self) -> None:
        """Close the connections, and stop the practice server if it was started for this chat."""
        self._session.close()
        if self._practice_server:
            self._practice_server.stop()

    def _patiently(self, call: Callable[[], Any], attempts: int) -> Any:
        """Call until it succeeds, pausing longer each time; only what may pass is tried again."""
        for attempt in itertools.count(1):
            try:
                return call()
            except _PassingError as error:
                if attempt >= attempts:
                    raise _PassingError(f"{error} Tried {attempt} times.", error.wait) from error
                backoff = self.pause * 2 ** (attempt - 1) * random.uniform(0.5, 1)
                time.sleep(min(LONGEST_PAUSE, max(error.wait, backoff)))

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request

    def _call(self, method: str, path: str, body: dict | None = None, root: str | None = None) -> Any:
        options = {"json": body, "timeout": self.timeout, "allow_redirects": False}
        try:
            response = self._session.request(method, (root or self.url) + path, **options)
        except requests.RequestException as error:
            problem = f"{self.url} cannot be reached ({type(error).__name__})"
            raise _PassingError(f"{problem}. Is it running?") from None
        text = response.content.decode("utf-8", errors="replace")
        if not (root and response.status_code == 200):  # what is called for is given as it is: it may be sent back
            text = self._hide(text)
        if response.status_code != 200:
            error = self._explain(response, text)
            error.status = response.status_code
            raise error
        kind = response.headers.get("Content-Type", "")
        if "html" in kind:
            raise ChatError(f"{self.url} answers with a web page, not as a chat server. {ADDRESSES}")
        try:
            return _join_stream(text) if "event-stream" in kind else json.loads(text)
        except (ValueError, LookupError, TypeError, AttributeError):
            del text  # it may hold what no traceback should show
            raise _PassingError(f"{self.url} sent an answer that is not JSON.") from None

    def _hide(self, text: str) -> str:
        """Take the keys out of a text: some servers repeat them. A short one is no secret: "ollama", "none"."""
        for secret in self._hidden:
            token = secret.get_secret_value()  # here, and gone before an error could show this frame
            text = text.replace(token, "(hidden)") if len(token) > 12 else text
        return text

    def _explain(self, response: requests.Response, text: str) -> ChatError:
        if target := response.headers.get("Location"):
            return ChatError(f"{self.url} sends on to {target}. Set OWUI_URL to that address.")
        status, words = response.status_code, _read_words(text) or response.reason
        said = f"{self.url} answers {status}: {words}."
        if re.search(r"model\b.{0,100}(not found|does not exist)", words.lower()):
            names = self.models()  # reading the list also mends a server whose own list is stale
            return _PassingError(said) if self._has_answered or self.model in names else self._unknown_model(names)
        is_limit = status == 400 and re.search(r"\brate\b|\blimit|\bquota", words.lower()) and "context" not in words
        if is_limit or status in (429, 500, 502, 503, 504):
            return _PassingError(said, _read_wait(response.headers.get("Retry-After", "")))
        if status == 401 and ('"error"' in text or "do not have permission" in words):
            return ChatError(f"{said} The account waits for approval, or the server's own key is bad: {CURES[403]}")
        return ChatError(f"{said} {CURES.get(status, 'The request does not suit this server.')}")

    def _unknown_model(self, names: list[str]) -> ChatError:
        if not names:
            return ChatError(f"{self.url} lets this key use no model. Ask its administrator for one.")
        near = difflib.get_close_matches(str(self.model), names, n=3, cutoff=0.3) or names[:3]
        return ChatError(f"{self.url} has no model {self.model!r} for this key. Near: {', '.join(near)}.")


def connect(url: str | None, token: str | SecretStr | None, model: str | None) -> Chat:
    """Open a chat with the server at `url`, or with a practice server of this process when there is none.

    Without `model` it is the first one listed.
    """
    if url is None:
        from stand_ins.practice_server import (
            PracticeServer,  # here, for who has an LLM needs no stand-in of one
        )

        server = PracticeServer().start()
        chat = Chat(server.url, server.token, model if model in server.models else server.models[0])
        chat.is_practice, chat._practice_server = True, server
        return chat
    chat = Chat(url, token, model)
    if model is None:
        chat.model = next(iter(chat.models()), None)
    return chat


def _normalise(url: str) -> str:
    """Reduce what people give as an address to the part before /models and /chat/completions."""
    address = url.strip().strip("\"'").strip()
    if "://" not in address:
        is_local = re.match(r"(localhost|127\.|\[::1\])", address)
        address = f"{'http' if is_local else 'https'}://{address}"
    parts = urlsplit(address if address.isprintable() and " " not in address else "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ChatError(f"OWUI_URL = {url!r} is not the address of a server. {ADDRESSES}")
    if parts.password:
        raise ChatError(f"OWUI_URL holds a password. Remove it; the key goes into OWUI_TOKEN. {ADDRESSES}")
    path = parts.path.rstrip("/")
    base = re.sub(r"/(chat/completions|models)$", "", path)
    base = re.sub(r"/api/v1$", "/api", base)  # older versions of Open WebUI answer only there
    if base == path and not base.endswith(("/api", "/v1")):
        base += "/api"
    return f"{parts.scheme}://{parts.netloc}{base}"


def _check_token(token: str | SecretStr | None) -> str:
    text = (token.get_secret_value() if isinstance(token, SecretStr) else token or "").strip().strip("\"'")
    if not text.isascii() or not text.isprintable() or " " in text:
        del token, text  # nothing of it is left for a traceback that shows variables
        raise ChatError("OWUI_TOKEN holds a space or a character that no key has. Copy it again.")
    return text


def _read_words(text: str) -> str:
    """Take the server's own words out of an error, wherever this kind of server puts them."""
    try:
        reply = json.loads(text)
        error = reply.get("detail") or reply.get("error") or reply.get("message")
        words = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        return ""
    return str(words)[:200].rstrip(".")


def _read_answer(reply: Any, max_tokens: int, accept_cut: bool, accept_empty: bool) -> str:
    """Take the text out of a reply: a status of 200 is no proof that there is one."""
    try:
        choice = reply["choices"][0]
        text, reason = choice["message"]["content"] or "", choice.get("finish_reason")
        text = re.sub(r"<think>.*", "", text.rpartition("</think>")[2], flags=re.DOTALL)
    except (TypeError, KeyError, IndexError, AttributeError):
        raise _PassingError(f"The server answers 200 without an answer: {str(reply)[:200]!r}.") from None
    if reason == "length" and not accept_cut:
        raise ChatError(f"The answer is cut after max_tokens = {max_tokens}. Give a higher max_tokens.")
    if reason not in ("stop", "length", None) or not (text.strip() or (accept_empty and reason)):
        raise _PassingError(f"The server gives an empty or broken answer (finish_reason: {reason}).")
    return text.strip()


def _join_stream(text: str) -> dict:
    pieces, reason = [], "none came"
    for line in text.split("\n"):
        data = line.strip().removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            for choice in json.loads(data).get("choices") or []:
                pieces.append(choice["delta"].get("content") or "")
                reason = choice.get("finish_reason") or reason
    return {"choices": [{"message": {"content": "".join(pieces)}, "finish_reason": reason}]}


def _read_wait(retry_after: str) -> float:
    """Read the seconds of a Retry-After header, given as a number or as a date."""
    if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", retry_after):
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
