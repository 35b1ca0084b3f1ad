"""What the two tests on request share: a tuned model, a free port, and memory."""

import re
import socket
import subprocess
from pathlib import Path

from helpers import dataset, model, train
from helpers.acronyms import Acronym
from helpers.config import REPOSITORY

TINY_CHAT = str(REPOSITORY / "stand_ins/tiny-chat")


def peak_megabytes(process: subprocess.Popen) -> int:
    status = Path(f"/proc/{process.pid}/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) // 1024 if found else 0


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def tune(acronyms: list[Acronym], records: list[dict], folder: Path) -> Path:
    """Teach tiny-chat the records, as notebook 2 does, and merge it."""
    device = model.pick_device("cpu")
    base, tokenizer = model.load_model(TINY_CHAT, device=device)
    knobs = train.Knobs.for_size(base.num_parameters(), len(acronyms))
    probes = dataset.make_probes(acronyms)
    rows = train.make_rows(records, train.rehearsal_conversations(base, tokenizer, probes, knobs))
    train.train(base, tokenizer, rows, folder / "adapter", knobs)
    train.merge(TINY_CHAT, folder / "adapter", folder / "acronyms", device=device)
    return folder / "acronyms"
