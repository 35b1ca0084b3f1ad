"""Stage 1 against a server that fails, hangs and lies, a client that is killed, and lists of thousands.

Addresses, credentials and most single errors are in test_chat.py, single replies in test_replies.py.
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
from helpers.chat import Chat, ChatError
from helpers.config import REPOSITORY

TOKEN = "sk-planted-7f3a9c51e2b84d60a1"
CLIENT = """
import json, sys
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
# Not ru_maxrss: a child inherits the peak of the process that started it.
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(json.dumps([len(reports), int(peak) // 1024]))
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


def count_kept(journal: Path) -> Counter:
    """Count the conversations of each acronym in the lines that are complete."""
    lines = [json.loads(line)[1] for line in journal.read_bytes().split(b"\n")[:-1]]
    return Counter(turns[1]["content"].split()[0] for line in lines for turns in line["kept"])


PAGE = {"Content-Type": "text/html"}
STREAM = {"Content-Type": "text/event-stream"}
PASSING = {
    "429 without Retry-After": (429, {"detail": "Too many requests"}),
    "429 with a fraction": (429, {}, {"Retry-After": "0.01"}),
    "429 of a proxy": (429, "<html>", PAGE),
    "503 of a proxy": (503, "<html>", PAGE),
    "504 of a proxy": (504, "<html>", PAGE),
    "quota": (400, {"detail": "Quota exceeded for this model"}),
    "error in a stream": (200, 'data: {"error": {"message": "upstream"}}\n\n', STREAM),
    "stream cut in an event": (200, 'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: {"cho', STREAM),
    "body cut": (200, '{"choices": [', {"Content-Length": "5000", "Connection": "close"}),
}
FINAL = {
    "pending account": ((401, {"detail": "You do not have permission."}), "401: You do not have permission"),
    "upstream's bad key": ((401, {"error": {"message": "Incorrect key"}}), "401: Incorrect key"),
    "body not JSON": ((422, {"detail": [{"msg": "JSON decode error"}]}), "422: .*JSON decode error"),
    "moved": ((302, "", {"Location": "https://b.fr/api"}), "sends on to https://b.fr/api.*OWUI_URL"),
}
LISTS = {
    "no /api in the address": ((200, "<!doctype html>", PAGE), "web page.*OWUI_URL"),
    "not a list": ((200, None), "lists no models.*OWUI_URL"),
    "keys disabled": ((403, {"detail": "Use of API key is not enabled in the environment."}), "403: Use of API"),
    "pending account": ((401, {"detail": "You do not have permission."}), "401: You do not have permission"),
    "moved": ((301, "", {"Location": "https://b.fr/api/models"}), "sends on to https://b.fr/api/models.*OWUI_URL"),
}


def ask_once(script: Script, attempts: int = 2) -> str:
    llm = Chat(script.url, TOKEN, "writer", timeout=(5, 5), attempts=attempts)
    llm.pause = 0.002
    return llm.ask(dataset.conversation_prompt(make_list(1)[0], 1, intents={}))


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_asked_again(name: str) -> None:
    with Script() as script:
        script.replies = [PASSING[name]]
        assert "A0X stands for" in ask_once(script)
        assert script.requests == 2


@pytest.mark.parametrize("name", FINAL)
def test_what_will_not_pass_is_told_in_the_servers_words(name: str) -> None:
    reply, words = FINAL[name]
    with Script() as script:
        script.replies = [reply]
        with pytest.raises(ChatError, match=words) as caught:
            ask_once(script)
        assert script.requests == 1 and not caught.value.may_pass


@pytest.mark.parametrize("name", LISTS)
def test_the_list_of_models_tells_what_is_wrong(name: str) -> None:
    with Script() as script:
        script.models, words = LISTS[name]
        with pytest.raises(ChatError, match=words):
            Chat(script.url, TOKEN, "writer").check()


def test_a_stale_list_is_mended_in_the_middle_of_a_run(tmp_path: Path) -> None:
    with Script() as script:
        done = []

        def progress(*_: int, **__: int) -> None:
            done.append(script.requests)
            script.is_stale = script.is_stale or len(done) == 10

        reports = build(script.url, make_list(60), tmp_path / "train.json", progress=progress)
        assert not script.is_stale and script.requests > 60
    assert [report.kept for report in reports] == 60 * [5]


def test_a_stale_list_is_mended_for_a_run_that_starts_after_the_outage() -> None:
    with Script() as script:
        script.is_stale = True
        assert "A0X stands for" in ask_once(script)


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
    with server_process(tmp_path / "calm", "--spoil", "0.3") as url:
        run_client(url, tmp_path / "calm.json", number)
    path, journal, moments = tmp_path / "killed.json", tmp_path / "killed.json.journal", []
    with server_process(tmp_path / "killed", "--spoil", "0.3", "--latency", "0.05") as url:
        log = tmp_path / "killed/log"
        while len(moments) < 20:
            before = journal.stat().st_size if journal.exists() else 0
            client = start_client(url, path, number)
            while (journal.stat().st_size if journal.exists() else 0) == before and client.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.06))
            os.kill(client.pid, signal.SIGKILL)
            client.communicate()
            assert client.returncode == -signal.SIGKILL, "it was over before it was killed"
            moments.append((len(log.read_text().splitlines()), count_kept(journal)))
        run_client(url, path, number)
        requests = [json.loads(line) for line in log.read_text().splitlines()]
    assert path.read_bytes() == (tmp_path / "calm.json").read_bytes()
    assert not journal.exists() and sum(moments[-1][1].values()) < 5 * number
    assert {name for name, _ in requests} == {acronym.name for acronym in make_list(number)}
    assert any(already for _, already in requests), "no acronym needed a second request"
    for asked_before, kept in moments:
        assert all(already >= kept[name] < 5 for name, already in requests[asked_before:])


@pytest.mark.parametrize("workers", [1, 4, 8, 16])
def test_requests_in_flight_are_used(tmp_path: Path, workers: int) -> None:
    number, shares = 10 * workers, []
    with server_process(tmp_path, "--latency", "0.5") as url:
        while len(shares) < 3 and max(shares, default=0) < 0.9:  # again when something else took the processor
            started = time.perf_counter()
            path = tmp_path / f"{len(shares)}.json"
            build(url, make_list(number), path, workers=workers, rounds=1, patience=5)
            shares.append(number / (time.perf_counter() - started) / (workers / 0.5))
    print(f"{workers} in flight: {', '.join(map('{:.1%}'.format, shares))} of what is possible")
    assert max(shares) >= 0.9


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_hardly_grows_with_the_list(tmp_path: Path) -> None:
    peaks = {}
    with server_process(tmp_path) as url:
        for number in (1_000, 10_000):
            count, peaks[number] = run_client(url, tmp_path / f"{number}.json", number)
            assert count == number
    print(f"peak memory: {peaks} MB")
    assert peaks[10_000] < 1.5 * peaks[1_000]


TOKEN_CLIENT = """
import json, logging, os, sys, traceback
from helpers import chat, dataset
from helpers.acronyms import Acronym
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
url, seen = sys.argv[1], set()
def run(name, address, call, model="writer"):
    print("===", name, file=sys.stderr)
    try:
        llm = chat.Chat(address, os.environ["PLANTED"], model, timeout=(1, 0.3), attempts=1)
        print(repr(llm), str(vars(llm)))
        print(call(llm))
    except Exception as error:
        seen.add(str(error))
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        print("".join(lines), repr(error), file=sys.stderr)
def ask(llm):
    fields = {"acronym": "A", "sentence": "A stands for B.", "definitions": ["B"], "count": 1, "already": []}
    return llm.ask(json.dumps(fields | {"intents": {"number": len(seen)}}))
def make(llm):
    entries = [Acronym(f"A{n}", ("Any Body",)) for n in range(30)]
    return dataset.build_dataset(entries, lambda prompt: llm.ask(prompt), "x.json", count=2, split="train")
run("absent", "http://127.0.0.1:9/api", chat.Chat.check)
for name in sys.argv[2:]:
    run(name, url, ask)
run("unknown model", url, chat.Chat.check, "writerr")
for number in range(80):
    run("at random", url, ask)
run("data set", url, make)
print("=== uncaught", json.dumps(sorted(seen)), file=sys.stderr)
raise RuntimeError("the end") from chat.ChatError("with a cause")
"""


def test_the_token_is_nowhere(tmp_path: Path) -> None:
    page, words = {"Content-Type": "text/html"}, f"Incorrect API key provided: {TOKEN}"
    replies = [
        *((status, {"detail": words}) for status in (400, 401, 403, 404, 405, 422, 429, 500, 503)),
        (401, {"error": {"message": words}}), (502, words, page), (200, words, page), (200, {"detail": words}),
        (200, words), (301, "", {"Location": "https://elsewhere.example"}), (400, {"detail": "Model not found"}),
        (200, {"choices": [{"message": {"content": "cut"}, "finish_reason": "length"}]}),
    ]  # fmt: skip
    names = [f"{status} {str(content)[:12]}" for status, content, *_ in replies]
    with Script(fail=0.9) as script:
        script.replies = list(replies)
        command = [sys.executable, "-c", TOKEN_CLIENT, script.url, *names]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PLANTED": TOKEN}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    sections = [section.partition("\n") for section in done.stderr.split("=== ")]
    written = {f"{number} {name}": text for number, (name, _, text) in enumerate(sections)} | {"stdout": done.stdout}
    written |= {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert script.replies == [] and "the end" in done.stderr and {"hang", "reset"} <= set(script.failures)
    assert "Incorrect API key" in done.stderr and "(hidden)" in done.stderr and "DEBUG" in written["debug.log"]
    assert "x.json.journal" in written and "ReadTimeout" in done.stderr
    assert [name for name, text in written.items() if TOKEN in text or "Bearer" in text] == []


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
