"""Linear probing as a way of using labels: the encoder stays as it is, the probe becomes the classifier's head."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.adapt.classifier import Adapted, Classification, classifier_variables
from ecgjax.adapt.linear_probe import LinearProbe, fit
from ecgjax.augment import Augmentation
from ecgjax.data.batches import labelled_batches
from ecgjax.data.records import Records
from ecgjax.pretrained import Encoder
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state


@dataclasses.dataclass(frozen=True)
class LinearProbing:
    """Settings of a linear probe: there is nothing to choose but the folds in which its regularisation is chosen."""

    seed: int = 0
    """Of the cross-validation's folds."""

    def adapt(
        self, encoder: Encoder, records: Records, indices: np.ndarray, targets: np.ndarray, *,
        workdir: Path, config: dict, title: str,
    ) -> Adapted:  # fmt: skip
        """Fits a probe on embeddings of whole recordings and saves encoder and probe; see `FineTuning.adapt`."""
        embeddings = encoder.embed(records, indices)
        probe = fit(embeddings, targets, records.patients[indices], seed=self.seed)
        objective = Classification(targets.shape[1], 0.0, Augmentation())
        variables = _with_probe(classifier_variables(objective, encoder, jax.random.key(self.seed)), probe)
        state = create_state(variables, Optimizer().build(1), data_mesh())
        unread = iter(labelled_batches(records, indices, targets, batch_size=1, seed=self.seed))
        config = {**config, "linear_probing": json.loads(json.dumps(dataclasses.asdict(self)))}
        with Checkpoints(workdir) as checkpoints:
            checkpoints.save(state, unread, config)
        return Adapted(variables, window_s=None)


def _with_probe(variables: dict, probe: LinearProbe) -> dict:
    head = {"kernel": jnp.asarray(probe.weights.T), "bias": jnp.asarray(probe.bias)}
    norm = {"mean": jnp.asarray(probe.mean), "var": jnp.square(jnp.asarray(probe.scale))}
    params, statistics = variables["params"], variables["batch_stats"]
    return {"params": {**params, "head": head}, "batch_stats": {**statistics, "norm": norm}}
