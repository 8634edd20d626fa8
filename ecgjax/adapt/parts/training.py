"""What the ways that train encoder and head have in common: the settings of a run, and the run."""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ecgjax.data.batches import beside_unlabelled, labelled_batches
from ecgjax.data.records import Records
from ecgjax.data.seen import seen_in
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder
from ecgjax.train.loop import train
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import check_batch_size, data_mesh, rows_here
from ecgjax.train.state import create_state, make_step


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Which recordings of a data set have labels, and these."""

    records: Records
    """The prepared data set."""
    indices: np.ndarray
    """Which of its recordings."""
    targets: np.ndarray
    """Of each: float32 [len(indices), class], or the wave of each sample, uint8 [len(indices), time]."""

    def __post_init__(self):
        if len(self.indices) != len(self.targets):
            raise InputError(
                f"{len(self.indices)} recordings and {len(self.targets)} targets: give each its own"
            )


@dataclasses.dataclass(frozen=True)
class Run:
    """Where a run with labels leaves its checkpoints and logs; one that was stopped there goes on."""

    workdir: Path
    config: dict
    """Saved in the checkpoint, with the method's settings."""
    title: str
    """For the screen."""


class Supervision(Protocol):
    """What is trained: a hashable dataclass like an objective of `ecgjax.objectives`, but for a batch with targets."""

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        ...

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """The variables at step 0, with the weights of `encoder`; see `from_encoder`."""
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
        """(loss, (metrics, updates)) of {"signal", "targets", and "unlabelled" where it was asked for}."""
        ...


def from_encoder(supervision: Supervision, encoder: Encoder, key: jax.Array) -> dict:
    """Variables with the weights of `encoder` and new heads."""
    preprocessing = encoder.preprocessing
    signal = jnp.zeros((2, preprocessing.samples, len(preprocessing.leads)))

    @jax.jit
    def init(key: jax.Array, signal: jax.Array) -> dict:
        variables = supervision.init(encoder.module, key, signal)
        # Without the encoder, whose initial weights nobody wants: they took seconds to compile.
        return {
            name: {part: tree[part] for part in tree if part != "encoder"}
            for name, tree in variables.items()
        }

    trained = {
        name: {"encoder": tree} for name, tree in encoder.variables.items()
    }  # not all have batch statistics
    return {name: {**tree, **trained.get(name, {})} for name, tree in init(key, signal).items()}


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings of a run with labels."""

    optimizer: Optimizer = Optimizer(learning_rate=2e-3, warmup=0.2)
    """AdamW and its schedule."""
    encoder_rate: float | None = None
    """A pre-trained encoder's learning rate, as a factor of the head's. Default: 0.1 below 1,000 labelled recordings,
    else 1 (fold 9 of PTB-XL, benchmarks/RESULTS.md). From scratch it is 1."""
    batch_size: int = 64
    """Labelled recordings a step, over all devices; at most all there are."""
    epochs: float = 20
    """Times each labelled recording is seen."""
    min_steps: int = 400
    """Steps at the least, however few recordings are labelled."""
    save_every: int = 0
    """Steps between checkpoints; 0: one at the end."""
    seed: int = 0
    """Initial weights of the head, order of recordings, views."""

    def __post_init__(self):
        # Written so that not-a-number is refused, too.
        rate, smallest = self.encoder_rate, min(self.batch_size, self.min_steps)
        if not ((rate is None or rate >= 0) and 0 <= self.epochs < math.inf and smallest >= 1):
            raise InputError(
                f"encoder_rate {self.encoder_rate}, epochs {self.epochs}, min_steps {self.min_steps}, batch_size "
                f"{self.batch_size}: give a rate and epochs of 0 or more, and steps and a batch of 1 or more"
            )

    def steps(self, recordings: int) -> int:
        """Steps for so many labelled recordings."""
        return max(
            self.min_steps, math.ceil(self.epochs * recordings / min(self.batch_size, recordings))
        )

    def rate(self, encoder: Encoder, recordings: int) -> float:
        """The factor of the encoder's learning rate for so many labelled recordings."""
        if not encoder.restored:
            return 1.0
        if self.encoder_rate is None:
            return 0.1 if recordings < 1000 else 1.0
        return self.encoder_rate

    def train(
        self,
        supervision: Supervision,
        encoder: Encoder,
        labelled: Labelled,
        run: Run,
        *,
        unlabelled: int = 0,
    ) -> dict:
        """Trains; goes on where an earlier run in the same folder was stopped.

        Args:
          supervision: what is trained.
          encoder: where training starts; its weights may be random ones.
          labelled: what it is trained on.
          run: where it leaves what.
          unlabelled: recordings of the training split without labels that each labelled one brings along.

        Returns:
          The trained variables.
        """
        mesh, records, indices = data_mesh(), labelled.records, labelled.indices
        check_batch_size(self.batch_size, mesh)
        if len(indices) < mesh.size:
            raise InputError(
                f"{len(indices)} labelled recordings over {mesh.size} devices: use more labels or fewer devices"
            )
        # Few labelled recordings may not fill the batch; every device gets as many all the same.
        batch_size = min(self.batch_size, len(indices) // mesh.size * mesh.size)
        rows, order = rows_here(batch_size, mesh), {"seed": self.seed}
        batches = labelled_batches(
            records, indices, labelled.targets, batch_size=batch_size, rows=rows, **order
        )
        seen = encoder.seen | seen_in(records, indices)
        if unlabelled:
            others = np.setdiff1d(records.split("train"), indices)
            batches = beside_unlabelled(
                batches, records, others, each=unlabelled, rows=rows, **order
            )
            seen |= seen_in(records, others)
        num_steps = self.steps(len(indices))
        init_key, key = jax.random.split(jax.random.key(self.seed))
        rate, preprocess = (
            self.rate(encoder, len(indices)),
            Preprocessor(encoder.preprocessing, records.rate_hz),
        )
        step_fn, tx = _step(
            supervision, self.optimizer, num_steps, rate, encoder.module, preprocess, mesh
        )
        settings = {type(self).__name__.lower(): json.loads(json.dumps(dataclasses.asdict(self)))}
        state, _ = train(
            step_fn,
            create_state(supervision.begin(encoder, init_key), tx, mesh),
            batches,
            num_steps=num_steps,
            key=key,
            mesh=mesh,
            workdir=run.workdir,
            config={**run.config, "start_weights": encoder.fingerprint, **settings},
            seen=seen,
            title=run.title,
            save_every=self.save_every or num_steps,
            log_every=50,
        )
        return {"params": state.params, **state.collections}


@functools.lru_cache(maxsize=8)
def _step(
    supervision: Supervision,
    optimizer: Optimizer,
    num_steps: int,
    encoder_rate: float,
    module: nn.Module,
    preprocess: Preprocessor,
    mesh: Mesh,
):
    """The jitted step and its optimizer: a benchmark's many equal runs share one compilation."""
    tx = optimizer.build(num_steps, encoder_rate=encoder_rate)
    loss = functools.partial(supervision.loss, module, preprocess=preprocess)
    return make_step(loss, tx, mesh, num_steps=num_steps), tx
