"""Predictions of a trained classifier for files and prepared data sets, as a table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ecgjax.classifier import Classifier
from ecgjax.errors import InputError
from ecgjax.outputs import Outputs
from ecgjax.pretrained import Encoder
from ecgjax.workflows.model_on_files.apply import (
    Job,
    ModelColumns,
    Report,
    apply_to_files,
    table_of_files,
)
from ecgjax.workflows.model_on_files.options import Reading
from ecgjax.workflows.model_on_files.result_table import FACTS

PRESENT = "_present"
"""End of the name of the column that compares a probability with its threshold."""
CLASS = "predicted_class"
"""Column with the most probable class."""


def predict(
    classifier: Classifier,
    paths: Sequence[str | Path],
    job: Job,
    *,
    reading: Reading = Reading(),  # noqa: B008
    batch_size: int = 128,
    **report: Any,
) -> Report:
    """Writes a table of recordings with their predictions; see `apply_to_files`.

    Args:
      classifier: the classifier.
      paths: files, folders or prepared data sets.
      job: the file to write, and the share of this process.
      reading: options for raw files.
      batch_size: windows that are computed at once.
      report: `progress` and `show` of `apply_to_files`.

    Raises:
      InputError: the input, an option or the file cannot be used.
    """
    return apply_to_files(columns(classifier, batch_size), paths, reading, job, **report)


def predict_files(
    classifier: Classifier,
    paths: Sequence[str | Path],
    *,
    reading: Reading = Reading(),  # noqa: B008
    workers: int = 1,
    batch_size: int = 128,
) -> pa.Table:
    """Returns a table of the recordings of files with their predictions.

    Args:
      classifier: a classifier, which `ecgjax.load` reads.
      paths: files of any format that `prepare` reads, folders, or prepared data sets.
      reading: options for raw files.
      workers: processes that read.
      batch_size: windows that are computed at once.

    Returns:
      One row for each recording; a rejected one has no prediction. docs/embed-predict.md explains
      the columns.

    Raises:
      InputError: a path does not exist or holds no recording, or an option does not fit.
    """
    return table_of_files(columns(classifier, batch_size), paths, reading, workers)


def require_head(model: Encoder | Classifier, path: str | Path) -> Classifier:
    """Returns the model if it is a classifier.

    Raises:
      InputError: it is an encoder without a head.
    """
    if isinstance(model, Classifier):
        return model
    problem = f"{path}: an encoder without a head, which predicts nothing"
    if "task" in model.config:
        problem = f"{path}: a checkpoint of training with labels, which is no classifier"
        remedy = "give the workdir of a finished finetune, or its folder model"
        raise InputError(f"{problem}; {remedy}")
    raise InputError(f"{problem}; train a head with ecgjax finetune, or use ecgjax embed")


def columns(classifier: Classifier, batch_size: int) -> ModelColumns:
    """Returns the columns of predictions.

    For labels a probability each, and NAME_present if thresholds were chosen; for classes a
    probability each, and the most probable class; for numbers a number each.
    """
    outputs = classifier.outputs
    names = column_names(outputs)

    def to_arrays(results: np.ndarray, accepted: np.ndarray) -> list[pa.Array]:
        rejected = ~accepted
        arrays = [pa.array(column, mask=rejected) for column in results.T.copy()]
        if outputs.kind == "labels" and outputs.thresholds:
            present = results >= np.array(outputs.thresholds, np.float32)
            arrays += [pa.array(column, mask=rejected) for column in present.T.copy()]
        if outputs.kind == "classes":
            best = np.nan_to_num(results).argmax(axis=1)
            chosen = [outputs.names[index] for index in best]
            arrays.append(pa.array(chosen, pa.string(), mask=rejected))
        return arrays

    fields = dict.fromkeys(names, pa.float32())
    if outputs.kind == "labels" and outputs.thresholds:
        fields |= {f"{name}{PRESENT}": pa.bool_() for name in names}
    if outputs.kind == "classes":
        fields[CLASS] = pa.string()
    about = {
        "command": "predict",
        "model": classifier.fingerprint,
        "outputs": outputs.to_config(),
        "window_s": classifier.window_s,
        "preprocessing": dataclasses.asdict(classifier.encoder.preprocessing),
        "batch_size": batch_size,
    }
    settings = classifier.encoder.preprocessing
    schema = pa.schema(fields)
    compute = classifier.predict_stored
    return ModelColumns(settings, schema, compute, to_arrays, len(outputs), batch_size, about)


def column_names(outputs: Outputs) -> list[str]:
    """Returns the columns of the outputs: their names, with "output_" before one that is taken."""
    taken = {*FACTS.names, CLASS, *(f"{name}{PRESENT}" for name in outputs.names)}
    return [f"output_{name}" if name in taken else name for name in outputs.names]
