import errno
import tempfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from helpers import config as module
from helpers.config import KEYS, Config, ConfigError, load_config, run_name

REAL_REPOSITORY = module.REPOSITORY
SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with nothing but the embedded models' folders."""
    for name in (module.TINY_CHAT, module.TINY_CROSS_ENCODER):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return tmp_path


def write(repository: Path, text: str) -> None:
    (repository / "conf/conf.yaml").write_text(text, encoding="utf-8")


def test_defaults_need_no_file(repository):
    config = load_config()
    assert config.owui_url is None and config.owui_token is None and config.hf_token is None
    assert config.bucket == repository / "bucket"
    assert config.model_name == str(repository / "stand_ins/tiny-chat")
    assert config.cross_encoder == str(repository / "stand_ins/tiny-cross-encoder")
    assert (config.embedding_model, config.language, config.device) == ("wordllama", "en", "auto")


def test_a_copy_of_the_example_changes_nothing(repository):
    write(repository, (REAL_REPOSITORY / "conf/example_conf.yaml").read_text(encoding="utf-8"))
    assert load_config() == Config()


def test_paths_lie_in_the_bucket(repository):
    config = Config(bucket="elsewhere/deep")
    bucket = repository / "elsewhere/deep"
    assert config.train_dataset_path == bucket / "data/train_dataset.json"
    assert config.eval_dataset_path == bucket / "data/eval_dataset.json"
    assert config.probes_path == bucket / "data/probes.json"
    assert config.models_dir == bucket / "models"
    assert config.summary_path == bucket / "tests/summary.json"


def test_relative_paths_do_not_depend_on_the_current_folder(repository, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_config().bucket == repository / "bucket"


def test_home_and_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Config(bucket="~/mine").bucket == tmp_path / "home/mine"
    assert Config(bucket=tmp_path / "there").bucket == tmp_path / "there"


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("OWUI_URL", "https://chat.example/api", "owui_url", "https://chat.example/api"),
        ("OWUI_TOKEN", "other", "owui_token", SecretStr("other")),
        ("OWUI_FAV_MODEL", "writer", "owui_fav_model", "writer"),
        ("JUDGE_MODEL_NAME", "judge", "judge_model_name", "judge"),
        ("MODEL_NAME", "org/name", "model_name", "org/name"),
        ("BUCKET", "/somewhere", "bucket", Path("/somewhere")),
        ("LANGUAGE", "fr", "language", "fr"),
        ("DEVICE", "cpu", "device", "cpu"),
        ("REPORT_TO", "tensorboard", "report_to", "tensorboard"),
    ],
)
def test_the_environment_goes_before_the_file(repository, monkeypatch, key, value, field, expected):
    write(
        repository,
        "OWUI_URL: a\nOWUI_TOKEN: b\nOWUI_FAV_MODEL: c\nJUDGE_MODEL_NAME: d\nMODEL_NAME: e\nBUCKET: f\n",
    )
    monkeypatch.setenv(key, value)
    config = load_config()
    assert getattr(config, field) == expected
    assert {row[0]: row[2] for row in config.table()}[key] == "environment"
    untouched = "OWUI_FAV_MODEL" if key == "OWUI_URL" else "OWUI_URL"
    assert {row[0]: row[2] for row in config.table()}[untouched] == "conf.yaml"


@pytest.mark.parametrize("blank", ["", "  ", '""', "null"])
def test_blank_values_count_as_absent(repository, monkeypatch, blank):
    write(repository, f"OWUI_URL: {blank}\nOWUI_TOKEN: {blank}\nBUCKET: {blank}\n")
    monkeypatch.setenv("MODEL_NAME", " ")
    assert load_config() == Config()


@pytest.mark.parametrize("value", ["fr_FR:fr", "en_US.UTF-8", "C.UTF-8"])
def test_the_desktops_own_language_variable_is_left_alone(monkeypatch, value):
    monkeypatch.setenv("LANGUAGE", value)
    assert load_config().language == "en"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OWUI_TOKN: x", ["conf.yaml", "OWUI_TOKN", "OWUI_TOKEN"]),
        ("owui_url: x", ["owui_url", "OWUI_URL"]),
        ("LANGUAGE: de", ["LANGUAGE", "de", "conf.yaml", "'en' or 'fr'", "example_conf.yaml"]),
        ("DEVICE: gpu", ["DEVICE", "gpu", "'mps'"]),
        ("OWUI_FAV_MODEL: 3", ["OWUI_FAV_MODEL", "3", "string"]),
        ("MODEL_NAME: bucket/models/absent", ["MODEL_NAME", "no folder", "bucket/models/absent", "hub id"]),
        ("CROSS_ENCODER: ./absent", ["CROSS_ENCODER", "no folder"]),
        ("- OWUI_URL", ["conf.yaml", "KEY: value"]),
        ("OWUI_URL", ["conf.yaml", "KEY: value"]),
        ("DEVICE: cpu\nBUCKET: [a", ["conf.yaml", "line 2", "not YAML"]),
        ("DEVICE: \x01", ["conf.yaml", "cannot be read"]),
    ],
)
def test_mistakes_name_the_key_and_the_cure(repository, text, words):
    write(repository, text)
    with pytest.raises(ConfigError) as error:
        load_config()
    assert not [word for word in words if word not in str(error.value)]


def test_a_file_that_is_asked_for_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="absent.yaml cannot be read"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    "text", [f"OWUI_TOKEN: [{SECRET}]", f"OWUI_TOKEN: {SECRET}: {SECRET}", f"HF_TOKEN: {{a: {SECRET}}}"]
)
def test_a_wrong_secret_is_not_shown(repository, text):
    write(repository, text)
    with pytest.raises(ConfigError) as error:
        load_config()
    assert SECRET not in str(error.value)
    assert error.value.__suppress_context__


def test_secrets_are_hidden_everywhere(repository):
    write(repository, f"OWUI_TOKEN: {SECRET}\nHF_TOKEN: {SECRET}\n")
    config = load_config()
    assert config.owui_token.get_secret_value() == SECRET
    shown = f"{config} {config!r} {config.table()} {config.model_dump()} {config.model_dump_json()}"
    assert SECRET not in shown
    assert ("OWUI_TOKEN", "set (hidden)", "conf.yaml") in config.table()


def test_table_has_every_key_and_no_personal_path(repository):
    rows = load_config().table()
    assert [row[0] for row in rows] == KEYS
    assert ("BUCKET", "bucket", "default") in rows
    assert ("OWUI_TOKEN", "not set", "default") in rows
    assert str(repository) not in str(rows)


def test_a_model_folder_becomes_absolute_and_a_hub_id_stays(repository):
    (repository / "bucket/models/mine").mkdir(parents=True)
    assert Config(model_name="bucket/models/mine").model_name == str(repository / "bucket/models/mine")
    assert Config(model_name="Qwen/Qwen3-0.6B").model_name == "Qwen/Qwen3-0.6B"
    assert Config(model_name="gpt2").model_name == "gpt2"


def test_stand_ins_are_named():
    line = Config().stand_ins()
    assert all(name in line for name in ("practice server", "tiny-chat", "WordLlama", "tiny-cross-encoder"))
    real = {
        "owui_url": "https://x",
        "model_name": "org/a",
        "embedding_model": "org/b",
        "cross_encoder": "org/c",
    }
    assert Config(**real).stand_ins() == "No stand-in in use."
    assert "tiny-chat" in Config(**(real | {"model_name": Config().model_name})).stand_ins()


def test_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().device = "cpu"


def test_make_dirs_makes_them_and_leaves_nothing_else(repository):
    config = Config(bucket="new/bucket")
    config.make_dirs()
    config.make_dirs()
    assert sorted(path.name for path in config.bucket.iterdir()) == ["data", "models", "tests"]


def test_make_dirs_names_the_bucket_when_a_file_is_in_the_way(repository):
    (repository / "bucket").write_text("")
    with pytest.raises(ConfigError, match="BUCKET = .*bucket cannot be written.*set BUCKET"):
        Config().make_dirs()


def test_make_dirs_tells_of_a_full_disk(monkeypatch):
    def fail(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", fail)
    with pytest.raises(ConfigError, match="No space left on device. Free some space"):
        Config().make_dirs()


def test_run_names_sort_and_keep_the_last_part():
    name = run_name("org/some-model")
    assert name.endswith("_some-model")
    assert len(name) == len("2026-01-31T23-59-59_some-model") and name[:2] == "20" and name[10] == "T"


def test_an_openai_address_and_key_serve_where_there_is_no_open_webui(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://llm.example.org/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-key")
    monkeypatch.setenv("OWUI_TOKEN", "sk-owui-key")
    for key in ("OWUI_URL", "BUCKET"):
        monkeypatch.delenv(key, raising=False)
    path = tmp_path / "conf.yaml"
    path.write_text("LANGUAGE: fr\n")
    config = load_config(path)
    assert config.owui_url == "https://llm.example.org/v1"
    assert config.owui_token.get_secret_value() == "sk-openai-key"  # never the key of another server
    path.write_text("OWUI_URL: https://owui.example.org\n")
    config = load_config(path)
    assert (config.owui_url, config.owui_token.get_secret_value()) == ("https://owui.example.org", "sk-owui-key")
