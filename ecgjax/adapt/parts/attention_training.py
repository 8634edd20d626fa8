"""Training of queries and a linear layer on kept tokens, and the choice of the number of steps."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ecgjax.adapt.parts.classifier import supervised_loss, with_start_bias
from ecgjax.adapt.parts.label_regression import patient_folds
from ecgjax.adapt.parts.number_regression import group_folds
from ecgjax.adapt.parts.tokens import Tokens
from ecgjax.evaluate.scores import main_metric
from ecgjax.outputs import EncoderWithHead, Outputs

STEPS = (50, 100, 200, 400, 800, 1600, 3200, 6400)
"""Candidates for the number of steps."""
FALLBACK_STEPS = 200
"""Number of steps if the recordings cannot be cross-validated, because they are of one patient."""
PATIENCE = 2
"""Candidates in a row without a better figure after which no longer one is tried."""
CHUNK = 25
"""Steps whose tokens are gathered at once: 13 to 105 MB for the encoders of `ENCODERS`."""
PIECE = 512
"""Windows that are predicted at once."""


@dataclasses.dataclass(frozen=True)
class HeadTraining:
    """Settings of the training of a head on tokens."""

    queries: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    """Windows per step, each of a recording drawn at random."""
    seed: int


class _Given(nn.Module):
    """Stands for the encoder where its tokens are known."""

    def __call__(self, tokens: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns tokens [batch, time, width], twice."""
        return tokens, tokens


class Head:
    """A head in training on some recordings; the same numbers of steps give the same head.

    Args:
      settings: settings of the training.
      outputs: the outputs.
      tokens: tokens of all recordings.
      positions: places in `tokens` of the recordings to train on, [recording].
      targets: their targets, float32 [recording, output].
    """

    def __init__(
        self,
        settings: HeadTraining,
        outputs: Outputs,
        tokens: Tokens,
        positions: np.ndarray,
        targets: np.ndarray,
    ):
        self._settings = settings
        self._outputs = outputs
        self._tokens = tokens
        self._positions = positions
        self._targets = np.asarray(targets, np.float32)
        self._network = EncoderWithHead(_Given(), len(outputs), queries=settings.queries)
        mean, deviation = tokens.statistics(positions)
        # A feature that is nearly constant here may vary in other recordings: limit its scale.
        scale = np.maximum(deviation, 1e-3 * deviation.max() or 1.0)
        self._norm = {"mean": jnp.float32(mean), "var": jnp.float32(scale**2)}
        start = jnp.zeros((1, *tokens.values.shape[1:]))
        init = jax.jit(functools.partial(self._network.init, train=False))
        variables = dict(init(jax.random.key(settings.seed), start))
        self._params = with_start_bias(outputs, self._targets, variables)["params"]
        self._state = _optimizer(settings).init(self._params)
        self._steps = 0

    @property
    def variables(self) -> dict:
        """Variables of the head: {"params", "batch_stats"}."""
        return {"params": self._params, "batch_stats": {"norm": self._norm}}

    def train_until(self, steps: int) -> None:
        """Trains until so many steps are done; a multiple of `CHUNK`."""
        while self._steps < steps:
            tokens, targets = self._draw(self._steps // CHUNK)
            self._params, self._state = _train(
                self._network,
                self._outputs,
                self._settings,
                (self._params, self._state),
                self._norm,
                (tokens, targets),
            )
            self._steps += CHUNK

    def _draw(self, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws recordings and a window of each: float16 [step, batch, token, width], targets."""
        rng = np.random.default_rng([self._settings.seed, chunk])
        rows = rng.integers(len(self._positions), size=(CHUNK, self._settings.batch_size))
        first = self._tokens.starts[self._positions[rows]]
        last = self._tokens.starts[self._positions[rows] + 1]
        windows = rng.integers(first, last)
        return self._tokens.values[windows], self._targets[rows]

    def predict(self, tokens: Tokens, positions: np.ndarray) -> np.ndarray:
        """Returns predictions, means over the windows of each recording, [recording, output]."""
        total = np.zeros((len(positions), len(self._outputs)), np.float32)
        counts = np.zeros((len(positions), 1), np.float32)
        for windows, owners in tokens.pieces(positions, PIECE):
            piece = np.zeros((PIECE, *tokens.values.shape[1:]), np.float16)
            piece[: len(windows)] = tokens.values[windows]
            predicted = np.asarray(_predict(self._network, self._outputs, self.variables, piece))
            np.add.at(total, owners, predicted[: len(windows)])
            np.add.at(counts, owners, 1)
        return total / counts


def fit_head(
    settings: HeadTraining,
    outputs: Outputs,
    tokens: Tokens,
    positions: np.ndarray,
    targets: np.ndarray,
    patients: np.ndarray,
) -> tuple[Head, int]:
    """Trains a head on labelled recordings for the number of steps that cross-validation chooses.

    Its folds separate patients. The candidate with the highest AUROC (R2 of numbers) of all
    recordings together is chosen, each predicted by the head that has not seen its fold. Of more
    than 5,000 recordings only the first fold is held out.

    Args:
      settings: settings of the training.
      outputs: the outputs, with means and scales of numbers.
      tokens: tokens of the recordings, and perhaps of others.
      positions: places of the labelled recordings in `tokens`, [recording].
      targets: targets, with NaN where there is no label, [recording, output].
      patients: patient of each recording, [recording].

    Returns:
      The head, and the number of steps.
    """
    folds = _folds(outputs, targets, patients, seed=settings.seed)
    steps = _choose_steps(settings, outputs, tokens, positions, targets, folds)
    head = Head(settings, outputs, tokens, positions, targets)
    head.train_until(steps)
    return head, steps


def _folds(
    outputs: Outputs, targets: np.ndarray, patients: np.ndarray, *, seed: int
) -> list[np.ndarray]:
    """Returns the recordings that are held out in each fold, bool [recording]."""
    known = np.any(~np.isnan(targets), axis=1)
    if outputs.kind != "labels" or len(outputs) > 1:
        return list(group_folds(known, patients, seed=seed))
    folds = []
    for held_out in patient_folds(targets[known, 0] == 1, patients[known], seed=seed):
        fold = np.zeros(len(known), bool)
        fold[known] = held_out
        folds.append(fold)
    return folds


def _choose_steps(
    settings: HeadTraining,
    outputs: Outputs,
    tokens: Tokens,
    positions: np.ndarray,
    targets: np.ndarray,
    folds: Sequence[np.ndarray],
) -> int:
    heads = [Head(settings, outputs, tokens, positions[~out], targets[~out]) for out in folds]
    truth = np.concatenate([targets[out] for out in folds]) if folds else targets[:0]
    figures: list[float] = []
    for steps in STEPS:
        predicted = []
        for head, held_out in zip(heads, folds, strict=True):
            head.train_until(steps)
            predicted.append(head.predict(tokens, positions[held_out]))
        values = main_metric(outputs.kind, truth, np.concatenate(predicted)) if folds else []
        defined = np.asarray(values)[~np.isnan(values)]
        if not len(defined):
            return FALLBACK_STEPS
        figures.append(float(defined.mean()))
        if len(figures) - 1 - int(np.argmax(figures)) >= PATIENCE:
            break
    return STEPS[int(np.argmax(figures))]


def _optimizer(settings: HeadTraining) -> optax.GradientTransformation:
    return optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _train(
    network: EncoderWithHead,
    outputs: Outputs,
    settings: HeadTraining,
    state: tuple[Any, Any],
    norm: dict,
    batches: tuple[jax.Array, jax.Array],
) -> tuple[Any, Any]:
    """Takes one step for each batch (tokens, targets)."""
    optimizer = _optimizer(settings)

    def step(state: tuple[Any, Any], batch: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        params, moments = state

        def loss(params: Any) -> jax.Array:
            variables = {"params": params, "batch_stats": {"norm": norm}}
            logits: Any = network.apply(variables, batch[0], train=False)
            return supervised_loss(outputs, logits, batch[1])

        updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(step, state, batches)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(
    network: EncoderWithHead, outputs: Outputs, variables: dict, tokens: jax.Array
) -> jax.Array:
    logits: Any = network.apply(variables, tokens, train=False)
    return outputs.activate(logits)
