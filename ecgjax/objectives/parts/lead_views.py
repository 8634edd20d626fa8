"""What any encoder says of single leads, for methods that compare a recording's leads with one another."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.errors import InputError
from ecgjax.objectives.parts.masking import hidden_by_chance


def draw_leads(encoder: nn.Module, key: jax.Array, signal: jax.Array, count: int) -> jax.Array:
    """Which leads of each recording are compared, int [batch, count].

    All of them where the encoder has embeddings of single leads (a method `lead_embeddings`): they cost nothing more.
    Of any other each lead is one more signal to encode, so `count` different ones are drawn.
    """
    batch, _, leads = signal.shape
    if leads < 2:
        raise InputError(
            "an encoder of one lead: this method compares leads; give it two or more, or another method"
        )
    if hasattr(encoder, "lead_embeddings"):
        return jnp.broadcast_to(jnp.arange(leads)[None], (batch, leads))
    return hidden_by_chance(key, (batch, leads), min(count, leads))[1]


def lead_embeddings(
    encoder: nn.Module, signal: jax.Array, leads: jax.Array, *, train: bool
) -> jax.Array:
    """Embeddings of single leads: [batch, time, lead] and int [batch, count] -> [batch, count, dimension].

    An encoder without such sees signals in which all leads but one are 0.
    """
    if hasattr(encoder, "lead_embeddings"):
        embeddings = encoder.lead_embeddings(signal, train=train)
        return jnp.take_along_axis(embeddings, leads[..., None], axis=1)
    batch, time, width = signal.shape
    shown = leads[..., None] == jnp.arange(width)[None, None]
    alone = jnp.where(shown[:, :, None], signal[:, None], 0.0)
    _, embeddings = encoder(alone.reshape(-1, time, width), train=train)
    return embeddings.reshape(batch, leads.shape[1], -1)
