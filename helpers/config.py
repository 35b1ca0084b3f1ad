"""Read conf/conf.yaml and the environment once, into one validated object that owns every path.

It knows nothing of what the values are for: it loads no model and calls no server.
"""

import difflib
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, PrivateAttr, SecretStr, ValidationError

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE_DATA = REPOSITORY / "example_data"
TINY_CHAT, TINY_CROSS_ENCODER = "stand_ins/tiny-chat", "stand_ins/tiny-cross-encoder"
CURE = "Correct it or remove it; conf/example_conf.yaml explains every key."


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the key and the cure."""


def _resolve(path: Path) -> Path:
    return (REPOSITORY / path.expanduser()).resolve()


def _resolve_folder(name: str) -> str:
    folder = _resolve(Path(name))
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ValueError(f"there is no folder {folder}; give one that exists, or a hub id like org/name")
    return str(folder) if folder.is_dir() else name


FolderOrHubId = Annotated[str, AfterValidator(_resolve_folder)]


class Config(BaseModel, frozen=True, extra="forbid", validate_default=True, str_strip_whitespace=True):
    """Every setting of the tutorial; the defaults need neither network nor account."""

    owui_url: str | None = None
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
    report_to: str = "none"
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    data_dir = property(lambda self: self.bucket / "data")
    models_dir = property(lambda self: self.bucket / "models")
    tests_dir = property(lambda self: self.bucket / "tests")
    train_dataset_path = property(lambda self: self.data_dir / "train_dataset.json")
    eval_dataset_path = property(lambda self: self.data_dir / "eval_dataset.json")
    probes_path = property(lambda self: self.data_dir / "probes.json")
    summary_path = property(lambda self: self.tests_dir / "summary.json")

    def make_dirs(self) -> None:
        """Create the bucket's folders, and write a megabyte for trial, so that a full disk shows now."""
        try:
            for folder in (self.data_dir, self.models_dir, self.tests_dir):
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.bucket) as file:
                file.write(bytes(1_000_000))
        except OSError as error:
            problem = f"BUCKET = {self.bucket} cannot be written: {error.strerror}."
            raise ConfigError(f"{problem} Free some space, or set BUCKET to a folder of yours.") from error

    def table(self) -> list[tuple[str, str, str]]:
        """List (key, value with the secrets hidden, where it comes from)."""
        return [(key, self._shown(key), self._sources.get(key, "default")) for key in KEYS]

    def stand_ins(self) -> str:
        """Say in one line which of the four parts are stand-ins that ship with the tutorial."""
        names = ["practice server (not an LLM)"] if self.owui_url is None else []
        names += ["tiny-chat (a very small model)"] if TINY_CHAT in self.model_name else []
        names += ["WordLlama (English word vectors)"] if self.embedding_model == "wordllama" else []
        names += ["tiny-cross-encoder"] if TINY_CROSS_ENCODER in self.cross_encoder else []
        tail = "; nothing of this says how a real model does."
        return f"Stand-ins in use: {', '.join(names)}{tail}" if names else "No stand-in in use."

    def _shown(self, key: str) -> str:
        value = getattr(self, key.lower())
        if value is None or key in SECRETS:
            return "set (hidden)" if value else "not set"
        return str(value).removeprefix(f"{REPOSITORY}/")


KEYS = [name.upper() for name in Config.model_fields]
SECRETS = {"OWUI_TOKEN", "HF_TOKEN"}


def load_config(path: Path | None = None) -> Config:
    """Read the YAML file (`conf/conf.yaml` where it exists), then let the environment override it.

    Without OWUI_URL, the environment's OPENAI_BASE_URL and OPENAI_API_KEY serve. Raises ConfigError.
    """
    conf_path = path or REPOSITORY / "conf/conf.yaml"
    values = _read_file(conf_path) if path or conf_path.exists() else {}
    environment = {key: os.environ[key] for key in KEYS if os.environ.get(key, "").strip()}
    # Desktops set LANGUAGE too, in gettext's form (fr_FR:en): only the two values of ours are meant for us.
    if environment.get("LANGUAGE") not in ("en", "fr"):
        environment.pop("LANGUAGE", None)
    if "OWUI_URL" not in values | environment and os.environ.get("OPENAI_BASE_URL", "").strip():
        # What newer Onyxia hands out; address and key go together, so that no key is sent to another's server.
        environment |= {"OWUI_URL": os.environ["OPENAI_BASE_URL"], "OWUI_TOKEN": os.environ.get("OPENAI_API_KEY", "")}
    sources = dict.fromkeys(values, conf_path.name) | dict.fromkeys(environment, "environment")
    values |= environment
    try:
        config = Config(**{key.lower(): value for key, value in values.items()})
    except ValidationError as error:  # its own text quotes the values, secrets too: hence "from None"
        key, problem = str(error.errors()[0]["loc"][0]).upper(), error.errors()[0]["msg"]
        value = "(hidden)" if key in SECRETS else values.get(key, "its default")
        problem = f"{key} = {value} ({sources.get(key, 'default')}): {problem.removeprefix('Value error, ')}."
        raise ConfigError(f"{problem} {CURE}") from None
    config._sources.update(sources)
    return config


def run_name(model_name: str) -> str:
    """Name a run by the present second and the last part of the model's name, so that runs sort."""
    return f"{datetime.now():%Y-%m-%dT%H-%M-%S}_{Path(model_name).name}"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except yaml.MarkedYAMLError as error:  # its own text quotes the line, which may hold a token
        line = f"{path}, line {error.problem_mark.line + 1}," if error.problem_mark else path
        raise ConfigError(f"{line} is not YAML: {error.problem}. Write KEY: value.") from None
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold lines KEY: value. {CURE}")
    for key in content:
        if key not in KEYS:
            nearest = difflib.get_close_matches(str(key).upper(), KEYS, n=1, cutoff=0)[0]
            raise ConfigError(f"{path} has an unknown key, {key}; the nearest known one is {nearest}. {CURE}")
    return {key: value for key, value in content.items() if value is not None and str(value).strip()}
