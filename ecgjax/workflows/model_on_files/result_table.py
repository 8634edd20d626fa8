"""A table of results, written in parts: a killed job goes on with the parts that are absent.

The finished parts wait in a hidden folder beside the result. At the end they become one file, which
is moved into place by one rename, and the folder is deleted.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ecgjax.errors import InputError, first_line
from ecgjax.train.lock import locked
from ecgjax.whole_files import replaced
from ecgjax.workflows.model_on_files import table_formats

ACCEPTED = "ok"
REJECTED = "rejected"
FACTS = pa.schema(
    {
        "source": pa.string(),
        "file": pa.string(),
        "recording": pa.string(),
        "window": pa.int32(),
        "record_id": pa.string(),
        "patient_id": pa.string(),
        "status": pa.string(),
        "reason": pa.string(),
        "message": pa.string(),
        "quality": pa.list_(pa.string()),
    }
)
"""Columns of every table of results; those of the model follow. docs/embed-predict.md explains."""


class ResultTable:
    """The result of one job, as far as it is finished."""

    def __init__(self, out: Path, schema: pa.Schema, about: dict[str, Any]):
        """Prepares the hidden folder.

        Args:
          out: file to write: .parquet, .csv or .npz.
          schema: columns of the model, which follow those of FACTS.
          about: model and options, as JSON takes them; parts made with others are not used again.

        Raises:
          InputError: the file cannot be written, is something else, or another process writes it.
        """
        table_formats.check(out, FACTS.names)
        self.out = out
        text = json.dumps(about, sort_keys=True)
        self.schema = pa.schema([*FACTS, *schema], metadata={"ecgjax": text})
        self._about = text
        self.folder = out.with_name(f".{out.name}.unfinished")
        self.scratch = self.folder / "scratch"
        try:
            self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            problem = f"{out}: {error.strerror}"
            raise InputError(f"{problem}; give a file in a folder that can be written") from error
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(locked(self.folder, "--out", shown=out))

    def close(self) -> None:
        """Lets another process continue, and deletes the hidden folder if it has no part."""
        self._lock.close()
        if not any(self.folder.glob("*.parquet")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def part(self, digest: str) -> Path:
        """Returns the file of a part, which exists if the part is finished."""
        name = hashlib.sha256(f"{self._about} {digest}".encode()).hexdigest()[:32]
        return self.folder / f"{name}.parquet"

    def has(self, digest: str) -> bool:
        """Tells whether a part is finished and whole; a power cut may leave an empty one."""
        try:
            pyarrow.parquet.read_metadata(self.part(digest))
        except (OSError, pa.ArrowException):
            return False
        return True

    @contextlib.contextmanager
    def add_part(self, digest: str) -> Iterator[pyarrow.parquet.ParquetWriter]:
        """Opens a part for writing; it exists when the block has ended without an error."""
        with (
            replaced(self.part(digest)) as unfinished,
            pyarrow.parquet.ParquetWriter(unfinished, self.schema) as writer,
        ):
            yield writer

    def summary(self, digests: Sequence[str]) -> dict[str, Any]:
        """Returns counts of recordings by status, of rejections by reason, and of flags."""
        counts: dict[str, Any] = {name: Counter() for name in ("status", "reason", "flag")}
        first: dict[str, str] = {}
        nameless = 0
        for path in map(self.part, digests):
            columns = pyarrow.parquet.read_table(path, columns=FACTS.names).to_pydict()
            counts["status"].update(columns["status"])
            counts["reason"].update(filter(None, columns["reason"]))
            for reason, message in zip(columns["reason"], columns["message"], strict=True):
                if reason:
                    first.setdefault(reason, message)
            for flags in columns["quality"]:
                counts["flag"].update({flag.partition(":")[0] for flag in flags or ()})
            nameless += columns["patient_id"].count(None)
        return counts | {"first": first, "nameless": nameless}

    def finish(self, digests: Sequence[str]) -> None:
        """Writes the result from its parts, in their order, and deletes the hidden folder.

        Raises:
          InputError: the disk is full, or a part is damaged.
        """
        temporary = self.folder / f"result{self.out.suffix}"
        try:
            with replaced(temporary) as unfinished:
                parts = [self.part(digest) for digest in digests]
                table_formats.write(unfinished, parts, self.schema)
            os.replace(temporary, self.out)
        except (OSError, pa.ArrowException) as error:
            problem = f"{self.out}: cannot be written ({first_line(error)})"
            remedy = f"free some disk, or delete {self.folder} to begin anew"
            raise InputError(f"{problem}; {remedy}") from error
        shutil.rmtree(self.folder, ignore_errors=True)
