"""Write and read the results of runs, and say how sure a share of right answers is.

It knows nothing about models, scorers or figures: a result is rows of plain values.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

ANSWERS_FILE, SCORES_FILE, METADATA_FILE = "answer_dataset.json", "test_result.csv", "metadata.json"
COLUMNS = ("run", "model", "measure", "right", "share", "95 % interval")


class CompareError(ValueError):
    """Results that cannot be written, read or compared; the message names the file and the cure."""


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Give the 95 % interval of a share by Wilson's method; (0, 1) when nothing was counted."""
    if not total:
        return 0.0, 1.0
    interval = binomtest(correct, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Give the exact p-value of "both are equally good", from two models' verdicts on the same questions."""
    pairs = list(zip(first, second, strict=True))
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def summary_row(run: str, model: str, measure: str, correct: int, total: int) -> dict[str, Any]:
    """Make one row of the summary: a count, its share and the interval of the share."""
    rate = correct / total if total else None
    row = {"run": run, "model": model, "measure": measure, "correct": int(correct), "total": int(total)}
    return row | {"rate": rate, "interval": [round(bound, 4) for bound in wilson(correct, total)]}


def write_run(tests_dir: Path, run: str, answers_rows: list[dict[str, Any]], metadata: dict[str, Any]) -> Path:
    """Write one tested model's answers (JSON and CSV) and how they were made; return its folder."""
    run_dir = Path(tests_dir) / run
    if (run_dir / METADATA_FILE).exists():
        raise CompareError(f"{run_dir} already holds a finished test. Give the run another name.")
    run_dir.mkdir(parents=True, exist_ok=True)
    _write(run_dir / ANSWERS_FILE, _to_json(answers_rows))
    _write(run_dir / SCORES_FILE, pd.DataFrame(answers_rows).to_csv(index=False))
    _write(run_dir / METADATA_FILE, _to_json(metadata))  # last: its presence says that the run is whole
    return run_dir


def read_runs(tests_dir: Path) -> dict[str, dict[str, Any]]:
    """Read the finished runs of a folder, oldest first: name → {"answers": DataFrame, "metadata": dict}."""
    runs = {}
    for path in sorted(Path(tests_dir).glob(f"*/{METADATA_FILE}")):
        answers = pd.DataFrame(_read(path.with_name(ANSWERS_FILE)))
        runs[path.parent.name] = {"answers": answers, "metadata": _read(path)}
    return runs


def write_summary(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows of `summary_row` as JSON."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _write(Path(path), _to_json(rows))


def read_summary(path: Path) -> list[dict[str, Any]]:
    """Read the rows that `write_summary` wrote."""
    return _read(Path(path))


def format_summary(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out as a plain text table."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["interval"]
    share = "-" if row["rate"] is None else f"{row['rate']:.0%}"
    count = f"{row['correct']}/{row['total']}"
    return row["run"], row["model"], row["measure"], count, share, f"{low:.0%} to {high:.0%}"


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _write(path: Path, text: str) -> None:
    part_path = path.with_name(path.name + ".part")
    part_path.write_text(text, encoding="utf-8")
    os.replace(part_path, path)  # at once: an interruption leaves the old file or the new one


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        cure = "Run the test again, or delete the folder of an interrupted one."
        raise CompareError(f"{path} cannot be read: {error}. {cure}") from error
