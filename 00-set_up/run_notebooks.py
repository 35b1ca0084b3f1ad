"""Execute the three notebooks in order, each in its own folder, and print their summary.

python 00-set_up/run_notebooks.py [PATH]      PATH: a list of acronyms; run_tutorial.sh calls it
python 00-set_up/run_notebooks.py --all       the two optional ones, too
python 00-set_up/run_notebooks.py --refresh   on the embedded default, into the notebooks of git
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import papermill
from nbclient.exceptions import DeadKernelError

from helpers import preflight, score
from helpers.compare import summary_table
from helpers.config import KEYS, REPOSITORY, ConfigError, load_config
from helpers.files import read_list

NOTEBOOKS = ("01-create_dataset/create_dataset", "02-fine_tune/training", "03-test/test")
OPTIONAL = ("03-test/scorers", "03-test/use_it")
WIDGET = "application/vnd.jupyter.widget-view+json"
# What the README shows of the summary, between its two marks.
SHOWN_MEASURES = (score.RECALL, score.MEASURES["unknown"], score.MEASURES["known"])
MARK = "<!-- run_notebooks.py --refresh: {} -->\n"
# The address of the repository in the code of a notebook, which its owner's workflow writes there.
ADDRESS = re.compile(r"(?<=github\.com/)[\w.-]+/[\w.-]+")
STANDS_FOR_IT = "/".join(("YOUR_ORGANISATION", "acronym-tutorial"))  # in two, so that it stays


def main(acronym_path: str | None, *, with_optional: bool = False) -> None:
    """Run the three notebooks, or all five, or stop at the first one that fails."""
    config = load_config()
    config.make_dirs()
    copies_dir = config.bucket / "notebooks"
    copies_dir.mkdir(exist_ok=True)
    findings = preflight.check(config)
    print(preflight.describe(findings), flush=True)
    if any(finding.stops for finding in findings):
        sys.exit("Nothing was started: see the lines with an arrow.")
    for name in [*NOTEBOOKS, *(OPTIONAL if with_optional else ())]:
        takes_list = acronym_path and name == NOTEBOOKS[0]
        path = os.path.abspath(acronym_path or "")
        execute(name, copies_dir, {"acronym_path": path} if takes_list else {})
    print(f"\n{summary_table(read_list(config.summary_path)).to_string()}\n{config.stand_ins()}\n")
    print(f"Notebooks with their figures: {copies_dir}")
    places = (config.data_dir, config.models_dir, config.tests_dir)
    print(f"Data, models, answers:        {', '.join(map(str, places))}")
    print("To step through by hand:      source 00-set_up/init_locally.sh && jupyter lab README.md")


def execute(name: str, copies_dir: Path, parameters: dict[str, str]) -> None:
    """Execute one notebook into a copy, and say its title and how long it took."""
    start, path = time.monotonic(), REPOSITORY / f"{name}.ipynb"
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    print(f"\n{first.splitlines()[0].lstrip('# ')} ({name}.ipynb)", flush=True)
    copy_path = copies_dir / path.name
    # The kernel would warn that it speaks to this process unencrypted; both are on this machine.
    options = {"kernel_name": "python3", "extra_arguments": ["--log-level=ERROR"]}
    try:
        papermill.execute_notebook(path, copy_path, parameters, cwd=path.parent, **options)
    except papermill.PapermillExecutionError as error:
        text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))  # without the colours
        last = "\n".join(text.splitlines()[-12:])
        sys.exit(f"{last}\n\nCell {error.exec_count} failed: open {copy_path} to see it.")
    except DeadKernelError:
        sys.exit("The kernel died: most often, memory ran out. Take a smaller MODEL_NAME.")
    print(f"done in {time.monotonic() - start:.0f} seconds", flush=True)


def run_clean(folder: Path, **options) -> subprocess.CompletedProcess:
    """Run everything in a copy of what git has or would add, without the reader's settings."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=REPOSITORY, text=True)
    for name in filter(lambda name: (REPOSITORY / name).is_file(), listed.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in KEYS and not key.startswith("OPENAI_")
    }
    environment["PYTHONPATH"] = str(folder)
    command = [sys.executable, "00-set_up/run_notebooks.py", "--all"]
    return subprocess.run(command, cwd=folder, env=environment, **options)


def refresh() -> None:
    """Write the outputs of one clean run into the notebooks, the README and its figure."""
    run = f"{datetime.now():%Y-%m-%dT%H-%M-%S}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve() / "acronym-tutorial"
        run_clean(folder, check=True)
        for name in (*NOTEBOOKS, *OPTIONAL):
            copy_path = folder / "bucket/notebooks" / f"{Path(name).name}.ipynb"
            executed = copy_path.read_text(encoding="utf-8")
            # Paths of the copy become relative to the repository.
            notebook = json.loads(executed.replace(f"{folder}/", "").replace(str(folder), "."))
            (REPOSITORY / f"{name}.ipynb").write_text(tidy(notebook, run), encoding="utf-8")
        summary_path = folder / "bucket/tests/summary.json"
        show_summary(read_list(summary_path), REPOSITORY / "README.md")
        draw = REPOSITORY / "figures/draw_comparison.py"
        subprocess.run([sys.executable, draw, summary_path], check=True)


def show_summary(rows: list[dict], page_path: Path) -> None:
    """Write a few lines of the summary into the page."""
    table = summary_table([row for row in rows if row["measure"] in SHOWN_MEASURES]).to_string()
    page = page_path.read_text(encoding="utf-8")
    before, _, rest = page.partition(MARK.format("begin"))
    _, end, after = rest.partition(MARK.format("end"))
    shown = f"{MARK.format('begin')}```text\n{table}\n```\n{end}"
    page_path.write_text(before + shown + after, encoding="utf-8")


def tidy(notebook: dict, run: str) -> str:
    """Write an executed notebook as it is kept in git: without what changes by itself."""
    for cell in notebook["cells"]:
        # The tags, and "jupyter", by which the code of a cell is folded.
        kept = {key: cell["metadata"].get(key) for key in ("tags", "jupyter")}
        cell["metadata"] = {key: value for key, value in kept.items() if value}
        if "outputs" in cell:  # of a progress bar there would stay the text that it began with
            outputs = cell["outputs"]
            cell["outputs"] = [one for one in outputs if WIDGET not in one.get("data", {})]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook["metadata"] = {
        "kernelspec": kernel,
        "language_info": {"name": "python"},
        "acronym_tutorial": {"run": run, "sources_sha256": hash_sources(notebook["cells"])},
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def hash_sources(cells: list[dict]) -> str:
    """Know the code that a notebook's outputs come from, whoever owns the repository."""
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    sources = [ADDRESS.sub(STANDS_FOR_IT, source) for source in sources]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("acronyms", nargs="?", metavar="PATH", help="a list, JSON or CSV (or example_data's)")
    add("--all", action="store_true", help="run the two optional notebooks, too")
    add("--refresh", action="store_true", help="write the outputs into the notebooks of git")
    given = parser.parse_args()
    try:
        if given.refresh:
            refresh()
        else:
            main(given.acronyms, with_optional=given.all)
    except ConfigError as error:
        sys.exit(f"{error}")
