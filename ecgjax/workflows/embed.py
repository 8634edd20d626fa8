"""Embeddings of files and prepared data sets, as a table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ecgjax.classifier import Classifier
from ecgjax.pretrained import Encoder
from ecgjax.workflows.model_on_files.apply import (
    Job,
    ModelColumns,
    Report,
    apply_to_files,
    table_of_files,
)
from ecgjax.workflows.model_on_files.options import Reading
from ecgjax.workflows.model_on_files.table_formats import SIZE

EMBEDDING = "embedding"
"""Name of the column."""


def embed(
    encoder: Encoder,
    paths: Sequence[str | Path],
    job: Job,
    *,
    reading: Reading = Reading(),  # noqa: B008
    batch_size: int = 256,
    **report: Any,
) -> Report:
    """Writes a table of recordings with their embeddings; see `apply_to_files`.

    Args:
      encoder: the encoder.
      paths: files, folders or prepared data sets.
      job: the file to write, and the share of this process.
      reading: options for raw files.
      batch_size: windows that are computed at once.
      report: `progress` and `show` of `apply_to_files`.

    Raises:
      InputError: the input, an option or the file cannot be used.
    """
    return apply_to_files(columns(encoder, batch_size), paths, reading, job, **report)


def embed_files(
    model: Encoder | Classifier,
    paths: Sequence[str | Path],
    *,
    reading: Reading = Reading(),  # noqa: B008
    workers: int = 1,
    batch_size: int = 256,
) -> pa.Table:
    """Returns a table of the recordings of files with their embeddings.

    Args:
      model: an encoder, or a classifier, whose encoder is used.
      paths: files of any format that `prepare` reads, folders, or prepared data sets.
      reading: options for raw files.
      workers: processes that read.
      batch_size: windows that are computed at once.

    Returns:
      One row for each recording; a rejected one has no embedding. docs/embed-predict.md explains
      the columns.

    Raises:
      InputError: a path does not exist or holds no recording, or an option does not fit.
    """
    encoder = model.encoder if isinstance(model, Classifier) else model
    return table_of_files(columns(encoder, batch_size), paths, reading, workers)


def columns(encoder: Encoder, batch_size: int) -> ModelColumns:
    """Returns the column of embeddings, float32 lists of one length."""
    size = encoder.dimension

    def to_arrays(results: np.ndarray, accepted: np.ndarray) -> list[pa.Array]:
        ends = np.cumsum(np.r_[0, accepted], dtype=np.int32) * size
        numbers = pa.array(results[accepted].reshape(-1))
        return [pa.ListArray.from_arrays(ends, numbers, mask=pa.array(~accepted))]

    about = {
        "command": "embed",
        "encoder": encoder.fingerprint,
        "preprocessing": dataclasses.asdict(encoder.preprocessing),
        "batch_size": batch_size,
    }
    # No list of a fixed size: pyarrow 25 does not read one back that has absent rows.
    field = pa.field(EMBEDDING, pa.list_(pa.float32()), metadata={SIZE: str(size)})
    schema = pa.schema([field])
    settings = encoder.preprocessing
    return ModelColumns(settings, schema, encoder.embed_stored, to_arrays, size, batch_size, about)
