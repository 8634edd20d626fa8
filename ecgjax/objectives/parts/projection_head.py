"""Projection head: the layers between an embedding and the vectors that an objective compares.

The head is discarded after pre-training.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.parts.layers import BatchNorm
from ecgjax.errors import InputError


def check_widths(*, allow_empty: bool = False, **widths: tuple[int, ...]) -> None:
    """Checks the layer widths of heads, given by the name of their setting.

    Args:
      allow_empty: whether a head may have no layers.
      **widths: the widths of each head.

    Raises:
      InputError: a width is not positive, or a head has no layers.
    """
    for name, given in widths.items():
        if min(given, default=int(allow_empty)) < 1:
            remedy = "its layers" if allow_empty else "one layer or more"
            raise InputError(f"{name} {given}: give the widths of {remedy}")


def check_same_output(projection: tuple[int, ...], prediction: tuple[int, ...]) -> None:
    """Checks that projection head and predictor have outputs of the same width.

    Raises:
      InputError: their last widths differ, or `check_widths` refuses them.
    """
    check_widths(projection=projection, prediction=prediction)
    if projection[-1] != prediction[-1]:
        raise InputError(
            f"projection {projection}, prediction {prediction}: give both the same last width"
        )


class ProjectionHead(nn.Module):
    """Dense layers with ReLU between them, and optional batch normalisation before each ReLU."""

    widths: tuple[int, ...]
    batch_norm: bool = False

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[..., dimension] -> projections, float32 [..., widths[-1]]."""
        for number, width in enumerate(self.widths, start=1):
            if number > 1:
                if self.batch_norm:
                    hidden = self._normalise(hidden, number - 1, train)
                hidden = nn.relu(hidden)
            hidden = nn.Dense(width, name=f"layer{number}")(hidden)
        return hidden.astype(jnp.float32)

    def _normalise(self, hidden: jax.Array, number: int, train: bool) -> jax.Array:
        rows = hidden.reshape(-1, 1, hidden.shape[-1])  # as [batch, time, channel]
        return BatchNorm(name=f"norm{number}")(rows, train=train).reshape(hidden.shape)


def embedding_parts(encoder: nn.Module) -> tuple[int, ...]:
    """Returns the widths of the parts that an encoder's embedding joins; () for a single one."""
    return getattr(encoder, "parts", ())


class ProjectedEncoder(nn.Module):
    """An encoder, named `encoder`, and the projection head on its embedding, named `projector`."""

    encoder: nn.Module
    widths: tuple[int, ...]
    batch_norm: bool = False
    per_part: bool = False
    """Gives each part of the embedding a head of its own, if the encoder has `parts`."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> embedding [batch, dimension], projection [batch, widths[-1]].

        The projections of several parts are joined: [batch, part * widths[-1]].
        """
        _, embedding = self.encoder(signal, train=train)
        sizes = embedding_parts(self.encoder) if self.per_part else ()
        parts = jnp.split(embedding, np.cumsum(sizes)[:-1].astype(int), axis=-1)
        projections = []
        for number, part in enumerate(parts, start=1):
            name = "projector" if number == 1 else f"projector{number}"
            head = ProjectionHead(self.widths, self.batch_norm, name=name)
            projections.append(head(part, train=train))
        return embedding, jnp.concatenate(projections, axis=-1)
