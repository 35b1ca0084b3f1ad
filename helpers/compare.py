"""Keep the answers of runs, say how sure a number is, and set models and scorers side by side.

It knows nothing about models, prompts and figures: a result is rows of plain values, and whoever
answers is a function `ask_many`, from questions to answers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from helpers.files import Journal, read_list, write_list

# Of each run, in a folder of its own: the rows of the exam with answers and marks, the same for a
# spreadsheet, and what made them. The journal holds the answers as they came.
ANSWERS_FILE = "answer_dataset.json"
TABLE_FILE = "test_result.csv"
ABOUT_FILE = "metadata.json"
JOURNAL_FILE = "answers.jsonl"
CHUNK = 64  # answers that an interruption can cost

# ---------------------------------------------------------------------------------------- runs


def identify(model_name: str) -> str:
    """Name a folder's weights by their time, so that no answer of earlier ones slips in.

    A model of the hub is known by its name.
    """
    times = [int(path.stat().st_mtime) for path in Path(model_name).glob("*.safetensors")]
    return f"{Path(model_name).name} {max(times)}" if times else model_name


def open_run(
    tests_dir: Path, name: str, made_by: dict[str, Any], exam: Sequence[dict[str, Any]]
) -> Path:
    """Give the folder of this exam sat by this maker: an earlier one, or a new one called `name`.

    `made_by` is whatever changes the answers: candidate, model, adapter, system prompt, length.
    """
    questions = "\n".join(row["question"] for row in exam)
    about = made_by | {"exam": hashlib.sha256(questions.encode()).hexdigest()[:16]}
    for run_dir, earlier in _abouts(tests_dir):
        if earlier == about:
            return run_dir
    run_dir = tests_dir / re.sub(r"[^\w.-]+", "-", name)
    run_dir.mkdir(parents=True)
    (run_dir / ABOUT_FILE).write_text(json.dumps(about, indent=1), encoding="utf-8")
    return run_dir


def collect_answers(
    run_dir: Path,
    exam: Sequence[dict[str, Any]],
    ask_many: Callable[[list[str]], list[str]],
    *,
    progress: Callable[[int], object] = lambda count: None,
) -> list[dict[str, Any]]:
    """Add an "answer" to each row of the exam; what the run's folder holds is not asked again."""
    journal = Journal(run_dir / JOURNAL_FILE)
    answers = {row["question"]: row["answer"] for row in journal.rows}
    # Like lengths together, the longest first.
    waiting = sorted(
        sorted({row["question"] for row in exam} - answers.keys()), key=len, reverse=True
    )
    progress(len(answers))
    for start in range(0, len(waiting), CHUNK):
        chunk = waiting[start : start + CHUNK]
        for question, answer in zip(chunk, ask_many(chunk), strict=True):
            answers[question] = answer
            journal.add({"question": question, "answer": answer})
        progress(len(chunk))
    return [row | {"answer": answers[row["question"]]} for row in exam]


def in_threads(ask: Callable[[str], str], workers: int = 4) -> Callable[[list[str]], list[str]]:
    """Make of a function that asks a server one question one that asks several at once."""

    def ask_many(questions):
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(ask, questions))

    return ask_many


def write_run(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Write the marked answers of a run, over an earlier marking if there is one."""
    write_list(run_dir / ANSWERS_FILE, rows)
    pd.DataFrame(rows).to_csv(run_dir / TABLE_FILE, index=False, errors="backslashreplace")


def read_runs(tests_dir: Path, like: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read the runs that sat the exam of the run `like`, else of the newest: name → run, rows.

    A run is called by its candidate; of several the one marked last, others get their time. "base"
    is first.
    """
    found = {
        run_dir: about for run_dir, about in _abouts(tests_dir) if (run_dir / ANSWERS_FILE).exists()
    }
    runs = {}
    for run_dir in sorted(found, key=_marked, reverse=True):
        about = found[run_dir]
        if about["exam"] == found[like or max(found)]["exam"]:
            name = about["candidate"]
            label = name if name not in runs else f"{name} {run_dir.name.partition('_')[0]}"
            runs[label] = {"run": run_dir.name, "rows": read_list(run_dir / ANSWERS_FILE)}
    return dict(sorted(runs.items(), key=lambda item: (item[0] != "base", item[0])))


def _abouts(tests_dir) -> Iterator[tuple[Path, dict]]:
    for path in sorted(tests_dir.glob(f"*/{ABOUT_FILE}")):
        with suppress(ValueError):  # half written, when the disk was full
            yield path.parent, json.loads(path.read_text(encoding="utf-8"))


def _marked(run_dir):
    return (run_dir / ANSWERS_FILE).stat().st_mtime_ns


# --------------------------------------------------------------------------- how sure a number is


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Give the 95 % interval of a share by Wilson's method; (0, 1) when nothing was counted."""
    if not total:
        return 0.0, 1.0
    interval = binomtest(correct, total).proportion_ci(method="wilson")
    return interval.low, interval.high


def mcnemar(gained: int, lost: int) -> float:
    """Give the exact p-value of "both are equally good", from the answers on which two differ."""
    return binomtest(gained, gained + lost).pvalue if gained + lost else 1.0


def paired_interval(
    first: Sequence[bool], second: Sequence[bool], groups: Sequence[str]
) -> tuple[float, float]:
    """Give the 95 % interval of the difference of two shares, second less first: a bootstrap.

    Whole groups are drawn, as the questions about one acronym are not independent.
    """
    gains = pd.Series(np.subtract(second, first, dtype=float)).groupby([*map(str, groups)])
    sums, counts = gains.sum().to_numpy(), gains.size().to_numpy()
    drawn = np.random.default_rng(0).integers(len(sums), size=(2000, len(sums)))
    shares = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return tuple(np.percentile(shares, [2.5, 97.5]))


def compare_pairs(runs: dict[str, dict[str, Any]], measures: Sequence[str]) -> pd.DataFrame:
    """Set every two runs side by side on the questions of some measures: gained, lost, how sure."""
    table = []
    for (first, one), (second, other) in combinations(runs.items(), 2):
        rows = pd.DataFrame(one["rows"]).assign(after=[row["right"] for row in other["rows"]])
        rows = rows[rows.measure.isin(measures)]
        gained = int((rows.after & ~rows.right).sum())
        lost = int((rows.right & ~rows.after).sum())
        low, high = paired_interval(rows.right, rows.after, rows.acronym.fillna(rows.question))
        row = {"pair": f"{first} → {second}", "questions": len(rows), "gained": gained}
        row |= {"lost": lost, "difference": f"{low:+.0%} to {high:+.0%}"}
        table.append(row | {"p": f"{mcnemar(gained, lost):.2g}"})
    return pd.DataFrame(table)


# -------------------------------------------------------------------------------- the summary


def summary_row(run: str, model: str, measure: str, correct: int, total: int) -> dict[str, Any]:
    """Make one row of the summary: a count, its share and the interval of the share."""
    return {
        "run": run,
        "model": model,
        "measure": measure,
        "correct": correct,
        "total": total,
        "rate": correct / total if total else None,
        "interval": [round(bound, 4) for bound in wilson(correct, total)],
    }


def summary_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Lay the summary out: one row per measure, one column per model, counts and intervals."""
    frame = pd.DataFrame(rows)
    frame["cell"] = [
        f"{row['correct']}/{row['total']} ({row['interval'][0]:.0%} to {row['interval'][1]:.0%})"
        for row in rows
    ]
    table = frame.pivot(index="measure", columns="model", values="cell").fillna("-")
    return table.loc[frame.measure.unique(), frame.model.unique()]


# ------------------------------------------------------------------- scorers beside labels


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Give Cohen's kappa: 1 for always agreeing, 0 for agreeing as often as chance would."""
    p, q = np.mean(first), np.mean(second)
    observed, expected = np.mean(np.equal(first, second)), p * q + (1 - p) * (1 - q)
    return (observed - expected) / (1 - expected) if expected < 1 else np.nan


def best_threshold(scores: np.ndarray, right: np.ndarray) -> float:
    """Give the score from which on calling an answer right agrees best with the labels."""
    kappas = {value: kappa(right, scores >= value) for value in np.unique(scores)}
    return max(kappas, key=lambda value: np.nan_to_num(kappas[value], nan=-1.0))


def calibrate(
    scores: pd.DataFrame, right: Sequence[bool], chosen: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose each scorer's threshold on the `chosen` answers and judge it on the others.

    `scores` has one column per scorer; a missing score lies between wrong and right. Gives one row
    per scorer, and the verdicts on all answers.
    """
    right, table, verdicts = np.array(right, dtype=bool), {}, {}
    for name, column in scores.items():
        values = column.astype(float).fillna(0.5).to_numpy()
        threshold = best_threshold(values[chosen], right[chosen])
        verdicts[name] = values >= threshold
        truth, given = right[~chosen], verdicts[name][~chosen]
        drawn = np.random.default_rng(0).integers(len(truth), size=(2000, len(truth)))
        low, high = np.nanpercentile([kappa(truth[d], given[d]) for d in drawn], [2.5, 97.5])
        table[name] = {
            "threshold": round(threshold, 2),
            "wrong called right": int((given & ~truth).sum()),
            "right called wrong": int((truth & ~given).sum()),
            "agrees": f"{(truth == given).sum()}/{len(truth)}",
            "kappa": f"{kappa(truth, given):.2f} ({low:.2f} to {high:.2f})",
        }
    return pd.DataFrame(table).T.rename_axis(index="scorer"), pd.DataFrame(verdicts)
