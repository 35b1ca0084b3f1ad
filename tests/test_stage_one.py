"""Stage 1 against a server that fails, hangs and lies, a client that is killed, and long lists.

Single errors of a server are in test_chat.py, single replies in test_dataset.py. What is marked
slow is the same at full size: pytest -m slow tests/test_stage_one.py
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from scripted_server import Script

from helpers import dataset
from helpers.acronyms import read_acronyms
from helpers.chat import Chat
from helpers.config import EXAMPLE_DATA, REPOSITORY
from helpers.files import Journal
from stand_ins.practice_server import PracticeServer, origin

TOKEN = "sk-planted-7f3a9c51e2b84d60a1"
CLIENT = """
import os, sys
from functools import partial
from pathlib import Path
from helpers import chat, dataset, files
from helpers.acronyms import Acronym
url, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
llm = chat.Chat(url, os.environ.get("TOKEN"), None, timeout=(5, 300), attempts=4)
llm.pause, llm.model = 0.002, llm.models()[0]
entries = [Acronym(f"A{n}X", (f"Definition Number {n}",)) for n in range(number)]
ask = partial(llm.ask, schema=dataset.CONVERSATIONS_SCHEMA, accept_cut=True)
ask = dataset.remember(ask, files.Journal(folder / "replies.jsonl"), model=llm.model)
options = {"count": 5, "split": "train", "workers": 8, "rounds": 8}
reports = dataset.build_dataset(entries, ask, folder / "train.json", **options)
print(sum(report.kept for report in reports))
"""


def start_client(url: str, folder: Path, number: int, **env) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", CLIENT, url, folder, str(number)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | env, **pipes)


def run_client(url: str, folder: Path, number: int, **env) -> None:
    client = start_client(url, folder, number, **env)
    output, errors = client.communicate()
    assert client.returncode == 0 and int(output) == 5 * number, errors


def count_replies(folder: Path) -> int:
    path = folder / "replies.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_replies(folder: Path, number: int, client: subprocess.Popen) -> None:
    while count_replies(folder) < number and client.poll() is None:
        time.sleep(0.002)


# ------------------------------------------------------------------------------- the default


def test_the_default_run_writes_the_example_data(tmp_path):
    """480, 120 and 120 in a large language model's words; all test wordings differ."""
    acronyms, records = read_acronyms(EXAMPLE_DATA / "acronym.json"), []
    names = {"train": "train_dataset", "validation": "validation_dataset", "test": "eval_dataset"}
    kept = []
    with PracticeServer() as server:
        llm = Chat(server.url, server.token, "practice-writer")
        for _ in range(2):  # the second run asks for nothing
            journal, records = Journal(tmp_path / "replies.jsonl"), []
            remembered = dataset.remember(llm.ask, journal, model=llm.model)
            for split, count in zip(names, dataset.choose_counts(len(acronyms)), strict=True):
                path = tmp_path / f"{names[split]}.json"
                options = {"count": count, "split": split, "avoid": records}
                reports = dataset.build_dataset(acronyms, remembered, path, **options)
                kept.append(sum(report.kept for report in reports))
                assert path.read_bytes() == (EXAMPLE_DATA / path.name).read_bytes(), path.name
                records += dataset.read_dataset(path)
        llm.close()
    assert kept == [480, 120, 120] * 2 and len(journal.rows) == 60
    origins = {origin(row["reply"]) for row in journal.rows}
    assert origins == {"recorded from a large language model"}
    asked = [(r["acronym"], talk[0]["content"]) for r in records[20:] for talk in r["conversation"]]
    assert len({dataset.words_of(question, name) for name, question in asked}) == 120


# --------------------------------------------------------------------------- a failing server


@pytest.mark.parametrize("number", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_nothing_is_lost_doubled_or_wrong_when_a_third_of_the_replies_fail(tmp_path, number):
    with Script(fail=0.3) as script:
        run_client(script.url, tmp_path, number)
    assert len(set(script.failures)) >= 10
    records = dataset.read_dataset(tmp_path / "train.json")
    assert [record["acronym"] for record in records] == [f"A{n}X" for n in range(number)]
    for n, record in enumerate(records):
        questions = {user["content"] for user, _ in record["conversation"]}
        assert len(record["conversation"]) == len(questions) == 5
        assert all(record["acronym"] in question for question in questions)
        answers = {assistant["content"] for _, assistant in record["conversation"]}
        assert answers == {f"A{n}X stands for Definition Number {n}."}


@pytest.mark.long
def test_the_token_is_in_no_file_and_no_message(tmp_path):
    with Script(fail=0.5) as script:
        run_client(script.url, tmp_path / "good", 20, TOKEN=TOKEN)
        script.refusal = (401, {"detail": f"Incorrect API key provided: {TOKEN}"})
        client = start_client(script.url, tmp_path / "bad", 20, TOKEN=TOKEN)
        output, errors = client.communicate()
    assert client.returncode == 1 and "Incorrect API key" in errors
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert not [text for text in (output, errors, *written) if TOKEN in text]


# ------------------------------------------------------------------------------ interruptions


@pytest.mark.long
@pytest.mark.parametrize(
    ("kills", "number"), [(3, 60), pytest.param(20, 300, marks=pytest.mark.slow)]
)
def test_killed_it_gives_the_same_file_and_repeats_only_what_was_in_flight(tmp_path, kills, number):
    rng, killed = random.Random(4), tmp_path / "killed"
    with Script(spoil=0.3) as script:
        run_client(script.url, tmp_path / "calm", number)
    with Script(spoil=0.3, latency=0.05) as script:
        for _ in range(kills):
            client = start_client(script.url, killed, number)
            wait_for_replies(killed, count_replies(killed) + 1, client)
            time.sleep(rng.uniform(0, 0.06))
            client.kill()
            client.communicate()
            assert client.returncode == -signal.SIGKILL, "it was over before it was killed"
        assert not (killed / "train.json").exists()
        run_client(script.url, killed, number)
    assert (killed / "train.json").read_bytes() == (tmp_path / "calm/train.json").read_bytes()
    requests = Counter(script.asked)
    assert any(there for _, there in requests), "no acronym needed a second request"
    assert requests.total() - len(requests) <= 8 * kills, "8 at once"


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_returns_at_once_from_a_server_that_hangs_and_loses_nothing(tmp_path):
    with Script(latency=0.1) as script:
        client = start_client(script.url, tmp_path, 40)
        wait_for_replies(tmp_path, 8, client)
        script.latency = 60
        time.sleep(0.5)  # eight requests hang
        answered = count_replies(tmp_path)
        client.send_signal(signal.SIGINT)
        started = time.perf_counter()
        errors = client.communicate()[1]
        assert "KeyboardInterrupt" in errors and client.returncode != 0
        assert time.perf_counter() - started < 5, "0.2 where nothing else runs; these hang for 60"
        script.latency, before = 0, len(script.asked)
        run_client(script.url, tmp_path, 40)
        assert len(script.asked) - before == 40 - answered
