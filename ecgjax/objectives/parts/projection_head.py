"""The layers between an embedding and what an objective compares; thrown away after pre-training."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.layers import BatchNorm
from ecgjax.errors import InputError


def check_widths(*, none: bool = False, **widths: tuple[int, ...]) -> None:
    """Refuses a head of impossible layers, and one without layers unless `none` is allowed.

    Raises:
      InputError: a width is not positive, or none is given.
    """
    for name, given in widths.items():
        if min(given, default=int(none)) < 1:
            raise InputError(
                f"{name} {given}: give the widths of {'its layers' if none else 'one layer or more'}"
            )


def check_same_end(projection: tuple[int, ...], prediction: tuple[int, ...]) -> None:
    """Refuses a predictor of something else than a projection.

    Raises:
      InputError: their last widths differ, or `check_widths` refuses them.
    """
    check_widths(projection=projection, prediction=prediction)
    if projection[-1] != prediction[-1]:
        raise InputError(
            f"projection {projection}, prediction {prediction}: give both the same last width"
        )


class ProjectionHead(nn.Module):
    """[..., dimension] -> float32 [..., widths[-1]]: dense layers, between them ReLU, on request after batch norm."""

    widths: tuple[int, ...]
    batch_norm: bool = False

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        for number, width in enumerate(self.widths, start=1):
            if number > 1:
                hidden = nn.relu(
                    self._normalised(hidden, number - 1, train) if self.batch_norm else hidden
                )
            hidden = nn.Dense(width, name=f"layer{number}")(hidden)
        return hidden.astype(jnp.float32)

    def _normalised(self, hidden: jax.Array, number: int, train: bool) -> jax.Array:
        rows = hidden.reshape(-1, 1, hidden.shape[-1])  # as [batch, time, channel]
        return BatchNorm(name=f"norm{number}")(rows, train=train).reshape(hidden.shape)


class ProjectedEncoder(nn.Module):
    """An encoder, called `encoder`, and the projection head on its embedding, called `projector`."""

    encoder: nn.Module
    widths: tuple[int, ...]
    batch_norm: bool = False

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> embedding [batch, dimension], projection [batch, widths[-1]]."""
        _, embedding = self.encoder(signal, train=train)
        return embedding, ProjectionHead(self.widths, self.batch_norm, name="projector")(
            embedding, train=train
        )
