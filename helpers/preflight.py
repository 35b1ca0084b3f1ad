"""Look at what there is before anything long: what was found, what will run, and every cure.

It loads no weights and trains nothing; torch is imported only where a model is looked at.
"""

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version

from helpers import chat

ENOUGH_DISK = 2e9  # bytes, for adapters and a merged copy of a small model


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `cure` says what to do where it falls short."""

    what: str
    found: str
    cure: str = ""
    stops: bool = False  # whether nothing works without it


def check(config, *, stage: int | None = None) -> list[Finding]:
    """Look at all that the notebook of `stage`, or all of them, will need."""
    libraries = [f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "trl")]
    free = shutil.disk_usage(config.bucket).free
    cure = "" if free > ENOUGH_DISK else "Make room, or set BUCKET to a folder on a larger disk."
    findings = [
        Finding("libraries", ", ".join([f"Python {python_version()}", *libraries])),
        Finding("bucket", f"{config.bucket}, {free / 1e9:.1f} GB free", cure),
    ]
    if stage != 2:
        names = {config.owui_fav_model, config.judge_model_name or config.owui_fav_model}
        findings += [_look_at_llm(config, name) for name in names]
    if stage != 1:
        findings += _look_at_model(config)
    return [*findings, Finding("will run", config.stand_ins())]


def describe(findings: list[Finding]) -> str:
    """Write the findings as lines of a terminal."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.what:<15} {finding.found}")
        if finding.cure:
            lines.append(f"{'':<15} -> {finding.cure}")
    return "\n".join(lines)


def _look_at_llm(config, name):
    if config.owui_url is None:
        return Finding("LLM", "the practice server (not an LLM)")
    try:
        return Finding("LLM", chat.connect(config.owui_url, config.owui_token, name).check())
    except chat.ChatError as error:
        return Finding("LLM", "does not answer", str(error), stops=True)


def _look_at_model(config):
    from helpers import model

    try:
        shape = model.read_shape(config.model_name)
        device = model.pick_device(config.device)
    except model.ModelError as error:
        return [Finding("MODEL_NAME", "cannot be used", str(error), stops=True)]
    found = [Finding("MODEL_NAME", config.model_name)]
    for what, value, why in model.hardware_table(device, shape):
        if what in ("device", "weights", "memory needed", "memory free"):
            found.append(Finding(what, f"{value}: {why}"))
    return found
