"""Linear probe: logistic regression on frozen embeddings.

The regularisation is chosen by cross-validation within the labelled recordings.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import StratifiedKFold

from ecgjax.adapt.parts.classifier import Adapted, Classification
from ecgjax.adapt.parts.logistic_regression import Regressions
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.augment import Augmentation
from ecgjax.data.seen import seen_in
from ecgjax.errors import InputError
from ecgjax.evaluate.metrics import auroc
from ecgjax.pretrained import Encoder
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Candidates for the inverse regularisation strength C, strongest regularisation first."""
FALLBACK_STRENGTH = 1e-2
"""C if no class can be cross-validated because only one patient has (or lacks) the condition."""
LARGE_SET = 5000
"""Number of recordings above which the first fold alone is used to choose C."""
BLOCK = 1 << 24
"""Number of recordings times regressions fitted at once: they take half a gigabyte of memory."""


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted probe: one linear score per class on standardised embeddings."""

    mean: np.ndarray
    """Mean of each feature over the labelled recordings, [feature]."""
    scale: np.ndarray
    """Standard deviation of each feature over the labelled recordings, [feature]."""
    weights: np.ndarray
    """Weights [class, feature]; zero for a class that all (or none) of the recordings have."""
    bias: np.ndarray
    """Intercepts [class]; zero for a class that all (or none) of the recordings have."""
    chosen_c: float
    """Inverse regularisation strength C, shared by all classes."""

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns log-odds float32 [recording, class] for embeddings [recording, feature]."""
        standardised = (np.asarray(embeddings, np.float32) - self.mean) / self.scale
        return standardised @ self.weights.T + self.bias


def fit(
    embeddings: np.ndarray, targets: np.ndarray, patients: np.ndarray, *, seed: int
) -> LinearProbe:
    """Fits a one-vs-rest probe to n labelled recordings.

    C is chosen by cross-validation over patients: the candidate with the highest AUROC, mean over
    folds and classes. Log loss as the criterion regularises too strongly at n=50, because it
    punishes overconfidence, and the ranking suffers: AUROC of atrial fibrillation 0.66 instead of
    0.69 (random convolutions, PTB-XL, mean of 30 draws). All classes share one C: a choice based on
    a class with two positives would be random.

    Args:
      embeddings: [recording, feature].
      targets: 0 or 1, [recording, class].
      patients: patient of each recording, [recording].
      seed: random seed of the folds.

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
    regressions = Regressions(features)
    cases = np.asarray(targets) == 1
    known = cases.any(axis=0) & ~cases.all(axis=0)
    c = _choose_strength(regressions, features, cases, patients, seed=seed)
    weights = np.zeros((cases.shape[1], features.shape[1]), np.float32)
    bias = np.zeros(cases.shape[1], np.float32)
    used = np.ones_like(cases[:, known])
    solution, bias[known] = regressions.fit(cases[:, known], used, np.full(used.shape[1], c))
    weights[known] = solution.T
    return LinearProbe(mean, scale, weights, bias, c)


def _choose_strength(
    regressions: Regressions,
    features: np.ndarray,
    cases: np.ndarray,
    patients: np.ndarray,
    *,
    seed: int,
) -> float:
    splits = [
        (is_case, held_out)
        for is_case in cases.T
        for held_out in patient_folds(is_case, patients, seed=seed)
    ]
    if not splits:
        return FALLBACK_STRENGTH
    size = max(1, BLOCK // (len(features) * len(STRENGTHS)))
    blocks = (splits[start : start + size] for start in range(0, len(splits), size))
    values = [value for block in blocks for value in _held_out_auroc(regressions, features, block)]
    return STRENGTHS[int(np.mean(values, axis=0).argmax())]


def _held_out_auroc(
    regressions: Regressions, features: np.ndarray, splits: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Iterator[np.ndarray]:
    """Yields, for each split (is a case, is held out), the AUROC of each of `STRENGTHS`."""
    cases = np.stack([is_case for is_case, _ in splits], axis=1)
    held_out = np.stack([mask for _, mask in splits], axis=1)
    weights, bias = regressions.fit(
        cases.repeat(len(STRENGTHS), axis=1),
        ~held_out.repeat(len(STRENGTHS), axis=1),
        np.tile(STRENGTHS, len(splits)),
    )
    scores = (features @ weights + bias).reshape(len(features), len(splits), len(STRENGTHS))
    for number, (is_case, mask) in enumerate(splits):
        tested = scores[mask, number]
        yield auroc(np.broadcast_to(is_case[mask, None], tested.shape), tested)


def patient_folds(is_case: np.ndarray, patients: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """Yields the recordings held out in each fold, as masks bool [recording].

    A patient's recordings are in the same fold, and each fold has its share of the patients with
    the condition. There are five folds, fewer if fewer patients have (or lack) the condition, and
    none if only one does. Above `LARGE_SET` recordings only the first fold is returned.
    """
    _, patient = np.unique(patients, return_inverse=True)
    has_condition = np.bincount(patient, weights=is_case) > 0
    number = min(5, int(has_condition.sum()), int((~has_condition).sum()))
    if number < 2:
        return
    splitter = StratifiedKFold(number, shuffle=True, random_state=seed)
    folds = splitter.split(has_condition, has_condition)
    for _, held_out in itertools.islice(folds, 1 if len(is_case) > LARGE_SET else number):
        yield np.isin(patient, held_out)


@dataclasses.dataclass(frozen=True)
class LinearProbing:
    """Settings of a linear probe. The regularisation is no setting: cross-validation chooses it."""

    seed: int = 0
    """Random seed of the cross-validation folds."""

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Fits a probe to embeddings of whole recordings and saves encoder and probe.

        Raises:
          InputError: `run.workdir` holds another run.
        """
        records = labelled.records
        indices = labelled.indices
        probe = fit(
            encoder.embed(records, indices),
            labelled.targets,
            records.patients[indices],
            seed=self.seed,
        )
        objective = Classification(labelled.targets.shape[1], 0.0, Augmentation())
        variables = _insert_probe(objective.begin(encoder, jax.random.key(self.seed)), probe)
        state = create_state(variables, Optimizer().build(1), data_mesh())
        settings = json.loads(json.dumps(dataclasses.asdict(self)))
        config = {**run.config, "start_weights": encoder.fingerprint, "linear_probing": settings}
        with Checkpoints(run.workdir) as checkpoints:
            checkpoints.resume(state, config)  # raises if the workdir holds another run
            checkpoints.save(state, config, encoder.seen | seen_in(records, indices))
        return Adapted(variables, window_s=encoder.preprocessing.window_s)


def _insert_probe(variables: dict, probe: LinearProbe) -> dict:
    # The scale goes into the weights, not into the variance of the normalisation: its epsilon would
    # change the scores of features with a small scale.
    head = {"kernel": jnp.asarray((probe.weights / probe.scale).T), "bias": jnp.asarray(probe.bias)}
    norm = {"mean": jnp.asarray(probe.mean), "var": jnp.ones_like(probe.scale)}
    return {
        "params": {**variables["params"], "head": head},
        "batch_stats": {**variables["batch_stats"], "norm": norm},
    }
