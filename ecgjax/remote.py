"""Folders in object stores (gs://, s3://, ... whatever fsspec knows): copied here to be read, and there once made.

A data set is copied as a whole, since training reads its shards at random places; it needs as much local disk.
"""

import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

import fsspec

from ecgjax.errors import InputError

LAST = "records.parquet"
"""Copied after all else: where it is, a data set is complete."""


def is_remote(path: str | Path) -> bool:
    """Whether a path is a URL."""
    return "://" in str(path)


def local(path: str | Path) -> Path:
    """The folder itself, or a copy of a remote one in ~/.cache/ecgjax/remote, made unless it is there.

    Raises:
      InputError: there is no such remote folder, it is empty, or what its store needs is not installed.
    """
    if not is_remote(path):
        return Path(path)
    url = str(path).rstrip("/")
    store, root = _store(url)
    try:
        files = {
            name[len(root) :].lstrip("/"): about["size"]
            for name, about in store.find(root, detail=True).items()
        }
        if not files:
            raise InputError(f"{url}: no such folder, or an empty one; give one that holds files")
        # Of another listing, another copy: a source may get more files.
        digest = hashlib.sha256(repr((url, sorted(files.items()))).encode()).hexdigest()[:16]
        copy = cache("remote") / digest / root.rsplit("/", 1)[-1]
        if not copy.exists():
            passing = copy.with_name(f".{uuid.uuid4().hex}")
            for name in files:
                (passing / _plain(name, url)).parent.mkdir(parents=True, exist_ok=True)
                store.get_file(f"{root}/{name}", str(passing / name))
            os.replace(passing, copy)
    except OSError as error:
        raise InputError(f"{url}: {error}; is it there, and may you read it?") from error
    return copy


def publish(folder: Path, url: str) -> None:
    """Copies a folder of plain files to a remote one.

    Raises:
      InputError: it cannot be written there.
    """
    store, root = _store(url.rstrip("/"))
    try:
        store.makedirs(root, exist_ok=True)
        for file in sorted(folder.iterdir(), key=lambda file: (file.name == LAST, file.name)):
            store.put_file(str(file), f"{root}/{file.name}")
    except OSError as error:
        raise InputError(f"{url}: {error}; may you write there?") from error


def cache(what: str) -> Path:
    """Where ecgjax keeps what can be made again."""
    return Path.home() / ".cache" / "ecgjax" / what


def _store(url: str) -> tuple[Any, str]:
    try:
        store, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {error}") from error
    return store, root.rstrip("/")


def _plain(name: str, url: str) -> str:
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise InputError(f"{url}: a file called {name!r}, which would leave the folder; rename it")
    return name
