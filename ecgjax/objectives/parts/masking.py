"""Masking for methods that hide parts of a recording: random masks, block masks, masked input.

A transformer over patches (an encoder with the methods `patches` and `encode`) gets only the
visible patches. Any other encoder gets a signal that is 0 where it is masked, as in SimMIM
(arXiv:2111.09886). `resample_tokens` then averages its tokens over the masked spans, whatever the
resolution of the encoder.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.objectives.parts.collapse import collapse_metrics, first_rows


def encodes_visible_patches(encoder: nn.Module) -> bool:
    """Returns whether the encoder can encode a subset of its patches."""
    return hasattr(encoder, "patches") and hasattr(encoder, "encode")


def random_mask(
    key: jax.Array, shape: tuple[int, ...], visible: int
) -> tuple[jax.Array, jax.Array]:
    """Masks all but `visible` positions of each row; every choice has the same probability.

    Args:
      key: random key of the mask.
      shape: [..., position], the shape of the mask.
      visible: visible positions per row.

    Returns:
      The mask, bool [..., position], True where masked, and the visible positions, int
      [..., visible].
    """
    order = jnp.argsort(jax.random.uniform(key, shape), axis=-1)
    return jnp.argsort(order, axis=-1) >= visible, order[..., :visible]


def block_mask(key: jax.Array, positions: int, visible: jax.Array, *, shortest: int) -> jax.Array:
    """Masks all but `visible` positions in contiguous blocks.

    The block lengths are drawn as in https://github.com/kweimann/ECG-JEPA (data/masks.py):
    uniformly from `shortest` to the number of positions that are still to be masked. A remainder
    shorter than `shortest` is added to the previous block. That code places the blocks one after
    the other into free positions; here each block follows a random number of the visible positions.

    Args:
      key: random key of the mask.
      positions: length of the mask.
      visible: int [], number of visible positions.
      shortest: shortest block.

    Returns:
      bool [position], True where masked.
    """
    size_key, start_key = jax.random.split(key)
    max_blocks = max(positions // shortest, 1)

    def next_size(remaining: jax.Array, key: jax.Array):
        size = jax.random.randint(key, (), shortest, jnp.maximum(remaining, shortest) + 1)
        size = jnp.where(remaining - size < shortest, remaining, size)
        return remaining - size, size

    keys = jax.random.split(size_key, max_blocks)
    _, sizes = jax.lax.scan(next_size, positions - visible, keys)
    visible_before = jax.random.randint(start_key, (max_blocks,), 0, visible + 1)
    order = jnp.argsort(visible_before)
    visible_before = visible_before[order]
    sizes = sizes[order]
    start = visible_before + jnp.cumsum(sizes) - sizes
    position = jnp.arange(positions)[:, None]
    return ((position >= start[None]) & (position < (start + sizes)[None])).any(1)


def mask_signal(signal: jax.Array, mask: jax.Array, span: int) -> jax.Array:
    """Sets the masked spans of a signal to 0.

    Args:
      signal: [batch, time, lead].
      mask: bool [batch, lead or 1, column], True where masked; a column is `span` samples.
      span: samples of a column.

    Returns:
      The masked signal [batch, time, lead].
    """
    by_sample = jnp.repeat(mask, span, axis=-1)[..., : signal.shape[1]]
    return jnp.where(by_sample.swapaxes(1, 2), 0.0, signal)


def resample_tokens(tokens: jax.Array, time: int, span: int) -> jax.Array:
    """Averages tokens over spans of the signal.

    Each span gets the mean of the tokens that overlap it, weighted by the overlap.

    Args:
      tokens: [batch, token, width], tokens of a signal of `time` samples at any resolution.
      time: samples of the signal.
      span: samples of a span.

    Returns:
      [batch, column, width], one column per span.
    """
    edges = np.linspace(0, time, tokens.shape[1] + 1)
    starts = np.arange(0, time, span)[:, None]
    ends = np.minimum(starts + span, time)
    overlap = np.clip(np.minimum(ends, edges[1:]) - np.maximum(starts, edges[:-1]), 0, None)
    weight = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return jnp.einsum("ct,btw->bcw", weight, tokens, precision="highest")


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the mean of `values` where `mask` is True, or 0 if it is True nowhere."""
    return jnp.where(mask, values, 0.0).sum() / jnp.maximum(mask.sum(), 1)


def encode_unmasked(encoder: nn.Module, variables: dict, signal: jax.Array) -> tuple[dict, dict]:
    """Runs the encoder on unmasked recordings, without gradient, for metrics and batch statistics.

    The saved encoder is used on whole recordings, so its batch statistics must come from whole
    recordings too, not from masked ones.

    Args:
      encoder: the encoder that is trained.
      variables: the objective's variables; the encoder's are under the name "encoder".
      signal: float32 [batch, time, lead]; only the `first_rows` are used.

    Returns:
      The collapse metrics of the embedding, and the updates of the encoder's batch statistics.
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
