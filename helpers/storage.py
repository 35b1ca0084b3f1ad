"""Copy a bucket to a place that outlives the service, S3 for instance, and back.

    python -m helpers.storage save s3://my-bucket/acronyms/first-run
    python -m helpers.storage restore s3://my-bucket/acronyms/first-run

Addresses are fsspec's. On Onyxia the environment holds the keys; their token lives 7 days.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.callbacks import TqdmCallback
from fsspec.core import url_to_fs

EXPIRED = "The token of a datalab lives 7 days: open a new service, or copy fresh keys from your account's page."


class StorageError(RuntimeError):
    """What could not be saved or restored; the message names it and the cure."""


def save(bucket: Path, url: str) -> int:
    """Copy all files of a bucket to an empty place, and count them. Raises StorageError."""
    if not any(path.is_file() for path in bucket.rglob("*")):
        raise StorageError(f"{bucket} holds no file to save. Run a notebook first, or set BUCKET.")
    with _told(url):
        store, path = _open(url)
        if _count(store, path):
            raise StorageError(f"{url} holds files already, and nothing is overwritten. Give another address.")
        store.put(f"{bucket}/", f"{path}/", recursive=True, callback=TqdmCallback(tqdm_kwargs={"desc": "saving"}))
        return _count(store, path)


def restore(url: str, bucket: Path) -> int:
    """Copy a saved bucket into an empty one, and count its files. Raises StorageError."""
    if any(path.is_file() for path in bucket.rglob("*")):
        raise StorageError(f"{bucket} holds files already, and nothing is overwritten. Set BUCKET to a new folder.")
    with _told(url):
        store, path = _open(url)
        if not _count(store, path):
            raise StorageError(f"{url} holds no file. Check the address.")
        store.get(f"{path}/", f"{bucket}/", recursive=True, callback=TqdmCallback(tqdm_kwargs={"desc": "restoring"}))
    return sum(path.is_file() for path in bucket.rglob("*"))


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    options = {}
    if url.startswith("s3://"):
        if not os.environ.get("AWS_ACCESS_KEY_ID"):
            raise StorageError("There is no AWS_ACCESS_KEY_ID in the environment. Onyxia sets it, with the others.")
        host = os.environ.get("AWS_S3_ENDPOINT")
        if host and not os.environ.get("AWS_ENDPOINT_URL"):  # Onyxia gives a host there, no address
            options["endpoint_url"] = f"https://{host}"
    try:
        store, path = url_to_fs(url, **options)
    except ValueError as error:
        raise StorageError(f"{url}: {error}. An address looks like s3://my-bucket/acronyms/first-run.") from None
    except ImportError:
        raise StorageError("s3:// needs s3fs: pip install s3fs, or the set-up with --platform onyxia.") from None
    return store, path.rstrip("/")


def _count(store: AbstractFileSystem, path: str) -> int:
    store.invalidate_cache()
    return len(store.find(path))


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith("botocore"):
            raise
        said = str(error).strip() or type(error).__name__
        cure = EXPIRED if isinstance(error, PermissionError) else "Check the address and the network."
        raise StorageError(f"{url} cannot be used: {said}. {cure}") from None  # the frames of S3's libraries hold keys


def main() -> None:
    """The command."""
    from helpers.config import load_config

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("do", choices=("save", "restore"))
    parser.add_argument("url", help="such as s3://my-bucket/acronyms/first-run")
    given, bucket = parser.parse_args(), load_config().bucket
    try:
        count = save(bucket, given.url) if given.do == "save" else restore(given.url, bucket)
    except StorageError as error:
        sys.exit(str(error))
    print(f"{count} files of {bucket} are at {given.url}." if given.do == "save" else f"{count} files are in {bucket}.")


if __name__ == "__main__":
    main()
