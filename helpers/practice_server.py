"""A stand-in for Open WebUI on this machine, for those without an account: same address, token and replies.

It is no LLM: it fills the acronym into the phrasings of a bank, and judges by looking for the definition. It
reads what is wanted from the same prompt that an LLM gets, and knows nothing about who asks.
Alone: `python -m helpers.practice_server --port 8080`.
"""

import argparse
import contextlib
import itertools
import json
import random
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from helpers.dataset import LANGUAGE_NAMES, PHRASINGS, holds
from helpers.replies import find_json

PAGE = b"<!doctype html><title>Practice server</title><p>This is not an LLM. The API is under /api."
EXPIRED = "Your session has expired or the token is invalid. Please sign in again."
GREETING = "I am the practice server, not an LLM: I write conversations about acronyms and judge answers."


class PracticeServer:
    """Serve on loopback while started; `with PracticeServer() as server` starts and stops it."""

    models = ("practice-writer", "practice-judge")

    def __init__(self, port: int = 0, *, delay: float = 0.0) -> None:
        self.port, self.delay, self.token = port, delay, f"sk-{secrets.token_hex(16)}"

    @property
    def url(self) -> str:
        """Its address, to be given as OWUI_URL."""
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> "PracticeServer":
        """Serve in a thread of this process."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _Handler)
        self._server.practice, self.port = self, self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "PracticeServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def reply_to(prompt: str, seed: int = 0) -> str:
    """Answer a prompt of `conversation_prompt` or of `judge_prompt`; the same request, the same reply."""
    for fields in find_json(prompt):
        if isinstance(fields, dict) and {"acronym", "sentence", "intents"} <= fields.keys():
            return _write(fields, seed)
        if isinstance(fields, dict) and {"answer", "definition"} <= fields.keys():
            return _judge(fields)
    return GREETING


def _write(fields: dict[str, Any], seed: int) -> str:
    if fields["language"] not in LANGUAGE_NAMES.values():
        return f"I write {' and '.join(LANGUAGE_NAMES.values())} only."
    conversations = []
    for number, question in enumerate(_choose_questions(fields, seed), start=1):
        more = f" {fields['more']}" if fields["more"] and number % 4 == 0 else ""
        answer = {"role": "assistant", "content": fields["sentence"] + more}
        conversations.append([{"role": "user", "content": question}, answer])
    text = json.dumps({"conversations": conversations}, ensure_ascii=False, indent=1)
    return f"Here are {len(conversations)} conversations about {fields['acronym']}.\n```json\n{text}\n```"


def _choose_questions(fields: dict[str, Any], seed: int) -> list[str]:
    """Take the intents in turn, and from each a phrasing that was not used yet."""
    language = {name: code for code, name in LANGUAGE_NAMES.items()}[fields["language"]]
    bank = PHRASINGS[language]["train"] | PHRASINGS[language]["test"]
    rng = random.Random(f"{fields['acronym']} {seed}")
    pools = [rng.sample(bank[intent], len(bank[intent])) for intent in fields["intents"] if intent in bank]
    phrasings = [text for layer in itertools.zip_longest(*pools) for text in layer if text]
    questions = [text.format(acronym=fields["acronym"]) for text in phrasings]
    if "context" in fields:
        split = "test" if any(intent in PHRASINGS["intents"]["test"] for intent in fields["intents"]) else "train"
        frames = PHRASINGS["contexts"][language][split]
        questions = [frame.format(context=fields["context"], question=text)
                     for frame, text in zip(itertools.cycle(frames), questions)]  # fmt: skip
    return [text for text in questions if text not in fields["already"]][: fields["count"]]


def _judge(fields: dict[str, str]) -> str:
    missing = [text for text in fields["definition"].split(" | ") if not holds(fields["answer"], text)]
    reason = f"The answer does not hold {missing[0]!r}" if missing else "The answer holds the definition"
    verdict = json.dumps({"verdict": "wrong" if missing else "right"})
    return f"{reason} (a rule says so, not an LLM).\n{verdict}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as real servers do
    wbufsize = -1  # header and body leave together; apart, each reply would take 40 ms longer

    def do_GET(self) -> None:
        if self.path != "/api/models":
            return self._send(200, PAGE, "text/html")
        models = [{"id": name, "name": name, "object": "model"} for name in PracticeServer.models]
        if self._is_signed():
            self._send(200, {"data": models})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/api/chat/completions":
            return self._send(405, {"detail": "Method Not Allowed"})
        if not self._is_signed():
            return None
        try:
            body = json.loads(data)
            model, prompt = body["model"], str(body["messages"][-1]["content"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return self._send(422, {"detail": [{"loc": ["body"], "msg": f"{type(error).__name__}: {error}"}]})
        if model not in PracticeServer.models:
            return self._send(400, {"detail": "Model not found"})
        time.sleep(self.server.practice.delay)  # an LLM takes its time: to measure and to try with
        message = {"role": "assistant", "content": reply_to(prompt, body.get("seed") or 0)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        reply = {"id": f"practice-{secrets.token_hex(8)}", "object": "chat.completion", "model": model}
        return self._send(200, reply | {"created": int(time.time()), "choices": choices})

    def log_message(self, *_: object) -> None:
        """Write nothing: the default prints a line for each request."""

    def _is_signed(self) -> bool:
        header = self.headers.get("Authorization", "")
        if header != f"Bearer {self.server.practice.token}":
            self._send(401, {"detail": EXPIRED if header.startswith("Bearer ") else "Not authenticated"})
            return False
        return True

    def _send(self, status: int, content: Any, kind: str = "application/json") -> None:
        data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until Ctrl-C, for other programs of this machine."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8080, help="port on loopback")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each reply takes, as an LLM's would")
    given = parser.parse_args()
    with PracticeServer(given.port, delay=given.delay) as server:
        print(f"OWUI_URL={server.url}\nOWUI_TOKEN={server.token}\nStop with Ctrl-C.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
