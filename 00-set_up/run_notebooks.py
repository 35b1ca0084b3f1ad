"""Execute the three notebooks in order, each in its own folder, and print the summary that they leave.

Called by run_tutorial.sh and by the tests; the only argument is the path of an acronym list.
"""

import json
import re
import sys
import time
from pathlib import Path

import papermill

from helpers import preflight
from helpers.acronyms import read_acronyms
from helpers.compare import format_summary, read_summary
from helpers.config import EXAMPLE_DATA, REPOSITORY, ConfigError, load_config

NOTEBOOKS = ("01-create_dataset/create_dataset", "02-fine_tune/training", "03-test/test")


def main(acronym_path: str | None) -> None:
    """Run everything, or stop at the first notebook that fails."""
    config = load_config()
    config.make_dirs()
    copies_dir = config.bucket / "notebooks"
    copies_dir.mkdir(exist_ok=True)
    count = len(read_acronyms(Path(acronym_path or EXAMPLE_DATA / "acronym.json")))
    findings = preflight.check(config, acronyms=count)
    print(preflight.describe(findings), flush=True)
    if any(finding.stops for finding in findings):
        sys.exit("Nothing was started: see the lines with an arrow.")
    for number, name in enumerate(NOTEBOOKS):
        path = REPOSITORY / f"{name}.ipynb"
        parameters = {"acronym_path": acronym_path} if acronym_path and number == 0 else {}
        execute(path, copies_dir / path.name, parameters)
    print(f"\n{format_summary(read_summary(config.summary_path))}\n{config.stand_ins()}\n")
    print(f"Notebooks with their figures: {copies_dir}")
    print(f"Data, models, answers:        {config.data_dir}, {config.models_dir}, {config.tests_dir}")
    print("To step through by hand:      source 00-set_up/init_locally.sh && jupyter lab README.md")


def execute(path: Path, copy_path: Path, parameters: dict[str, str]) -> None:
    """Execute one notebook into a copy, and say its title and how long it took."""
    start = time.monotonic()
    title = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]).splitlines()[0]
    print(f"\n{title.lstrip('# ')} ({path.relative_to(REPOSITORY)})", flush=True)
    # The kernel would warn that it speaks to this process unencrypted; both are on this machine.
    options = {"kernel_name": "python3", "cwd": path.parent, "extra_arguments": ["--log-level=ERROR"]}
    try:
        papermill.execute_notebook(path, copy_path, parameters, **options)
    except papermill.PapermillExecutionError as error:
        lines = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback)).splitlines()  # without the colours
        sys.exit("\n".join([*lines[-12:], "", f"Cell {error.exec_count} failed: open {copy_path} to see it."]))
    print(f"done in {time.monotonic() - start:.0f} seconds", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else None)
    except ConfigError as error:
        sys.exit(f"{error}")
