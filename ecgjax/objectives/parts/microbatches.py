"""Batches larger than memory: gradient caching (GradCache, arXiv:2101.06983).

The batch is encoded in microbatches and contrasted as a whole, with exact gradients. The backward
pass encodes each microbatch a second time, so memory holds the activations of one microbatch only.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ecgjax.errors import InputError


def encode_in_microbatches(
    encode: Callable, signal: jax.Array, key: jax.Array, *, size: int
) -> tuple[Any, Any]:
    """Encodes a whole batch in microbatches of `size` examples.

    Batch statistics are those of a microbatch, so the result of a run depends on `size`. It does
    not depend on the number of devices.

    Args:
      encode: (signal [example, ...], key) -> (embeddings [example, ...], updates of variables),
        both pytrees of arrays.
      signal: [example, ...], the whole batch.
      key: random key; each microbatch gets its own key, folded from it.
      size: examples of a microbatch; 0 means the whole batch.

    Returns:
      The embeddings of the whole batch in its order, and the mean of the microbatches' updates.

    Raises:
      InputError: the batch is not a multiple of `size`.
    """
    if not size or size == len(signal):
        return encode(signal, key)
    if size < 0 or len(signal) % size:
        raise InputError(f"--microbatch {size}: give a divisor of the batch of {len(signal)}")
    # Microbatch 0 has rows 0, count, 2 * count, ...: the rows of each device are spread evenly over
    # the microbatches, and no row has to move to another device.
    count = len(signal) // size
    grouped = signal.reshape(size, count, *signal.shape[1:])

    @jax.checkpoint
    def encode_microbatch(number: jax.Array):
        rows = jax.lax.dynamic_index_in_dim(grouped, number, axis=1, keepdims=False)
        return encode(rows, jax.random.fold_in(key, number))

    _, (embeddings, updates) = jax.lax.scan(
        lambda _, number: (None, encode_microbatch(number)), None, jnp.arange(count)
    )
    whole = jax.tree.map(
        lambda parts: jnp.moveaxis(parts, 0, 1).reshape(-1, *parts.shape[2:]), embeddings
    )
    return whole, jax.tree.map(lambda parts: parts.mean(0), updates)
