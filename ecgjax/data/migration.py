"""Migration of a prepared data set of an earlier version: verified, completed, then bound."""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from ecgjax.data import binding, sketches
from ecgjax.data.files import TABLE
from ecgjax.data.records import Records
from ecgjax.data.table import SKETCH, VALID_SAMPLES
from ecgjax.signals import MISSING

_AT_ONCE = 512
"""Recordings that are read at once."""


Progress = Callable[[int, int], None]
"""Called as progress(recordings done, recordings in total)."""


def migrate(records: Records, progress: Progress) -> None:
    """Brings a data set up to date in its own folder: valid_samples, sketches, and the hashes.

    The shards stay as they are. To continue after an interruption, migrate again.

    Args:
      records: the data set, opened with `accept_unbound`.
      progress: called after each part.

    Raises:
      InputError: as in `verify`.
    """
    valid_samples = verify(records, progress)
    texts = sketches.to_text(records.sketches.compute_all())
    table = _with_column(records.table, "split", records.column("split").cast(pyarrow.string()))
    table = _with_column(table, VALID_SAMPLES, pyarrow.array(valid_samples))
    table = _with_column(table, SKETCH, pyarrow.array(texts))
    facts = {"format": binding.FORMAT, "leads": records.leads, "sketches": sketches.VERSION}
    about = json.loads((table.schema.metadata or {})[b"ecgjax"]) | facts
    table = table.replace_schema_metadata({"ecgjax": json.dumps(about)})
    temporary = records.path / f".{TABLE}"
    pyarrow.parquet.write_table(table, temporary)
    os.replace(temporary, records.path / TABLE)
    binding.write(records.path)


def _with_column(table: pyarrow.Table, name: str, values: Any) -> pyarrow.Table:
    """Returns the table with a column replaced or, if it has none of that name, added."""
    place = table.schema.get_field_index(name)
    if place < 0:
        return table.append_column(name, values)
    return table.set_column(place, name, values)


def verify(records: Records, progress: Progress) -> np.ndarray:
    """Reads all recordings, which compares the hash of each.

    Returns:
      The samples of each recording up to the last that is not missing in all leads, int32
      [recording].

    Raises:
      InputError: a recording is damaged, or is not that of its row in the table.
    """
    valid = np.empty(len(records), np.int32)
    for start in range(0, len(records), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(records)))
        present = (records.read(rows) != MISSING).any(axis=2)
        valid[rows] = present.shape[1] - present[:, ::-1].argmax(axis=1)
        progress(int(rows[-1]) + 1, len(records))
    return valid
