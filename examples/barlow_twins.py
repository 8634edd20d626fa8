"""A method of one's own, whole: Barlow Twins (arXiv:2103.03230). Two views agree in each dimension, and no two
dimensions say the same. In the package it would be ecgjax/objectives/barlow_twins.py and a line in OBJECTIVES."""

import dataclasses

import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.projection_head import ProjectedEncoder


@dataclasses.dataclass(frozen=True)
class BarlowTwins:
    """Settings: each becomes an option of the command line, its docstring the help."""

    redundancy: float = 0.005
    """Weight of what two dimensions have in common."""
    projection: tuple[int, ...] = (512, 512)
    """Widths of the projection head."""
    augmentation: Augmentation = Augmentation()
    """What makes two views differ."""

    examples = "patient_pair"  # what a batch holds: two recordings of a patient

    def init(self, encoder, key, signal):
        return dict(ProjectedEncoder(encoder, self.projection).init(key, signal, train=False))

    def loss(self, encoder, variables, batch, key, *, preprocess):
        signal = preprocess(batch["signal"].reshape(-1, *batch["signal"].shape[2:]))
        views = self.augmentation.views(signal, key, rate_hz=preprocess.rate_hz)
        (embedding, projected), updates = ProjectedEncoder(encoder, self.projection).apply(
            variables, views, train=True, mutable=["batch_stats"]
        )
        centred = (view - view.mean(0, keepdims=True) for view in (projected[::2], projected[1::2]))
        one, other = (view / (view.std(0, keepdims=True) + 1e-6) for view in centred)
        correlation = jnp.matmul(one.T, other, precision="highest") / len(one)
        same = jnp.eye(len(correlation))
        loss = (jnp.square(correlation - same) * (same + self.redundancy * (1 - same))).sum()
        return loss, (collapse_metrics(embedding), updates)
