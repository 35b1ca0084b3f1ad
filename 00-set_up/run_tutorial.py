"""Install what is missing, run the three notebooks in order and print the summary.

It needs nothing but Python.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import set_up


def main():
    """Check the list before anything long, set up, and leave the rest to run_notebooks.py."""
    started = time.time()
    parser = argparse.ArgumentParser(
        prog="bash 00-set_up/run_tutorial.sh",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    path = {"type": to_path, "metavar": "PATH"}
    parser.add_argument("--acronyms", help="your own list, JSON or CSV (or example_data's)", **path)
    parser.add_argument("--bucket", help="where everything is written (or BUCKET)", **path)
    parser.add_argument("--all", action="store_true", help="the two optional notebooks, too")
    given = parser.parse_args()
    set_up.use_a_fitting_python()
    # Where it forbids Python to keep what it compiled, each of a dozen processes compiles torch
    # again: 7 seconds.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if given.bucket:
        os.environ["BUCKET"] = given.bucket
    if given.acronyms:
        check_list(given.acronyms)
    command = [set_up.main([]), str(set_up.REPOSITORY / "00-set_up/run_notebooks.py")]
    command += [given.acronyms] if given.acronyms else []
    command += ["--all"] if given.all else []
    code = subprocess.call(command, cwd=str(set_up.REPOSITORY))
    print(f"The whole took {time.time() - started:.0f} seconds.")
    sys.exit(code)


def to_path(text):
    """Give a path that holds in another folder too; refuse that of an unset variable."""
    if not text:
        raise argparse.ArgumentTypeError("a path is needed, and this one is empty")
    return os.path.abspath(os.path.expanduser(text))


def check_list(path):
    """Exit with what is wrong in the list of acronyms."""
    sys.path.insert(0, str(set_up.REPOSITORY))
    from helpers.acronyms import AcronymListError, read_acronyms

    try:
        read_acronyms(Path(path))
    except AcronymListError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
