"""Whether an encoder may compute in bfloat16 here."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


def bfloat16_deviation(encoder: nn.Module, *, samples: int, leads: int = 12) -> float:
    """How far an encoder in bfloat16 is from itself in float32, on this device.

    XLA's bfloat16 convolutions have failed on some GPUs (jax-ml/jax#37922); call this before a run that relies on them.

    Returns:
      The larger of the relative errors (2-norm) of the embedding and of the parameters' gradient, on noise; NaN if
      bfloat16 makes one.
    """
    signal = jax.random.normal(jax.random.key(0), (8, samples, leads))
    variables = jax.jit(functools.partial(encoder.init, train=False))(jax.random.key(1), signal)

    def run(dtype):
        def total(params):
            state = {**variables, "params": params}
            (_, embedding), _ = encoder.clone(dtype=dtype).apply(
                state, signal, train=True, mutable=["batch_stats"]
            )
            return (embedding * weights).mean(), embedding

        weights = jnp.cos(jnp.arange(8.0))[:, None]
        gradient, embedding = jax.jit(jax.grad(total, has_aux=True))(variables["params"])
        return embedding, jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(gradient)])

    pairs = zip(run("bfloat16"), run("float32"), strict=True)
    return float(max(jnp.linalg.norm(half - full) / jnp.linalg.norm(full) for half, full in pairs))
