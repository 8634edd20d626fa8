"""S4: state-space layers on a convolutional stem, with the sizes of ECG-CPC.

ECG-CPC is the strongest published encoder with fewer than 5 M parameters. The layers are structured
state spaces (Gu et al. 2022, arXiv:2111.00396) with a diagonal state matrix (S4D-Lin,
arXiv:2206.11893). A diagonal matrix is as accurate as a full one and needs two Fourier transforms.

Sizes of ECG-CPC (AI4HealthUOL/ecg-fm-benchmarking): four convolutions of 512 channels, kernel sizes
3 1 1 1, strides 2 1 1 1; four causal layers of width 512 with 8 states. This encoder has 3.21 M
parameters, and 3.74 M with the prediction head of `cpc` and its hidden layer of 512. The published
size with heads and the full state matrix is 3.8 M. The dropout of 0.2 is left out, because encoders
here use no random numbers.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.devices import map_rows
from ecgjax.encoders.parts.context import ConvStack, concat_pool
from ecgjax.errors import InputError


class S4(nn.Module):
    """Causal encoder: a token depends on earlier samples only.

    The embedding is the last token, the maximum and the mean over time.
    """

    widths: tuple[int, ...] = (512, 512, 512, 512)
    """Channels of the stem's convolutions; the last is the width of the layers."""
    kernels: tuple[int, ...] = (3, 1, 1, 1)
    """Kernel size of each convolution, in samples."""
    strides: tuple[int, ...] = (2, 1, 1, 1)
    """Stride of each convolution, in samples."""
    layers: int = 4
    """Number of state-space layers."""
    states: int = 8
    """Real states of each channel; half as many complex states, each with its conjugate."""
    dtype: str = "float32"
    """Precision of convolutions and dense layers: float32 or bfloat16. State spaces are float32."""

    def setup(self):
        if self.states < 2 or self.states % 2:
            raise InputError(f"s4: states {self.states}: give an even number, 2 or more")
        self.stem = ConvStack(self.widths, self.kernels, self.strides, self.dtype)
        self.entry = nn.Dense(self.widths[-1], dtype=self.dtype)
        self.sequence = [S4Layer(self.states, self.dtype) for _ in range(self.layers)]

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / 2), 512], embedding [batch, 1536]."""
        tokens = self.context(self.local(signal, train=train), train=train)
        return tokens, self.pool(tokens)

    def local(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """Local features, which CPC predicts.

        [batch, time, lead] -> float32 [batch, ceil(time / 2), 512].
        """
        return self.stem(signal, train=train).astype(jnp.float32)

    def context(self, local: jax.Array, *, train: bool) -> jax.Array:
        """Causal context of each token: [batch, token, 512] -> float32 [batch, token, 512]."""
        hidden = self.entry(local)
        for layer in self.sequence:
            hidden = layer(hidden)
        return hidden.astype(jnp.float32)

    def pool(self, context: jax.Array) -> jax.Array:
        """[batch, token, width] -> embedding [batch, 3 * width]."""
        return concat_pool(context)


class S4Layer(nn.Module):
    """State spaces over time, GELU, gated dense layer over channels, residual, layer norm."""

    states: int
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, token, width] -> the same shape."""
        mixed = nn.gelu(StateSpaces(self.states, name="state_spaces")(hidden.astype(jnp.float32)))
        mixed = nn.glu(nn.Dense(2 * hidden.shape[-1], dtype=self.dtype, name="gate")(mixed))
        return nn.LayerNorm(dtype=self.dtype, name="norm")(hidden + mixed)


class StateSpaces(nn.Module):
    """A linear state space per channel: x' = A x + u, y = Re(C x) + D u, with a diagonal A.

    A starts at -1/2 + i pi n, and the step between tokens is initialised log-uniform from 0.001 to
    0.1 (arXiv:2206.11893). The parameters of the dynamics are stored flat, because parameters with
    one axis have no weight decay, as S4's authors recommend.
    """

    states: int

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """float32 [batch, token, channel] -> the same shape."""
        _, tokens, width = hidden.shape
        passed = self.param("passed", nn.initializers.normal(1.0), (width,))
        states = map_rows(_causal_conv, hidden, self.kernel(width, tokens))
        return states + hidden * passed[None, None]

    def kernel(self, width: int, tokens: int) -> jax.Array:
        """Returns the impulse response with a zero-order hold, float32 [token, channel]."""
        count = self.states // 2
        frequencies = np.tile(np.pi * np.arange(count, dtype=np.float32), width)
        log_step = self.param("log_step", _log_uniform, (width,))
        log_decay = self.param("log_decay", nn.initializers.constant(np.log(0.5)), (width * count,))
        frequency = self.param("frequency", lambda _: jnp.asarray(frequencies))
        readout = self.param("readout", nn.initializers.normal(0.5**0.5), (2, width, count))
        poles = (-jnp.exp(log_decay) + 1j * frequency).reshape(width, count)
        exponent = poles * jnp.exp(log_step)[:, None]
        weights = (readout[0] + 1j * readout[1]) * (jnp.exp(exponent) - 1) / poles
        powers = jnp.exp(exponent[None] * jnp.arange(tokens)[:, None, None])
        return 2 * (weights[None] * powers).sum(-1).real


def _causal_conv(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """float32 [batch, token, channel], [token, channel] -> [batch, token, channel]."""
    # With twice the length, the circular convolution of the transforms does not wrap around.
    tokens = len(kernel)
    signal_spectrum = jnp.fft.rfft(hidden, 2 * tokens, axis=1)
    kernel_spectrum = jnp.fft.rfft(kernel, 2 * tokens, axis=0)
    spectrum = signal_spectrum * kernel_spectrum[None]
    return jnp.fft.irfft(spectrum, 2 * tokens, axis=1)[:, :tokens]


def _log_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=np.log(0.001), maxval=np.log(0.1))
