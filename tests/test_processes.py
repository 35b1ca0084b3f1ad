"""Two processes (DDP, FSDP) train the adapter that one trains, through the command of the page.

All rows are one batch: two processes take half of them each, one takes all, so the order counts
for nothing and only the rounding differs. On processors (gloo), in place of GPUs.
"""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from helpers import train
from helpers.config import REPOSITORY
from helpers.files import read_list, write_list
from helpers.train import Knobs

FORMS = ("What does {} stand for?", "{}, please?")
# Accelerate spreads a model over GPUs alone, though torch does it on processors too.
AS_GPUS = """
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from helpers import train
from torch.distributed.tensor import DTensor

begin, run = AcceleratorState.__init__, train._run

def begin_as_gpus(self, *arguments, **options):
    if not AcceleratorState._shared_state:
        PartialState(True)._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    begin(self, *arguments, **options)

def run_and_look(trainer, *arguments):
    run(trainer, *arguments)
    assert all(isinstance(part, DTensor) for part in trainer.model.parameters())

AcceleratorState.__init__, train._run = begin_as_gpus, run_and_look
train.main()
"""


def make_record(name: str, *forms: str) -> dict:
    meaning = f"Meaning of {name}"
    return {
        "acronym": name,
        "ground_truth": meaning,
        "definitions": [meaning],
        "language": "en",
        "conversation": [
            [
                {"role": "user", "content": form.format(name)},
                {"role": "assistant", "content": f"It is the {meaning}."},
            ]
            for form in forms
        ],
    }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Write as many rows as the knobs give to one step of two processes."""
    folder = tmp_path_factory.mktemp("data")
    names = [f"A{number}" for number in range(Knobs.for_size(0, 16).batch_size)]
    write_list(folder / "train_dataset.json", [make_record(name, *FORMS) for name in names])
    write_list(folder / "validation_dataset.json", [make_record("A1", "I saw {} in a mail.")])
    write_list(folder / "probes.json", [])
    return folder


@pytest.fixture(scope="module")
def alone(data_dir, small_model_dir, tmp_path_factory):
    """Train with the command, in one process, on batches twice as large."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    knobs = Knobs.for_size(0, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", str(data_dir), str(small_model_dir), str(folder)])
        twice = replace(knobs, batch_size=2 * knobs.batch_size)
        patch.setattr(Knobs, "for_size", lambda *_: twice)
        train.main()
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("way", ["several_gpus", "model_over_gpus"])
def test_two_processes_train_the_adapter_of_one(way, alone, data_dir, small_model_dir, tmp_path):
    script_path = tmp_path / "as_gpus.py"
    script_path.write_text(AS_GPUS)
    command = ["-m", "helpers.train"] if way == "several_gpus" else [script_path]
    config_path = REPOSITORY / f"conf/accelerate/{way}.yaml"
    launch = ["-m", "accelerate.commands.launch", "--config_file", config_path]
    done = subprocess.run(
        [sys.executable, *launch, "--main_process_port", "0", *command]
        + [data_dir, small_model_dir, tmp_path / "run"],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    _, *log = read_list(tmp_path / "run/run.json")
    assert log[-1]["step"] == read_list(alone / "run.json")[-1]["step"]
    assert any("eval_recall" in row for row in log) == (way == "several_gpus")
    one, two = (
        load_file(folder / "adapter_model.safetensors") for folder in (alone, tmp_path / "run")
    )
    assert one.keys() == two.keys()
    assert max((one[name] - two[name]).norm() / one[name].norm() for name in one) < 1e-4
