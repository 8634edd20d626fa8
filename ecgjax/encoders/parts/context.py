"""What encoders with a context are made of: local tokens, a memory of those before each, and their pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import BatchNorm, relu


class ConvStack(nn.Module):
    """Convolutions, each followed by batch normalisation and ReLU."""

    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / product of strides), widths[-1]], for odd kernels."""
        layers = zip(self.widths, self.kernels, self.strides, strict=True)
        for number, (width, kernel, stride) in enumerate(layers, start=1):
            hidden = Conv(
                width, kernel, stride, kernel // 2, dtype=self.dtype, name=f"conv{number}"
            )(hidden)
            hidden = relu(BatchNorm(name=f"norm{number}")(hidden, train=train))
        return hidden


class Lstm(nn.Module):
    """One layer of long short-term memory, beginning at zero; gates in the order input, forget, cell, output."""

    width: int
    dtype: str = "float32"
    """What products are computed in; the memory is float32."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, channel] -> float32 [batch, time, width]."""
        lecun, orthogonal = nn.initializers.lecun_normal(), nn.initializers.orthogonal()
        entry = self.param("input", lecun, (hidden.shape[-1], 4 * self.width)).astype(self.dtype)
        recurrent = self.param("recurrent", orthogonal, (self.width, 4 * self.width)).astype(
            self.dtype
        )
        bias = self.param("bias", nn.initializers.zeros, (4 * self.width,))
        # What does not depend on the state at once, for all times: one product instead of one a sample.
        driven = (hidden.swapaxes(0, 1).astype(self.dtype) @ entry).astype(jnp.float32) + bias[
            None, None
        ]
        return remember(driven, recurrent).swapaxes(0, 1)


@jax.custom_vjp
def remember(driven: jax.Array, recurrent: jax.Array) -> jax.Array:
    """Outputs of long short-term memory.

    The gradient is written out, so that the weights' is one product for all times; autodiff adds up one a sample, and
    keeps a third more. The state is [width, batch]: a CPU's faster way round for few recordings.

    Args:
      driven: float32 [time, batch, 4 * width], what the inputs add to the gates input, forget, cell, output.
      recurrent: [width, 4 * width], of the type in which products are computed.

    Returns:
      float32 [time, batch, width].
    """
    return _remember(driven, recurrent)[0]


def _remember(driven: jax.Array, recurrent: jax.Array) -> tuple[jax.Array, tuple]:
    weights = (
        recurrent.T
    )  # out here: transposed in the loop it makes each product twice as slow on a CPU

    def step(state: tuple[jax.Array, jax.Array], drive: jax.Array):
        output, before = state
        gates = _gates(drive.T + _product(weights, output))
        enter, forget, cell, show = jnp.split(gates, 4)
        memory = forget * before + enter * cell
        output = show * jnp.tanh(memory)
        return (output, memory), (output.T, before, gates)

    start = jnp.zeros((len(recurrent), driven.shape[1]))
    _, (outputs, before, gates) = jax.lax.scan(step, (start, start), driven)
    return outputs, (outputs, before, gates, recurrent)


def _gradients(kept: tuple, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    outputs, before, gates, recurrent = kept

    def step(state: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array, jax.Array]):
        of_output, of_memory = state
        cotangent, before, gates = now
        enter, forget, cell, show = jnp.split(gates, 4)
        shown = jnp.tanh(forget * before + enter * cell)
        of_output += cotangent.T
        of_memory += of_output * show * (1 - shown**2)
        of_gates = jnp.concatenate(
            [
                of_memory * cell * enter * (1 - enter),
                of_memory * before * forget * (1 - forget),
                of_memory * enter * (1 - cell**2),
                of_output * shown * show * (1 - show),
            ]
        )
        return (_product(recurrent, of_gates), of_memory * forget), of_gates.T

    end = jnp.zeros_like(before[0])
    _, of_driven = jax.lax.scan(step, (end, end), (cotangent, before, gates), reverse=True)
    earlier = jnp.pad(outputs[:-1], ((1, 0), (0, 0), (0, 0))).astype(recurrent.dtype)
    of_recurrent = jnp.einsum("tbw,tbg->wg", earlier, of_driven.astype(recurrent.dtype))
    return of_driven, of_recurrent


remember.defvjp(_remember, _gradients)


def _product(weights: jax.Array, state: jax.Array) -> jax.Array:
    return jnp.matmul(weights, state.astype(weights.dtype), preferred_element_type=jnp.float32)


def _gates(driven: jax.Array) -> jax.Array:
    """[4 * width, batch]: sigmoid, but tanh of the cell; all by one tanh, a quarter of the time of the two."""
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), len(driven) // 4)[:, None]
    return jnp.tanh(driven * scale) * scale + (1 - scale)


def concat_pool(tokens: jax.Array) -> jax.Array:
    """[batch, time, width] -> [batch, 3 * width]: the last token, the maximum and the mean over time."""
    return jnp.concatenate([tokens[:, -1], tokens.max(1), tokens.mean(1)], axis=-1)
