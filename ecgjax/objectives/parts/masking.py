"""What methods that hide parts of a recording share: drawing what is hidden, and hiding it from any encoder.

A transformer over patches (an encoder with the methods `patches` and `encode`) simply is not given the hidden patches.
Any other encoder sees a signal that is 0 there (as SimMIM's, arXiv:2111.09886); its tokens are then brought to the
same spans of time, whatever its resolution.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.objectives.parts.collapse import collapse_metrics, first_rows


def hides_patches(encoder: nn.Module) -> bool:
    """Whether an encoder can be given some of its patches only."""
    return hasattr(encoder, "patches") and hasattr(encoder, "encode")


def hidden_by_chance(
    key: jax.Array, shape: tuple[int, ...], kept: int
) -> tuple[jax.Array, jax.Array]:
    """Hides all but `kept` places of each row, every choice equally likely.

    Args:
      key: draws them.
      shape: [..., place] of what is hidden from.
      kept: places of a row that stay.

    Returns:
      Where it is hidden, bool [..., place], and the places that stay, int [..., kept].
    """
    order = jnp.argsort(jax.random.uniform(key, shape), axis=-1)
    return jnp.argsort(order, axis=-1) >= kept, order[..., :kept]


def hidden_in_blocks(key: jax.Array, places: int, kept: jax.Array, *, shortest: int) -> jax.Array:
    """Hides all but `kept` places in contiguous blocks.

    As in https://github.com/kweimann/ECG-JEPA (data/masks.py) a block's length is drawn from `shortest` to all that is
    still to be hidden, and what would be too short for a block of its own lengthens the one before. There blocks are
    set one after the other into what is free; here each stands after a random number of the places that stay.

    Returns:
      bool [places], True where hidden.
    """
    size_key, start_key = jax.random.split(key)
    most = max(places // shortest, 1)

    def next_size(left: jax.Array, key: jax.Array):
        size = jax.random.randint(key, (), shortest, jnp.maximum(left, shortest) + 1)
        size = jnp.where(left - size < shortest, left, size)
        return left - size, size

    _, sizes = jax.lax.scan(next_size, places - kept, jax.random.split(size_key, most))
    before = jax.random.randint(start_key, (most,), 0, kept + 1)
    order = jnp.argsort(before)
    before, sizes = before[order], sizes[order]
    start = before + jnp.cumsum(sizes) - sizes
    place = jnp.arange(places)[:, None]
    return ((place >= start[None]) & (place < (start + sizes)[None])).any(1)


def silenced(signal: jax.Array, hidden: jax.Array, samples: int) -> jax.Array:
    """[batch, time, lead] with 0 where it is hidden; hidden: bool [batch, lead or 1, column of `samples` samples]."""
    by_sample = jnp.repeat(hidden, samples, axis=-1)[..., : signal.shape[1]]
    return jnp.where(by_sample.swapaxes(1, 2), 0.0, signal)


def in_spans(tokens: jax.Array, time: int, samples: int) -> jax.Array:
    """Tokens of a signal of `time` samples at another resolution: [batch, token, width] -> [batch, column, width].

    A column of `samples` samples gets the mean of the tokens that it overlaps, by how much it does.
    """
    edges = np.linspace(0, time, tokens.shape[1] + 1)
    starts = np.arange(0, time, samples)[:, None]
    ends = np.minimum(starts + samples, time)
    overlap = np.clip(np.minimum(ends, edges[1:]) - np.maximum(starts, edges[:-1]), 0, None)
    weight = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return jnp.einsum("ct,btw->bcw", weight, tokens, precision="highest")


def normalised(target: jax.Array) -> jax.Array:
    """[..., value] with mean 0 and variance 1 over the last axis; what is flat is 0."""
    mean, variance = target.mean(-1, keepdims=True), target.var(-1, keepdims=True)
    return (target - mean) * jax.lax.rsqrt(variance + 1e-6)


def mean_where(values: jax.Array, where: jax.Array) -> jax.Array:
    """The mean over those of `values` that are meant; both of one shape."""
    return jnp.where(where, values, 0.0).sum() / jnp.maximum(where.sum(), 1)


def seen_whole(encoder: nn.Module, variables: dict, signal: jax.Array) -> tuple[dict, dict]:
    """What an encoder that is trained on parts makes of whole recordings, without gradient.

    Args:
      encoder: the encoder that is trained.
      variables: the objective's, with the encoder's under the name "encoder".
      signal: float32 [batch, time, lead]; those of `first_rows` are looked at.

    Returns:
      The statistics of its embedding, and updates of its batch statistics: whoever uses the encoder will show it whole
      recordings, so they must not be those of silenced ones.
    """
    own = {
        name: variables[name]["encoder"]
        for name in ("params", "batch_stats")
        if "encoder" in variables.get(name, {})
    }
    (_, embedding), updates = encoder.apply(
        jax.lax.stop_gradient(own), first_rows(signal), train=True, mutable=["batch_stats"]
    )
    return collapse_metrics(embedding), {
        name: {"encoder": updated} for name, updated in updates.items()
    }
