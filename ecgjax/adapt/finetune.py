"""Fine-tuning: encoder and head trained together with labels, from a checkpoint or from scratch."""

import dataclasses
import functools
import json
import math
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from ecgjax.adapt.classifier import Adapted, Classification, classifier_variables
from ecgjax.augment import Augmentation
from ecgjax.data.batches import labelled_batches
from ecgjax.data.records import Records
from ecgjax.data.seen import seen_in
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder
from ecgjax.signals import InputError
from ecgjax.train.loop import train
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import check_batch_size, data_mesh, rows_here
from ecgjax.train.state import create_state, make_step


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Settings of a supervised run."""

    optimizer: Optimizer = Optimizer(learning_rate=2e-3, warmup=0.2)
    """AdamW and its schedule."""
    encoder_rate: float = 0.1
    """A pre-trained encoder's learning rate, as a factor of the head's; from scratch it is 1."""
    batch_size: int = 64
    """Recordings a step, over all devices; at most the number of labelled recordings."""
    epochs: float = 20
    """Times each labelled recording is seen."""
    min_steps: int = 400
    """Steps at the least, however few recordings are labelled."""
    dropout: float = 0.5
    """Of the standardised embedding."""
    augmentation: Augmentation = Augmentation(lead_mask=0.0, gain=0.1, noise_mv=0.01, wander_mv=0.05, time_out=0.0)
    """What is done to a training recording; probabilities are means over windows of the same length."""
    save_every: int = 0
    """Steps between checkpoints; 0: one at the end."""
    seed: int = 0
    """Initial weights of the head, order of recordings, pieces."""

    def steps(self, recordings: int) -> int:
        """Steps for so many labelled recordings."""
        return max(self.min_steps, math.ceil(self.epochs * recordings / min(self.batch_size, recordings)))

    def adapt(
        self,
        encoder: Encoder,
        records: Records,
        indices: np.ndarray,
        targets: np.ndarray,
        *,
        workdir: Path,
        config: dict,
        title: str,
    ) -> Adapted:
        """Trains a classifier; goes on where an earlier run in `workdir` was stopped.

        Args:
          encoder: where training starts; its weights may be random ones.
          records: the prepared data set.
          indices: the labelled recordings.
          targets: float32 [len(indices), class].
          workdir: checkpoints and logs.
          config: saved in the checkpoint, with the settings.
          title: for the screen.
        """
        mesh = data_mesh()
        check_batch_size(self.batch_size, mesh)
        if len(indices) < mesh.size:
            raise InputError(
                f"{len(indices)} labelled recordings over {mesh.size} devices: use more labels or fewer devices"
            )
        # Few labelled recordings may not fill the batch; every device gets as many all the same.
        batch_size = min(self.batch_size, len(indices) // mesh.size * mesh.size)
        num_steps = self.steps(len(indices))
        init_key, key = jax.random.split(jax.random.key(self.seed))
        objective = Classification(targets.shape[1], self.dropout, self.augmentation)
        rate = self.encoder_rate if encoder.restored else 1.0
        step_fn, tx = _step(
            objective,
            self.optimizer,
            num_steps,
            rate,
            encoder.module,
            encoder.preprocessing,
            records.rate_hz,
            mesh,
        )
        state, _ = train(
            step_fn,
            create_state(classifier_variables(objective, encoder, init_key), tx, mesh),
            labelled_batches(
                records,
                indices,
                targets,
                batch_size=batch_size,
                seed=self.seed,
                rows=rows_here(batch_size, mesh),
            ),
            num_steps=num_steps,
            key=key,
            mesh=mesh,
            workdir=workdir,
            config={
                **config,
                "start_weights": encoder.fingerprint,
                "finetuning": json.loads(json.dumps(dataclasses.asdict(self))),
            },
            seen=encoder.seen | seen_in(records, indices),
            title=title,
            save_every=self.save_every or num_steps,
            log_every=50,
        )
        return Adapted({"params": state.params, **state.collections}, self.augmentation.crop_s)


@functools.lru_cache(maxsize=8)
def _step(
    objective: Classification,
    optimizer: Optimizer,
    num_steps: int,
    encoder_rate: float,
    module: nn.Module,
    preprocessing: Preprocessing,
    rate_hz: float,
    mesh: Mesh,
):
    """The jitted step and its optimizer: a benchmark's many equal runs share one compilation."""
    tx = optimizer.build(num_steps, encoder_rate=encoder_rate)
    loss = functools.partial(objective.loss, module, preprocessing=preprocessing, rate_hz=rate_hz)
    return make_step(loss, tx, mesh), tx
