"""Linear probe: logistic regression on frozen embeddings, tuned within the labelled recordings alone."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata
from sklearn.model_selection import StratifiedKFold

from ecgjax.adapt.parts.classifier import Adapted, Classification
from ecgjax.adapt.parts.logistic_regression import Regressions
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.augment import Augmentation
from ecgjax.data.seen import seen_in
from ecgjax.errors import InputError
from ecgjax.pretrained import Encoder
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation strengths C that are tried, strongest regularisation first."""
FALLBACK_STRENGTH = 1e-2
"""C where no class can be cross-validated, since a single patient has the condition (or lacks it)."""
BLOCK = 1 << 24
"""Recordings times regressions that are fitted at once: half a gigabyte."""


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProbe:
    """One linear score per class, on standardised embeddings."""

    mean: np.ndarray
    """Of each feature over the labelled recordings, [feature]."""
    scale: np.ndarray
    """Standard deviation of each feature over the labelled recordings, [feature]."""
    weights: np.ndarray
    """[class, feature]; zero for a class with one value in all labelled recordings: its scores are all 0."""
    bias: np.ndarray
    """[class]."""
    chosen_c: float
    """The C of all classes."""

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Log-odds float32 [recording, class] of embeddings [recording, feature]."""
        standardised = (np.asarray(embeddings, np.float32) - self.mean) / self.scale
        return standardised @ self.weights.T + self.bias


def fit(
    embeddings: np.ndarray, targets: np.ndarray, patients: np.ndarray, *, seed: int
) -> LinearProbe:
    """Fit a probe to n labelled recordings, one-vs-rest.

    C has the best AUROC on held-out patients among the n, mean over folds and classes. Log loss, the smoother
    criterion, answers overconfidence at n=50 with so much regularisation that the ranking suffers: AUROC of
    atrial fibrillation 0.66 against 0.69, mean of 30 draws, on random convolutions of PTB-XL. All classes
    share one C, since that of a class with two positives would be chance.

    Args:
      embeddings: [recording, feature].
      targets: 0 or 1, [recording, class].
      patients: the patient of each recording, [recording].
      seed: of the folds.

    Raises:
      InputError: the three differ in their number of recordings, or an embedding is not finite.
    """
    if not len(embeddings) == len(targets) == len(patients):
        sizes = f"{len(embeddings)} embeddings, {len(targets)} targets, {len(patients)} patients"
        raise InputError(f"{sizes}: give one of each per recording")
    if bad := int((~np.isfinite(embeddings)).any(axis=1).sum()):
        raise InputError(
            f"embeddings: {bad} of {len(embeddings)} are not finite; check encoder and signals"
        )
    features = np.asarray(embeddings, np.float32)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # A feature that hardly varies among the labelled recordings may vary elsewhere: it is not blown up.
    scale = np.maximum(deviation, 1e-3 * deviation.max() or 1.0)
    features = (features - mean) / scale
    regressions = Regressions(features)
    cases = np.asarray(targets) == 1
    known = cases.any(axis=0) & ~cases.all(axis=0)
    c = _choose_strength(regressions, features, cases, patients, seed=seed)
    weights = np.zeros((cases.shape[1], features.shape[1]), np.float32)
    bias = np.zeros(cases.shape[1], np.float32)
    every = np.ones_like(cases[:, known])
    solution, bias[known] = regressions.fit(cases[:, known], every, np.full(every.shape[1], c))
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
        (case, held_out) for case in cases.T for held_out in _folds(case, patients, seed=seed)
    ]
    if not splits:
        return FALLBACK_STRENGTH
    at_once = max(1, BLOCK // (len(features) * len(STRENGTHS)))
    blocks = (splits[start : start + at_once] for start in range(0, len(splits), at_once))
    found = [auroc for block in blocks for auroc in _held_out_auroc(regressions, features, block)]
    return STRENGTHS[int(np.mean(found, axis=0).argmax())]


def _held_out_auroc(
    regressions: Regressions, features: np.ndarray, splits: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Iterator[np.ndarray]:
    """For each (is a case, is held out), the AUROC for each of `STRENGTHS`."""
    cases, held_out = (
        np.stack(masks, axis=1).repeat(len(STRENGTHS), axis=1)
        for masks in zip(*splits, strict=True)
    )
    weights, bias = regressions.fit(cases, ~held_out, np.tile(STRENGTHS, len(splits)))
    scores = (features @ weights + bias).reshape(len(features), len(splits), len(STRENGTHS))
    for (is_case, out), of_split in zip(splits, scores.swapaxes(0, 1), strict=True):
        yield _auroc(is_case[out], of_split[out])


def _auroc(is_case: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each column of scores [recording, column], by ranks."""
    cases, controls = is_case.sum(), (~is_case).sum()
    return (rankdata(scores, axis=0)[is_case].mean(axis=0) - (cases + 1) / 2) / controls


def _folds(is_case: np.ndarray, patients: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """Masks [recording] of held-out recordings: whole patients, those with the condition spread evenly.

    Five folds, fewer where fewer patients have or lack the condition, none where only one does. Above 5000
    recordings the first fold is enough.
    """
    _, patient = np.unique(patients, return_inverse=True)
    has_condition = np.bincount(patient, weights=is_case) > 0
    number = min(5, int(has_condition.sum()), int((~has_condition).sum()))
    if number < 2:
        return
    folds = StratifiedKFold(number, shuffle=True, random_state=seed).split(
        has_condition, has_condition
    )
    for _, held_out in itertools.islice(folds, 1 if len(is_case) > 5000 else number):
        yield np.isin(patient, held_out)


@dataclasses.dataclass(frozen=True)
class LinearProbing:
    """Settings of a linear probe: there is nothing to choose but the folds in which its regularisation is chosen."""

    seed: int = 0
    """Of the cross-validation's folds."""

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Fits a probe on embeddings of whole recordings and saves encoder and probe; see `Training.train`."""
        records, indices = labelled.records, labelled.indices
        probe = fit(
            encoder.embed(records, indices),
            labelled.targets,
            records.patients[indices],
            seed=self.seed,
        )
        objective = Classification(labelled.targets.shape[1], 0.0, Augmentation())
        variables = _with_probe(objective.begin(encoder, jax.random.key(self.seed)), probe)
        state = create_state(variables, Optimizer().build(1), data_mesh())
        settings = json.loads(json.dumps(dataclasses.asdict(self)))
        config = {**run.config, "start_weights": encoder.fingerprint, "linear_probing": settings}
        with Checkpoints(run.workdir) as checkpoints:
            checkpoints.resume(state, config)  # refuses the workdir of another run
            checkpoints.save(state, config, encoder.seen | seen_in(records, indices))
        return Adapted(variables, window_s=None)


def _with_probe(variables: dict, probe: LinearProbe) -> dict:
    # The deviations are part of the weights: under a small one the constant that norm adds to variances would count.
    head = {"kernel": jnp.asarray((probe.weights / probe.scale).T), "bias": jnp.asarray(probe.bias)}
    norm = {"mean": jnp.asarray(probe.mean), "var": jnp.ones_like(probe.scale)}
    params, statistics = variables["params"], variables["batch_stats"]
    return {"params": {**params, "head": head}, "batch_stats": {**statistics, "norm": norm}}
