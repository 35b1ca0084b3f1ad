"""Set each scorer beside the 240 labelled answers: does it tell right from not right?

    python benchmarks/scorers.py

Every second answer of each kind and language chooses the thresholds, the others judge them. The judge here is the
practice server's rule, no LLM; the embedding and the cross-encoder are the ones that the configuration names.
"""

import json
import time
from collections import defaultdict

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score, precision_score, recall_score, roc_auc_score

from helpers import chat, compare, score
from helpers.config import EXAMPLE_DATA, load_config
from helpers.dataset import definition_sentence

BOOTSTRAPS = 1000


def main() -> None:
    config = load_config()
    rows = json.loads((EXAMPLE_DATA / "labelled_answers.json").read_text(encoding="utf-8"))
    right = np.array([row["label"] == "right" for row in rows])
    chosen = halve(rows)
    print(config.stand_ins())
    print(f"{chosen.sum()} answers choose the threshold, {(~chosen).sum()} judge it; {right.sum()} of all are right.\n")
    table, verdicts = [], {}
    for name, scores, seconds in score_all(rows, config):
        threshold = best_threshold(scores[chosen], right[chosen])
        verdicts[name] = scores >= threshold
        table.append({"scorer": name, **describe(scores, verdicts[name], right, ~chosen), "threshold": threshold})
        table[-1]["seconds"] = round(seconds, 2)
    print(pd.DataFrame(table).to_string(index=False, float_format="{:.3f}".format))
    print("\nHeld-out half, answers judged as they are labelled, by kind:")
    print(by_kind(rows, verdicts, right, ~chosen).to_string())
    print("\nHeld-out half, agreement between scorers (Cohen's kappa):")
    held_out = pd.DataFrame({name: values[~chosen] for name, values in verdicts.items()})
    print(held_out.corr(method=cohen_kappa_score).to_string(float_format="{:.2f}".format))


def score_all(rows: list[dict], config):
    """Yield (scorer, scores from 0 to 1, seconds); each sees the answer and the definition."""
    answers = [row["answer"] for row in rows]
    references = [definition_sentence(row["acronym"], row["definitions"], row["language"]) for row in rows]
    llm = chat.connect(config.owui_url, config.owui_token, config.judge_model_name)
    judged = [row | {"definition": " | ".join(row["definitions"])} for row in rows]

    def exact() -> list[bool]:
        return [score.exact_match(row["answer"], row["definitions"], acronym=row["acronym"]) for row in rows]

    scorers = {
        "exact match": exact,
        "embedding": lambda: score.embed_similarity(answers, references, config.embedding_model),
        "cross-encoder": lambda: score.cross_encoder_scores(answers, references, config.cross_encoder),
        "judge": lambda: [0.5 if verdict is None else verdict for verdict in score.judge(llm.ask, judged)],
    }
    for name, scorer in scorers.items():
        started = time.perf_counter()
        yield name, np.array(scorer(), dtype=float), time.perf_counter() - started
    llm.close()


def halve(rows: list[dict]) -> np.ndarray:
    """Mark every second answer of each kind and language."""
    seen: dict[tuple, int] = defaultdict(int)
    marks = []
    for row in rows:
        key = (row["kind"], row["language"])
        marks.append(seen[key] % 2 == 0)
        seen[key] += 1
    return np.array(marks)


def best_threshold(scores: np.ndarray, right: np.ndarray) -> float:
    """The score from which on calling an answer right agrees best with the labels (Cohen's kappa)."""
    return max(np.unique(scores), key=lambda value: cohen_kappa_score(right, scores >= value))


def describe(scores: np.ndarray, verdict: np.ndarray, right: np.ndarray, part: np.ndarray) -> dict:
    """AUC, precision, recall and kappa with its bootstrap interval, on the part of the answers that is given."""
    scores, verdict, right = scores[part], verdict[part], right[part]
    rng, kappas = np.random.default_rng(0), []
    for _ in range(BOOTSTRAPS):
        drawn = rng.integers(len(right), size=len(right))
        kappas.append(cohen_kappa_score(right[drawn], verdict[drawn]))
    low, high = np.nanpercentile(kappas, [2.5, 97.5])
    correct = int((verdict == right).sum())
    bounds = "{:.0%} to {:.0%}".format(*compare.wilson(correct, len(right)))
    return {
        "AUC": roc_auc_score(right, scores), "agrees": f"{correct}/{len(right)} ({bounds})",
        "precision": precision_score(right, verdict), "recall": recall_score(right, verdict),
        "kappa": f"{cohen_kappa_score(right, verdict):.2f} ({low:.2f} to {high:.2f})",
    }  # fmt: skip


def by_kind(rows: list[dict], verdicts: dict[str, np.ndarray], right: np.ndarray, part: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({name: values == right for name, values in verdicts.items()})[part]
    kinds = np.array([row["kind"] for row in rows])[part]
    return frame.groupby(kinds).agg(lambda column: f"{column.sum()}/{len(column)}")


if __name__ == "__main__":
    main()
