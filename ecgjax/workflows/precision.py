"""Checks the accuracy of an encoder in bfloat16 on this device."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


def bfloat16_deviation(encoder: nn.Module, *, samples: int, leads: int = 12) -> float:
    """Compares an encoder in bfloat16 with itself in float32, on noise, on this device.

    XLA's bfloat16 convolutions have failed on some GPUs (jax-ml/jax#37922). Call this before a run
    that relies on them.

    Args:
      encoder: the encoder.
      samples: samples of its input.
      leads: leads of its input.

    Returns:
      The relative error (2-norm) of the embedding or of the parameters' gradient, whichever is
      larger; NaN if bfloat16 produces one.
    """
    signal = jax.random.normal(jax.random.key(0), (8, samples, leads))
    variables = jax.jit(functools.partial(encoder.init, train=False))(jax.random.key(1), signal)

    weights = jnp.cos(jnp.arange(8.0))[:, None]

    def embedding_and_gradient(dtype: str) -> tuple[jax.Array, jax.Array]:
        def weighted_mean(params: dict) -> tuple[jax.Array, jax.Array]:
            state = {**variables, "params": params}
            (_, embedding), _ = encoder.clone(dtype=dtype).apply(
                state, signal, train=True, mutable=["batch_stats"]
            )
            return (embedding * weights).mean(), embedding

        gradient, embedding = jax.jit(jax.grad(weighted_mean, has_aux=True))(variables["params"])
        return embedding, jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(gradient)])

    half = embedding_and_gradient("bfloat16")
    full = embedding_and_gradient("float32")
    errors = [_relative_error(*pair) for pair in zip(half, full, strict=True)]
    return float(jnp.stack(errors).max())  # unlike Python's max, NaN if any error is


def _relative_error(value: jax.Array, reference: jax.Array) -> jax.Array:
    return jnp.linalg.norm(value - reference) / jnp.linalg.norm(reference)
