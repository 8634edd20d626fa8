"""Query-attention probe: learned queries and a linear layer on the tokens of a frozen encoder.

The read-out of frozen encoders in the benchmark of ECG foundation models (ICLR 2026,
arXiv:2509.25095). The encoder computes the tokens of each window once; see `parts.tokens`.
"""

import dataclasses
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.adapt.parts.attention_training import Head, HeadTraining, fit_head
from ecgjax.adapt.parts.classifier import Adapted
from ecgjax.adapt.parts.tokens import Tokens, read_tokens
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.data.seen import seen_in
from ecgjax.errors import InputError
from ecgjax.outputs import Outputs, join
from ecgjax.pretrained import Encoder
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state


@dataclasses.dataclass(frozen=True)
class AttentionProbing:
    """Settings of a query-attention probe.

    The number of steps is no setting: cross-validation within the labelled recordings chooses it.
    """

    CONFIG_KEY: ClassVar[str] = "attention_probe"

    queries: int = 8
    """Number of learned queries."""
    window_s: float = 2.5
    """Length in seconds of the windows that are learned from and whose predictions are averaged;
    they overlap by half."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW, constant."""
    weight_decay: float = 1e-3
    """Weight decay of AdamW."""
    batch_size: int = 128
    """Windows per step, each of a recording drawn at random."""
    seed: int = 0
    """Random seed of initial weights, of folds and of the order of windows."""

    def __post_init__(self):
        least = min(self.queries, self.batch_size)
        rates = self.learning_rate > 0 and self.weight_decay >= 0  # false for NaN, too
        if least < 1 or not (self.window_s > 0 and rates):
            problem = f"{self}: queries, batch_size, window_s and learning_rate must be positive"
            raise InputError(f"{problem}, weight_decay 0 or more")

    def read(self, encoder: Encoder, labelled: Labelled) -> Tokens:
        """Returns the tokens of labelled recordings."""
        return read_tokens(encoder, labelled.records, labelled.indices, window_s=self.window_s)

    def fit(
        self,
        tokens: Tokens,
        indices: np.ndarray,
        targets: np.ndarray,
        patients: np.ndarray,
        outputs: Outputs,
    ) -> tuple[Head, int]:
        """Fits a probe to tokens that are at hand; see `fit_head`.

        Args:
          tokens: tokens of the labelled recordings, and perhaps of others.
          indices: numbers of the labelled recordings in the data set, [recording].
          targets: their targets, with NaN where there is no label, [recording, output].
          patients: patient of each recording, [recording].
          outputs: the outputs, with means and scales of numbers.
        """
        training = HeadTraining(
            self.queries, self.learning_rate, self.weight_decay, self.batch_size, self.seed
        )
        return fit_head(training, outputs, tokens, tokens.positions(indices), targets, patients)

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Fits a probe to windows of recordings and saves encoder and probe.

        Raises:
          InputError: `run.workdir` holds another run.
        """
        records = labelled.records
        indices = labelled.indices
        tokens = self.read(encoder, labelled)
        patients = records.patients[indices]
        head, steps = self.fit(tokens, indices, labelled.targets, patients, labelled.outputs)
        variables = jax.tree.map(jnp.asarray, join(encoder.variables, head.variables))
        state = create_state(variables, Optimizer().build(1), data_mesh())
        settings = json.loads(json.dumps(dataclasses.asdict(self))) | {"chosen_steps": steps}
        config = {**run.config, "start_weights": encoder.fingerprint, self.CONFIG_KEY: settings}
        with Checkpoints(run.workdir) as checkpoints:
            checkpoints.resume(state, config)  # raises if the workdir holds another run
            checkpoints.save(state, config, encoder.seen | seen_in(records, indices))
        return Adapted(variables, window_s=self.window_s)
