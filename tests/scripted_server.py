"""A chat server that plays a script: it answers as Open WebUI does, with the failures that a client meets.

Alone: `python tests/scripted_server.py FOLDER [--fail 0.3] [--spoil 0.3] [--latency 0.5]` writes its address to
FOLDER/port and each acronym asked for, with how many conversations were there already, to FOLDER/log.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Words without meaning, so that no two questions of an acronym resemble each other.
WORDS = ["".join(letters) for letters in itertools.product("bdfglmnprst", "aeiou", "bdgklmnprtz")]
FAILURES = (
    "429", "500", "502 page", "503", "null", "string", "detail", "no choices", "no content", "empty", "hang", "reset",
    "not JSON", "cut", "prose", "wrong definition", "no acronym", "broken JSON",
)  # fmt: skip


def write_conversations(fields: dict) -> list[list[dict]]:
    """Write good conversations: the same fields, the same conversations."""
    seed = json.dumps([fields["acronym"], len(fields["already"]), sorted(fields["intents"])])
    rng = random.Random(hashlib.sha256(seed.encode()).hexdigest())
    conversations = []
    for _ in range(fields["count"]):
        question = f"{' '.join(rng.sample(WORDS, 6)).capitalize()} {fields['acronym']}?"
        context = fields.get("context")
        turns = [{"role": "user", "content": f"{context}: {question}" if context else question}]
        conversations.append([*turns, {"role": "assistant", "content": fields["sentence"]}])
    return conversations


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.server.script.is_stale = False  # as in Open WebUI, whose list is mended by being read
        self.send(*self.server.script.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        fields, _ = json.JSONDecoder().raw_decode(prompt, prompt.index("{"))
        script = self.server.script
        with script.lock:
            if script.log:
                print(json.dumps([fields["acronym"], len(fields["already"])]), file=script.log, flush=True)
            script.requests += 1
            reply = script.replies.pop(0) if script.replies else None
            tries = script.tries[prompt] = script.tries.get(prompt, 0) + 1 if script.fail else 0
        if script.is_stale:
            return self.send(400, {"detail": "Model not found"})
        if reply:
            return self.send(*reply)
        time.sleep(script.latency)
        draw = random.Random(f"{prompt} {tries}")
        failure = draw.choice(FAILURES) if draw.random() < script.fail else None
        conversations = write_conversations(fields)
        if random.Random(f"spoil {prompt}").random() < script.spoil:  # the same prompt, the same reply
            conversations[0][1]["content"] = "I cannot tell."
        if failure:
            with script.lock:
                script.failures.append(failure)
            return self.fail(failure, conversations, fields)
        self.answer(json.dumps({"conversations": conversations}, ensure_ascii=False))

    def fail(self, kind: str, conversations: list, fields: dict) -> None:
        text = json.dumps(conversations, ensure_ascii=False)
        if kind in ("429", "500", "503"):
            self.send(int(kind), {"detail": "Open WebUI: Server Connection Error"}, {"Retry-After": "0"})
        elif kind == "502 page":
            self.send(502, "<html><h1>Bad Gateway</h1></html>", {"Content-Type": "text/html"})
        elif kind == "hang":
            time.sleep(self.server.script.hang)
            self.close_connection = True
        elif kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # the files made of it would keep a closed socket open
            self.close_connection = True
        elif kind == "not JSON":
            self.send(200, "{oops", {"Content-Type": "application/json"})
        elif kind in ("null", "string", "detail", "no choices"):
            replies = {
                "null": None,
                "string": "upstream broke",
                "detail": {"detail": "x"},
                "no choices": {"choices": []},
            }
            self.send(200, replies[kind])
        elif kind in ("no content", "empty"):
            self.answer(None if kind == "no content" else "")
        elif kind == "cut":
            self.answer(text[: len(text) // 2], "length")
        else:
            spoilt = {
                "prose": "I would rather not.", "broken JSON": text.replace('"role"', "role"),
                "wrong definition": text.replace(fields["definitions"][0], "Something Else"),
                "no acronym": text.replace(f" {fields['acronym']}?", "?"),
            }  # fmt: skip
            self.answer(spoilt[kind])

    def answer(self, text: str | None, reason: str = "stop") -> None:
        message = {"role": "assistant", "content": text}
        self.send(200, {"choices": [{"index": 0, "message": message, "finish_reason": reason}]})

    def send(self, status: int, content: object, headers: dict | None = None) -> None:
        is_text = isinstance(content, str) and bool(headers)
        data = content.encode() if is_text else json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128

    def handle_error(self, *_: object) -> None:
        """A client that hung up, or was killed, is no error here."""


class Script:
    """What to play: the share of failing requests and of replies with a bad conversation, the seconds of each."""

    def __init__(
        self, *, fail: float = 0.0, spoil: float = 0.0, latency: float = 0.0, hang: float = 0.6, log=None
    ) -> None:
        self.fail, self.spoil, self.latency, self.hang, self.log = fail, spoil, latency, hang, log
        # Replies to play first, (status, content[, headers]); the list of models, and whether it is stale until read.
        self.replies, self.models, self.is_stale = [], (200, {"data": [{"id": "writer"}]}), False
        self.lock, self.requests, self.tries, self.failures = threading.Lock(), 0, {}, []
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.script = self
        self.url = f"http://127.0.0.1:{self.server.server_port}/api"

    def __enter__(self) -> "Script":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fail", type=float, default=0.0)
    parser.add_argument("--spoil", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0)
    given = parser.parse_args()
    with (given.folder / "log").open("a") as log:
        script = Script(fail=given.fail, spoil=given.spoil, latency=given.latency, log=log)
        (given.folder / "port.new").write_text(script.url)
        (given.folder / "port.new").replace(given.folder / "port")
        script.server.serve_forever()


if __name__ == "__main__":
    main()
