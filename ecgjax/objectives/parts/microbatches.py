"""Batches larger than memory: encode in parts, contrast as a whole, with exact gradients (GradCache, arXiv:2101.06983).

The backward pass encodes each part once more, so only one part's activations exist at a time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ecgjax.errors import InputError


def in_microbatches(
    encode: Callable, signal: jax.Array, key: jax.Array, *, size: int
) -> tuple[Any, Any]:
    """`encode` of a whole batch, computed in parts of `size` examples.

    Batch statistics are those of a part, so a run's result depends on `size`, and on nothing else: one device computes
    what many would.

    Args:
      encode: (signal [example, ...], key) -> (embeddings [example, ...], updates of variables), trees of arrays.
      signal: [example, ...], the whole batch.
      key: every part gets one of its own.
      size: examples of a part; 0 for all of them.

    Returns:
      Embeddings of the whole batch in its order, and the mean of the parts' updates.

    Raises:
      InputError: the batch is not a multiple of `size`.
    """
    if not size or size == len(signal):
        return encode(signal, key)
    if size < 0 or len(signal) % size:
        raise InputError(f"--microbatch {size}: give a divisor of the batch of {len(signal)}")
    # Rows 0, count, 2 * count, ... are part 0: each device's rows spread evenly over the parts, and none has to move.
    count = len(signal) // size
    grouped = signal.reshape(size, count, *signal.shape[1:])

    @jax.checkpoint
    def part(number: jax.Array):
        mine = jax.lax.dynamic_index_in_dim(grouped, number, axis=1, keepdims=False)
        return encode(mine, jax.random.fold_in(key, number))

    _, (embeddings, updates) = jax.lax.scan(
        lambda _, number: (None, part(number)), None, jnp.arange(count)
    )
    whole = jax.tree.map(
        lambda parts: jnp.moveaxis(parts, 0, 1).reshape(-1, *parts.shape[2:]), embeddings
    )
    return whole, jax.tree.map(lambda parts: parts.mean(0), updates)
