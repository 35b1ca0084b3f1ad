import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from helpers.files import FileError, Journal, only_run, read_list, write_list

ROWS = [{"acronym": "ÉNS", "text": "a\u2028b\n"}, {"acronym": "half \ud83d", "n": [1, None]}, {}]
REPOSITORY = Path(__file__).parents[1]
HOLD = "import sys, time; from helpers.files import only_run\n"
HOLD += "with only_run(sys.argv[1]): print('in', flush=True); time.sleep(60)"


@pytest.mark.parametrize("rows", [ROWS, []])
def test_a_list_comes_back_as_it_was(tmp_path, rows):
    path = tmp_path / "list.json"
    write_list(path, iter(rows))
    assert read_list(path) == rows and [*tmp_path.iterdir()] == [path]


def test_an_interrupted_list_leaves_the_old_one(tmp_path):
    def broken():
        yield {"new": 1}
        raise KeyboardInterrupt

    write_list(tmp_path / "list.json", ROWS)
    with pytest.raises(KeyboardInterrupt):
        write_list(tmp_path / "list.json", broken())
    assert read_list(tmp_path / "list.json") == ROWS


@pytest.mark.parametrize(
    "content", [b"", b'[{"a": 1}', b"[1]", b"3", b'{"a": 1}', b"[{}]", b"\xff", b"[" * 200_000]
)
def test_a_list_that_cannot_be_used_names_file_and_cure(tmp_path, content):
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(FileError, match="list.json.*notebook"):
        read_list(tmp_path / "list.json", {"a"})
    with pytest.raises(FileError, match="absent.json.*notebook"):
        read_list(tmp_path / "absent.json")


def test_what_cannot_be_written_names_file_and_cure(tmp_path):
    for write in (lambda path: write_list(path, ROWS), Journal):
        with pytest.raises(FileError, match="absent.*cannot be written.*BUCKET"):
            write(tmp_path / "absent" / "file")


def test_a_journal_comes_back_whatever_happened_to_its_lines(tmp_path):
    path = tmp_path / "replies.jsonl"
    with ThreadPoolExecutor(8) as pool:
        journal = Journal(path)
        list(pool.map(lambda n: journal.add({"n": n, "text": "é\n\ud83d" * n}), range(100)))
    assert sorted(row["n"] for row in journal.rows) == list(range(100))
    # What `add` has taken is on the disk, before the next request.
    assert (Journal(path).rows, Journal(path).unreadable) == (journal.rows, 0)
    with path.open("ab") as file:  # a power cut, another encoding, another's line, a torn one
        file.write(b"\n\x00\x00\n\xe9\n[3]\n" + b"[" * 100_000 + b'\n{"n": 100, "te')
    Journal(path).add({"n": 101})
    again = Journal(path)
    assert ([row["n"] for row in again.rows][100:], again.unreadable) == ([101], 5)


def test_one_run_at_a_time_even_after_a_kill(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout.readline() == b"in\n"
        words = f"{tmp_path.name}.*process {other.pid}, since 20.*BUCKET"
        with pytest.raises(FileError, match=words), only_run(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
    with only_run(tmp_path), ThreadPoolExecutor(1) as pool:
        in_a_thread = pool.submit(only_run(tmp_path).__enter__).exception()
        with pytest.raises(FileError, match=f"process {os.getpid()}"), only_run(tmp_path):
            pass  # the same kernel, in another cell
    assert isinstance(in_a_thread, FileError)
    (tmp_path / "run.txt").unlink()  # the other has not said yet who it is
    with FileLock(tmp_path / "run.lock"), pytest.raises(FileError, match="in use.*BUCKET"):
        with only_run(tmp_path):
            pass
