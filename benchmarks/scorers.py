"""Set each scorer beside the 240 labelled answers: does it tell right from not right?

    python benchmarks/scorers.py

Every second answer of each kind and language chooses the thresholds, the others judge them. Prints
the table of 03-test/README.md, then the kinds. Scorers are those that the configuration names; the
judge without an account gives a large language model's recorded verdicts.
"""

import time
from functools import partial

import pandas as pd
from tables import print_markdown

from helpers import chat, compare, score
from helpers.config import EXAMPLE_DATA, load_config
from helpers.dataset import definition_sentence
from helpers.files import read_list


def main() -> None:
    config = load_config()
    rows = read_list(EXAMPLE_DATA / "labelled_answers.json")
    for row in rows:
        row["expected"] = " | ".join(row["definitions"])
        row["reference"] = definition_sentence(row["acronym"], row["definitions"], row["language"])
    labelled = pd.DataFrame(rows)
    right = labelled.label == "right"
    chosen = (labelled.groupby(["kind", "language"]).cumcount() % 2 == 0).to_numpy()
    print(f"{config.stand_ins()}\n{right.sum()} of {len(rows)} answers are right.\n")
    scores, seconds = score_all(rows, config)
    table, verdicts = compare.calibrate(scores, right, chosen)
    everywhere = {name: f"{compare.kappa(right, verdicts[name]):.2f}" for name in verdicts}
    table["of all"] = verdicts.eq(right, axis=0).sum()
    table["kappa of all"] = everywhere
    print_markdown(table.assign(seconds=seconds).reset_index())
    print("\nOn the half that judges, answers judged as they are labelled, by kind:")
    agrees = verdicts[~chosen].eq(right[~chosen], axis=0).groupby(labelled.kind[~chosen])
    print(agrees.agg(lambda column: f"{column.sum()}/{len(column)}").to_string())


def score_all(rows: list[dict], config) -> tuple[pd.DataFrame, list[float]]:
    """Give one column of scores per scorer, and the seconds that each took, its model loaded."""
    name = config.judge_model_name or config.owui_fav_model
    llm = chat.connect(config.owui_url, config.owui_token, name)
    ask = partial(llm.ask, schema=score.VERDICT_SCHEMA, accept_cut=True)

    def matches(part):
        known = ((row["answer"], row["definitions"], row["acronym"]) for row in part)
        return [score.exact_match(answer, wanted, acronym=a) for answer, wanted, a in known]

    def texts(part, key):
        return [row[key] for row in part]

    scorers = {
        "exact match": matches,
        "embedding": lambda part: score.embed_similarity(
            texts(part, "answer"), texts(part, "reference"), config.embedding_model
        ),
        "cross-encoder": lambda part: score.cross_encoder_scores(
            texts(part, "answer"), texts(part, "reference"), config.cross_encoder
        ),
        "judge": lambda part: score.judge(ask, part),
    }
    columns, seconds = {}, []
    for name, scorer in scorers.items():
        scorer(rows[:1])
        started = time.perf_counter()
        columns[name] = scorer(rows)
        seconds.append(round(time.perf_counter() - started, 2))
    llm.close()
    return pd.DataFrame(columns).astype(float), seconds


if __name__ == "__main__":
    main()
