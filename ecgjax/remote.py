"""Folders in object stores (gs://, s3://, all that fsspec knows): copied here, published there.

A data set is copied as a whole, because training reads its shards at random positions; the copy
needs as much local disk space.
"""

import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

import fsspec

from ecgjax.errors import InputError

LAST = "records.parquet"
"""File that is copied last; if it is there, the data set is complete."""


def is_remote(path: str | Path) -> bool:
    """Tells whether a path is a URL."""
    return "://" in str(path)


def local(path: str | Path) -> Path:
    """Returns a local folder itself, or the copy of a remote one in ~/.cache/ecgjax/remote.

    The copy is made on first use.

    Raises:
      InputError: there is no such remote folder, it is empty, or the package for its store is
        missing.
    """
    if not is_remote(path):
        return Path(path)
    url = str(path).rstrip("/")
    store, root = _store(url)
    try:
        files = {
            name[len(root) :].lstrip("/"): facts["size"]
            for name, facts in store.find(root, detail=True).items()
        }
        if not files:
            raise InputError(f"{url}: no such folder, or an empty one; give one that holds files")
        # The listing is part of the name: a source that gets more files is copied again.
        digest = hashlib.sha256(repr((url, sorted(files.items()))).encode()).hexdigest()[:16]
        copy = cache("remote") / digest / root.rsplit("/", 1)[-1]
        if not copy.exists():
            unfinished = copy.with_name(f".{uuid.uuid4().hex}")
            for name in files:
                (unfinished / _inside(name, url)).parent.mkdir(parents=True, exist_ok=True)
                store.get_file(f"{root}/{name}", str(unfinished / name))
            os.replace(unfinished, copy)
    except OSError as error:
        raise InputError(f"{url}: {error}; is it there, and may you read it?") from error
    return copy


def publish(folder: Path, url: str) -> None:
    """Copies a folder of plain files to a remote folder, `LAST` last.

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


def cache(name: str) -> Path:
    """Returns a cache folder of ecgjax, for files that can be regenerated."""
    return Path.home() / ".cache" / "ecgjax" / name


def _store(url: str) -> tuple[Any, str]:
    """Returns the store of a URL and the path in it."""
    try:
        store, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {error}") from error
    return store, root.rstrip("/")


def _inside(name: str, url: str) -> str:
    """Returns a file name after checking that it stays inside its folder."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise InputError(f"{url}: a file called {name!r}, which would leave the folder; rename it")
    return name
