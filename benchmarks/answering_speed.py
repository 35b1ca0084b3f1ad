"""Answer the same questions in batches, as stage 3 does, and one by one, as a plain pipeline does: the ratio.

    python benchmarks/answering_speed.py [--questions 200] [--model …] [--device …]

The original tutorial asked `transformers.pipeline` one question after the other. Both are greedy and write at most
the same number of tokens; each is warmed up before it is timed, and the number of equal answers is printed too.
"""

import argparse
import time
from collections.abc import Callable

from transformers import pipeline

from helpers import dataset, model, score
from helpers.acronyms import Acronym
from helpers.config import EXAMPLE_DATA, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--model", default=load_config().model_name)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=48, help="longest answer")
    given = parser.parse_args()
    language_model, tokenizer = model.load_model(given.model, device=model.pick_device(given.device))
    questions = exam_questions(given.questions)

    def ask_in_batches(texts: list[str]) -> list[str]:
        return model.answer(language_model, tokenizer, texts, max_new_tokens=given.tokens)

    seconds, answers = [], []
    for ask in (one_by_one(language_model, tokenizer, given.tokens), ask_in_batches):
        ask(questions[:8])
        started = time.perf_counter()
        answers.append(ask(questions))
        seconds.append(time.perf_counter() - started)
    same = sum(first == second for first, second in zip(*answers, strict=True))
    print(f"{len(questions)} questions, {language_model.device.type}, {language_model.dtype}")
    print(f"one by one {seconds[0]:.1f} s, in batches {seconds[1]:.1f} s: {seconds[0] / seconds[1]:.1f} times as fast")
    print(f"{same} of {len(questions)} answers are the same text")


def exam_questions(count: int) -> list[str]:
    """The first questions of stage 3's exam on the example data."""
    records = dataset.read_dataset(EXAMPLE_DATA / "eval_dataset.json")
    probes = dataset.make_probes([Acronym(r["acronym"], tuple(r["definitions"])) for r in records])
    return [row["question"] for row in score.write_exam(records, probes)][:count]


def one_by_one(language_model, tokenizer, tokens: int, *, sample: bool = False) -> Callable[[list[str]], list[str]]:
    """A plain pipeline, asked one question after the other."""
    ask = pipeline("text-generation", model=language_model, tokenizer=tokenizer)
    options = {"max_new_tokens": tokens, "do_sample": sample, "return_full_text": False}
    return lambda texts: [ask([{"role": "user", "content": t}], **options)[0]["generated_text"].strip() for t in texts]


if __name__ == "__main__":
    main()
