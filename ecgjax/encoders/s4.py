"""S4: state-space layers over a convolutional stem, in the form of ECG-CPC; the strongest published encoder under 5 M.

Structured state spaces (Gu et al. 2022, arXiv:2111.00396) with a diagonal state matrix (S4D-Lin, arXiv:2206.11893), as
good as theirs and two Fourier transforms long. Sizes are those of ECG-CPC (AI4HealthUOL/ecg-fm-benchmarking): four
convolutions of 512 channels, kernels 3 1 1 1, strides 2 1 1 1; four causal layers of width 512 with 8 states. 3.21 M
parameters, 3.74 M with the prediction of `cpc` and its hidden layer of 512; published with them: 3.8 M, with the full
state matrix. Its dropout of 0.2 is left out: encoders here draw nothing.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.devices import by_rows
from ecgjax.encoders.parts.context import ConvStack, concat_pool
from ecgjax.errors import InputError


class S4(nn.Module):
    """A token sees everything before it and nothing after; the embedding joins the last token, maximum and mean."""

    widths: tuple[int, ...] = (512, 512, 512, 512)
    """Channels of the stem's convolutions; the last is the width of the layers."""
    kernels: tuple[int, ...] = (3, 1, 1, 1)
    """Samples that each convolution spans."""
    strides: tuple[int, ...] = (2, 1, 1, 1)
    """Samples from one output of each convolution to the next."""
    layers: int = 4
    """State-space layers."""
    states: int = 8
    """Real states of each channel: half as many complex ones, each with its conjugate."""
    dtype: str = "float32"
    """What convolutions and dense layers compute in: float32 or bfloat16. The state spaces are float32 always."""

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
        """[batch, time, lead] -> what is to be foretold, float32 [batch, ceil(time / 2), 512]."""
        return self.stem(signal, train=train).astype(jnp.float32)

    def context(self, local: jax.Array, *, train: bool) -> jax.Array:
        """[batch, token, 512] -> what was seen up to each token, float32 [batch, token, 512]."""
        hidden = self.entry(local)
        for layer in self.sequence:
            hidden = layer(hidden)
        return hidden.astype(jnp.float32)

    def pool(self, context: jax.Array) -> jax.Array:
        """[batch, token, width] -> embedding [batch, 3 * width]."""
        return concat_pool(context)


class S4Layer(nn.Module):
    """State spaces along time, GELU, a gated dense layer across channels, the shortcut, layer normalisation."""

    states: int
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, token, width] -> the same."""
        mixed = nn.gelu(StateSpaces(self.states, name="state_spaces")(hidden.astype(jnp.float32)))
        mixed = nn.glu(nn.Dense(2 * hidden.shape[-1], dtype=self.dtype, name="gate")(mixed))
        return nn.LayerNorm(dtype=self.dtype, name="norm")(hidden + mixed)


class StateSpaces(nn.Module):
    """A linear state space of its own for each channel, x' = A x + u, y = Re(C x) + D u, with a diagonal A.

    A starts at -1/2 + i pi n and the step between tokens log-uniform from 0.001 to 0.1 (arXiv:2206.11893). Parameters
    of the dynamics are stored flat: what has one axis has no weight decay, as S4's authors advise.
    """

    states: int

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """float32 [batch, token, channel] -> the same."""
        tokens, width = hidden.shape[1:]
        passed = self.param("passed", nn.initializers.normal(1.0), (width,))
        return (
            by_rows(_causal_convolution, hidden, self.kernel(width, tokens))
            + hidden * passed[None, None]
        )

    def kernel(self, width: int, tokens: int) -> jax.Array:
        """float32 [token, channel]: what remains of an impulse, A and u held between tokens (zero-order hold)."""
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


def _causal_convolution(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """float32 [batch, token, channel], [token, channel] -> [batch, token, channel]."""
    # Twice the length: the convolution must not come round to where it began.
    tokens = len(kernel)
    spectrum = (
        jnp.fft.rfft(hidden, 2 * tokens, axis=1) * jnp.fft.rfft(kernel, 2 * tokens, axis=0)[None]
    )
    return jnp.fft.irfft(spectrum, 2 * tokens, axis=1)[:, :tokens]


def _log_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=np.log(0.001), maxval=np.log(0.1))
