"""Linear probe: logistic regression on frozen embeddings, or ridge regression for numbers.

The regularisation is chosen by cross-validation within the labelled recordings.
"""

import dataclasses
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.adapt.parts.class_regression import fit_classes
from ecgjax.adapt.parts.classifier import Adapted, Classification
from ecgjax.adapt.parts.label_regression import fit_labels
from ecgjax.adapt.parts.number_regression import fit_numbers
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.augment import Augmentation
from ecgjax.data.seen import seen_in
from ecgjax.errors import InputError
from ecgjax.outputs import Kind
from ecgjax.pretrained import Encoder
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted probe: one linear score per output on standardised embeddings."""

    mean: np.ndarray
    """Mean of each feature over the labelled recordings, [feature]."""
    scale: np.ndarray
    """Standard deviation of each feature over the labelled recordings, [feature]."""
    weights: np.ndarray
    """Weights [output, feature]; zero for a label that all (or none) of the recordings have."""
    bias: np.ndarray
    """Intercepts [output]; for a label that all (or none) of the recordings have, the log-odds of
    its smoothed share."""
    chosen_c: float
    """Inverse regularisation strength C, shared by all outputs."""

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns logits float32 [recording, output] for embeddings [recording, feature].

        These are log-odds of labels, the arguments of a softmax, or standardised numbers.
        """
        standardised = (np.asarray(embeddings, np.float32) - self.mean) / self.scale
        return standardised @ self.weights.T + self.bias


FITS = {"labels": fit_labels, "classes": fit_classes, "numbers": fit_numbers}
"""Function that fits each kind of target to standardised features."""


def fit(
    embeddings: np.ndarray,
    targets: np.ndarray,
    patients: np.ndarray,
    *,
    seed: int,
    kind: Kind = "labels",
) -> LinearProbe:
    """Fits a probe to n labelled recordings; see the functions in `FITS`.

    Args:
      embeddings: [recording, feature].
      targets: targets as `Outputs` describes them, with numbers standardised, [recording, output].
      patients: patient of each recording, [recording].
      seed: random seed of the folds.
      kind: kind of the targets.

    Raises:
      InputError: the three differ in their number of recordings, or an embedding is not finite.
    """
    if not len(embeddings) == len(targets) == len(patients):
        sizes = f"{len(embeddings)} embeddings, {len(targets)} targets, {len(patients)} patients"
        raise InputError(f"{sizes}: give one of each for every recording")
    if bad := int((~np.isfinite(embeddings)).any(axis=1).sum()):
        raise InputError(
            f"embeddings: {bad} of {len(embeddings)} are not finite; check encoder and signals"
        )
    features = np.asarray(embeddings, np.float32)
    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    # A feature that is nearly constant here may vary in other recordings: limit its amplification.
    scale = np.maximum(deviation, 1e-3 * deviation.max() or 1.0)
    features = (features - mean) / scale
    return LinearProbe(mean, scale, *FITS[kind](features, targets, patients, seed=seed))


def fit_to(encoder: Encoder, labelled: Labelled, *, seed: int) -> LinearProbe:
    """Fits a probe to the embeddings of whole labelled recordings by an encoder."""
    return fit(
        encoder.embed_records(labelled.records, labelled.indices),
        np.asarray(labelled.outputs.standardise(labelled.targets)),
        labelled.records.patients[labelled.indices],
        seed=seed,
        kind=labelled.outputs.kind,
    )


@dataclasses.dataclass(frozen=True)
class LinearProbing:
    """Settings of a linear probe. The regularisation is no setting: cross-validation chooses it."""

    CONFIG_KEY: ClassVar[str] = "linear_probing"

    seed: int = 0
    """Random seed of the cross-validation folds."""

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Fits a probe to embeddings of whole recordings and saves encoder and probe.

        Raises:
          InputError: `run.workdir` holds another run.
        """
        probe = fit_to(encoder, labelled, seed=self.seed)
        objective = Classification(labelled.outputs, 0.0, Augmentation())
        variables = insert_probe(objective.begin(encoder, jax.random.key(self.seed)), probe)
        state = create_state(variables, Optimizer().build(1), data_mesh())
        settings = json.loads(json.dumps(dataclasses.asdict(self)))
        config = {**run.config, "start_weights": encoder.fingerprint, self.CONFIG_KEY: settings}
        seen = encoder.seen | seen_in(labelled.records, labelled.indices)
        with Checkpoints(run.workdir) as checkpoints:
            checkpoints.resume(state, config)  # raises if the workdir holds another run
            checkpoints.save(state, config, seen)
        return Adapted(variables, window_s=encoder.preprocessing.window_s)


def insert_probe(variables: dict, probe: LinearProbe) -> dict:
    """Returns the variables of a classifier with a probe as its head."""
    # The scale goes into the weights, not into the variance of the normalisation: its epsilon would
    # change the scores of features with a small scale.
    head = {"kernel": jnp.asarray((probe.weights / probe.scale).T), "bias": jnp.asarray(probe.bias)}
    norm = {"mean": jnp.asarray(probe.mean), "var": jnp.ones_like(probe.scale)}
    return {
        "params": {**variables["params"], "head": head},
        "batch_stats": {**variables["batch_stats"], "norm": norm},
    }
