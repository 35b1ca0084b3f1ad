"""Training that is killed, resumed, merged, spread over processes, or short of disk."""

import math
import os
import signal
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from accelerate import debug_launcher
from accelerate.commands.config import load_config_from_file
from accelerate.state import AcceleratorState
from test_train import CPU, HELD_OUT, PROBES, RECORDS, ROWS
from transformers import EarlyStoppingCallback, TrainerCallback

from helpers import train as training
from helpers.config import REPOSITORY
from helpers.files import read_list, write_list
from helpers.model import answer, load_model
from helpers.train import STARTED_FILE, Knobs, TrainingError, draw_exam, find_newest, merge, train

KNOBS = Knobs(epochs=3, learning_rate=1e-2, batch_size=2, rank=4)  # 5 steps in each pass
QUESTIONS = [row["prompt"][0]["content"] for row in ROWS]
TIMES = ("_runtime", "_per_second")


class Stop(TrainerCallback):
    """Send the process a signal at a step: SIGINT is Ctrl-C."""

    def __init__(self, step: int | None, number: int) -> None:
        self.step, self.number = step, number

    def on_step_end(self, args, state, control, **_) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)


def run(model_dir: Path, folder: Path, *, stop=None, signal_number=signal.SIGINT, **options):
    model, tokenizer = load_model(str(model_dir), device=CPU)
    options |= {
        "validation": HELD_OUT,
        "exam": draw_exam(HELD_OUT, PROBES[::9]),
        "disable_tqdm": True,
    }
    options |= {"callbacks": [Stop(stop, signal_number)]}
    log = train(model, tokenizer, ROWS, folder, KNOBS, **options)
    return without_times(log), answer(model, tokenizer, QUESTIONS)


def without_times(log: list[dict]) -> list[dict]:
    """The log but for its last row, which sums up one session."""
    return [
        {name: value for name, value in row.items() if not name.endswith(TIMES)}
        for row in log
        if "train_loss" not in row
    ]


@pytest.fixture(scope="module")
def whole_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture(scope="module")
def whole(small_model_dir, whole_dir):
    return run(small_model_dir, whole_dir)


TORN = ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"]


def test_interrupted_and_resumed_equals_uninterrupted(small_model_dir, tmp_path, whole):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(small_model_dir, folder, stop=3)  # before the first checkpoint
    assert find_newest(tmp_path, STARTED_FILE) == folder
    with pytest.raises(TrainingError, match="resume=True"):
        run(small_model_dir, folder)
    model, tokenizer = load_model(str(small_model_dir), device=CPU)
    for rows, knobs, what in ((ROWS, replace(KNOBS, rank=8), "knobs"), (ROWS[1:], KNOBS, "rows")):
        with pytest.raises(TrainingError, match=f"started with another {what}. Set that back"):
            train(model, tokenizer, rows, folder, knobs, resume=True)

    with pytest.raises(KeyboardInterrupt):
        run(small_model_dir, folder, stop=12, resume=True)  # in mid-pass
    newest = folder / "checkpoint-10"
    for name in TORN:
        content = (newest / name).read_bytes()
        assert training._is_whole(newest)
        (newest / name).write_bytes(content[: len(content) // 2])
        assert not training._is_whole(newest), name
        (newest / name).write_bytes(content)
    (newest / TORN[0]).unlink()
    with pytest.warns(UserWarning, match="checkpoint-10 cannot be read: an older one"):
        assert run(small_model_dir, folder, resume=True) == whole
    assert not list(folder.glob("checkpoint-*")) and find_newest(tmp_path) == folder
    with pytest.raises(TrainingError, match="no run with a started.json"):
        find_newest(tmp_path, STARTED_FILE)


def test_a_full_disk_is_named(small_model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "FULL_DISK", 1e18)
    monkeypatch.setattr(training.SFTTrainer, "save_model", lambda *_, **__: 1 / 0)
    model, tokenizer = load_model(str(small_model_dir), device=CPU)
    problem = "disk of .*run is full. Free some space, then .*resume"
    with pytest.raises(TrainingError, match=problem):
        train(model, tokenizer, ROWS, tmp_path / "run", KNOBS, disable_tqdm=True)


def test_the_librarys_early_stop_can_be_handed_in(small_model_dir, tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    model, tokenizer = load_model(str(small_model_dir), device=CPU)
    options = {"validation": HELD_OUT, "callbacks": [EarlyStoppingCallback(1)], **best}
    knobs = replace(KNOBS, epochs=8, learning_rate=5.0)  # far too high: nothing gets better
    log = train(model, tokenizer, ROWS, tmp_path / "run", knobs, disable_tqdm=True, **options)
    assert max(row["step"] for row in log) < 8 * 5


def test_merged_model_answers_as_the_adapter_on_its_base(
    small_model_dir, tmp_path, whole, whole_dir
):
    merge(str(small_model_dir), whole_dir, tmp_path / "merged", device=CPU)
    merged, tokenizer = load_model(str(tmp_path / "merged"), device=CPU)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert answer(merged, tokenizer, QUESTIONS) == whole[1]


# In processes of their own


def fork(test):
    """Such a process starts with all that was imported."""
    test = pytest.mark.filterwarnings("ignore::DeprecationWarning")(test)  # of a fork and threads
    return pytest.mark.skipif(sys.platform != "linux", reason="forks after importing torch")(test)


@fork
def test_killed_three_times_and_resumed_answers_as_uninterrupted(small_model_dir, tmp_path, whole):
    folder = tmp_path / "run"
    for step in (3, 8, 14):
        options = {"stop": step, "signal_number": signal.SIGKILL, "resume": step > 3}
        process = get_context("fork").Process(
            target=run, args=(small_model_dir, folder), kwargs=options
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL and not (folder / "run.json").exists()
    assert run(small_model_dir, folder, resume=True) == whole


def run_command(folder: Path, *arguments: str) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # the parent has trained alone
    os.environ["OMP_NUM_THREADS"] = "1"  # which accelerate launch sets
    os.chdir(folder)
    sys.argv = ["train", *arguments]
    training.main()


@fork
def test_two_processes_learn_with_half_the_steps(small_model_dir, tmp_path):
    """On processors (gloo) in place of the GPUs that the configuration is for."""
    config_path = str(REPOSITORY / "conf/accelerate/several_gpus.yaml")
    processes = load_config_from_file(config_path).num_processes
    files = {"train_dataset": RECORDS, "validation_dataset": HELD_OUT, "probes": PROBES[::9]}
    for name, rows in files.items():
        write_list(tmp_path / f"{name}.json", rows)
    debug_launcher(run_command, (tmp_path, ".", str(small_model_dir), "run"), processes)
    made_of, before, *_, last = read_list(tmp_path / "run/run.json")
    knobs = made_of["knobs"]
    alone = knobs["epochs"] * math.ceil(made_of["rows"] / knobs["batch_size"])
    assert last["step"] <= math.ceil(alone / 2) and "eval_recall" in before
    tuned = load_model(str(small_model_dir), device=CPU, adapter_dir=tmp_path / "run")
    assert len(answer(*tuned, QUESTIONS)) == len(QUESTIONS)
