"""The optimizer: AdamW with linear warm-up and cosine decay or a one-cycle schedule."""

import dataclasses
from typing import Literal

import jax
import optax

from ecgjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW (arXiv:1711.05101) and its schedule."""

    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of all that has two axes or more, but for biases and normalisation."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises linearly."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Share of themselves that the means of gradients and of their squares keep at each step."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm."""

    def __post_init__(self):
        # Written so that not-a-number is refused, too.
        good = (
            self.learning_rate > 0
            and self.weight_decay >= 0
            and 0 <= self.warmup <= 1
            and self.clip_norm > 0
        )
        if not (good and all(0 <= beta < 1 for beta in self.betas)):
            raise InputError(
                f"{self}: give a learning_rate and a clip_norm above 0, a weight_decay of 0 or more, a warmup from 0 "
                f"to 1 and betas from 0 to below 1"
            )

    def learning_rate_at(self, num_steps: int) -> optax.Schedule:
        """step -> learning rate for a run of `num_steps`."""
        rise = round(self.warmup * num_steps)
        after = (
            optax.cosine_decay_schedule(self.learning_rate, max(1, num_steps - rise))
            if self.schedule == "cosine"
            else optax.constant_schedule(self.learning_rate)
        )
        if not rise:  # no first step at a rate of 0
            return after
        return optax.join_schedules(
            [optax.linear_schedule(0.0, self.learning_rate, rise), after], [rise]
        )

    def build(self, num_steps: int, *, encoder_rate: float = 1.0) -> optax.GradientTransformation:
        """The optax transformation for a run of `num_steps`; the encoder's updates are scaled by `encoder_rate`."""
        (b1, b2), rate = self.betas, self.learning_rate_at(num_steps)
        adamw = optax.adamw(rate, b1, b2, weight_decay=self.weight_decay, mask=_decayed)
        slower = optax.masked(optax.scale(encoder_rate), _encoder)
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adamw, slower)


def _decayed(params: dict) -> dict:
    def decays(path: tuple, param: jax.Array) -> bool:
        # By name too: lead_branches has the normalisation of all branches in one array.
        return param.ndim > 1 and path[-1].key not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(decays, params)


def _encoder(params: dict) -> dict:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "encoder", params)
