"""The table of a prepared data set, records.parquet, with its facts about the data set.

Columns are explained in tfds_builders/README.md. They are read one by one, since the whole table
takes 1.4 GB for 5 million recordings and training needs three columns.
"""

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from ecgjax.data import sketches
from ecgjax.data.binding import FORMAT, Binding
from ecgjax.data.files import damage_named, limit_size
from ecgjax.data.hashes import DIGITS
from ecgjax.errors import InputError
from ecgjax.signals import LEADS

_compute: Any = pyarrow.compute  # its functions are made at import
_TEXTS = pyarrow.list_(pyarrow.string())
COLUMNS: dict[str, Callable[[pyarrow.DataType], bool]] = {
    **dict.fromkeys(("record_id", "patient_id", "sex", "site", "device"), pyarrow.types.is_string),
    **dict.fromkeys(("split", "waveform_hash"), pyarrow.types.is_string),
    "recorded_at": pyarrow.types.is_timestamp,
    "age": pyarrow.types.is_float32,
    "fold": pyarrow.types.is_int8,
    **dict.fromkeys(("labels", "quality"), _TEXTS.equals),
}
"""Columns of every table, with a check of their types."""
VALID_SAMPLES = "valid_samples"
"""Column that came with format 2, int32."""
SKETCH = "sketch"
"""Column of hexadecimal sketches. It counts if the facts have "sketches", their version. Any other
column is text from the user's own table."""
_ALWAYS_GIVEN = ("record_id", "patient_id", "split", "waveform_hash", VALID_SAMPLES)
_HASHES = ("patient_id", "waveform_hash")
_NAME = re.compile(r"[\w.+-]{1,200}/[\w.+-]{1,200}:[\d.]{1,30}", re.ASCII)
_BYTES_PER_ROW = 16384
"""More than a row ever takes: about 200 bytes, and the further columns of the user's table."""
_MOST_SAMPLES = 10_000_000
_LONGEST_TEXT = 4_000_000
"""Bytes of a text in the file's metadata; a bound on what Arrow allocates, as is the next one."""
_LONGEST_LIST = 200_000


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts about a data set, stored in the metadata of its table."""

    dataset: str
    rate_hz: float
    samples: int
    leads: tuple[str, ...]
    format: int
    sketches: int | None = None
    """Version of the sketches in the table; None: it has none."""


class Table:
    """The table, read column by column.

    Attributes:
      file: records.parquet.
      facts: what it says about the data set.
      has_sketches: whether it has sketches that this version of ecgjax can compare.
    """

    def __init__(self, file: Path, rows: int, binding: Binding | None):
        """Checks columns, types and facts; reads no row.

        Args:
          file: records.parquet.
          rows: recordings in the shards.
          binding: the hash of the file, if the data set has one.

        Raises:
          InputError: the file is damaged, is not the one that was written, or has another number
            of rows.
        """
        self.file = file
        self.has_sketches = False
        self._most_bytes = 1_000_000 + _BYTES_PER_ROW * rows
        with damage_named(file):
            limit_size(file, self._most_bytes)
            if binding:
                binding.check(file)
        with damage_named(file), self._open() as opened:
            if opened.metadata.num_rows != rows:
                raise InputError(
                    f"{file.parent}: the shards hold {rows} recordings, {file.name} "
                    f"{opened.metadata.num_rows}; prepare the data set again"
                )
            _check_size(opened.metadata, self._most_bytes)
            _check_columns(opened.schema_arrow)
            self.facts = _facts(json.loads((opened.metadata.metadata or {})[b"ecgjax"]))
            if self.facts.format not in (1, FORMAT):
                raise InputError(
                    f"{file}: format {str(self.facts.format)[:20]}, but this version of ecgjax "
                    f"reads 1 and {FORMAT}; install the version that wrote it"
                )
            self.names: list[str] = opened.schema_arrow.names
            is_current = self.facts.sketches == sketches.VERSION
            self.has_sketches = is_current and SKETCH in self.names

    def read(self, *columns: str) -> pyarrow.Table:
        """Reads some columns, or all of them.

        Raises:
          InputError: the file is damaged.
        """
        with damage_named(self.file), self._open() as opened:
            table = opened.read(columns=list(columns) or None)
            table.validate(full=True)
            hashed = {*_HASHES, SKETCH} if self.has_sketches else set(_HASHES)
            for name in {*_ALWAYS_GIVEN, *hashed} & set(table.column_names):
                if table[name].null_count:
                    raise ValueError(f"column {name} has rows without a value")
            for name in hashed & set(table.column_names):
                if not _compute.all(_compute.equal(_compute.binary_length(table[name]), DIGITS)):
                    raise ValueError(f"column {name} has a hash without {DIGITS} digits")
            return table

    @contextlib.contextmanager
    def _open(self) -> Iterator[pyarrow.parquet.ParquetFile]:
        # Opened here and not by Arrow, so that Arrow does not take the name for a URL.
        with (
            self.file.open("rb") as stream,
            pyarrow.parquet.ParquetFile(
                stream,
                read_dictionary=["split"],
                thrift_string_size_limit=_LONGEST_TEXT,
                thrift_container_size_limit=_LONGEST_LIST,
            ) as opened,
        ):
            yield opened


def _check_size(metadata: Any, most_bytes: int) -> None:
    """Raises ValueError if the columns would take more memory than rows ever take."""
    # Not the sizes of the columns: Arrow 25 aborts the process if those are damaged.
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    size_bytes = sum(max(0, group.total_byte_size) for group in groups)
    if size_bytes > most_bytes:
        raise ValueError(f"columns of {size_bytes:,} bytes, more than {most_bytes:,}")


def _check_columns(schema: pyarrow.Schema) -> None:
    if absent := COLUMNS.keys() - set(schema.names):
        raise ValueError(f"lacks column {', '.join(sorted(absent))}")
    if len(set(schema.names)) < len(schema.names):
        raise ValueError("two columns have one name")
    for field in schema:
        fits = COLUMNS.get(field.name, pyarrow.types.is_string)
        if field.name == VALID_SAMPLES:
            fits = pyarrow.types.is_int32
        kind = field.type.value_type if field.name == "split" else field.type
        if not fits(kind):
            raise ValueError(f"column {field.name[:40]!r} is {str(field.type)[:40]}")


def _facts(about: Any) -> Facts:
    """Returns the facts after checking each of them."""
    facts = Facts(
        dataset=about["dataset"],
        rate_hz=about["rate_hz"],
        samples=about["samples"],
        leads=tuple(about.get("leads", LEADS)),
        format=about.get("format", 1),
        sketches=about.get("sketches"),
    )
    numbers = (facts.rate_hz, facts.samples, facts.format)
    if {type(number) for number in numbers} - {int, float} or type(facts.samples) is not int:
        raise ValueError("rate_hz, samples or format is not a number")
    if not (math.isfinite(facts.rate_hz) and 0 < facts.rate_hz <= 1e6):
        raise ValueError(f"a sampling rate of {facts.rate_hz} Hz")
    if not 0 < facts.samples <= _MOST_SAMPLES:
        raise ValueError(f"recordings of {str(facts.samples)[:20]} samples")
    if not facts.leads or facts.leads != tuple(lead for lead in LEADS if lead in facts.leads):
        raise ValueError("leads are not some of the twelve in their order")
    if not isinstance(facts.dataset, str) or not _NAME.fullmatch(facts.dataset):
        raise ValueError("the name of the data set is not one")
    return facts
