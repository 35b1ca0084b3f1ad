"""A server that writes conversations as an LLM does, with the failures that a client meets."""

import json
import random
import time

from json_server import JsonServer

from helpers.dataset import find_json, parse_conversations
from stand_ins.practice_server import reply_to


class Script(JsonServer):
    """What to play: the share of failing requests and of replies with a bad conversation.

    `latency` is in seconds; `refusal` is what every request gets instead; `asked` notes, for each
    request, the acronym and how many conversations were there already.
    """

    def __init__(self, *, fail: float = 0.0, spoil: float = 0.0, latency: float = 0.0) -> None:
        super().__init__(self.write)
        self.url += "/api"
        self.fail, self.spoil, self.latency, self.refusal = fail, spoil, latency, None
        self.asked, self.failures = [], []

    def write(self, request: dict) -> tuple:
        body = request["body"]
        if body is None or self.refusal:
            return self.refusal if body else (200, {"data": [{"id": "writer"}]})
        prompt = body["messages"][-1]["content"]
        fields = next(filter(None, find_json(prompt)))
        about = fields["acronym"], len(fields["already"])
        self.asked.append(about)
        time.sleep(self.latency)
        reply = reply_to(prompt, body["seed"]).replace("_", " ")  # "A1X_final": the gate refuses it
        conversations = parse_conversations(reply)
        if random.Random(f"spoil {prompt}").random() < self.spoil:  # the same prompt, the same
            conversations[0][1]["content"] = "I cannot tell."
        text = json.dumps({"conversations": conversations})
        draw = random.Random(f"{prompt} {self.asked.count(about)}")
        if draw.random() >= self.fail:
            return answer(text)
        failures = {
            "429": (429, {"detail": "Server Connection Error"}, {"Retry-After": "0"}),
            "500": (500, {"detail": "Server Connection Error"}),
            "break": (0, ""),
            "not JSON": (200, "{oops"),
            "null": (200, None),
            "no choices": (200, {"choices": []}),
            "empty": answer(""),
            "cut": answer(text[: len(text) // 2], "length"),
            "prose": answer("I would rather not."),
            "broken JSON": answer(text.replace('"role"', "role")),
            "wrong definition": answer(text.replace(fields["definitions"][0], "Something Else")),
            "no acronym": answer(text.replace(fields["acronym"], "it")),
        }
        self.failures.append(draw.choice(list(failures)))
        return failures[self.failures[-1]]


def answer(text: str, reason: str = "stop") -> tuple:
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": reason}]}
