"""The optimizer: AdamW with linear warm-up, then cosine decay or a constant learning rate."""

import dataclasses
from typing import Literal

import jax
import optax

from ecgjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW (arXiv:1711.05101) and its learning-rate schedule."""

    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-2
    """Decoupled weight decay; biases, normalisation and parameters with one axis do not decay."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises linearly from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates (beta1, beta2) of the first and second moments."""
    clip_norm: float = 1.0
    """Largest global norm of the gradients; larger gradients are scaled down to it."""

    def __post_init__(self):
        # These comparisons are also false for NaN, so that NaN is refused.
        good = (
            self.learning_rate > 0
            and self.weight_decay >= 0
            and 0 <= self.warmup <= 1
            and self.clip_norm > 0
        )
        if not (good and all(0 <= beta < 1 for beta in self.betas)):
            raise InputError(
                f"{self}: give a learning_rate and a clip_norm above 0, a weight_decay of 0 or "
                f"more, a warmup from 0 to 1 and betas from 0 to below 1"
            )

    def learning_rate_at(self, num_steps: int) -> optax.Schedule:
        """Returns the schedule, step -> learning rate, for a run of `num_steps`."""
        warmup_steps = round(self.warmup * num_steps)
        if self.schedule == "cosine":
            decay_steps = max(1, num_steps - warmup_steps)
            after = optax.cosine_decay_schedule(self.learning_rate, decay_steps)
        else:
            after = optax.constant_schedule(self.learning_rate)
        if not warmup_steps:  # no first step at a learning rate of 0
            return after
        rise = optax.linear_schedule(0.0, self.learning_rate, warmup_steps)
        return optax.join_schedules([rise, after], [warmup_steps])

    def build(self, num_steps: int, *, encoder_rate: float = 1.0) -> optax.GradientTransformation:
        """Builds the optax transformation for a run of `num_steps`.

        Args:
          num_steps: steps of the whole run.
          encoder_rate: factor of the encoder's learning rate; everything else has a factor of 1.
        """
        adamw = optax.adamw(
            self.learning_rate_at(num_steps),
            *self.betas,
            weight_decay=self.weight_decay,
            mask=_decayed,
        )
        encoder = optax.masked(optax.scale(encoder_rate), _in_encoder)
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adamw, encoder)


def _decayed(params: dict) -> dict:
    """Returns True for each parameter with weight decay."""

    def decays(path: tuple, param: jax.Array) -> bool:
        # Names count too: lead_branches has the normalisation of all branches in one array.
        return param.ndim > 1 and path[-1].key not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(decays, params)


def _in_encoder(params: dict) -> dict:
    """Returns True for each parameter of the encoder."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "encoder", params)
