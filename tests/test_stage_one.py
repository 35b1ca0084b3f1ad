"""Stage 1 against a server that fails, hangs and lies, a client that is killed, and lists of thousands.

Addresses, credentials and single errors are in test_chat.py, single replies in test_replies.py.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from scripted_server import FAILURES, Script

from helpers import dataset
from helpers.acronyms import Acronym, read_acronyms
from helpers.chat import Chat
from helpers.config import REPOSITORY

TOKEN = "sk-planted-7f3a9c51e2b84d60a1"
CLIENT = """
import json, resource, sys
from functools import partial
from pathlib import Path
from helpers import chat, dataset
from helpers.acronyms import Acronym
url, path, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
llm = chat.Chat(url, None, "writer", timeout=(5, 5), attempts=4)
llm.pause = 0.002
entries = [Acronym(f"A{n}X", (f"Definition Number {n}",)) for n in range(number)]
ask = partial(llm.ask, schema=dataset.CONVERSATIONS_SCHEMA, accept_cut=True)
reports = dataset.build_dataset(entries, ask, path, count=5, split="train", workers=8, rounds=8)
print(json.dumps([len(reports), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
"""


def make_list(number: int) -> list[Acronym]:
    return [Acronym(f"A{n}X", (f"Definition Number {n}",)) for n in range(number)]


def build(url: str, acronyms: list[Acronym], path: Path, *, patience: float = 0.3, **options) -> list[dataset.Report]:
    llm = Chat(url, None, "writer", timeout=(5, patience), attempts=4)
    llm.pause = 0.002
    options = {"count": 5, "split": "train", "workers": 8, "rounds": 8} | options
    return dataset.build_dataset(acronyms, lambda prompt: llm.ask(prompt, accept_cut=True), path, **options)


@contextmanager
def server_process(folder: Path, *options: str):
    command = [sys.executable, REPOSITORY / "tests/scripted_server.py", folder, *options]
    with subprocess.Popen(command) as process:
        try:
            while not (folder / "port").exists():
                time.sleep(0.05)
            yield (folder / "port").read_text()
        finally:
            process.kill()


def start_client(url: str, path: Path, number: int) -> subprocess.Popen:
    command = [sys.executable, "-c", CLIENT, url, path, str(number)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_client(url: str, path: Path, number: int) -> list[int]:
    client = start_client(url, path, number)
    output, errors = client.communicate()
    assert client.returncode == 0, errors
    return json.loads(output)


def test_nothing_is_lost_and_nothing_wrong_when_a_third_of_the_replies_fail(tmp_path: Path) -> None:
    acronyms, path = make_list(500), tmp_path / "train.json"
    with Script(fail=0.3) as script:
        reports = build(script.url, acronyms, path)
    assert Counter(script.failures).keys() == set(FAILURES)
    records = dataset.read_dataset(path)
    assert [(r["acronym"], r["ground_truth"]) for r in records] == [(a.name, a.definitions[0]) for a in acronyms]
    for record in records:
        assert len(record["conversation"]) == len({turns[0]["content"] for turns in record["conversation"]}) == 5
        sentence = f"{record['acronym']} stands for {record['ground_truth']}."
        assert all([turn["role"] for turn in turns] == ["user", "assistant"] for turns in record["conversation"])
        assert all(turns[1]["content"] == sentence for turns in record["conversation"])
    for report in reports:
        assert (report.received, report.kept) == (report.kept + len(report.rejected), 5)
        assert report.asked >= report.kept
    reasons = Counter(reason.partition("'")[0] for report in reports for reason, _ in report.rejected)
    assert {"the question does not hold the acronym", "the answer does not hold the definition "} <= reasons.keys()


def test_killed_twenty_times_it_gives_the_same_files_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    rng, number = random.Random(4), 300
    (tmp_path / "calm").mkdir()
    (tmp_path / "killed").mkdir()
    with server_process(tmp_path / "calm") as url:
        run_client(url, tmp_path / "calm.json", number)
    path, journal, kills, moments = tmp_path / "killed.json", tmp_path / "killed.json.journal", 0, []
    with server_process(tmp_path / "killed", "--latency", "0.05") as url:
        log = tmp_path / "killed/log"
        while kills < 20:
            before = journal.stat().st_size if journal.exists() else 0
            client = start_client(url, path, number)
            while (journal.stat().st_size if journal.exists() else 0) == before and client.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.06))
            done = {json.loads(line)[0] for line in journal.read_bytes().split(b"\n")[:-1]}
            asked_before = len(log.read_text().splitlines())
            os.kill(client.pid, signal.SIGKILL)
            client.communicate()
            assert client.returncode == -signal.SIGKILL, "it was over before it was killed"
            kills += 1
            moments.append((len(done), asked_before))
        run_client(url, path, number)
        asked = Counter(json.loads(line)[0] for line in log.read_text().splitlines())
    assert path.read_bytes() == (tmp_path / "calm.json").read_bytes()
    assert not journal.exists() and len({done for done, _ in moments}) == 20
    # What was in flight at a kill, at most one request a worker, is asked again; what was on the disk is not.
    repeated = sum(asked.values()) - number
    assert set(asked) == {acronym.name for acronym in make_list(number)} and 0 < repeated <= 20 * 8


@pytest.mark.parametrize("workers", [1, 4, 8, 16])
def test_requests_in_flight_are_used(tmp_path: Path, workers: int) -> None:
    number = 10 * workers
    with server_process(tmp_path, "--latency", "0.5") as url:
        started = time.perf_counter()
        build(url, make_list(number), tmp_path / "train.json", workers=workers, rounds=1, patience=5)
        seconds = time.perf_counter() - started
    print(f"{workers} in flight: {number / seconds / (workers / 0.5):.1%} of what is possible")
    assert number / seconds >= 0.9 * workers / 0.5


def test_memory_hardly_grows_with_the_list(tmp_path: Path) -> None:
    peaks = {}
    with server_process(tmp_path) as url:
        for number in (1_000, 10_000):
            count, peaks[number] = run_client(url, tmp_path / f"{number}.json", number)
            assert count == number
    print(f"peak memory: {peaks} MB")
    assert peaks[10_000] < 1.5 * peaks[1_000]


def test_the_token_is_nowhere(tmp_path: Path) -> None:
    code = f"""
import http.client, logging, sys, traceback
from helpers import chat, dataset
from helpers.acronyms import Acronym
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
url = sys.argv[1]
def run(address, model="writer", path="/chat/completions"):
    llm = chat.Chat(address, "{"".join(reversed(TOKEN))}"[::-1], model, timeout=(1, 0.3), attempts=2)
    llm.pause = 0.001
    print(repr(llm), vars(llm))
    for call in (llm.check, lambda: llm.ask("{{}} x")):
        try:
            print(call())
        except Exception as error:
            lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
            print("".join(lines), file=sys.stderr)
            raising.append(type(error).__name__)
raising = []
run(url)
run(url, "writerr")
run("http://127.0.0.1:9/api")
run(url.replace("/api", "/redirect/api"))
for number in range(40):
    run(url)
assert "ChatError" in str(raising) or "_PassingError" in raising, raising
chat.Chat(url, "{TOKEN[:9]}" + " " + "x", "m")
"""
    # The planted token must not stand in the script that a traceback quotes, hence its reversed form.
    with Script(fail=0.9) as script:
        command = [sys.executable, "-c", code, script.url]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "OWUI_TOKEN holds a space" in done.stderr
    written = done.stdout + done.stderr + "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "Traceback" in written and "DEBUG" in written
    assert TOKEN not in written and "Bearer" not in written


def test_no_call_is_made_before_a_finished_file_is_left_alone(tmp_path: Path) -> None:
    with Script() as script:
        build(script.url, make_list(3), tmp_path / "train.json")
        before = script.requests
        with pytest.raises(dataset.DatasetError, match="is finished"):
            build(script.url, make_list(4), tmp_path / "train.json")
        assert script.requests == before == 3


def test_a_long_french_list_arrives_byte_for_byte(tmp_path: Path) -> None:
    rng = random.Random(1)
    heads = ["École", "Œuvre", "Comité", "Délégation", "Maîtrise", "Bâtiment", "Pôle", "Unité"]
    links = [
        "de l'été",
        "d’aujourd’hui",
        "à l'égard des élèves",
        "sur-mesure",
        "de l’Île",
        "du maïs",
        "où naît l'hiver",
    ]
    lines = ["sigle;expansion;language"]
    truths: dict[str, list[str]] = {}
    for number in range(300):
        name = f"{rng.choice('ÉÀABCÇ')}{chr(65 + number % 26)}{chr(65 + number // 26)}"
        definition = f"{rng.choice(heads)} n°{number} {rng.choice(links)} {rng.choice(links)}"
        truths.setdefault(name, []).append(definition)
        if number % 30 == 0:
            truths[name].append(f"Autre sens {number} à l'œuvre")
    lines += [f"{name};{definition};fr" for name, all_of in truths.items() for definition in all_of]
    (tmp_path / "liste.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    acronyms = read_acronyms(tmp_path / "liste.csv")
    assert len(lines) - 1 >= 300 and sum(acronym.ambiguous for acronym in acronyms) >= 10
    entries = dataset.tell_meanings_apart(acronyms)
    with Script(fail=0.2) as script:
        reports = build(script.url, entries, tmp_path / "train.json")
    records = json.loads((tmp_path / "train.json").read_bytes())
    plain = {record["acronym"]: record["ground_truth"] for record in records if "context" not in record}
    assert plain == {name: " | ".join(all_of) for name, all_of in truths.items()}
    in_context = [(record["acronym"], record["ground_truth"]) for record in records if "context" in record]
    assert in_context == [(name, text) for name, all_of in truths.items() if len(all_of) > 1 for text in all_of]
    for record, report, entry in zip(records, reports, entries, strict=True):
        assert report.kept == len(record["conversation"]) == dataset.count_for(entry, 5)
        assert report.received == report.kept + len(report.rejected)
        assert all(
            dataset.holds(turns[1]["content"], text) for turns in record["conversation"] for text in entry.definitions
        )
        assert all(turns[1]["content"].startswith(f"{entry.name} signifie ") for turns in record["conversation"])
