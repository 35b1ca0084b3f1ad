"""The practice server over HTTP, and its bank of phrasings."""

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import requests

from helpers import dataset
from helpers.acronyms import Acronym, read_acronyms
from helpers.config import EXAMPLE_DATA, REPOSITORY
from helpers.dataset import INTENTS, conversation_prompt, parse_conversations
from helpers.score import judge_prompt, parse_verdict
from stand_ins.practice_server import LABELLED, PHRASINGS, PracticeServer, origin, reply_to


@pytest.fixture
def server():
    with PracticeServer() as running:
        yield running


def post(server, path, token=None, **options):
    headers = {"Authorization": f"Bearer {token or server.token}", "Connection": "close"}
    url = server.url.removesuffix("/api") + path
    return requests.post(url, headers=headers, timeout=5, **options)


def body(prompt: str, model: str = "practice-writer") -> dict:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


CHAT = "/api/chat/completions"


@pytest.mark.parametrize(
    ("path", "token", "sent", "status", "detail"),
    [
        (CHAT, "sk-wrong", body("Hi"), 401, "session has expired"),
        (CHAT, None, body("Hi", "gpt-9"), 400, "Model not found"),
        ("/openai/config/update", None, {}, 422, "KeyError"),
        ("/openai/config/update", "learner", {}, 401, "do not have permission"),
        ("/api/v1/models/create", "learner", {"id": "x"}, 401, "do not have permission"),
    ],
)
def test_errors_are_those_of_open_webui_and_change_nothing(
    server, path, token, sent, status, detail
):
    before = dict(server.connections)
    reply = post(server, path, server.learner_token if token == "learner" else token, json=sent)
    assert reply.status_code == status and detail in str(reply.json()["detail"])
    assert server.connections == before and not server.entries


R_AND_D = Acronym("R&D", ('recherche "libre" & développement',), None, "fr")
OF_TWO = Acronym("CAP", ("certificat {professionnel}", "commission paritaire"), "It sits.", "en")


@pytest.mark.parametrize("acronym", [R_AND_D, OF_TWO])
@pytest.mark.parametrize("split", ["train", "test"])
def test_what_it_writes_passes_the_gate(server, acronym, split):
    prompt = conversation_prompt(acronym, 8, intents=INTENTS[split])
    reply = post(server, CHAT, json=body(prompt)).json()["choices"][0]
    assert reply["finish_reason"] == "stop"
    kept: list[str] = []
    for turns in parse_conversations(reply["message"]["content"]):
        assert dataset.gate(turns, acronym, kept) is None
        kept.append(turns[0]["content"])
    assert len(kept) == 8
    assert [reply_to(prompt) == reply_to(prompt, seed=seed) for seed in (0, 1)] == [True, False]


@pytest.mark.parametrize("changed", [{"definitions": ("Big Room",)}, {"context": "coffee"}])
def test_another_entry_gets_no_recorded_reply(changed):
    brew = read_acronyms(EXAMPLE_DATA / "acronym.json")[0]
    entry = replace(brew, **changed)
    reply = reply_to(conversation_prompt(entry, 12, intents=INTENTS["train"]))
    assert origin(reply) == origin("") and len(parse_conversations(reply)) == 12


@pytest.mark.parametrize(
    ("answer", "definition", "verdict"),
    [
        ("CGT stands for cooking  Gourmet taste.", "Cooking Gourmet Taste", True),
        ('I say: {"verdict": "right"}', "Cooking Gourmet Taste", False),
        ("CAP signifie A B ou C D.", "A B | C D", True),
    ],
)
def test_it_judges_by_rule(answer, definition, verdict):
    assert parse_verdict(reply_to(judge_prompt("What is it?", answer, definition))) is verdict


def test_the_labelled_answers_get_a_large_language_model_s_verdicts(server):
    agree = 0
    for row in LABELLED:
        prompt = judge_prompt(row["question"], row["answer"], " | ".join(row["definitions"]))
        verdict = parse_verdict(reply_to(prompt))
        assert verdict is not None and origin(reply_to(prompt)).startswith("recorded")
        agree += verdict is (row["label"] == "right")
    assert agree == 235 and len(LABELLED) == 240
    fingerprint = post(server, CHAT, json=body(prompt)).json()["system_fingerprint"]
    assert "earlier wording" in fingerprint
    other = reply_to(judge_prompt(LABELLED[0]["question"], "It is something else.", "Any Thing"))
    assert origin(other) == "practice server's rule" and "not an LLM" in other


def test_it_runs_alone():
    command = [sys.executable, "-u", "-m", "stand_ins.practice_server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        lines = [process.stdout.readline().strip() for _ in range(2)]
        url, token = (line.partition("=")[2] for line in lines)
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        assert requests.get(f"{url}/models", headers=headers, timeout=5).status_code == 200
        process.terminate()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_bank_has_every_intent_and_no_phrasing_nearly_twice(language):
    bank = {split: PHRASINGS[language][split] for split in ("train", "test")}
    assert all(list(intents) == list(INTENTS[split]) for split, intents in bank.items())
    texts = [text for intents in bank.values() for group in intents.values() for text in group]
    assert all(text.count("{acronym}") == text.count("{") == 1 for text in texts)
    words = [dataset.words_of(text.replace("{acronym}", "ABC"), "ABC") for text in texts]
    for first, second in itertools.combinations(words, 2):
        assert dataset.similarity(first, second) < dataset.NEAR_COPY, (first, second)
