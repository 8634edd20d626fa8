"""Layers of the encoders with a causal context: local convolutions, LSTM and pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import BatchNorm, maximum_over_time, relu
from ecgjax.encoders.parts.platforms import is_plain


class ConvStack(nn.Module):
    """Convolutions, each followed by batch normalisation and ReLU."""

    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, time', widths[-1]].

        With odd kernel sizes, time' is ceil(time / product of strides).
        """
        layers = zip(self.widths, self.kernels, self.strides, strict=True)
        for number, (width, kernel, stride) in enumerate(layers, start=1):
            conv = Conv(width, kernel, stride, kernel // 2, dtype=self.dtype, name=f"conv{number}")
            hidden = conv(hidden)
            hidden = relu(BatchNorm(name=f"norm{number}")(hidden, train=train))
        return hidden


class Lstm(nn.Module):
    """One LSTM layer with an initial state of zeros; its gates are input, forget, cell, output."""

    width: int
    dtype: str = "float32"
    """Precision of the matrix products; the state is float32."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, channel] -> float32 [batch, time, width]."""
        lecun = nn.initializers.lecun_normal()
        orthogonal = nn.initializers.orthogonal()
        gates = 4 * self.width
        kernel = self.param("input", lecun, (hidden.shape[-1], gates)).astype(self.dtype)
        recurrent = self.param("recurrent", orthogonal, (self.width, gates)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (gates,))
        # The inputs' part of the gates does not depend on the state: one product for all times.
        products = (hidden.swapaxes(0, 1).astype(self.dtype) @ kernel).astype(jnp.float32)
        scan = _plain_lstm if is_plain() else scan_lstm
        return scan(products + bias[None, None], recurrent).swapaxes(0, 1)


@jax.custom_vjp
def scan_lstm(gate_inputs: jax.Array, recurrent: jax.Array) -> jax.Array:
    """Runs an LSTM over time.

    The gradient is written by hand, so that the gradient of the weights is one product for all
    times. Automatic differentiation adds one product per sample, and stores a third more. The state
    is [width, batch], which is faster on a CPU for few recordings.

    Args:
      gate_inputs: float32 [time, batch, 4 * width], the inputs' part of the gates input, forget,
        cell, output.
      recurrent: [width, 4 * width], in the precision of the products.

    Returns:
      float32 [time, batch, width].
    """
    return _scan_lstm(gate_inputs, recurrent)[0]


def _plain_lstm(gate_inputs: jax.Array, recurrent: jax.Array) -> jax.Array:
    return _scan_lstm(gate_inputs, recurrent)[0]


def _scan_lstm(gate_inputs: jax.Array, recurrent: jax.Array) -> tuple[jax.Array, tuple]:
    # Transposed outside the loop: inside, each product takes twice as long on a CPU.
    weights = recurrent.T

    def step(state: tuple[jax.Array, jax.Array], gate_input: jax.Array):
        output, memory = state
        gates = _gates(gate_input.T + _product(weights, output))
        input_gate, forget_gate, cell, output_gate = jnp.split(gates, 4)
        new_memory = forget_gate * memory + input_gate * cell
        new_output = output_gate * jnp.tanh(new_memory)
        return (new_output, new_memory), (new_output.T, memory, gates)

    start = jnp.zeros((len(recurrent), gate_inputs.shape[1]))
    _, (outputs, memories, gates) = jax.lax.scan(step, (start, start), gate_inputs)
    return outputs, (outputs, memories, gates, recurrent)


def _scan_lstm_backward(
    residuals: tuple, output_gradients: jax.Array
) -> tuple[jax.Array, jax.Array]:
    outputs, memories, gates, recurrent = residuals

    def step(state: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array, jax.Array]):
        output_gradient, memory_gradient = state
        loss_gradient, memory, gates = now
        input_gate, forget_gate, cell, output_gate = jnp.split(gates, 4)
        squashed = jnp.tanh(forget_gate * memory + input_gate * cell)
        output_gradient += loss_gradient.T
        memory_gradient += output_gradient * output_gate * (1 - squashed**2)
        gate_gradients = jnp.concatenate(
            [
                memory_gradient * cell * input_gate * (1 - input_gate),
                memory_gradient * memory * forget_gate * (1 - forget_gate),
                memory_gradient * input_gate * (1 - cell**2),
                output_gradient * squashed * output_gate * (1 - output_gate),
            ]
        )
        earlier = (_product(recurrent, gate_gradients), memory_gradient * forget_gate)
        return earlier, gate_gradients.T

    end = jnp.zeros_like(memories[0])
    sequence = (output_gradients, memories, gates)
    _, gate_gradients = jax.lax.scan(step, (end, end), sequence, reverse=True)
    previous = jnp.pad(outputs[:-1], ((1, 0), (0, 0), (0, 0))).astype(recurrent.dtype)
    recurrent_gradient = jnp.einsum("tbw,tbg->wg", previous, gate_gradients.astype(recurrent.dtype))
    return gate_gradients, recurrent_gradient


scan_lstm.defvjp(_scan_lstm, _scan_lstm_backward)


def _product(weights: jax.Array, state: jax.Array) -> jax.Array:
    return jnp.matmul(weights, state.astype(weights.dtype), preferred_element_type=jnp.float32)


def _gates(gate_inputs: jax.Array) -> jax.Array:
    """Activates gates [4 * width, batch]: tanh for the cell, sigmoid for the others.

    All by one tanh, which takes a quarter of the time of tanh and sigmoid.
    """
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), len(gate_inputs) // 4)[:, None]
    return jnp.tanh(gate_inputs * scale) * scale + (1 - scale)


def concat_pool(tokens: jax.Array) -> jax.Array:
    """[batch, time, width] -> [batch, 3 * width]: last token, maximum and mean over time."""
    parts = [tokens[:, -1], maximum_over_time(tokens), tokens.mean(1)]
    return jnp.concatenate(parts, axis=-1)
