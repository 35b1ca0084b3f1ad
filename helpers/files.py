"""Write JSON lists at once and journals line by line, read both back, and let one run at a time.

It knows nothing of what the rows hold.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock

from filelock import FileLock, Timeout

READ_CURE = "Run the notebook that writes it again, or start from the files of example_data."
WRITE_CURE = "Free some space, or set BUCKET to a folder of yours."
LOCK_CURE = "Wait for its end, stop it (restart its notebook's kernel), or set another BUCKET."


class FileError(ValueError):
    """A file that cannot be read or written, or a folder in use; the message says what to do."""


# --------------------------------------------------------------------------------- whole lists


def write_list(path: Path, rows: Iterable) -> None:
    """Write rows as a JSON list, one a line: an interruption leaves the old file or the new one.

    One row at a time is in memory. Raises FileError; what `rows` raises goes through.
    """
    part_path = f"{path}.part"
    separator = b"\n"
    with _write(part_path, "wb") as file:
        file.write(b"[")
        for row in rows:
            file.write(separator + _encode(row))
            separator = b",\n"
        file.write(b"\n]\n")
    os.replace(part_path, path)


def read_list(path: Path, keys: Iterable[str] = ()) -> list[dict]:
    """Read a JSON list of objects that all have `keys`; raises FileError."""
    try:
        rows = json.loads(Path(path).read_bytes())
        for number, row in enumerate(rows, start=1):
            if missing := set(keys) - dict(row).keys():
                raise ValueError(f"entry {number} lacks {', '.join(missing)}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise FileError(f"{path} is no list of such objects: {error}. {READ_CURE}") from None
    return rows


# ------------------------------------------------------------------------------------ journals


class Journal:
    """Rows that are kept as they come: each is on the disk, as a line of JSON, when `add` returns.

    A line that cannot be read, torn or damaged, is skipped and counted. Several threads may add.
    """

    def __init__(self, path: Path):
        """Read what is there, or make the file; raises FileError."""
        self.path, self._lock = path, Lock()
        self.rows = []  # dicts, in the order of the file, those that are added too
        self.unreadable = 0  # lines
        with _write(path, "a+b") as file:
            file.seek(0)
            for line in filter(bytes.strip, file):
                try:
                    self.rows.append(dict(json.loads(line)))
                except (ValueError, TypeError, RecursionError):
                    self.unreadable += 1

    def add(self, row: dict) -> None:
        """Put a row on the disk; raises FileError."""
        with self._lock, _write(self.path, "ab") as file:
            file.write(b"\n" + _encode(row))  # first the line's end: what was torn off stays alone
        self.rows.append(row)


# --------------------------------------------------------------------------- one run at a time


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Let one run at a time work in a folder; FileError says who does, and since when.

    The system takes the lock from a process that ends, however it ends.
    """
    note_path = Path(folder, "run.txt")  # beside the lock: Windows lets nobody read what is locked
    try:
        with FileLock(f"{folder}/run.lock", blocking=False):
            note_path.write_text(f" (process {os.getpid()}, since {datetime.now():%Y-%m-%d %H:%M})")
            yield
    except Timeout:
        note_path.touch()  # which the other one may be about to write
        raise FileError(f"{folder} is in use{note_path.read_text()}. {LOCK_CURE}") from None


# ------------------------------------------------------------------------------------- shared


@contextmanager
def _write(path, mode):
    """Open a file; what was written is on the disk at the end, not only on its way."""
    try:
        with open(path, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}. {WRITE_CURE}") from error


def _encode(row):
    """Encode as JSON; half a character, which UTF-8 cannot hold, becomes JSON's escape of it."""
    return json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace")
