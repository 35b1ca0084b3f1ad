"""Training that is killed, interrupted, stopped early, merged, or spread over processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from test_train import CPU, HELD_OUT, RECORDS, ROWS
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from helpers import train as training
from helpers.model import answer, load_model
from helpers.train import Knobs, TrainingError, find_unfinished_run, merge, train

REPOSITORY = Path(__file__).parents[1]
KNOBS = Knobs(epochs=4, learning_rate=1e-2, batch_size=2, rank=4)  # 5 steps an epoch
QUESTIONS = [row["prompt"][0]["content"] for row in ROWS]


def run(model_dir: Path, folder: Path, **options) -> tuple[list[dict], list[str]]:
    model, tokenizer = load_model(str(model_dir), device=CPU)
    history = train(model, tokenizer, ROWS, folder, KNOBS, eval_records=HELD_OUT, **options)
    return history, answer(model, tokenizer, QUESTIONS)


def without_times(history: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


@pytest.fixture(scope="module")
def whole(small_model_dir, tmp_path_factory) -> tuple[list[dict], list[str]]:
    return run(small_model_dir, tmp_path_factory.mktemp("whole") / "run")


def command(model_dir: Path, *more: str) -> list[str]:
    given = ["--data", "train.json", "--eval", "eval.json", "--output", "run", "--model", str(model_dir)]
    return ["-m", "helpers.train", *given, *more]


def write_data(folder: Path) -> dict[str, str]:
    (folder / "train.json").write_text(json.dumps(RECORDS), encoding="utf-8")
    (folder / "eval.json").write_text(json.dumps(HELD_OUT), encoding="utf-8")
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}


def test_killed_and_resumed_equals_uninterrupted(small_model_dir, tmp_path):
    results = []
    for name, kill in (("whole", False), ("killed", True)):
        (tmp_path / name).mkdir()
        options = {"cwd": tmp_path / name, "env": write_data(tmp_path / name), "text": True}
        started = [sys.executable, *command(small_model_dir, "--epochs", "30")]
        if kill:
            process = subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options)
            next(line for line in process.stdout if line.startswith("step 7/"))
            process.send_signal(signal.SIGKILL)
            process.stdout.close()
            assert process.wait() == -signal.SIGKILL
            assert list((tmp_path / name).glob("run/checkpoint-*")) and not (tmp_path / name / "run/run.json").exists()
            refused = subprocess.run(started, capture_output=True, **options)
            assert refused.returncode == 1 and "holds an unfinished run" in refused.stderr
            started.append("--resume")
        done = subprocess.run(started, capture_output=True, **options)
        assert done.returncode == 0, done.stderr
        if kill:
            assert "step 1/" not in done.stdout  # it did not begin again
        history = json.loads((tmp_path / name / "run/run.json").read_text(encoding="utf-8"))["history"]
        tuned = load_model(str(small_model_dir), device=CPU, adapter_dir=tmp_path / name / "run")
        results.append((without_times(history), answer(*tuned, QUESTIONS)))
        assert not list((tmp_path / name).glob("run/checkpoint-*"))
    assert results[1][0][-1]["loss"] == pytest.approx(results[0][0][-1]["loss"], abs=1e-5)
    assert results[1][1] == results[0][1]
    assert [row["step"] for row in results[1][0]] == [row["step"] for row in results[0][0]]


@pytest.mark.parametrize("step", [2, 7, 8])  # in the first epoch, in a later one, at the end of one
def test_ctrl_c_saves_and_the_resumed_run_equals_the_uninterrupted_one(small_model_dir, tmp_path, whole, step):
    def interrupt(row: dict) -> None:
        if row["step"] == step:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="was saved: resume=True"):
        run(small_model_dir, tmp_path / "run", on_step=interrupt)
    assert find_unfinished_run(tmp_path) == tmp_path / "run"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    seen = []
    history, replies = run(small_model_dir, tmp_path / "run", on_step=seen.append, resume=True)
    assert seen[0]["step"] == step + 2  # the step in hand was finished
    assert without_times(history) == without_times(whole[0])
    assert replies == whole[1]
    with pytest.raises(TrainingError, match="no interrupted run"):
        find_unfinished_run(tmp_path)


def test_a_checkpoint_half_written_is_passed_over(small_model_dir, tmp_path, whole):
    def stop(history: list[dict]) -> None:
        if len(history) == 3:
            raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="power"):
        run(small_model_dir, tmp_path / "run", on_epoch=stop)
    half = tmp_path / "run/checkpoint-99"
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"half")
    history, replies = run(small_model_dir, tmp_path / "run", resume=True)
    assert (without_times(history), replies) == (without_times(whole[0]), whole[1])


def test_a_run_is_resumed_with_its_own_data_and_knobs_only(small_model_dir, tmp_path):
    def interrupt(row: dict) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(small_model_dir, tmp_path / "run", on_step=interrupt)
    model, tokenizer = load_model(str(small_model_dir), device=CPU)
    with pytest.raises(TrainingError, match="started with another knobs: .*then, .* now. Set it back"):
        train(model, tokenizer, ROWS, tmp_path / "run", replace(KNOBS, rank=8), resume=True)
    with pytest.raises(TrainingError, match="started with another rows: 9 then, 8 now"):
        train(model, tokenizer, ROWS[1:], tmp_path / "run", KNOBS, resume=True)


def test_ctrl_c_is_left_alone_outside_the_main_thread(small_model_dir, tmp_path):
    histories = []
    thread = threading.Thread(target=lambda: histories.append(run(small_model_dir, tmp_path / "run")[0]))
    thread.start()
    thread.join()
    assert len(histories[0]) == 5


def test_early_stop_waits_for_recall_to_stay_at_its_ceiling(small_model_dir, tmp_path, monkeypatch):
    recalls = iter([0.0, 0.5, 1.0, 0.9, 1.0, 1.0, 1.0])
    monkeypatch.setattr(training._Watch, "_recall", lambda self, model: next(recalls))
    model, tokenizer = load_model(str(small_model_dir), device=CPU)
    knobs = replace(KNOBS, epochs=9, early_stop=2)
    history = train(model, tokenizer, ROWS, tmp_path / "run", knobs, eval_records=HELD_OUT)
    assert [row["recall"] for row in history] == [0.0, 0.5, 1.0, 0.9, 1.0, 1.0]


def test_merged_model_answers_as_the_adapter_on_its_base(small_model_dir, tmp_path):
    _, replies = run(small_model_dir, tmp_path / "run")
    merge(str(small_model_dir), tmp_path / "run", tmp_path / "merged", device=CPU)
    merged, tokenizer = load_model(str(tmp_path / "merged"), device=CPU)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert answer(merged, tokenizer, QUESTIONS) == replies
    with pytest.raises(TrainingError, match="exists already"):
        merge(str(small_model_dir), tmp_path / "run", tmp_path / "merged", device=CPU)


def test_card_names_the_base_and_warns_without_a_path_of_this_machine(small_model_dir, tmp_path):
    run(small_model_dir, tmp_path / "run")
    card = (tmp_path / "run/README.md").read_text(encoding="utf-8")
    assert small_model_dir.name in card and str(small_model_dir.parent) not in card
    assert "can ask it for the whole\nglossary" in card and "| learning_rate | 0.01 |" in card


def test_a_tracker_that_is_not_installed_is_named(small_model_dir, tmp_path):
    model, tokenizer = load_model(str(small_model_dir), device=CPU)
    with pytest.raises(TrainingError, match="REPORT_TO is comet_ml.*pip install"):
        train(model, tokenizer, ROWS, tmp_path / "run", KNOBS, report_to="comet_ml")


@pytest.mark.parametrize(
    ("tracker", "variable", "place"),
    [("mlflow", "MLFLOW_TRACKING_URI", "sqlite:///{}/mlflow.db"), ("trackio", "TRACKIO_DIR", "{}/trackio")],
)
@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_trackers_see_loss_and_recall_and_write_beside_the_runs(
    tracker, variable, place, chosen, small_model_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv(variable, "elsewhere")  # so that it is as before after the test
    if chosen is None:
        monkeypatch.delenv(variable)
    seen = []

    class Tracker(TrainerCallback):
        """In place of the one that is not installed."""

        def __init__(self) -> None:
            seen.append(os.environ[variable])

        def on_log(self, args, state, control, logs, **_) -> None:
            seen.append((args.run_name, state.global_step, set(logs)))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, tracker, Tracker)
    run(small_model_dir, tmp_path / "run", report_to=tracker)
    where, *logs = seen
    assert where == (chosen or place.format(tmp_path))
    assert {name for name, _, _ in logs} == {"run"}
    assert [step for _, step, logged in logs if "loss" in logged] == [*range(1, 21)]
    assert [step for _, step, logged in logs if "held_out_recall" in logged] == [5, 10, 15, 20]


LAUNCHED = {
    "several_gpus": [[]],
    "model_over_gpus": [[]],
    "several_machines": [["--machine_rank", "0"], ["--machine_rank", "1"]],
}


@pytest.mark.parametrize("configuration", LAUNCHED)
def test_two_processes_learn_as_one_with_half_the_steps(small_model_dir, tmp_path, configuration):
    """On processors (gloo) in place of the GPUs that the configurations are for."""
    given = command(small_model_dir, "--epochs", "2")
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    environment = write_data(tmp_path / "two") | {"OMP_NUM_THREADS": "1"}
    write_data(tmp_path / "one")
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    config = str(REPOSITORY / f"conf/accelerate/{configuration}.yaml")
    port = ["--main_process_port", str(29000 + os.getpid() % 900)]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, *port]
    ranks = LAUNCHED[configuration]
    processes = [subprocess.Popen([*launcher, *more, *given], cwd=tmp_path / "two", **options) for more in ranks]
    output = "".join(process.communicate(timeout=400)[0] for process in processes)
    assert [process.returncode for process in processes] == [0] * len(processes), output
    alone = subprocess.run([sys.executable, *given], cwd=tmp_path / "one", **options)
    assert alone.returncode == 0, alone.stdout
    steps = {}
    for name in ("one", "two"):
        written = json.loads((tmp_path / name / "run/run.json").read_text(encoding="utf-8"))
        steps[name] = written["history"][-1]["step"]
        tuned = load_model(str(small_model_dir), device=CPU, adapter_dir=tmp_path / name / "run")
        assert len(answer(*tuned, QUESTIONS)) == len(QUESTIONS)
    assert steps == {"one": 2, "two": 2} or steps["one"] >= 2 * steps["two"] - 1
    lines = [line for line in output.splitlines() if line.startswith("step ")]
    assert len(lines) == steps["two"]  # one process prints
