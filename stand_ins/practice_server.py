"""A stand-in for Open WebUI on this machine: the same addresses, tokens and errors.

It is no LLM: about the acronyms of the example list it gives what a large language model once
replied, about any other it fills the acronym into the phrasings of a bank, and the reply says which
(`system_fingerprint`). As a judge it gives the same model's recorded verdicts on the labelled
answers, and looks for the definition in any other, which its reply says. It reads what is wanted
from the same prompt that an LLM gets, and knows nothing about who asks. A model that an
administrator has listed, as in Open WebUI, answers for itself: its requests are passed on, and the
reply says so.
Alone: `python -m stand_ins.practice_server --port 8080`.
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
from pathlib import Path
from typing import Any

import requests

from helpers.dataset import INTENTS, LANGUAGE_NAMES, find_json, holds, parse_conversations

HERE = Path(__file__).parent
# Its questions: language → split → intent → phrasings; under "contexts" what names a context.
PHRASINGS = json.loads((HERE / "practice_phrasings.json").read_text(encoding="utf-8"))
LABELLED = json.loads((HERE.parent / "example_data/labelled_answers.json").read_text("utf-8"))


def _read_recorded(name):
    lines = (HERE / "recorded" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


# Replies of a large language model: acronym, split, intents, count, reply.
RECORDED = _read_recorded("conversation_replies.jsonl")
# Its verdicts on the labelled answers: question, definition, answer → reply. They were given to an
# earlier wording of the judge's prompt, which is kept beside them (judge_prompt.txt).
_REPLIES = {row["id"]: row["reply"] for row in _read_recorded("judge_replies.jsonl")}
VERDICTS = {
    (row["question"], " | ".join(row["definitions"]), row["answer"]): _REPLIES[row["id"]]
    for row in LABELLED
}
A_RULE = "a rule says so, not an LLM"
PAGE = b"<!doctype html><title>Practice server</title><p>This is not an LLM. The API is under /api."
EXPIRED = "Your session has expired or the token is invalid. Please sign in again."
PROHIBITED = (
    "You do not have permission to access this resource. "
    "Please contact your administrator for assistance."
)
REGISTERED = "Uh-oh! This model id is already registered. Please choose another one."
GREETING = (
    "I am the practice server, not an LLM: I write conversations about acronyms and judge answers."
)


class PracticeServer:
    """Serve on loopback while started; `with PracticeServer() as server` starts and stops it."""

    models = ("practice-writer", "practice-judge")

    def __init__(self, port: int = 0, *, delay: float = 0.0) -> None:
        self.port = port
        self.delay = delay  # an LLM takes its time: to measure and to try with
        self.token = f"sk-{secrets.token_hex(16)}"  # an administrator's
        self.learner_token = f"sk-{secrets.token_hex(16)}"  # changes nothing, sees what is granted
        self.connections: dict[str, Any] = {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": [],
            "OPENAI_API_KEYS": [],
            "OPENAI_API_CONFIGS": {},
        }
        self.entries: dict[str, dict[str, Any]] = {}  # what was created, by model id

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

    def listed(self, token: str) -> dict[str, tuple[str, str]]:
        """Give the added models that the holder of a token may use: id → address, key."""
        urls, keys = self.connections["OPENAI_API_BASE_URLS"], self.connections["OPENAI_API_KEYS"]
        granted = {name for name, entry in self.entries.items() if entry["access_grants"]}
        return {
            name: (urls[int(place)], keys[int(place)])
            for place, about in self.connections["OPENAI_API_CONFIGS"].items()
            for name in about.get("model_ids", [])
            if token == self.token or name in granted
        }

    def __enter__(self) -> "PracticeServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def reply_to(prompt: str, seed: int = 0) -> str:
    """Answer a prompt of `conversation_prompt` or of `judge_prompt`: the same, the same reply."""
    for fields in find_json(prompt):
        if isinstance(fields, dict) and {"acronym", "sentence", "intents"} <= fields.keys():
            return _recall(fields) or _write(fields, seed)
        if isinstance(fields, dict) and {"question", "answer", "definition"} <= fields.keys():
            return _judge(fields)
    return GREETING


def origin(reply: str) -> str:
    """Say where a reply comes from: a large language model's words, or this server's own."""
    recorded = "recorded from a large language model"
    if any(row["reply"].strip() == reply.strip() for row in RECORDED):
        return recorded
    if reply.strip() in map(str.strip, VERDICTS.values()):
        return f"{recorded}, to an earlier wording of the prompt"
    return "practice server's rule" if A_RULE in reply else "practice server's phrasings"


def _recall(fields: dict[str, Any]) -> str | None:
    """Find the first recorded reply, about the same acronym and definition, not given before.

    What was given before is known by the questions that the prompt names.
    """
    splits = ("train",) if _is_train(fields) else ("validation", "test")
    asked = [fields["acronym"], fields["count"]]
    rows = [row for row in RECORDED if [row["acronym"], row["count"]] == asked]
    about = "".join(row["reply"] for row in rows)
    is_same = fields["sentence"] in about and (fields["more"] or "") in about
    if not is_same or "context" in fields:
        return None
    for row in (row for row in rows if row["split"] in splits):
        questions = {turns[0]["content"] for turns in parse_conversations(row["reply"])}
        if not questions & set(fields["already"]):
            return row["reply"]
    return None


def _is_train(fields: dict[str, Any]) -> bool:
    return any(intent in INTENTS["train"] for intent in fields["intents"])


def _write(fields: dict[str, Any], seed: int) -> str:
    if fields["language"] not in LANGUAGE_NAMES.values():
        return f"I write {' and '.join(LANGUAGE_NAMES.values())} only."
    conversations = []
    for number, question in enumerate(_choose_questions(fields, seed), start=1):
        more = f" {fields['more']}" if fields["more"] and number % 4 == 0 else ""
        answer = {"role": "assistant", "content": fields["sentence"] + more}
        conversations.append([{"role": "user", "content": question}, answer])
    text = json.dumps({"conversations": conversations}, ensure_ascii=False, indent=1)
    announced = f"Here are {len(conversations)} conversations about {fields['acronym']}."
    return f"{announced}\n```json\n{text}\n```"


def _choose_questions(fields: dict[str, Any], seed: int) -> list[str]:
    """Take the intents in turn, and from each a phrasing that was not used yet."""
    language = {name: code for code, name in LANGUAGE_NAMES.items()}[fields["language"]]
    bank = PHRASINGS[language]["train"] | PHRASINGS[language]["test"]
    rng = random.Random(f"{fields['acronym']} {seed}")
    known = [bank[intent] for intent in fields["intents"] if intent in bank]
    pools = [rng.sample(phrasings, len(phrasings)) for phrasings in known]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*pools))
    questions = [text.format(acronym=fields["acronym"]) for text in turns if text]
    there = "\n".join(fields["already"])
    questions = [text for text in questions if text not in there][: fields["count"]]
    if "context" not in fields:
        return questions
    frames = PHRASINGS["contexts"][language]["train" if _is_train(fields) else "test"]
    frames = itertools.cycle(rng.sample(frames, len(frames)))
    return [next(frames).format(context=fields["context"], question=text) for text in questions]


def _judge(fields: dict[str, str]) -> str:
    recorded = VERDICTS.get((fields["question"], fields["definition"], fields["answer"]))
    if recorded:
        return recorded
    wanted = fields["definition"].split(" | ")
    missing = [text for text in wanted if not holds(fields["answer"], text)]
    reason = f"It does not hold {missing[0]!r}" if missing else "It holds the definition"
    verdict = "wrong" if missing else "right"
    return json.dumps({"reason": f"{reason} ({A_RULE}).", "verdict": verdict}, ensure_ascii=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as real servers do
    wbufsize = -1  # header and body leave together; apart, each reply would take 40 ms longer

    def do_GET(self) -> None:
        if self.path == "/openai/config":
            if self._is_signed(as_admin=True):
                self._send(200, self.server.practice.connections)
        elif self.path != "/api/models":
            self._send(200, PAGE, "text/html")
        elif self._is_signed():
            names = {name: name for name in PracticeServer.models}
            for name, (url, _) in self.server.practice.listed(self._token).items():
                names[name] = f"{name} (passed on to {url})"
            data = [{"id": i, "name": name, "object": "model"} for i, name in names.items()]
            self._send(200, {"data": data})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        actions = {"/openai/config/update": self._update, "/api/v1/models/create": self._add}
        if self.path not in ("/api/chat/completions", *actions):
            return self._send(405, {"detail": "Method Not Allowed"})
        if not self._is_signed(as_admin=self.path in actions):
            return None
        try:
            return actions.get(self.path, self._chat)(json.loads(data))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            message = f"{type(error).__name__}: {error}"
            return self._send(422, {"detail": [{"loc": ["body"], "msg": message}]})

    def _chat(self, body: dict[str, Any]) -> None:
        model, prompt = body["model"], str(body["messages"][-1]["content"])
        if model in (listed := self.server.practice.listed(self._token)):
            return self._pass_on(*listed[model], body)
        if model not in PracticeServer.models:
            return self._send(400, {"detail": "Model not found"})
        time.sleep(self.server.practice.delay)
        text = reply_to(prompt, body.get("seed") or 0)
        message = {"role": "assistant", "content": text}
        reply = {
            "id": f"practice-{secrets.token_hex(8)}",
            "object": "chat.completion",
            "model": model,
            "created": int(time.time()),
            "system_fingerprint": origin(text),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }
        return self._send(200, reply)

    def _pass_on(self, url: str, key: str, body: dict[str, Any]) -> None:
        options = {"json": body, "headers": {"Authorization": f"Bearer {key}"}, "timeout": 300}
        try:
            with requests.Session() as session:
                session.trust_env = False  # it speaks to this machine, past any proxy
                reply = session.post(f"{url}/chat/completions", **options)
                says_so = {"system_fingerprint": f"passed on to {url} by the practice server"}
                self._send(reply.status_code, reply.json() | says_so)
        except requests.RequestException:
            self._send(500, {"detail": "Open WebUI: Server Connection Error"})

    def _update(self, body: dict[str, Any]) -> None:
        practice = self.server.practice
        practice.connections = {name: body[name] for name in practice.connections}
        self._send(200, practice.connections)

    def _add(self, body: dict[str, Any]) -> None:
        if body["id"] in self.server.practice.entries:
            return self._send(401, {"detail": REGISTERED})
        self.server.practice.entries[body["id"]] = body
        return self._send(200, body)

    def log_message(self, *_: object) -> None:
        """Write nothing: the default prints a line for each request."""

    @property
    def _token(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else ""

    def _is_signed(self, *, as_admin: bool = False) -> bool:
        practice = self.server.practice
        if self._token == practice.token or (
            self._token == practice.learner_token and not as_admin
        ):
            return True
        why = PROHIBITED if self._token == practice.learner_token else EXPIRED
        self._send(401, {"detail": why if self._token else "Not authenticated"})
        return False

    def _send(self, status: int, content: Any, kind: str = "application/json") -> None:
        data = content
        if kind == "application/json":
            data = json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until Ctrl-C, for other programs of this machine."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8080, help="port on loopback")
    with PracticeServer(parser.parse_args().port) as server:
        print(f"OWUI_URL={server.url}\nOWUI_TOKEN={server.token}\nStop with Ctrl-C.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
