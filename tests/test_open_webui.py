"""The whole way with a real Open WebUI: it writes the data, and is asked for what was learnt.

Only on request, as it takes an Open WebUI of its own: `bash tests/open_webui.sh` installs one and
runs this.
"""

from functools import partial

import pytest
from real_servers import open_webui, peak_megabytes, sign_up, tune

from helpers import chat, compare, dataset, model, serve
from helpers.acronyms import read_acronyms
from helpers.config import EXAMPLE_DATA
from helpers.score import exact_match
from stand_ins.practice_server import PracticeServer

pytestmark = pytest.mark.openwebui


@pytest.fixture
def upstream():
    with PracticeServer() as server:
        yield server


@pytest.fixture
def booted(upstream, tmp_path):
    with open_webui(upstream.url, upstream.token, tmp_path) as process_and_url:
        yield process_and_url


def test_the_learner_asks_her_open_webui_for_what_it_taught(booted, upstream, tmp_path, say):
    process, url = booted
    say(f"Open WebUI answers at {url}: {peak_megabytes(process)} MB at most so far")
    admin_token, learner_key = sign_up(url)
    admin = chat.Chat(url, admin_token, "practice-writer")
    learner = chat.Chat(url, learner_key, "practice-writer")
    say("an administrator, a learner and her key")

    # The learner has no model before the administrator grants one: the client says so.
    with pytest.raises(chat.ChatError, match="lets this key use no model"):
        learner.check()
    grant = {"id": "practice-writer", "name": "practice-writer", "meta": {}, "params": {}}
    admin.call("POST", "/api/v1/models/create", grant | {"access_grants": [serve.EVERYONE]})
    assert learner.models() == ["practice-writer"]

    # Stage 1 through it.
    acronyms, paths = read_acronyms(EXAMPLE_DATA / "acronym.json")[:4], {}
    earlier: list[dict] = []
    for split, count in (("train", 48), ("test", 10)):
        paths[split] = tmp_path / f"{split}.json"
        dataset.build_dataset(
            acronyms, learner.ask, paths[split], count=count, split=split, avoid=earlier
        )
        earlier = dataset.read_dataset(paths[split])
    train_records, eval_records = (dataset.read_dataset(path) for path in paths.values())
    asked = [
        (turns[0]["content"], record) for record in eval_records for turns in record["conversation"]
    ]
    assert len(asked) == 40 and sum(len(record["conversation"]) for record in train_records) == 192
    say("stage 1 through it: 192 conversations to train on, 40 held out")

    merged_dir = tune(acronyms, train_records, tmp_path / "run")
    say("tiny-chat tuned and merged")

    with serve.ModelServer(merged_dir, device="cpu") as server:
        say(f"transformers serve answers at {server.url}")
        before = admin.call("GET", "/openai/config")
        with pytest.raises(serve.ServeError, match="shows this key no connections") as refused:
            serve.register(learner, server.url, server.name, everyone=True)
        assert server.url in str(refused.value) and learner_key not in str(refused.value)
        assert admin.call("GET", "/openai/config") == before

        assert "lists acronyms" in serve.register(admin, server.url, server.name, everyone=True)
        config = admin.call("GET", "/openai/config")
        assert config["OPENAI_API_BASE_URLS"] == [upstream.url, server.url]
        assert config["OPENAI_API_KEYS"] == [upstream.token, "none"]
        serve.register(admin, server.url, server.name, everyone=True)
        assert admin.call("GET", "/openai/config") == config
        assert admin.models().count("acronyms") == 1
        say("listed, twice with one entry; the learner's key could not")

        learner.model = "acronyms"
        learner.check()
        questions = [question for question, _ in asked]
        ask = partial(learner.ask, max_tokens=48, accept_cut=True)
        answers = compare.in_threads(ask, 2)(questions)
        pairs = zip(answers, asked, strict=True)
        marks = [exact_match(a, r["definitions"], acronym=r["acronym"]) for a, (_, r) in pairs]
        say(
            f"asked by the learner: {questions[0]!r} → {answers[0]!r}; "
            f"{sum(marks)} of {len(asked)} held-out questions right"
        )
        assert marks[0] and sum(marks) >= 0.9 * len(asked)
        whole, tokenizer = model.load_model(str(merged_dir), device=model.pick_device("cpu"))
        assert answers == model.answer(whole, tokenizer, questions)
        peaks = peak_megabytes(process), peak_megabytes(server._process)
    say(f"peak memory: Open WebUI {peaks[0]} MB, transformers serve {peaks[1]} MB\n")
    for each in (admin, learner):
        each.close()
