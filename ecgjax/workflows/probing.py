"""Linear probes on frozen embeddings: what `benchmark` and `first_look` share."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ecgjax.adapt import linear_probe
from ecgjax.data.places import places
from ecgjax.data.records import Records
from ecgjax.evaluate.tasks import Task
from ecgjax.outputs import Outputs
from ecgjax.pretrained import Encoder
from ecgjax.workflows.low_label import LabelledRecordings, draw_labelled

LABELS = Outputs("labels", "labels", ("any",))
"""Labels of any number: only their kind matters here."""


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """Labelled recordings that were drawn with one seed."""

    indices: np.ndarray
    """Numbers of the recordings in the data set, sorted, [recording]."""
    targets: np.ndarray
    """float32 [recording, output], with NaN where there is no label."""
    patients: np.ndarray
    """Patient of each recording, [recording]."""
    seed: int
    """Seed of the draw and of the probe's folds."""
    outputs: Outputs = LABELS
    """Kind of the targets, and for numbers their means and scales."""


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of some recordings of a data set by one encoder."""

    indices: np.ndarray
    """Numbers of the recordings in the data set, sorted, [recording]."""
    vectors: np.ndarray
    """float32 [recording, feature]."""

    def select(self, indices: np.ndarray) -> np.ndarray:
        """Returns the embeddings of some of the recordings, float32 [len(indices), feature]."""
        return self.vectors[places(self.indices, indices)]


def embed(encoder: Encoder, records: Records, indices: np.ndarray) -> Embeddings:
    """Embeds recordings of a data set, each once, however often it is in `indices`."""
    indices = np.unique(indices)
    return Embeddings(indices, encoder.embed_records(records, indices))


def draw_recordings(
    records: Records,
    indices: np.ndarray,
    targets: np.ndarray,
    count: int,
    *,
    seed: int,
    balanced: bool,
    outputs: Outputs = LABELS,
) -> Draw:
    """Draws labelled recordings for a probe; see `draw_labelled`.

    Args:
      records: the data set.
      indices: recordings to draw from, [recording].
      targets: targets of these recordings, float32 [recording, class].
      count: number of recordings to draw.
      seed: seed of the draw.
      balanced: half cases and half controls.
      outputs: kind of the targets.
    """
    patients = records.patients[indices]
    drawn = draw_labelled(targets, patients, count, seed=seed, balanced=balanced)
    outputs = outputs.fitted(targets[drawn])
    return Draw(indices[drawn], targets[drawn], patients[drawn], seed, outputs)


def draw_task(task: Task, labelled: LabelledRecordings, count: int, *, seed: int) -> Draw:
    """Draws labelled recordings of a task as the benchmark does, patient by patient.

    Those of a single condition are half cases and half controls, unless all recordings are drawn.

    Args:
      task: the task.
      labelled: the recordings to draw from.
      count: number of recordings to draw.
      seed: seed of the draw.
    """
    return draw_recordings(
        labelled.records,
        labelled.indices,
        labelled.targets,
        count,
        seed=seed,
        balanced=task.is_single and count < len(labelled.indices),
        outputs=task.outputs,
    )


def fit_probe(draw: Draw, embeddings: Embeddings) -> linear_probe.LinearProbe:
    """Fits a linear probe to a draw whose recordings are among the embedded ones."""
    labelled = embeddings.select(draw.indices)
    targets = np.asarray(draw.outputs.standardise(draw.targets))
    kind = draw.outputs.kind
    return linear_probe.fit(labelled, targets, draw.patients, seed=draw.seed, kind=kind)


def predict(draw: Draw, fitted: linear_probe.LinearProbe, vectors: np.ndarray) -> np.ndarray:
    """Returns predictions of embeddings, float32 [recording, output].

    For labels these are log-odds: probabilities near 0 and 1 would be rounded to ties.
    """
    scores = fitted.scores(vectors)
    return (
        scores
        if draw.outputs.kind == "labels"
        else np.asarray(draw.outputs.activate(jnp.asarray(scores)))
    )


def probe(draw: Draw, embeddings: Embeddings, tested: np.ndarray) -> np.ndarray:
    """Fits a linear probe to a draw and returns its scores of other recordings.

    Args:
      draw: the labelled recordings.
      embeddings: embeddings of the drawn and of the tested recordings.
      tested: numbers of the tested recordings, [recording].

    Returns:
      float32 [recording, output], see `predict`.
    """
    return predict(draw, fit_probe(draw, embeddings), embeddings.select(tested))
