import os
import re
import traceback
from pathlib import Path

import pytest

from helpers import config as module
from helpers.config import Config, ConfigError, load_config, run_name

REAL_REPOSITORY = module.REPOSITORY
SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    """A repository with nothing but the embedded models' folders."""
    for name in (module.TINY_CHAT, module.TINY_CROSS_ENCODER, "conf"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    for key in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(key, "")  # so that what load_config sets is taken away again
    return tmp_path


def write(repository: Path, text: str) -> None:
    (repository / "conf/conf.yaml").write_text(text, encoding="utf-8")


def test_the_defaults_need_no_file_and_the_example_changes_nothing(repository, monkeypatch):
    monkeypatch.chdir("/")
    config = load_config()
    assert (config.owui_url, config.owui_token, config.hf_token) == (None, None, None)
    assert config.bucket == repository / "bucket"
    assert config.model_name == str(repository / "stand_ins/tiny-chat")
    blank = 'OWUI_URL:\nOWUI_TOKEN: ""\nBUCKET: null\nLANGUAGE: ~\nDEVICE: "  "\n'
    for text in ((REAL_REPOSITORY / "conf/example_conf.yaml").read_text(encoding="utf-8"), blank):
        write(repository, text)
        assert load_config() == Config() == config


def test_every_path_lies_in_the_bucket_and_a_hub_id_stays(repository, monkeypatch):
    monkeypatch.setenv("HOME", str(repository / "home"))
    assert Config(bucket="~/mine").bucket == repository / "home/mine"
    config = Config(bucket="elsewhere/deep")
    config.make_dirs()
    bucket = repository / "elsewhere/deep"
    assert sorted(bucket.iterdir()) == [config.data_dir, config.models_dir, config.tests_dir]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d-\d\d-\d\d_some-model", run_name("org/some-model"))
    (bucket / "models/mine").mkdir()
    mine = Config(model_name="elsewhere/deep/models/mine").model_name
    assert mine == str(bucket / "models/mine")
    assert Config(model_name="Qwen/Qwen3-0.6B").model_name == "Qwen/Qwen3-0.6B"
    (bucket / "file").write_text("")
    with pytest.raises(ConfigError, match="BUCKET.*file"):
        Config(bucket=bucket / "file").make_dirs()


def test_the_environment_goes_before_the_file(repository, monkeypatch):
    write(repository, "OWUI_URL: https://file\nOWUI_FAV_MODEL: file\nDEVICE: cpu\n")
    monkeypatch.setenv("OWUI_FAV_MODEL", "mine")
    monkeypatch.setenv("BUCKET", "/somewhere")
    monkeypatch.setenv("DEVICE", " ")  # blank is absent
    config = load_config()
    assert (config.owui_url, config.device) == ("https://file", "cpu")
    assert (config.owui_fav_model, config.bucket) == ("mine", Path("/somewhere"))
    for value, read in (("fr", "fr"), ("fr_FR:fr", "en")):  # the second is a desktop's
        monkeypatch.setenv("LANGUAGE", value)
        assert load_config().language == read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OWUI_TOKN: x", "OWUI_TOKN.*OWUI_TOKEN"),
        ("LANGUAGE: no", "LANGUAGE.*'en' or 'fr'.*example_conf.yaml"),  # to YAML "no" is false
        ("MODEL_NAME: bucket/models/absent", "MODEL_NAME.*no folder.*models/absent.*hub id"),
        ("DEVICE: cpu\nLANGUAGE: fr\nDEVICE: cuda", "DEVICE twice"),
        # nothing secret is shown
        (f"OWUI_TOKEN: {SECRET}: {SECRET}", "line 1"),
        (f"HF_TOKEN: {{a: {SECRET}}}\nDEVICE: gpu", "HF_TOKEN.*DEVICE.*'mps'"),
        (f"OWUI_URL: https://me:{SECRET}@chat.example/api", "OWUI_URL.*OWUI_TOKEN"),
    ],
)
def test_mistakes_name_the_key_and_the_cure_and_no_secret(repository, text, words):
    write(repository, text)
    with pytest.raises(ConfigError, match=f"(?s){words}") as error:
        load_config()
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("BUCKET: é".encode("cp1252"))
    for name in ("absent.yaml", "latin.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_config(tmp_path / name)


def test_secrets_are_shown_nowhere_and_the_hubs_own_library_gets_its_own(repository):
    write(repository, f"OWUI_TOKEN: {SECRET}\nHF_TOKEN: {SECRET}\n")
    config = load_config()
    assert SECRET not in f"{config} {config!r} {config.model_dump()} {config.model_dump_json()}"
    assert config.owui_token.get_secret_value() == SECRET == os.environ["HUGGING_FACE_HUB_TOKEN"]
    write(repository, "HF_TOKEN: corrected\n")  # in the same kernel
    load_config()
    assert os.environ["HUGGING_FACE_HUB_TOKEN"] == "corrected"


def test_stand_ins_are_named():
    names = ("practice server", "tiny-chat", "WordLlama", "tiny-cross-encoder")
    models = {key: "org/a" for key in ("model_name", "embedding_model", "cross_encoder")}
    real = Config(owui_url="https://x", **models).stand_ins()
    assert [(name in Config().stand_ins(), name in real) for name in names] == [(True, False)] * 4


def test_an_openai_address_and_key_serve_where_there_is_no_open_webui(repository, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://llm.example.org/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OWUI_TOKEN", "sk-owui")
    config = load_config()
    assert config.owui_url == "https://llm.example.org/v1"
    assert config.owui_token.get_secret_value() == "sk-openai"  # never the key of another server
    monkeypatch.delenv("OPENAI_API_KEY")
    assert not load_config().owui_token
    write(repository, "OWUI_URL: https://owui.example.org\n")
    config = load_config()
    assert config.owui_token.get_secret_value() == "sk-owui"
