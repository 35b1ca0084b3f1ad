"""Read conf/conf.yaml and the environment once, into one validated object that owns every path.

It knows nothing of what the values are for: it loads no model and calls no server.
"""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, SecretStr, ValidationError

from helpers.chat import ADDRESS

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE_DATA = REPOSITORY / "example_data"
TINY_CHAT = "stand_ins/tiny-chat"
TINY_CROSS_ENCODER = "stand_ins/tiny-cross-encoder"
HUB_ID = r"[^./~][^/]*(/[^/]+)?"


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the key and the cure."""


# -------------------------------------------------------------------------------- the settings


def _resolve(path):
    if re.match(r"\w\w+:/", path.as_posix()):
        raise ValueError("give a folder, and copy what it holds to that address afterwards")
    return (REPOSITORY / path.expanduser()).resolve()


def _resolve_model(name):
    folder = _resolve(Path(name))
    if folder.is_dir():
        return str(folder)
    if not re.fullmatch(HUB_ID, name):
        raise ValueError(f"there is no folder {folder}; give one that exists, or a hub id org/name")
    return name


def _check_address(url):
    if not re.fullmatch(ADDRESS, url):
        raise ValueError("give the address alone; what is secret goes into OWUI_TOKEN")
    return url


def _in_bucket(name):
    return property(lambda config: config.bucket / name)


FolderOrHubId = Annotated[str, AfterValidator(_resolve_model)]


class Config(
    BaseModel,
    frozen=True,
    extra="forbid",
    alias_generator=str.upper,  # OWUI_URL in the file, config.owui_url in the code
    populate_by_name=True,
    validate_default=True,
    str_strip_whitespace=True,
    hide_input_in_errors=True,
):
    """Every setting of the tutorial; the defaults need neither network nor account."""

    owui_url: Annotated[str, AfterValidator(_check_address)] | None = None
    owui_token: SecretStr | None = None
    owui_fav_model: str | None = None
    judge_model_name: str | None = None
    hf_token: SecretStr | None = None
    bucket: Annotated[Path, AfterValidator(_resolve)] = Path("bucket")
    model_name: FolderOrHubId = TINY_CHAT
    embedding_model: FolderOrHubId = "wordllama"
    cross_encoder: FolderOrHubId = TINY_CROSS_ENCODER
    language: Literal["en", "fr"] = "en"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    data_dir = _in_bucket("data")
    models_dir = _in_bucket("models")
    tests_dir = _in_bucket("tests")
    replies_path = _in_bucket("data/replies.jsonl")
    train_dataset_path = _in_bucket("data/train_dataset.json")
    validation_dataset_path = _in_bucket("data/validation_dataset.json")
    eval_dataset_path = _in_bucket("data/eval_dataset.json")
    probes_path = _in_bucket("data/probes.json")
    summary_path = _in_bucket("tests/summary.json")

    def make_dirs(self) -> None:
        """Create the bucket's folders; raises ConfigError."""
        try:
            for folder in (self.data_dir, self.models_dir, self.tests_dir):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"BUCKET cannot be made: {error}. Set it to a folder of yours."
            ) from error

    def stand_ins(self) -> str:
        """Say in one line which of the four parts are stand-ins that ship with the tutorial."""
        used = {
            "practice server (not an LLM)": self.owui_url is None,
            "tiny-chat (a very small model)": TINY_CHAT in self.model_name,
            "WordLlama (English word vectors)": self.embedding_model == "wordllama",
            "tiny-cross-encoder": TINY_CROSS_ENCODER in self.cross_encoder,
        }
        names = ", ".join(name for name, is_used in used.items() if is_used)
        if not names:
            return "No stand-in in use."
        return f"Stand-ins in use: {names}; nothing of this says how a real model does."


KEYS = [name.upper() for name in Config.model_fields]
CURE = f"Correct or remove it; conf/example_conf.yaml explains every key: {', '.join(KEYS)}."


# -------------------------------------------------------------------- the file, the environment


def load_config(path: Path | None = None) -> Config:
    """Read the YAML file (`conf/conf.yaml` where it exists); the environment goes before it.

    Without OWUI_URL, the environment's OPENAI_BASE_URL and OPENAI_API_KEY serve. HF_TOKEN goes into
    the environment, where the hub's own library looks for it. Raises ConfigError.
    """
    conf_path = path or REPOSITORY / "conf/conf.yaml"
    file = _read_file(conf_path) if path or conf_path.exists() else {}
    # Desktops set LANGUAGE too, in gettext's form (fr_FR:en): only two values are meant for us.
    keys = [key for key in KEYS if key != "LANGUAGE" or os.environ.get(key) in ("en", "fr")]
    values = {
        key: value
        for given in (file, {key: os.environ.get(key) for key in keys})
        for key, value in given.items()
        if str(value).strip() not in ("", "None")
    }
    if "OWUI_URL" not in values and os.environ.get("OPENAI_BASE_URL"):
        # What newer Onyxia hands out; address and key go together: no key goes to another's server.
        values["OWUI_URL"] = os.environ["OPENAI_BASE_URL"]
        values["OWUI_TOKEN"] = os.environ.get("OPENAI_API_KEY")
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{conf_path}, or the environment: {error}\n{CURE}") from None
    if config.hf_token:  # under its older name: what is read above stays the reader's own
        os.environ["HUGGING_FACE_HUB_TOKEN"] = config.hf_token.get_secret_value()
    return config


def run_name(model_name: str) -> str:
    """Name a run by the second and the last part of the model's name, so that runs sort."""
    return f"{datetime.now():%Y-%m-%dT%H-%M-%S}_{Path(model_name).name}"


def _read_file(path):
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = dict(yaml.safe_load(text) or {})
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:  # its text may quote a token
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark else type(error).__name__
        raise ConfigError(f"{path} does not hold lines KEY: value ({place}). {CURE}") from None
    written = re.findall(r"(?m)^(\w+) *:", text)
    if len(values) < len(written):
        raise ConfigError(f"{path} holds {max(written, key=written.count)} twice. {CURE}")
    return values
