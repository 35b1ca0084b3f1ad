"""Set each scorer beside the 240 labelled answers: does it tell right from not right?

    python benchmarks/scorers.py

Every second answer of each kind and language chooses the thresholds, the others judge them. Prints the table of
03-test/README.md, then the kinds. Scorers are those that the configuration names; the judge without an account is the
practice server's rule, no LLM.
"""

import time
from functools import partial

import numpy as np
import pandas as pd

from helpers import chat, compare, score
from helpers.config import EXAMPLE_DATA, load_config


def main() -> None:
    config = load_config()
    rows = compare.read_summary(EXAMPLE_DATA / "labelled_answers.json")
    right = np.array([row["label"] == "right" for row in rows])
    chosen = compare.halve([(row["kind"], row["language"]) for row in rows])
    print(config.stand_ins())
    print(f"{chosen.sum()} answers choose the threshold, {(~chosen).sum()} judge it; {right.sum()} of all are right.\n")
    scores, seconds = score_all(rows, config)
    table, verdicts = compare.calibrate(scores, right, chosen)
    shown = compare.format_calibration(table).assign(seconds=[round(value, 2) for value in seconds])
    lines = [["scorer", *shown.columns], ["---"] * (len(shown.columns) + 1), *shown.reset_index().values.tolist()]
    print("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
    print(f"\n{compare.say_which(table)}")
    print("\nHeld-out half, answers judged as they are labelled, by kind:")
    print(by_kind([row["kind"] for row in rows], verdicts, right, ~chosen).to_string())
    print("\nHeld-out half, agreement between scorers (Cohen's kappa):")
    held_out = verdicts[~chosen].astype(float)
    print(held_out.corr(method=lambda a, b: float(compare.kappa(a, b))).to_string(float_format="{:.2f}".format))


def score_all(rows: list[dict], config) -> tuple[pd.DataFrame, list[float]]:
    """One column of scores from 0 to 1 a scorer, and the seconds that each took, its model loaded."""
    llm = chat.connect(config.owui_url, config.owui_token, config.judge_model_name or config.owui_fav_model)
    models = {"embedding_model": config.embedding_model, "cross_encoder": config.cross_encoder}
    columns, seconds = {}, []
    for name, scorer in score.make_scorers(**models, judge=partial(score.judge, llm.ask)).items():
        if name != "judge":
            scorer(rows[:1])
        started = time.perf_counter()
        columns[name] = scorer(rows)
        seconds.append(time.perf_counter() - started)
    llm.close()
    return pd.DataFrame(columns).astype(float), seconds


def by_kind(kinds: list[str], verdicts: pd.DataFrame, right: np.ndarray, part: np.ndarray) -> pd.DataFrame:
    frame = verdicts.eq(right, axis=0)[part]
    return frame.groupby(np.array(kinds)[part]).agg(lambda column: f"{column.sum()}/{len(column)}")


if __name__ == "__main__":
    main()
