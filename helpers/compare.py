"""Keep the answers and results of runs, say how sure a number is, and set models and scorers side by side.

It knows nothing about models, prompts or figures: a result is rows of plain values, and whoever answers is a
function `ask_many` from questions to answers.
"""

import hashlib
import json
import os
import re
from collections import UserDict, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, bootstrap
from sklearn.metrics import precision_score, recall_score, roc_auc_score

ANSWERS_FILE, SCORES_FILE, METADATA_FILE = "answer_dataset.json", "test_result.csv", "metadata.json"
STARTED_FILE = "made_by.json"
CHUNK = 64  # answers that an interruption can cost


class CompareError(ValueError):
    """Results that cannot be written, read or compared; the message names the file and the cure."""


class Journal(UserDict):
    """A dictionary in a file: each value is one line of JSON, on disk as soon as it is set."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._lock = Path(path), Lock()
        text = self._path.read_bytes() if self._path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:  # what an interruption tore off
            os.truncate(self._path, len(whole))
        try:
            self.data |= dict(json.loads(line) for line in whole.splitlines())
        except ValueError as error:
            raise CompareError(f"{path} cannot be read: {error}. Delete it; what it held is asked again.") from error

    def __setitem__(self, key: str, value: Any) -> None:
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, value], ensure_ascii=False) + "\n")
            self.data[key] = value


def open_run(tests_dir: Path, name: str, made_by: dict[str, Any], exam: Sequence[dict[str, Any]]) -> Path:
    """Give the folder of the run of this exam by this maker: an earlier one, finished or not, or a new one.

    `made_by` is whatever changes the answers: model, adapter, system prompt, length.
    """
    about = json.loads(_to_json({"made_by": made_by, "exam": _hash([row["question"] for row in exam])}))
    for path in sorted(Path(tests_dir).glob(f"*/{STARTED_FILE}")):
        if _read(path) == about:
            return path.parent
    run_dir = Path(tests_dir) / re.sub(r"[^\w.-]+", "-", name)
    run_dir.mkdir(parents=True, exist_ok=True)
    if any(run_dir.iterdir()):
        raise CompareError(f"{run_dir} holds another test already. Give the run another name.")
    _write(run_dir / STARTED_FILE, _to_json(about))
    return run_dir


def collect_answers(
    run_dir: Path, exam: Sequence[dict[str, Any]], ask_many: Callable[[list[str]], list[str]], *,
    progress: Callable[[int], object] = lambda _: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Add an "answer" to each row of the exam, on disk in chunks; what a folder holds is not asked again."""
    path, journal = Path(run_dir) / ANSWERS_FILE, Journal(Path(run_dir) / "answers.jsonl")
    if path.exists():
        journal.data |= {row["question"]: row["answer"] for row in _read(path)}
    questions = dict.fromkeys(row["question"] for row in exam)
    waiting = sorted(questions.keys() - journal.keys(), key=lambda text: (-len(text), text))
    progress(len(questions) - len(waiting))
    for start in range(0, len(waiting), CHUNK):
        chunk = waiting[start : start + CHUNK]
        for question, answer in zip(chunk, ask_many(chunk), strict=True):
            journal[question] = answer
        progress(len(chunk))
    rows = [row | {"answer": journal[row["question"]]} for row in exam]
    if not path.exists():
        _write(path, _to_json(rows))
    (Path(run_dir) / "answers.jsonl").unlink(missing_ok=True)
    return rows


def in_threads(ask: Callable[[str], str], workers: int = 4) -> Callable[[list[str]], list[str]]:
    """Make of a function that asks a server one question one that asks several at once."""

    def ask_many(questions: list[str]) -> list[str]:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(ask, questions))

    return ask_many


def identify(model_name: str | Path, config: Any = None) -> dict[str, str | None]:
    """Say which weights answer: of a folder its name and a hash, of a model on the hub its id and revision."""
    folder, digest = Path(model_name), hashlib.sha256()
    if not folder.is_dir():
        return {"model": str(model_name), "weights": getattr(config, "_commit_hash", None)}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {"model": folder.name, "weights": digest.hexdigest()[:16]}


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


def mcnemar_power(total: int, gained: float, lost: float, *, alpha: float = 0.05) -> float:
    """Give the chance that McNemar's exact test on `total` questions finds a difference at level `alpha`.

    `gained` and `lost` are the shares of questions that only the second, only the first model answers right. The
    number of these is binomial, and among them so is the number of gained ones: summed over both, this is the exact
    power (Duffy, Biometrics 40, 1984; the one that SAS's PROC POWER calls EXACT_COND).
    """
    counts = np.arange(total + 1)
    limit = binom.ppf(alpha / 2, counts, 0.5)
    limit -= binom.cdf(limit, counts, 0.5) > alpha / 2 * (1 + 1e-9)  # so few on one side are significant
    share = gained / (gained + lost)
    found = binom.cdf(limit, counts, share) + binom.cdf(limit, counts, 1 - share)
    return float((binom.pmf(counts, total, gained + lost) * found).sum())


def smallest_difference(total: int, *, lost: float = 0.0, power: float = 0.8) -> float | None:
    """Give the smallest difference in shares that McNemar's exact test finds with this power, or None.

    The second model answers that much more of `total` questions right, although it loses the share `lost`. It
    solves `mcnemar_power` for the difference; 0 lost is the easiest case.
    """

    def missing(difference: float) -> float:
        return mcnemar_power(total, difference + lost, lost) - power

    most = 1 - 2 * lost
    return brentq(missing, 1e-9, most, xtol=1e-4) if most > 0 and missing(most) > 0 else None


def paired_interval(
    first: Sequence[bool], second: Sequence[bool], groups: Sequence[str], *, seed: int = 0
) -> tuple[float, float]:
    """Give the 95 % interval of the difference of two shares, second less first, by the paired bootstrap.

    Whole groups are drawn, as the questions about one acronym are not independent.
    """
    gains = pd.Series(np.subtract(second, first, dtype=float)).groupby(list(groups)).agg(["sum", "count"])

    def difference(gained: np.ndarray, asked: np.ndarray, axis: int) -> np.ndarray:
        return gained.sum(axis=axis) / asked.sum(axis=axis)

    if len(gains) < 2:
        return -1.0, 1.0
    options = {"paired": True, "vectorized": True, "method": "percentile", "n_resamples": 4000}
    options["batch"] = 200  # resamples at once: memory grows with them times the groups
    interval = bootstrap(gains.T.to_numpy(), difference, rng=seed, **options).confidence_interval
    return float(interval.low), float(interval.high)


def bounds(verdicts: Sequence[bool | None]) -> dict[str, Any]:
    """Count a judge's verdicts: the share of right ones lies between low (unscored is wrong) and high (is right)."""
    right, unscored, total = sum(v is True for v in verdicts), sum(v is None for v in verdicts), len(verdicts)
    shares = {"low": right / total, "high": (right + unscored) / total} if total else {"low": None, "high": None}
    return {"right": right, "unscored": unscored, "total": total} | shares


def summary_row(run: str, model: str, measure: str, correct: int, total: int) -> dict[str, Any]:
    """Make one row of the summary: a count, its share and the interval of the share."""
    rate = correct / total if total else None
    row = {"run": run, "model": model, "measure": measure, "correct": int(correct), "total": int(total)}
    return row | {"rate": rate, "interval": [round(bound, 4) for bound in wilson(correct, total)]}


def write_run(run_dir: Path, rows: list[dict[str, Any]], metadata: dict[str, Any]) -> None:
    """Write the scored answers of a run (JSON and CSV) and how they were made, over an earlier scoring if any."""
    about = _read(run_dir / STARTED_FILE)
    _write(run_dir / ANSWERS_FILE, _to_json(rows))
    _write(run_dir / SCORES_FILE, pd.DataFrame(rows).to_csv(index=False))
    _write(run_dir / METADATA_FILE, _to_json(about | metadata))  # last: its presence says that the run is whole


def read_answers(run_dir: Path) -> list[dict[str, Any]]:
    """Read the rows that `collect_answers` or `write_run` wrote."""
    return _read(Path(run_dir) / ANSWERS_FILE)


def read_runs(tests_dir: Path, like: str | None = None) -> dict[str, dict[str, Any]]:
    """Read the finished runs of a folder that sat the exam of the run `like`, by default the newest.

    The untrained model comes first, then the oldest: label → {"run", "rows", "metadata"}. A label is the
    candidate's name, with the run's where several bear it.
    """
    found = [(path.parent.name, _read(path)) for path in sorted(Path(tests_dir).glob(f"*/{METADATA_FILE}"))]
    if not found:
        return {}
    exams = {run: metadata.get("exam") for run, metadata in found}
    found = [pair for pair in found if exams[pair[0]] == exams[like or found[-1][0]]]
    names = [_candidate(metadata) for _, metadata in found]
    runs = {}
    for run, metadata in sorted(found, key=lambda pair: _candidate(pair[1]) != "base"):
        name = _candidate(metadata)
        label = name if names.count(name) == 1 else f"{name} {run.partition('_')[0]}"
        runs[label] = {"run": run, "rows": read_answers(Path(tests_dir) / run), "metadata": metadata}
    return runs


def compare_pairs(runs: dict[str, dict[str, Any]], measures: Sequence[str]) -> pd.DataFrame:
    """Set every two runs side by side on the questions of some measures: difference of shares, and how sure."""
    table = []
    for (first, one), (second, other) in combinations(runs.items(), 2):
        marks = [
            {(row["question"], row["expected"]): row for row in run["rows"] if row["measure"] in measures}
            for run in (one, other)
        ]
        common = [key for key in marks[0] if key in marks[1]]
        a, b = ([bool(part[key]["right"]) for key in common] for part in marks)
        gained, lost = (sum(x < y for x, y in zip(*pair, strict=True)) for pair in ((a, b), (b, a)))
        low, high = paired_interval(a, b, [str(marks[0][key]["acronym"]) for key in common])
        total = len(common)
        row = {"first": first, "second": second, "questions": total, "gained": gained, "lost": lost}
        row |= {"difference": (gained - lost) / total if total else None, "low": low, "high": high}
        smallest = smallest_difference(total, lost=min(gained, lost) / total) if total else None
        table.append(row | {"p": mcnemar(a, b), "smallest": smallest})
    return pd.DataFrame(table)


def write_summary(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows of `summary_row` as JSON."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _write(Path(path), _to_json(rows))


def read_summary(path: Path) -> list[dict[str, Any]]:
    """Read the rows that `write_summary` wrote."""
    return _read(Path(path))


def summary_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Lay the rows out with one row a model and one column a measure: count, share, 95 % interval."""
    frame = pd.DataFrame([row | {"cell": _cell(row)} for row in rows])
    table = frame.pivot(index="model", columns="measure", values="cell")
    return table.loc[frame.model.unique(), frame.measure.unique()].fillna("-").rename_axis(columns=None)


def format_summary(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out as plain text for a narrow window: one line a measure, one column a model."""
    return summary_table(rows).T.rename_axis(columns="measure").to_string()


# How well a scorer agrees with labelled answers


def halve(kinds: Sequence[Any]) -> np.ndarray:
    """Mark every second answer of each kind: that half chooses the thresholds, the other judges them."""
    seen: dict[Any, int] = defaultdict(int)
    marks = []
    for kind in kinds:
        seen[kind] += 1
        marks.append(seen[kind] % 2 == 1)
    return np.array(marks)


def kappa(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    """Give Cohen's kappa of two arrays of verdicts along an axis; nan where both always say the same one thing."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    p, q = first.mean(axis=axis), second.mean(axis=axis)
    observed, expected = (first == second).mean(axis=axis), p * q + (1 - p) * (1 - q)
    with np.errstate(invalid="ignore"):
        return (observed - expected) / (1 - expected)


def best_threshold(scores: np.ndarray, right: np.ndarray) -> float:
    """Give the score from which on calling an answer right agrees best with the labels (Cohen's kappa)."""
    return float(max(np.unique(scores), key=lambda value: np.nan_to_num(kappa(right, scores >= value), nan=-1.0)))


def calibrate(scores: pd.DataFrame, right: Sequence[bool], chosen: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose each scorer's threshold on the `chosen` answers and judge it on the others.

    `scores` has one column a scorer; a missing score lies between wrong and right. Gives one row a scorer (AUC,
    threshold, agreement as a count and a share with Wilson's interval, precision, recall, kappa with a bootstrap
    interval), all but the threshold on the other half, and the verdicts on all answers.
    """
    right, table, verdicts = np.array(right, dtype=bool), [], {}
    for name, column in scores.items():
        values = column.astype(float).fillna(0.5).to_numpy()
        threshold = best_threshold(values[chosen], right[chosen])
        verdicts[name] = values >= threshold
        truth, given = right[~chosen], verdicts[name][~chosen]
        options = {"paired": True, "vectorized": True, "method": "percentile", "n_resamples": 2000, "rng": 0}
        sure = bootstrap((truth, given), kappa, **options).confidence_interval
        agrees = int((truth == given).sum())
        row = {"scorer": name, "AUC": roc_auc_score(truth, values[~chosen]), "threshold": threshold}
        row |= {
            "agrees": agrees,
            "total": len(truth),
            "share": agrees / len(truth),
            "interval": wilson(agrees, len(truth)),
        }
        row |= {"precision": precision_score(truth, given, zero_division=0), "recall": recall_score(truth, given)}
        table.append(row | {"kappa": float(kappa(truth, given)), "kappa interval": (float(sure.low), float(sure.high))})
    return pd.DataFrame(table).set_index("scorer"), pd.DataFrame(verdicts)


def format_calibration(table: pd.DataFrame) -> pd.DataFrame:
    """Write the numbers of `calibrate` with their counts and intervals."""
    agrees = [
        f"{row.agrees}/{row.total} ({row.interval[0]:.0%} to {row.interval[1]:.0%})" for row in table.itertuples()
    ]
    sure = [
        f"{k:.2f} ({low:.2f} to {high:.2f})"
        for k, (low, high) in zip(table["kappa"], table["kappa interval"], strict=True)
    ]
    return table[["AUC", "threshold", "precision", "recall"]].round(2).assign(agrees=agrees, kappa=sure)


def say_which(table: pd.DataFrame) -> str:
    """Say in a sentence which scorer agrees best with the labels, and from which this many answers tell it apart."""
    ranked = table.sort_values("kappa", ascending=False, kind="stable")
    best = ranked.iloc[0]
    apart = [name for name, row in ranked.iloc[1:].iterrows() if row["kappa interval"][1] < best["kappa interval"][0]]
    told = f"clearly better than {' and '.join(apart)}" if apart else "but this many answers do not set it apart"
    low, high = best["kappa interval"]
    kappas = f"kappa {best['kappa']:.2f}, {low:.2f} to {high:.2f}"
    return f"{best.name} agrees best with the labels ({best.agrees} of {best.total}; {kappas}), {told}."


def _candidate(metadata: dict[str, Any]) -> str:
    return metadata.get("made_by", metadata).get("candidate", "?")


def _cell(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    if row["rate"] is None:
        return "-"
    return f"{row['correct']}/{row['total']} {row['rate']:.0%} ({low:.0%}-{high:.0%})"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


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
