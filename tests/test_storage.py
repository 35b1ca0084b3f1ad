"""A bucket saved elsewhere and restored: fsspec's memory stands for S3, which was tried by hand with a local server."""

import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from helpers import storage
from helpers.storage import StorageError, restore, save

FILES = {"data/train_dataset.json": "[]", "models/run/run.json": "{}", "tests/a b/answers.json": "é"}


@pytest.fixture
def bucket(tmp_path: Path):
    for name, text in FILES.items():
        path = tmp_path / "bucket" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    yield tmp_path / "bucket"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def test_what_is_saved_comes_back(bucket, tmp_path):
    assert save(bucket, "memory://elsewhere/first/") == len(FILES)
    assert restore("memory://elsewhere/first", tmp_path / "new") == len(FILES)
    assert {
        str(p.relative_to(tmp_path / "new")): p.read_text("utf-8") for p in (tmp_path / "new").rglob("*.json")
    } == FILES


def test_nothing_is_overwritten(bucket, tmp_path):
    save(bucket, "memory://elsewhere/first")
    (bucket / "data/train_dataset.json").write_text("[1]")
    with pytest.raises(StorageError, match="memory://elsewhere/first holds files already.*another address"):
        save(bucket, "memory://elsewhere/first")
    with pytest.raises(StorageError, match="bucket holds files already.*Set BUCKET"):
        restore("memory://elsewhere/first", bucket)
    assert (bucket / "data/train_dataset.json").read_text() == "[1]"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://nowhere", "holds no file. Check the address"),
        ("s3://bucket/run", "no AWS_ACCESS_KEY_ID"),
        ("foo://x", "Protocol not known: foo.*looks like s3://"),
    ],
)
def test_a_bad_address_is_told(monkeypatch, tmp_path, url, words):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(StorageError, match=words):
        restore(url, tmp_path / "new")


def test_an_empty_bucket_is_not_saved(tmp_path):
    with pytest.raises(StorageError, match="holds no file to save"):
        save(tmp_path, "memory://elsewhere")


def test_s3_without_s3fs_says_what_to_install(monkeypatch, bucket):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StorageError, match="pip install s3fs"):
        save(bucket, "s3://bucket/run")


@pytest.mark.parametrize(("address", "host", "used"), [(None, "s3.fr", "https://s3.fr"), ("http://own", "s3.fr", None)])
def test_onyxia_s_host_becomes_an_address(monkeypatch, bucket, address, host, used):
    given = {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_S3_ENDPOINT", host)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address or "")
    monkeypatch.setattr(storage, "url_to_fs", lambda url, **o: (given.update(o), (MemoryFileSystem(), "/mine"))[1])
    save(bucket, "s3://bucket/run")
    assert given.get("endpoint_url") == used


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError("The provided token has expired"), "has expired.*7 days"),
        (OSError("no route"), "no route.*the network"),
        (type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})("gone"), "gone.*network"),
    ],
)
def test_an_error_of_the_store_becomes_a_line_without_its_frames(monkeypatch, bucket, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    with pytest.raises(StorageError, match=words) as caught:
        save(bucket, "memory://elsewhere")
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
