"""A server that writes conversations as an LLM does, with the failures that a client meets."""

import hashlib
import itertools
import json
import random
import threading
import time

from json_server import JsonServer

# Words without meaning, so that no two questions of an acronym resemble each other.
WORDS = ["".join(letters) for letters in itertools.product("bdfglmnprst", "aeiou", "bdgklmnprtz")]
FAILURES = (
    *("429", "500", "null", "no choices", "empty", "hang", "break", "not JSON"),
    *("cut", "prose", "wrong definition", "no acronym", "broken JSON"),
)


def write_conversations(fields: dict) -> list[list[dict]]:
    """Write good conversations: the same fields, the same conversations."""
    seed = json.dumps([fields["acronym"], len(fields["already"]), sorted(fields["intents"])])
    rng = random.Random(hashlib.sha256(seed.encode()).hexdigest())
    conversations = []
    for _ in range(fields["count"]):
        question = f"{' '.join(rng.sample(WORDS, 6)).capitalize()} {fields['acronym']}?"
        answer = {"role": "assistant", "content": fields["sentence"]}
        conversations.append([{"role": "user", "content": question}, answer])
    return conversations


class Script(JsonServer):
    """What to play: the share of failing requests and of replies with a bad conversation.

    `latency` and `hang` are seconds; `replies` come first; `asked` notes, for each request, the
    acronym and how many conversations were there already.
    """

    def __init__(
        self, *, fail: float = 0.0, spoil: float = 0.0, latency: float = 0.0, hang: float = 0.6
    ) -> None:
        super().__init__(self.write)
        self.url += "/api"
        self.fail, self.spoil, self.latency, self.hang = fail, spoil, latency, hang
        self.replies, self.asked, self.tries, self.failures = [], [], {}, []
        self.lock = threading.Lock()

    def write(self, request: dict) -> tuple:
        if request["body"] is None:
            return 200, {"data": [{"id": "writer"}]}
        prompt = request["body"]["messages"][-1]["content"]
        fields, _ = json.JSONDecoder().raw_decode(prompt, prompt.index("{"))
        with self.lock:
            self.asked.append((fields["acronym"], len(fields["already"])))
            reply = self.replies.pop(0) if self.replies else None
            tries = self.tries[prompt] = self.tries.get(prompt, 0) + 1 if self.fail else 0
        if reply:
            return reply
        time.sleep(self.latency)
        conversations = write_conversations(fields)
        if random.Random(f"spoil {prompt}").random() < self.spoil:  # the same prompt, the same
            conversations[0][1]["content"] = "I cannot tell."
        text = json.dumps({"conversations": conversations}, ensure_ascii=False)
        draw = random.Random(f"{prompt} {tries}")
        if draw.random() >= self.fail:
            return answer(text)
        self.failures.append(draw.choice(FAILURES))
        return self.go_wrong(self.failures[-1], text, fields)

    def go_wrong(self, kind: str, text: str, fields: dict) -> tuple:
        if kind in ("429", "500"):
            return int(kind), {"detail": "Server Connection Error"}, {"Retry-After": "0"}
        if kind == "hang":
            time.sleep(self.hang)
        return {
            "hang": (0, ""),
            "break": (0, ""),
            "not JSON": (200, "{oops"),
            "null": (200, None),
            "no choices": (200, {"choices": []}),
            "empty": answer(""),
            "cut": answer(text[: len(text) // 2], "length"),
            "prose": answer("I would rather not."),
            "broken JSON": answer(text.replace('"role"', "role")),
            "wrong definition": answer(text.replace(fields["definitions"][0], "Something Else")),
            "no acronym": answer(text.replace(f" {fields['acronym']}?", "?")),
        }[kind]


def answer(text: str, reason: str = "stop") -> tuple:
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": reason}]}
