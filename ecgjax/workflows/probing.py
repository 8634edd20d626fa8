"""Linear probes on frozen embeddings: what `benchmark` and `first_look` share."""

import dataclasses

import numpy as np

from ecgjax.adapt import linear_probe
from ecgjax.data.records import Records
from ecgjax.pretrained import Encoder
from ecgjax.workflows.low_label import draw_labelled


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """Labelled recordings that were drawn with one seed."""

    indices: np.ndarray
    """Numbers of the recordings in the data set, sorted, [recording]."""
    targets: np.ndarray
    """0 or 1, float32 [recording, class]."""
    patients: np.ndarray
    """Patient of each recording, [recording]."""
    seed: int
    """Seed of the draw and of the probe's folds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of some recordings of a data set by one encoder."""

    indices: np.ndarray
    """Numbers of the recordings in the data set, sorted, [recording]."""
    vectors: np.ndarray
    """float32 [recording, feature]."""

    def select(self, indices: np.ndarray) -> np.ndarray:
        """Returns the embeddings of some of the recordings, float32 [len(indices), feature]."""
        return self.vectors[np.searchsorted(self.indices, indices)]


def embed(encoder: Encoder, records: Records, indices: np.ndarray) -> Embeddings:
    """Embeds recordings of a data set, each once, however often it is in `indices`."""
    indices = np.unique(indices)
    return Embeddings(indices, encoder.embed(records, indices))


def draw_recordings(
    records: Records,
    indices: np.ndarray,
    targets: np.ndarray,
    count: int,
    *,
    seed: int,
    balanced: bool,
) -> Draw:
    """Draws labelled recordings for a probe; see `draw_labelled`.

    Args:
      records: the data set.
      indices: recordings to draw from, [recording].
      targets: targets of these recordings, float32 [recording, class].
      count: number of recordings to draw.
      seed: seed of the draw.
      balanced: half cases and half controls.
    """
    patients = records.patients[indices]
    drawn = draw_labelled(targets, patients, count, seed=seed, balanced=balanced)
    return Draw(indices[drawn], targets[drawn], patients[drawn], seed)


def probe(draw: Draw, embeddings: Embeddings, tested: np.ndarray) -> np.ndarray:
    """Fits a linear probe to a draw and returns its scores of other recordings.

    Args:
      draw: the labelled recordings.
      embeddings: embeddings of the drawn and of the tested recordings.
      tested: numbers of the tested recordings, [recording].

    Returns:
      Log-odds, float32 [recording, class].
    """
    labelled = embeddings.select(draw.indices)
    fitted = linear_probe.fit(labelled, draw.targets, draw.patients, seed=draw.seed)
    return fitted.scores(embeddings.select(tested))
