"""Look at what there is before anything long: what was found, what will therefore run, how long, and every cure.

It loads no weights and trains nothing. What it needs beyond Python itself is imported when it is looked at.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from pathlib import Path
from textwrap import TextWrapper

from pydantic import SecretStr

from helpers import chat, dataset

SET_UP = Path(__file__).resolve().parents[1] / "00-set_up"
LOG, TESTED, WANTED = SET_UP / "set_up.log", SET_UP / "constraints.txt", SET_UP.parent / "requirements.txt"
ENOUGH_DISK = 2e9  # bytes, for adapters and a merged copy of a small model
CALL_SECONDS, CALLS_AT_ONCE = 5, 4  # of a real LLM, which nobody has measured yet
STAGE_SECONDS = 20  # imports, tables and figures of a notebook


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `cure` says what to do where it falls short, `stops` that nothing works without."""

    what: str
    found: str
    cure: str = ""
    stops: bool = False


def check(config, *, stage: int | None = None, acronyms: int = 10) -> list[Finding]:
    """Look at all that the notebook of `stage`, or all three, will need, for a list of so many acronyms."""
    return list(_look(config, {stage} if stage else {1, 2, 3}, acronyms))


def describe(findings: list[Finding]) -> str:
    """Write the findings as lines of a terminal."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.what:<15} {finding.found}")
        if finding.cure:
            lines.append(f"{'':<15} -> {finding.cure}")
    wrap = TextWrapper(100, subsequent_indent=" " * 16, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(wrap.fill, lines))


def _look(config, stages: set[int], acronyms: int) -> Iterator[Finding]:
    yield _look_at_log()
    yield _look_at_libraries()
    yield _look_at_bucket(config)
    wanted = {1: config.owui_fav_model, 3: config.judge_model_name or config.owui_fav_model}
    for stage in sorted(stages & {1, 3}):
        yield _look_at_llm(config, "LLM" if stage == 1 else "judge", wanted[stage])
    requests = sum(ceil(count / dataset.REQUEST) for count in dataset.choose_counts(acronyms))
    calls = 0 if config.owui_url is None else acronyms * requests  # of stage 1
    seconds = {1: STAGE_SECONDS / 2 + calls * CALL_SECONDS / CALLS_AT_ONCE} if 1 in stages else {}
    if stages & {2, 3}:
        models = {"MODEL_NAME": config.model_name}
        if 3 in stages:
            models |= {"EMBEDDING_MODEL": config.embedding_model, "CROSS_ENCODER": config.cross_encoder}
        located = [_look_at_model(what, name, config.hf_token) for what, name in models.items()]
        yield from located
        if not located[0].stops:
            yield _look_at_hardware(config)
    yield Finding("will run", config.stand_ins())
    shown = ", ".join(f"stage {stage}: about {_duration(seconds[stage])}" for stage in sorted(seconds))
    if shown:
        yield Finding("expected time", f"{shown}, for {acronyms} acronyms; an estimate")


def _look_at_log() -> Finding:
    if not LOG.exists():
        return Finding("set-up", "not done by 00-set_up here")
    if LOG.read_text(encoding="utf-8").strip().endswith("Set-up ended well."):
        return Finding("set-up", "ended well")
    cure = "Read 00-set_up/set_up.log, mend what its last lines name, and run the set-up again."
    return Finding("set-up", "did not end well", cure)


def _look_at_libraries() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    pins = dict(line.split("==") for line in TESTED.read_text(encoding="utf-8").split() if "==" in line)
    wanted = re.findall(r"^([\w-]+)(?:\[\w+\])?>=", WANTED.read_text(encoding="utf-8"), flags=re.M)
    tested = {name: pin for name, pin in pins.items() if name.replace("_", "-") in wanted}
    differ = []
    for name, pin in tested.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "none"
        if found.partition("+")[0] != pin:
            differ.append(f"{name} {found} (tested {pin})")
    if not differ:
        return Finding("libraries", f"Python {python}, {len(tested)} libraries as tested")
    cure = "Only if something fails: run python3 00-set_up/set_up.py, which installs the tested ones."
    return Finding("libraries", f"Python {python}, other versions than tested: {', '.join(differ)}", cure)


def _look_at_bucket(config) -> Finding:
    free = shutil.disk_usage(config.bucket).free
    cure = "" if free > ENOUGH_DISK else "Make room there, or set BUCKET to a folder on a larger disk."
    return Finding("bucket", f"{config.bucket}, {free / 1e9:.1f} GB free", cure)


def _look_at_llm(config, what: str, name: str | None) -> Finding:
    if config.owui_url is None:
        return Finding(what, "the practice server (not an LLM)")
    key = "key set" if config.owui_token else "no key"
    try:
        asked = chat.connect(config.owui_url, config.owui_token, name)
        try:
            return Finding(what, f"{asked.check()} ({key})")
        finally:
            asked.close()
    except chat.ChatError as error:
        return Finding(what, f"does not answer ({key})", str(error), stops=True)


def _look_at_model(what: str, name: str, token: SecretStr | None) -> Finding:
    if name == "wordllama":
        return Finding(what, "WordLlama, inside its package")
    given = "" if token is None else ", HF_TOKEN set"
    place = "a folder" if Path(name).is_dir() else "on the hub, or kept here"
    return Finding(what, f"{name.rpartition('/00-set_up/')[2]}, {place}{given}")


def _look_at_hardware(config) -> Finding:
    """Give the device and the memory that training needs on it."""
    from helpers import model

    try:
        shape = model.read_shape(config.model_name)
        device = model.pick_device(config.device, parameters=shape.num_parameters())
    except model.ModelError as error:
        return Finding("device", "not found", str(error), stops=True)
    needed = sum(count for _, count, _ in model.estimate_memory(shape, device.dtype))
    free = model.free_memory(device.name)
    found = f"{device.name} ({device.reason}), {needed / 1e9:.1f} of {free / 1e9:.1f} GB of free memory needed"
    cure = "" if needed < free else "Choose a smaller model: 02-fine_tune/README.md lists some."
    return Finding("device", found, cure)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
