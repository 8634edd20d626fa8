"""A complete method: Barlow Twins (arXiv:2103.03230). Two views agree in each dimension, and no two
dimensions correlate. In the package: ecgjax/objectives/barlow_twins.py and a line in OBJECTIVES."""

import dataclasses

import jax
import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.projection_head import ProjectedEncoder


@dataclasses.dataclass(frozen=True)
class BarlowTwins:
    """Settings: each field becomes an option of the command line, its docstring the help text."""

    redundancy: float = 0.005
    """Weight of the correlations between different dimensions."""
    projection: tuple[int, ...] = (512, 512)
    """Widths of the projection head."""
    augmentation: Augmentation = Augmentation()
    """Random changes that make a view of a recording."""
    examples = "patient_pair"  # a batch holds two recordings per patient

    def init(self, encoder, key, signal):
        return dict(ProjectedEncoder(encoder, self.projection).init(key, signal, train=False))

    def loss(self, encoder, variables, batch, key, *, preprocess):
        signal = preprocess(batch["signal"].reshape(-1, *batch["signal"].shape[2:]))
        views = self.augmentation.views(signal, key, rate_hz=preprocess.rate_hz)
        (embedding, projected), updates = ProjectedEncoder(encoder, self.projection).apply(
            variables, views, train=True, mutable=["batch_stats"]
        )
        pairs = projected.reshape(-1, 2, projected.shape[-1])
        pairs = jax.nn.standardize(pairs, axis=0, variance=pairs.var(0, keepdims=True))
        correlation = jnp.matmul(pairs[:, 0].T, pairs[:, 1], precision="highest") / len(pairs)
        same = jnp.eye(len(correlation))
        loss = (jnp.square(correlation - same) * (same + self.redundancy * (1 - same))).sum()
        return loss, (collapse_metrics(embedding), updates)
