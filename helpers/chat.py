"""Ask a chat model over HTTP: text, or one clear error. Open WebUI, Ollama, any OpenAI-like server.

It knows nothing about prompts and acronyms. The key is in no message, log or repr.
"""

import difflib
import json
import re
import time
from collections.abc import Iterable
from typing import Any

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter

LONGEST_PAUSE = 60.0  # seconds, even if the server asks for more
SHORTEST_SECRET = 12  # characters; a shorter key is no secret: "ollama", "none"
LOOPBACK = r"https?://(localhost|127\.|\[::1\])"
# Host, port and path, no more: what stands before an @ or behind a ? is often a secret.
ADDRESS = r"(?i)[\s\"']*(https?://)?((?:[\w.-]+|\[[\da-f:.]+\])(?::\d+)?)(/[^\s?#\"']*)?[\s\"']*"
THOUGHTS = r"(?s)\A.*</think>|<think>.*"  # also where a template opens them, or a cut ends them
BROKEN = ("content_filter", "error", "none came")  # as servers say that an answer has ended early
ADDRESSES = (
    "OWUI_URL is like https://llm.lab.sspcloud.fr/api, or http://localhost:11434/v1 for Ollama."
)
UNREACHABLE = (
    "Is OWUI_URL right, with http:// or https://, and the server running? "
    "Certificates of your own are named in REQUESTS_CA_BUNDLE."
)
CURES = {
    401: "Make a new key in Open WebUI (Settings, Account); it ends the old one. Set OWUI_TOKEN.",
    403: "No key mends this (the account may not, or waits; what is behind the server fails): "
    "ask the administrator of the server.",
    404: ADDRESSES,
    405: ADDRESSES,
}


class ChatError(RuntimeError):
    """No answer; the message says why, in the server's words too, and what to do."""

    status = 0  # of the server's answer, where it refuses

    def __init__(self, message: str, *, may_pass: bool = False, wait: float = 0.0) -> None:
        super().__init__(message)
        self.may_pass = may_pass  # whether a later try may succeed
        self.wait = wait  # seconds that the server asked for


class Chat:
    """One model of one server; several threads may ask at once."""

    def __init__(
        self,
        url: str,
        token: str | SecretStr | None,
        model: str | None = None,
        *,
        timeout: tuple[float, float] = (10, 300),
        attempts: int = 4,
    ) -> None:
        self.url = _normalise(url)
        self.model = model
        self.timeout = timeout  # seconds, to connect and between two bytes
        self.attempts = attempts
        self.pause = 1.0  # seconds before the second attempt, doubled before each further one
        key = _read_token(token)
        self._secrets = []
        self.hide([key])
        self._session = requests.Session()
        self._session.mount(self.url, HTTPAdapter(pool_maxsize=32))  # as many threads may ask
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"
        self._session.auth = lambda request: request  # else a .netrc would replace the key
        self._session.trust_env = not re.match(LOOPBACK, self.url)  # no proxy to this machine
        self._has_answered = False
        self._refuses_schema = False
        self._practice_server = None

    def models(self) -> list[str]:
        """List the ids of the models that this key may use."""
        reply = self._patiently(lambda: self._call("GET", f"{self.url}/models"), attempts=2)
        try:
            return [entry["id"] for entry in reply["data"]]
        except (TypeError, LookupError):
            raise ChatError(f"{self.url} answers, but lists no models. {ADDRESSES}") from None

    def check(self) -> str:
        """Say who answers, or raise a ChatError that tells what is wrong: address, key or model."""
        names = self.models()
        if not {self.model, f"{self.model}:latest"} & {*names}:  # as Ollama lists it
            raise self._unknown_model(names)
        who = "The practice server (not an LLM)" if self._practice_server else self.url
        return f"{who} answers and offers {len(names)} model(s); {self.model} is one of them."

    def ask(
        self,
        prompt: str,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        max_tokens: int = 2048,
        schema: dict | None = None,
        accept_cut: bool = False,
        accept_empty: bool = False,
    ) -> str:
        """Send one prompt and return the answer, without the model's thoughts; retry what may pass.

        `schema`, a JSON schema, is sent along until the server refuses that; it may ignore it. An
        answer cut after `max_tokens` is an error unless `accept_cut`, and one without a word unless
        `accept_empty`: whoever tests a model takes what it says. Raises ChatError.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "stream": False,
            "temperature": temperature,
            "seed": seed,
            "max_tokens": max_tokens,
        }
        if schema and not self._refuses_schema:
            form = {"name": "reply", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}

        def answer():
            try:
                reply = self._call("POST", f"{self.url}/chat/completions", body)
                return _read_answer(reply, max_tokens, accept_cut, accept_empty)
            except ChatError as error:
                refusal = re.search("(?i)response.?format|json.?schema", str(error))
                if not (refusal and "response_format" in body):
                    raise
            del body["response_format"]
            self._refuses_schema = True
            return answer()

        text = self._patiently(answer, self.attempts)
        self._has_answered = True
        return text

    def call(self, method: str, path: str, body: dict | None = None) -> Any:
        """Call an address beside that of the chat, such as Open WebUI's /openai/config.

        Its JSON comes as it is, keys too: it may be sent back.
        """
        address = re.sub(r"/(api|v1)$", "", self.url) + path
        return self._patiently(lambda: self._call(method, address, body, as_is=True), 3)

    def hide(self, secrets: Iterable[str]) -> None:
        """Take these too out of the server's errors: some servers repeat what they get."""
        self._secrets += [SecretStr(text) for text in secrets if len(text) > SHORTEST_SECRET]

    def close(self) -> None:
        """Close the connections, and stop the practice server if it was started for this chat."""
        self._session.close()
        if self._practice_server:
            self._practice_server.stop()

    # ------------------------------------------------------------------------- one request

    def _patiently(self, call, attempts):
        """Call until it succeeds, pausing longer each time; only what may pass is tried again."""
        for attempt in range(attempts - 1):
            try:
                return call()
            except ChatError as error:
                if not error.may_pass:
                    raise
                wait = max(error.wait, self.pause * 2**attempt)
            time.sleep(min(LONGEST_PAUSE, wait))
        return call()

    def _call(self, method, address, body=None, *, as_is=False):
        try:
            response = self._session.request(
                method, address, json=body, timeout=self.timeout, allow_redirects=False
            )
        except (OSError, ValueError) as error:  # requests' own are of the first kind
            raise ChatError(
                f"{self.url} cannot be reached ({type(error).__name__}). {UNREACHABLE}",
                may_pass=True,
            ) from None
        text = response.content.decode(errors="replace")
        if not (as_is and response.ok):
            text = self._hide(text)
        if response.status_code != 200:
            error = self._explain(response, text)
            error.status = response.status_code
            raise error
        kind = response.headers.get("Content-Type", "no type")
        try:
            return _join_stream(text) if "event-stream" in kind else json.loads(text)
        except (ValueError, LookupError, TypeError, AttributeError):
            # A web page in the middle of a run is maintenance, or a proxy's login.
            raise ChatError(
                f"{self.url} sends what is no chat server's JSON ({kind}). {ADDRESSES}",
                may_pass=self._has_answered or "html" not in kind,
            ) from None

    def _hide(self, text):
        for secret in self._secrets:
            text = text.replace(secret.get_secret_value(), "(hidden)")
        return text

    # -------------------------------------------------------------------------- its errors

    def _explain(self, response, text):
        if target := response.headers.get("Location"):
            return ChatError(
                f"{self.url} sends on to {target.partition('?')[0]}. Set OWUI_URL to that address."
            )
        status = response.status_code
        words = self._hide(_read_words(text)) or response.reason
        said = f"{self.url} answers {status}: {words}."
        if re.search(r"(?i)model\b.{0,100}(not found|does not exist)", words):
            names = self.models()  # reading the list also mends a server whose own list is stale
            if self._has_answered or self.model in names:
                return ChatError(said, may_pass=True)
            return self._unknown_model(names)
        is_limit = re.search(r"(?i)\brate\b|\bquota|\blimit", words) and "context" not in words
        if status == 429 or status >= 500 or (status == 400 and is_limit):
            wait = response.headers.get("Retry-After", "")  # seconds; a date is rare, and left out
            pause = float(wait) if wait.isdecimal() else 15 * self.pause * (status == 429)
            return ChatError(said, may_pass=True, wait=pause)  # most limits are for a minute
        is_behind = self.url.endswith("/api") and re.search('"error"|do not have permission', text)
        if (status == 401 and is_behind) or (status == 404 and (is_behind or self._has_answered)):
            status = 403
        return ChatError(f"{said} {CURES.get(status, 'The request does not suit this server.')}")

    def _unknown_model(self, names):
        near = difflib.get_close_matches(str(self.model), names, cutoff=0.3) or names[:3]
        nearest = ", ".join(near) or "none; ask the server's administrator for one"
        return ChatError(
            f"{self.url} lets this key use no model {self.model!r}. Nearest: {nearest}."
        )


def connect(url: str | None, token: str | SecretStr | None, model: str | None) -> Chat:
    """Open a chat with the server at `url`, or with a practice server of this process without one.

    Without `model` it is the first one listed.
    """
    if url is None:
        from stand_ins.practice_server import PracticeServer  # who has an LLM needs no stand-in

        server = PracticeServer().start()
        chat = connect(server.url, server.token, model if model in server.models else None)
        chat._practice_server = server
        return chat
    chat = Chat(url, token, model)
    chat.model = model or next(iter(chat.models()), None)
    return chat


# ------------------------------------------------------------------------ what goes in, comes out


def _normalise(url):
    """Reduce what people give as an address to the part before /models and /chat/completions."""
    match = re.fullmatch(ADDRESS, url)
    if not match:
        raise ChatError(f"OWUI_URL holds more or less than an address, or a secret. {ADDRESSES}")
    scheme, host, path = match.groups("")
    if not scheme:
        scheme = "http://" if re.match(LOOPBACK, f"http://{host}") else "https://"
    path = path.rstrip("/")
    base = re.sub(r"/(chat/completions|models)$", "", path)
    # Older versions of Open WebUI answer only at /api; its /openai passes by the limits set there.
    if host != "openrouter.ai":
        base = re.sub(r"(?<!/v1beta)/(openai|api/v1)$", "/api", base)
    if base == path and not base.endswith(("/api", "/v1")):
        base += "/api"
    return f"{scheme}{host}{base}"


def _read_token(token):
    text = token.get_secret_value() if isinstance(token, SecretStr) else token or ""
    text = text.strip(" \t\r\n\"'")
    if re.search(r"[^!-~]", text):
        raise ChatError("OWUI_TOKEN holds a space or a character that no key has. Copy it again.")
    return text


def _read_words(text):
    """Take the server's own words out of an error, wherever this kind of server puts them."""
    try:
        reply = json.loads(text)
        error = reply.get("detail") or reply.get("error") or reply.get("message")
        words = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        return ""
    return str(words)[:200].rstrip(".")


def _read_answer(reply, max_tokens, accept_cut, accept_empty):
    """Take the text out of a reply: a status of 200 is no proof that there is one."""
    try:
        choice = reply["choices"][0]
        reason = choice.get("finish_reason")
        text = re.sub(THOUGHTS, "", choice["message"]["content"] or "").strip()
    except (TypeError, LookupError, AttributeError):
        raise ChatError(
            f"The server answers 200 without an answer: {str(reply)[:200]!r}.", may_pass=True
        ) from None
    if reason == "length" and not accept_cut:
        raise ChatError(f"The answer is cut after max_tokens = {max_tokens}. Give a higher one.")
    if reason in BROKEN or not (text or (accept_empty and reason)):
        raise ChatError(
            f"The server gives an empty or broken answer (finish_reason: {reason}).", may_pass=True
        )
    return text


def _join_stream(text):
    """Put the pieces of a stream together that was not asked for: some pipelines send one."""
    pieces = []
    reason = "none came"
    for data in re.findall(r"(?m)^data: *({.*)", text):
        for choice in json.loads(data).get("choices") or []:
            pieces.append(choice["delta"].get("content") or "")
            reason = choice.get("finish_reason") or reason
    return {"choices": [{"message": {"content": "".join(pieces)}, "finish_reason": reason}]}
