"""The manifest of hashes, binding.json, that binds the files of a prepared data set together.

    {"format": 2,
     "files": {"records.parquet": SHA-256, "dataset_info.json": SHA-256, "features.json": SHA-256},
     "shards": {NAME: {"bytes": SIZE, "ends": SHA-256 of the first and the last 4 KiB}, ...}}

A terabyte of shards cannot be hashed whenever it is opened. So that nothing is silent all the same:
- the descriptions and the table are hashed in full when the data set is opened (2 MB for PTB-XL);
- a shard's size and ends are compared then. Its first 4 KiB hold ArrayRecord's hash of the first
  recording and that recording's id, so that a shard that was exchanged for another is known by it;
- each recording is compared with the row's waveform hash when it is first read (`Records.read`),
  which is in the table and thereby bound; ArrayRecord compares a hash of its own at every reading.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from ecgjax.data.files import TABLE, damage_named, inside, read_json
from ecgjax.errors import InputError

FILE = "binding.json"
FORMAT = 2
"""Format of a data set that has this file; data sets of format 1 are not bound."""
BOUND = (TABLE, "dataset_info.json", "features.json")
"""Files that are hashed in full."""
END_BYTES = 4096
SHARDS = "*.array_record-*"
_MOST_BYTES = 64_000_000  # 300,000 shards
_REMEDY = "differs from what prepare wrote; restore the file, or prepare the data set again"


@dataclasses.dataclass(frozen=True)
class Binding:
    """The hashes of a data set's files."""

    files: dict[str, str]
    """SHA-256 of each file in `BOUND`."""
    shards: dict[str, tuple[int, str]]
    """Size in bytes and hash of the ends of each shard."""

    def check(self, file: Path) -> None:
        """Compares a file in `BOUND`.

        Raises:
          InputError: it differs from the one that was bound.
        """
        with damage_named(file):
            if _sha256(file) != self.files[file.name]:
                raise InputError(f"{file}: {_REMEDY}")

    def check_shard(self, file: Path) -> None:
        """Compares the size and the ends of a shard.

        Raises:
          InputError: they differ from those that were bound.
        """
        with damage_named(file):
            size_bytes, ends = _size_and_ends(file)
            expected_bytes, expected_ends = self.shards[file.name]
            if size_bytes != expected_bytes:
                raise InputError(
                    f"{file}: {size_bytes:,} bytes instead of {expected_bytes:,}; copy the file "
                    f"again, or prepare the data set again"
                )
            if ends != expected_ends:
                raise InputError(f"{file}: {_REMEDY}")


def write(folder: Path) -> None:
    """Binds the files of a data set that has just been written or verified."""
    shards = {file.name: _size_and_ends(file) for file in sorted(folder.glob(SHARDS))}
    content = {
        "format": FORMAT,
        "files": {name: _sha256(folder / name) for name in BOUND},
        "shards": {name: {"bytes": size, "ends": ends} for name, (size, ends) in shards.items()},
    }
    temporary = folder / f".{FILE}"
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, folder / FILE)


def read(folder: Path) -> Binding | None:
    """Reads the binding of a data set; None if it has none.

    Raises:
      InputError: it is damaged, or of a later format.
    """
    if not os.path.lexists(folder / FILE):
        return None
    file = inside(folder, FILE)
    content = read_json(file, _MOST_BYTES)
    with damage_named(file):
        if content["format"] != FORMAT:
            raise InputError(
                f"{file}: format {str(content['format'])[:20]!r}, but this version of ecgjax reads "
                f"{FORMAT}; install the version that wrote it"
            )
        files = {name: _digits(content["files"][name]) for name in BOUND}
        shards = {
            name: (int(shard["bytes"]), _digits(shard["ends"]))
            for name, shard in content["shards"].items()
        }
        return Binding(files, shards)


def _digits(value: object) -> str:
    if not isinstance(value, str) or len(value) != 64:
        raise ValueError("a hash without 64 digits")
    return value


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _size_and_ends(file: Path) -> tuple[int, str]:
    size_bytes = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(END_BYTES)
        opened.seek(max(0, size_bytes - END_BYTES))
        return size_bytes, hashlib.sha256(start + opened.read(END_BYTES)).hexdigest()
