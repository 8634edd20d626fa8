"""Embeddings of single leads, from any encoder, for methods that compare leads."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.errors import InputError
from ecgjax.objectives.parts.masking import random_mask


def draw_leads(encoder: nn.Module, key: jax.Array, signal: jax.Array, count: int) -> jax.Array:
    """Draws the leads that are compared in each recording.

    An encoder with a method `lead_embeddings` computes the embeddings of all leads at once, so all
    leads are compared. Any other encoder has to encode each lead as a signal of its own, so `count`
    different leads are drawn per recording.

    Returns:
      Lead numbers, int [batch, count].

    Raises:
      InputError: the signal has one lead only.
    """
    batch, _, leads = signal.shape
    if leads < 2:
        raise InputError(
            "an encoder of one lead: this method compares leads; give it two or more, or another "
            "method"
        )
    if hasattr(encoder, "lead_embeddings"):
        return jnp.broadcast_to(jnp.arange(leads)[None], (batch, leads))
    return random_mask(key, (batch, leads), min(count, leads))[1]


def lead_embeddings(
    encoder: nn.Module, signal: jax.Array, leads: jax.Array, *, train: bool
) -> jax.Array:
    """Returns embeddings of single leads.

    An encoder without a method `lead_embeddings` gets signals in which all leads but one are 0.

    Args:
      encoder: a bound Flax module.
      signal: [batch, time, lead].
      leads: int [batch, count], the leads of each recording.
      train: the encoder's `train`.

    Returns:
      [batch, count, dimension].
    """
    if hasattr(encoder, "lead_embeddings"):
        embeddings = encoder.lead_embeddings(signal, train=train)
        return jnp.take_along_axis(embeddings, leads[..., None], axis=1)
    batch, time, width = signal.shape
    selected = leads[..., None] == jnp.arange(width)[None, None]
    single_leads = jnp.where(selected[:, :, None], signal[:, None], 0.0)
    _, embeddings = encoder(single_leads.reshape(-1, time, width), train=train)
    return embeddings.reshape(batch, leads.shape[1], -1)
