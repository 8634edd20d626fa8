"""Identification of patients by the embeddings of an encoder: the workflow of `identify`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.data.leaks import Past, find_leaks, refuse_leaks
from ecgjax.data.records import Records
from ecgjax.errors import InputError, counted
from ecgjax.evaluate.bootstrap import Bootstrap
from ecgjax.evaluate.identification import (
    FIGURES,
    identification_bootstrap,
    queries,
    retrieve,
    standardise,
)
from ecgjax.evaluate.scores import as_list
from ecgjax.pretrained import Encoder, untrained_twin
from ecgjax.train.runlog import console
from ecgjax.whole_files import replace_text
from ecgjax.workflows.cohort import data_names

REFERENCE = 2000
"""Largest number of training recordings whose embeddings give the mean and standard deviation of
each feature. Its standard error is 2 % of the standard deviation."""
METHODS = {"encoder": "the encoder", "random": "a random one"}
"""The two encoders that are compared, with their names on the screen."""


@dataclasses.dataclass(frozen=True, eq=False)
class Identification:
    """Identification of the patients of one split."""

    data: str
    """Name of the data set."""
    split: str
    """Split that is searched."""
    searched: int
    """Number of recordings that are searched for each query, but for itself."""
    patients: int
    """Number of their patients."""
    queries: int
    """Number of queries: the recordings of patients with several."""
    asked_patients: int
    """Number of patients with several recordings."""
    chance: float
    """Rank-1 that guessing has: the mean share of recordings that are of the query's patient."""
    bootstrap: Bootstrap
    """`FIGURES` of the methods "encoder" and "random"."""

    def results(self) -> dict[str, Any]:
        """Returns the content of identify.json."""
        about = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "bootstrap"
        }
        figures = {
            method: dict(zip(FIGURES, self._lists(method), strict=True)) for method in METHODS
        }
        gain = self._lists("encoder", minus="random")
        return about | figures | {"difference": dict(zip(FIGURES, gain, strict=True))}

    def _lists(self, method: str, minus: str | None = None) -> list[list[float]]:
        return [as_list(each) for each in self.bootstrap.per_class(method, minus=minus)]


def identify(
    encoder: Encoder,
    records: Records,
    split: str,
    *,
    exclude_seen: bool = False,
    seed: int = 0,
) -> Identification:
    """Searches each recording of patients with several among all other recordings of a split.

    Embeddings are standardised by the mean and standard deviation of each feature over training
    recordings of the data set, and compared by cosine similarity. The encoder stays frozen.

    Args:
      encoder: the encoder.
      records: a prepared data set.
      split: the split to search: "validation" or "test", or "train" if the encoder has not seen it.
      exclude_seen: leave out recordings that the encoder was trained on, instead of refusing.
      seed: seed of the random encoder.

    Raises:
      InputError: no patient of the split has several recordings, or the encoder was trained on
        recordings of it, with which it may have learnt these very patients.
    """
    searched = _unseen(encoder, records, records.split(split), exclude_seen)
    patients = records.patients[searched]
    asked = queries(patients)
    if not len(asked):
        raise InputError(
            f"{records.path}: no patient of split {split} has several recordings, which "
            f"identification needs; choose another split or data set"
        )
    reference = records.split("train")
    chosen = np.linspace(0, len(reference) - 1, min(REFERENCE, len(reference))).astype(int)
    retrievals = {}
    for method, each in (("encoder", encoder), ("random", untrained_twin(encoder, seed=seed))):
        trained = each.embed_records(records, reference[chosen])
        vectors = standardise(each.embed_records(records, searched), trained)
        retrievals[method] = retrieve(vectors, patients)
    _, patient, count = np.unique(patients, return_inverse=True, return_counts=True)
    return Identification(
        data=records.name,
        split=split,
        searched=len(searched),
        patients=len(count),
        queries=len(asked),
        asked_patients=len(np.unique(patients[asked])),
        chance=round(float(((count[patient[asked]] - 1) / (len(searched) - 1)).mean()), 6),
        bootstrap=identification_bootstrap(retrievals, patients[asked]),
    )


def _unseen(
    encoder: Encoder, records: Records, indices: np.ndarray, exclude_seen: bool
) -> np.ndarray:
    """Returns the recordings that the encoder was not trained on; refuses to leave out silently."""
    past = Past("the encoder", encoder.seen, data_names(encoder.config))
    leaks = find_leaks(records, indices, [past])
    if not exclude_seen:
        refuse_leaks(records, indices, leaks)
    seen = np.zeros(len(indices), bool)
    for leak in leaks:
        console.print(f"{records.name}: {leak.reason}; they are left out")
        seen |= leak.rows
    return indices[~seen]


def table(identification: Identification) -> str:
    """Returns the figures as text."""
    found = identification
    asked = f"{found.queries:,} recordings of {counted(found.asked_patients, 'patient')}"
    every = f"{found.searched:,} recordings of {counted(found.patients, 'patient')}"
    lines = [
        f"identification of patients, {found.split} of {found.data} (95 % interval over patients)",
        f"{asked} with several, each searched among all {every}",
        "",
        f"{'':16}" + "".join(f"{name:>26}" for name in FIGURES),
    ]
    for method, name in METHODS.items():
        cells = [each.text() for each in found.bootstrap.per_class(method)]
        lines.append(f"{name:16}" + "".join(f"{cell:>26}" for cell in cells))
    gains = [each.text() for each in found.bootstrap.per_class("encoder", minus="random")]
    lines.append(f"{'difference':16}" + "".join(f"{cell:>26}" for cell in gains))
    lines.append(f"guessing has a rank-1 of {found.chance:.4f}")
    return "\n".join(lines)


def save(identification: Identification, folder: Path) -> Path:
    """Writes identify.json and returns its path."""
    path = folder / "identify.json"
    replace_text(path, json.dumps(identification.results(), indent=1))
    return path
