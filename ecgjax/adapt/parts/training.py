"""Training of an encoder and its head with labels: shared settings, and the run itself."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from ecgjax.adapt.parts.layer_rates import layer_paths, layer_rates, scale_layers
from ecgjax.data.batches import Batches, add_unlabelled, labelled_batches
from ecgjax.data.records import Records
from ecgjax.data.seen import Seen, seen_in
from ecgjax.errors import InputError
from ecgjax.outputs import Outputs
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder
from ecgjax.train.loop import Run, train
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import check_batch_size, data_mesh, rows_here
from ecgjax.train.state import create_state, make_step

NETWORK = ("params", "batch_stats")
"""Names of the collections that hold the variables of one network."""
LOG_EVERY = 50
"""Steps between log lines: the shortest run by default (400 steps) has eight points of its loss."""
SAVE_EVERY_S = 300.0
"""Seconds between checkpoints by default. Most of the short runs of a benchmark save none."""
FEW_LABELS = 1000
"""Number of labelled recordings below which a pre-trained encoder learns more slowly by default."""
ENCODER_RATE = 0.1
"""Default of `Training.encoder_rate` with few labels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Recordings of a data set with their labels."""

    records: Records
    """The prepared data set."""
    indices: np.ndarray
    """Numbers of the labelled recordings in the data set, [recording]."""
    targets: np.ndarray
    """Targets float32 [recording, output], or the wave of each sample, uint8 [recording, time]."""
    outputs: Outputs
    """Names and kind of the targets."""
    pool: np.ndarray | None = None
    """Numbers of all recordings that may be trained on, also without labels; None: the training
    split of the data set."""

    def __post_init__(self):
        if len(self.indices) != len(self.targets):
            raise InputError(
                f"{len(self.indices)} recordings and {len(self.targets)} targets: give one target "
                f"for each recording"
            )


class SupervisedObjective(Protocol):
    """A loss on labelled recordings: a hashable dataclass like those of `ecgjax.objectives`."""

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        ...

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """Returns the variables at step 0, with the weights of `encoder`; see `from_encoder`."""
        ...

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ) -> tuple[jax.Array, tuple[dict, Any]]:
        """Returns (loss, (metrics, updates)) of a batch.

        The batch holds "signal", "targets" and "progress", and "unlabelled" if `Training.train` was
        asked for unlabelled recordings.
        """
        ...


def from_encoder(objective: SupervisedObjective, encoder: Encoder, key: jax.Array) -> dict:
    """Returns variables with the weights of `encoder` and newly initialised heads."""
    preprocessing = encoder.preprocessing
    signal = jnp.zeros((2, preprocessing.samples, len(preprocessing.leads)))

    @jax.jit
    def init_heads(key: jax.Array, signal: jax.Array) -> dict:
        variables = objective.init(encoder.module, key, signal)
        # The encoder's initial weights are not needed; without them compilation is seconds faster.
        return {
            name: {part: tree[part] for part in tree if part != "encoder"}
            for name, tree in variables.items()
        }

    variables = init_heads(key, signal)
    for name, tree in encoder.variables.items():
        variables[name] = {**variables[name], "encoder": tree}
    return variables


def rate_for(recordings: int, given: float | None, *, few: float) -> float:
    """Returns the factor of a learning rate for a number of labelled recordings.

    It is the given one; by default `few` below `FEW_LABELS` recordings, otherwise 1.
    """
    if given is not None:
        return given
    return few if recordings < FEW_LABELS else 1.0


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings shared by all ways of training encoder and head."""

    CONFIG_KEY: ClassVar[str]
    """Name of the settings in the config of a checkpoint, listed in `ecgjax.workflows.runs`."""
    optimizer: Optimizer
    """AdamW and its learning-rate schedule."""
    encoder_rate: float | None = None
    """Learning rate of a pre-trained encoder, as a factor of the head's. Default: 0.1 below 1,000
    labelled recordings, otherwise 1 (fold 9 of PTB-XL, docs/earlier-results.md). With random
    initial weights it is always 1. With 0 the statistics of batch normalisation still move; the
    linear probe leaves the encoder as it is."""
    lowest_rate: float = 1.0
    """Learning rate of the first layer of a pre-trained encoder, as a factor of the rate of its
    last one. Between them rates grow geometrically; 1: all are equal."""
    batch_size: int = 64
    """Labelled recordings per step, over all devices; at most all labelled recordings."""
    epochs: float = 20
    """Number of passes over the labelled recordings."""
    min_steps: int = 400
    """Minimum number of steps, even if few recordings are labelled."""
    save_every: int = 0
    """Steps between checkpoints; 0: one every five minutes. The last step is always saved."""
    eval_every: int | None = None
    """Steps between validations in `finetune`; 0: none. Default: ten in a run. They change nothing
    in it."""
    seed: int = 0
    """Random seed of the head's initial weights, the order of recordings, and the augmentation."""

    def __post_init__(self):
        # These comparisons are also false for NaN, so that NaN is refused.
        rate = self.encoder_rate is None or self.encoder_rate >= 0
        if self.eval_every is not None and self.eval_every < 0:
            raise InputError(f"eval_every {self.eval_every}: give 0 or more")
        if not (rate and 0 <= self.epochs < math.inf and min(self.batch_size, self.min_steps) >= 1):
            raise InputError(
                f"encoder_rate {self.encoder_rate}, epochs {self.epochs}, min_steps "
                f"{self.min_steps}, batch_size {self.batch_size}: give an encoder_rate and epochs "
                f"of 0 or more, and min_steps and a batch_size of 1 or more"
            )
        if not 0 < self.lowest_rate <= 1:
            raise InputError(f"lowest_rate {self.lowest_rate}: give a factor above 0, up to 1")

    def steps(self, recordings: int) -> int:
        """Returns the number of steps for a number of labelled recordings."""
        batch_size = min(self.batch_size, recordings)
        return max(self.min_steps, math.ceil(self.epochs * recordings / batch_size))

    def with_rates_for(self, recordings: int) -> Self:
        """Returns these settings with the learning rates for a number of labelled recordings.

        They then hold for parts of these recordings, too, as in cross-validation.
        """
        rate = rate_for(recordings, self.encoder_rate, few=ENCODER_RATE)
        return dataclasses.replace(self, encoder_rate=rate)

    def rate(self, encoder: Encoder, recordings: int) -> float:
        """Returns the factor of the encoder's learning rate for a number of labelled recordings."""
        if not encoder.restored:
            return 1.0
        return rate_for(recordings, self.encoder_rate, few=ENCODER_RATE)

    def first_rate(self, encoder: Encoder) -> float:
        """Returns the factor of the first layer's learning rate; see `lowest_rate`."""
        return self.lowest_rate if encoder.restored else 1.0

    def train(
        self,
        objective: SupervisedObjective,
        encoder: Encoder,
        labelled: Labelled,
        run: Run,
        *,
        unlabelled: int = 0,
        begin: Callable[[dict], dict] | None = None,
    ) -> dict:
        """Trains encoder and head; resumes from the newest checkpoint in `run.workdir`.

        Args:
          objective: the loss.
          encoder: the initial encoder, pre-trained or with random weights.
          labelled: the recordings to train on.
          run: folder of the run, config and title.
          unlabelled: number of unlabelled recordings of the training split for each labelled one.
          begin: function that changes the initial variables, such as those of the head.

        Returns:
          The trained variables.
        """
        mesh = data_mesh()
        batches, seen = self._batches(labelled, unlabelled, mesh)
        recordings = len(labelled.indices)
        num_steps = self.steps(recordings)
        init_key, key = jax.random.split(jax.random.key(self.seed))
        step_fn, tx = _step(
            objective,
            self.optimizer,
            num_steps,
            self.rate(encoder, recordings),
            self.first_rate(encoder),
            encoder.module,
            Preprocessor(encoder.preprocessing, labelled.records.rate_hz),
            mesh,
        )
        settings = {self.CONFIG_KEY: self._saved()}
        variables = objective.begin(encoder, init_key)
        state, _ = train(
            step_fn,
            create_state(begin(variables) if begin else variables, tx, mesh),
            batches,
            num_steps=num_steps,
            run=dataclasses.replace(
                run,
                config={**run.config, "start_weights": encoder.fingerprint, **settings},
                seen=encoder.seen | seen,
                save_every=self.save_every or None,
                save_every_s=None if self.save_every else SAVE_EVERY_S,
                log_every=LOG_EVERY,
            ),
            key=key,
            mesh=mesh,
        )
        return {"params": state.params, **state.collections}

    def _saved(self) -> dict:
        """Returns the settings for the config of a checkpoint, without those of watching."""
        settings = json.loads(json.dumps(dataclasses.asdict(self)))
        del settings["eval_every"]
        return settings

    def _batches(self, labelled: Labelled, unlabelled: int, mesh: Mesh) -> tuple[Batches, Seen]:
        """Returns this process's batches and the recordings that they are drawn from."""
        check_batch_size(self.batch_size, mesh)
        records = labelled.records
        indices = labelled.indices
        if len(indices) < mesh.size:
            raise InputError(
                f"{len(indices)} labelled recordings over {mesh.size} devices: give more labels or "
                f"fewer devices"
            )
        # With few labelled recordings the batch is smaller, a multiple of the number of devices.
        batch_size = min(self.batch_size, len(indices) // mesh.size * mesh.size)
        rows = rows_here(batch_size, mesh)
        batches = labelled_batches(
            records, indices, labelled.targets, batch_size=batch_size, seed=self.seed, rows=rows
        )
        seen = seen_in(records, indices)
        if unlabelled:
            pool = records.split("train") if labelled.pool is None else labelled.pool
            others = np.setdiff1d(pool, indices)
            batches = add_unlabelled(
                batches, records, others, each=unlabelled, seed=self.seed, rows=rows
            )
            seen |= seen_in(records, others)
        return batches, seen


@functools.lru_cache(maxsize=8)
def _step(
    objective: SupervisedObjective,
    optimizer: Optimizer,
    num_steps: int,
    encoder_rate: float,
    lowest_rate: float,
    module: nn.Module,
    preprocess: Preprocessor,
    mesh: Mesh,
) -> tuple[Callable, optax.GradientTransformation]:
    """Returns the jitted step and its optimizer.

    Cached, so that the many equal runs of a benchmark share one compilation.
    """
    tx = optimizer.build(num_steps, encoder_rate=encoder_rate)
    if lowest_rate != 1:
        settings = preprocess.preprocessing
        shape = jax.ShapeDtypeStruct((2, settings.samples, len(settings.leads)), jnp.float32)
        rates = layer_rates(layer_paths(module, shape), lowest_rate)
        tx = optax.chain(tx, scale_layers(rates))
    loss = functools.partial(objective.loss, module, preprocess=preprocess)
    schedule = optimizer.learning_rate_at(num_steps)
    return make_step(loss, tx, mesh, num_steps=num_steps, schedule=schedule), tx
