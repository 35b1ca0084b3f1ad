"""Set the tutorial up where it is to run: environment, settings, bucket, kernel, and a summary.

    python3 00-set_up/set_up.py [--platform NAME]

A second run installs nothing and needs no network. What it says goes into set_up.log too. It
needs nothing but Python, and an older Python can read it as far as the advice to take a newer one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import shutil
import site
import subprocess
import sys
import urllib.parse
import urllib.request
import zlib
from collections import namedtuple
from importlib import import_module
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = REPOSITORY / ".venv"
STAMP = ENVIRONMENT / "installed.json"
LOG = REPOSITORY / "00-set_up/set_up.log"
LISTS = [
    REPOSITORY / name
    for name in ("requirements.txt", "00-set_up/constraints.txt", "pyproject.toml")
]
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Without a traceback: what is wrong in conf.yaml is told in one line.
MAKE_DIRS = (
    "import sys; sys.tracebacklimit = 0; import helpers.config as c; c.load_config().make_dirs()"
)
OLDEST_TORCH = (2, 6)  # as in requirements.txt
TORCH_VERSION = "from importlib.metadata import version; print(version('torch'))"
# JupyterLab opens a .md as its source unless it is told otherwise.
MARKDOWN = {"defaultViewers": {"markdown": "Markdown Preview"}}
VIEWER = {"@jupyterlab/docmanager-extension:plugin": MARKDOWN}

# The one place that says what a platform changes: whether its Python brings torch and JupyterLab
# (its torch is used as it is, its kernel "python3" becomes ours); the folder that outlives the
# service, where models and results belong;
# folders, seen from the repository, that may be mounted as the bucket.
Platform = namedtuple("Platform", "brings_torch, in_place, lasting_dir, buckets")
PLATFORMS = {
    "local": Platform(False, False, None, ()),
    "onyxia": Platform(True, False, "~/work", ()),
    "gcp": Platform(True, False, None, ("../bucket",)),
    "colab": Platform(True, True, None, ("../drive/MyDrive/acronym-tutorial-bucket",)),
}


class SetUpError(Exception):
    """What stops the set-up; the message says what to do."""


def main(arguments=None):
    """Set up and give the path of the Python that has it all; or say and log why not, and exit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--platform", choices=PLATFORMS, help="where this runs (as the last time, or local)")
    add("--dev", action="store_true", help="the tools that check the project too")
    add("--newest", action="store_true", help="the newest releases instead of the tested ones")
    add("--torch", choices=("cpu", "cuda"), help="for another machine than this, as in an image")
    given = parser.parse_args(arguments)
    use_a_fitting_python()
    sys.stdout.reconfigure(errors="replace")  # a Windows console may lack a letter
    LOG.write_text("", encoding="utf-8")
    try:
        name = given.platform or read_stamp().get("platform", "local")
        python, found = set_up(name, given.dev, given.newest, given.torch)
    except (SetUpError, OSError, subprocess.CalledProcessError) as error:
        say(f"Failed: {error}")
        sys.exit(f"The set-up did not end well. See above or {LOG}, mend it, run it again.")
    say("\n".join(f"  {name:<12} {value}" for name, value in found.items()))
    say("Set-up ended well.")
    return python


def set_up(name, dev=False, newest=False, kind=None):
    """Do the whole; give the Python that has it all, and what was found of each part."""
    platform = PLATFORMS[name]
    torch = find_torch() if platform.brings_torch else None
    python = install(name, torch, dev, newest, kind)
    made = write_settings(platform)
    run(python, "-c", MAKE_DIRS)
    lasting = find_lasting_dir(platform)
    if platform.brings_torch and not platform.in_place:
        replace_kernel(python)
    if not platform.in_place:
        of_user = Path.home() / ".jupyter"
        show_pages(of_user if platform.brings_torch else ENVIRONMENT / "etc/jupyter")
    if lasting:
        keep_models(lasting)
        open_readme()
        give_to_owner(lasting)
    version = ask(python, TORCH_VERSION)
    return python, {
        "platform": f"{name}, {machine.system()} {machine.machine()}",
        "Python": f"{machine.python_version()}, {sys.executable}",
        "PyTorch": f"{version}, {'kept as it was' if torch else 'installed in .venv'}",
        "GPU": find_gpu() or "no NVIDIA GPU found",
        "settings": f"conf/conf.yaml, {'made now' if made else 'left as it was'}",
        "bucket": ask(python, "import helpers.config as c; print(c.load_config().bucket)"),
        "outlives": f"{lasting} outlives the service" if lasting else "this machine's own disk",
        "log": str(LOG),
    }


# --------------------------------------------------------------------------------- the environment


def use_a_fitting_python():
    """Go on in a Python of 3.11 to 3.13 if this one is not, or exit with what to install."""
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return
    for name in ("python3.13", "python3.12", "python3.11"):
        if shutil.which(name):
            sys.exit(subprocess.call([name, *sys.argv]))
    found = machine.python_version()
    sys.exit(f"Python 3.11, 3.12 or 3.13 is needed; this is {found}. See https://www.python.org.")


def install(name, torch, dev=False, newest=False, kind=None):
    """Install what is missing, and give the Python that has it.

    An environment that was left halfway, or moved, is made anew.
    """
    platform = PLATFORMS[name]
    in_environment = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python = Path(sys.executable) if platform.in_place else in_environment
    wanted, has = make_stamp(name, dev, newest), read_stamp()
    if python.exists() and has in (wanted, {**wanted, "dev": True}):
        return str(python)
    versions = "newest" if newest else "tested"
    say(f"Installing the {versions} versions of the libraries: once, a few minutes.")
    if not platform.in_place and not (python.exists() and has.get("where") == str(REPOSITORY)):
        make_environment(torch is not None)
    ENVIRONMENT.mkdir(exist_ok=True)
    STAMP.write_text(json.dumps({"platform": name}), encoding="utf-8")
    pip = [python, "-m", "pip", "install", "--no-compile", "--disable-pip-version-check"]
    pip += ["--upgrade"] if newest else ["-c", write_constraints(torch, platform.in_place)]
    run(*pip, "setuptools>=77", *([] if torch else ["torch", *find_torch_index(kind)]))
    if torch and ask(python, TORCH_VERSION) != torch:
        there = f"the platform's PyTorch {torch}, which is not to be installed twice"
        raise SetUpError(f"{ENVIRONMENT} does not see {there}.")
    # What makes the helpers importable is built with that setuptools: pip would take an old one of
    # the platform's.
    run(*pip, "--no-build-isolation", "-r", "requirements.txt", *(["-e", ".[dev]"] if dev else []))
    STAMP.write_text(json.dumps(wanted), encoding="utf-8")
    return str(python)


def make_stamp(name, dev, newest):
    """Say what a set-up is: where, from which lists, for which platform."""
    lists = zlib.crc32(b"".join(path.read_bytes() for path in LISTS))
    made = {"where": str(REPOSITORY), "lists": lists, "platform": name}
    return {**made, "dev": dev, "newest": newest}


def read_stamp():
    """Give what the last set-up was, of which only the platform is known while it has not ended."""
    text = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
    return json.loads(text or "{}")  # a full disk leaves it empty


def make_environment(sees_platform):
    """Make .venv, which sees the packages of this Python, itself virtual or not, behind its own."""
    run(sys.executable, "-m", "venv", "--clear", ENVIRONMENT)
    if sees_platform:
        own = next(ENVIRONMENT.glob("lib/python*/site-packages"))
        folders = [*site.getsitepackages(), site.getusersitepackages()]
        lines = [f"import site; site.addsitedir({path!r})\n" for path in folders]
        (own / "platform.pth").write_text("".join(lines))


def write_constraints(torch, in_place):
    """Write the tested versions, but the torch that is here; in place, that alone."""
    lines = [] if in_place else LISTS[1].read_text(encoding="utf-8").splitlines()
    if torch:
        lines = [line for line in lines if not line.startswith("torch==")] + [f"torch=={torch}"]
    path = ENVIRONMENT / "constraints.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def find_torch():
    """Give the version of the torch that this Python has, which is never replaced, or None."""
    # Python 3.7, which comes here to be sent on, has none.
    metadata = import_module("importlib.metadata")
    try:
        found = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_TORCH:
        wanted = ".".join(map(str, OLDEST_TORCH)) + " or newer is needed. Choose a newer image."
        raise SetUpError(f"This platform brings PyTorch {found}; {wanted}")
    return found


def find_torch_index(kind=None):
    """Name PyTorch's own index on Linux without a GPU, if it answers.

    PyPI's wheel brings 3 GB of CUDA along.
    """
    if machine.system() != "Linux" or (kind or ("cuda" if find_gpu() else "cpu")) == "cuda":
        return []
    try:
        urllib.request.urlopen(f"{PYTORCH_CPU_INDEX}/torch/", timeout=5).close()
    except OSError:
        return []
    return ["--extra-index-url", PYTORCH_CPU_INDEX]


def find_gpu():
    """Name the NVIDIA GPUs that the driver lists, or give an empty text."""
    command, options = ["nvidia-smi", "-L"], {"stderr": subprocess.DEVNULL, "encoding": "utf-8"}
    try:
        listed = subprocess.check_output(command, **options)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return "; ".join(line.partition(" (UUID")[0] for line in listed.splitlines())


# ----------------------------------------------------------------------------- settings and places


def write_settings(platform):
    """Make conf/conf.yaml from the example, for its owner's eyes only, unless there is one."""
    path = REPOSITORY / "conf/conf.yaml"
    if path.exists():
        return False
    text = (REPOSITORY / "conf/example_conf.yaml").read_text(encoding="utf-8")
    bucket = find_bucket(platform)
    if bucket:
        text += f"\nBUCKET: {json.dumps(str(bucket))}\n"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return True


def find_bucket(platform):
    """Give the folder mounted as the bucket, or one that outlives the service.

    None: the repository's own will do.
    """
    mounted = [name for name in platform.buckets if (REPOSITORY / name).is_dir()]
    lasting = find_lasting_dir(platform)
    if mounted or not lasting or lasting in REPOSITORY.parents:
        return mounted[0] if mounted else None
    return lasting / "acronym-tutorial-bucket"


def find_lasting_dir(platform):
    """Give the folder that outlives the service, where there is one."""
    path = Path(platform.lasting_dir).expanduser().resolve() if platform.lasting_dir else None
    return path if path and path.is_dir() else None


def keep_models(lasting):
    """Let the hub's cache ($HF_HOME or ~/.cache/huggingface) lie where it outlives the service."""
    cache, kept = Path.home() / ".cache/huggingface", lasting / ".cache/huggingface"
    kept.mkdir(parents=True, exist_ok=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    if "HF_HOME" not in os.environ and not cache.exists():
        cache.symlink_to(kept)


def show_pages(jupyter_dir):
    """Let JupyterLab show Markdown as a page; what its user has set goes before this."""
    path = jupyter_dir / "labconfig/default_setting_overrides.d/acronym-tutorial.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(VIEWER), encoding="utf-8")


def open_readme():
    """Let JupyterLab, which is started in the folder above, open on the README."""
    settings = Path.home() / ".jupyter/jupyter_server_config.py"
    address = f"/lab/tree/{urllib.parse.quote(REPOSITORY.name)}/README.md"
    line = f"c.LabApp.default_url = {address!r}\n"  # the folder's name may hold a quote
    settings.parent.mkdir(exist_ok=True)
    before = settings.read_text(encoding="utf-8") if settings.exists() else ""
    if line not in before:
        settings.write_text(before + line, encoding="utf-8")


def replace_kernel(python):
    """Make the kernel "python3" of the platform's JupyterLab, which notebooks ask for, .venv's."""
    jupyter = shutil.which("jupyter")
    prefix = Path(jupyter).parents[1] if jupyter else Path.home() / ".local"
    prefix = prefix if os.access(str(prefix), os.W_OK) else Path.home() / ".local"
    name = ["--name", "python3", "--display-name", "Python 3 (tutorial)"]
    run(python, "-m", "ipykernel", "install", "--prefix", prefix, *name)


def give_to_owner(lasting):
    """What root made belongs to the user whose folder this is."""
    if os.name == "nt" or os.geteuid() != 0:
        return
    owner, home = lasting.stat(), Path.home()
    made = [REPOSITORY, lasting / ".cache", home / ".cache", home / ".jupyter"]
    run("chown", "-hR", f"{owner.st_uid}:{owner.st_gid}", *(path for path in made if path.exists()))


# ------------------------------------------------------------------------------ saying and running


def say(text):
    """Print, and write into the log."""
    print(text, flush=True)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"{text}\n")


def run(*command):
    """Run a command in the repository; its words go into the log too, if not to a terminal."""
    command = list(map(str, command))
    if sys.stdout.isatty():  # where pip draws its bars
        subprocess.run(command, check=True, cwd=str(REPOSITORY), stdin=subprocess.DEVNULL)
        return
    with subprocess.Popen(
        command,
        cwd=str(REPOSITORY),
        env={**os.environ, "PIP_PROGRESS_BAR": "off"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout:
            say(line.rstrip())
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, " ".join(command))


def ask(python, code):
    """Give what a line of Python prints in the environment."""
    # In UTF-8 on Windows too, where a path may have an accent.
    options = {"cwd": str(REPOSITORY), "encoding": "utf-8"}
    options["env"] = {**os.environ, "PYTHONUTF8": "1"}
    return subprocess.check_output([python, "-c", code], **options).strip()


if __name__ == "__main__":
    main()
