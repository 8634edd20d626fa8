"""Sketches for models of earlier versions, which know their recordings by exact hashes only."""

import dataclasses

import numpy as np

from ecgjax.data.records import Records
from ecgjax.data.seen import seen_hashes
from ecgjax.data.sketches import distinct_rows
from ecgjax.errors import InputError
from ecgjax.train.model import SavedModel


def with_sketches(model: SavedModel, records: Records) -> SavedModel:
    """Returns the model with the sketches of the recordings it has seen in a data set.

    Raises:
      InputError: it has all sketches, or has seen no recording of the data set.
    """
    seen = model.seen
    if not seen.unsketched:
        raise InputError(f"{records.path}: the model knows the sketches of all its recordings")
    every = np.arange(len(records))
    waveforms, _ = seen_hashes(records, every)
    rows = every[np.isin(waveforms, seen.waveforms)]
    if not len(rows):
        problem = f"{records.path}: the model has seen none of its recordings"
        raise InputError(f"{problem}; give the data set, config and version that it was trained on")
    sketches = distinct_rows(np.concatenate([seen.sketches, records.sketches[rows]]))
    unsketched = max(0, seen.unsketched - len(np.unique(waveforms[rows])))
    seen = dataclasses.replace(seen, sketches=sketches, unsketched=unsketched)
    return dataclasses.replace(model, seen=seen)
