"""Convolutions over time with fewer products than taps, for CPUs, where products are what a wide one costs.

The fast FIR algorithm (Mou & Duhamel 1991, IEEE Trans. Signal Processing 39(6):1322): with even and odd samples x0, x1
and even and odd taps h0, h1 a convolution's even and odd outputs are

    y0 = (h0 + h1) * x1 + h0 * (x0 - x1)        y1 = (h0 + h1) * x1 + h1 * (x0' - x1)        x0'[n] = x0[n + 1]

three convolutions of half the taps over half the samples in place of four. These are halved in their turn: halved
twice, 16 taps take 9 products a sample. Signal, kernel and output then have 3 ** halvings parts, in the order of the
products above. The sums are taken in another order than a plain convolution's, and differ by rounding as any other
order's do (1e-6 of the largest output).
"""

import jax
import jax.numpy as jnp
import numpy as np

FEWEST_CHANNELS = 64
"""With fewer on either side the additions cost more than the products that they save."""
HALVINGS = 2
"""At most. A third makes 27 parts: a training step of pclr_resnet takes as long, and its compilation 13 s more."""


def conv(
    signal: jax.Array, kernel: jax.Array, *, stride: int = 1, pads: tuple[int, int]
) -> jax.Array:
    """[batch, time, in], [kernel, in, out] -> [batch, (time + sum(pads) - kernel) // stride + 1, out]."""
    layout = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(signal, kernel, (stride,), [pads], dimension_numbers=layout)


def fast_conv(signal: jax.Array, kernel: jax.Array, pads: tuple[int, int]) -> jax.Array:
    """`conv` of stride 1: [batch, time, in], [taps, in, out] -> [batch, time + sum(pads) - taps + 1, out]."""
    taps, inputs, outputs = kernel.shape
    halvings = _halvings(taps, inputs, outputs, signal.dtype, fewest_taps=1)
    if not halvings:
        return conv(signal, kernel, pads=pads)
    signals = _signal_parts(_padded(signal, taps, pads, halvings), halvings)
    kernels = _summed_parts(kernel, halvings, axis=0)
    parts = [conv(*pair, pads=(0, 0)) for pair in zip(signals, kernels, strict=True)]
    return _joined(parts, axis=1)[:, : signal.shape[1] + sum(pads) - taps + 1]


def fast_kernel_gradient(
    signal: jax.Array, slope: jax.Array, taps: int, pads: tuple[int, int]
) -> jax.Array:
    """What `slope` [batch, time', out], the gradient of `conv`'s output, makes of its kernel: [taps, in, out]."""
    # Parts of fewer than four taps take longer: they read as much for less work.
    halvings = _halvings(taps, signal.shape[-1], slope.shape[-1], signal.dtype, fewest_taps=4)
    if not halvings:
        return _kernel_gradient(signal, slope, pads)
    signal = _padded(signal, taps, pads, halvings)
    slope = jnp.pad(slope, ((0, 0), (0, -slope.shape[1] % 2**halvings), (0, 0)))
    parts = zip(
        _signal_parts(signal, halvings), _summed_parts(slope, halvings, axis=1), strict=True
    )
    return _joined([_kernel_gradient(*pair, (0, 0)) for pair in parts], axis=0)


def _kernel_gradient(signal: jax.Array, slope: jax.Array, pads: tuple[int, int]) -> jax.Array:
    """As a convolution in the one layout that XLA is fast with on a CPU; see `convolution.dense_conv`."""
    return conv(signal.transpose(2, 1, 0), slope.swapaxes(0, 1), pads=pads).swapaxes(0, 1)


def _halvings(taps: int, inputs: int, outputs: int, dtype: np.dtype, *, fewest_taps: int) -> int:
    """How often it pays to halve a kernel [taps, inputs, outputs]; never in bfloat16, whose differences are coarse."""
    if min(inputs, outputs) < FEWEST_CHANNELS or dtype != jnp.float32:
        return 0
    halvings = 0
    while halvings < HALVINGS and taps % 2 == 0 and taps // 2 >= fewest_taps:
        taps, halvings = taps // 2, halvings + 1
    return halvings


def _padded(signal: jax.Array, taps: int, pads: tuple[int, int], halvings: int) -> jax.Array:
    """With `pads`, and as many zeros behind as make all parts alike."""
    time = signal.shape[1]
    parts = 2**halvings
    length = -(-(time + sum(pads) - taps + 1) // parts) + taps // parts - 1  # of a part
    for _ in range(halvings):
        length = 2 * (length + 1)
    behind = length - time - pads[0]
    return jax.lax.pad(
        signal, jnp.zeros((), signal.dtype), ((0, 0, 0), (pads[0], behind, 0), (0, 0, 0))
    )


def _signal_parts(signal: jax.Array, halvings: int) -> list[jax.Array]:
    if not halvings:
        return [signal]
    even, odd = _halves(signal, axis=1)
    odd = odd[:, :-1]
    return [
        part
        for half in (odd, even[:, :-1] - odd, even[:, 1:] - odd)
        for part in _signal_parts(half, halvings - 1)
    ]


def _summed_parts(array: jax.Array, halvings: int, axis: int) -> list[jax.Array]:
    """Of a kernel, along its taps; and of an output's gradient, along time: the transpose of `_joined`."""
    if not halvings:
        return [array]
    even, odd = _halves(array, axis)
    return [
        part for half in (even + odd, even, odd) for part in _summed_parts(half, halvings - 1, axis)
    ]


def _joined(parts: list[jax.Array], axis: int) -> jax.Array:
    """An output from its parts along time, or a kernel's gradient along its taps: the transpose of `_summed_parts`."""
    if len(parts) == 1:
        return parts[0]
    third = len(parts) // 3
    both, even, odd = (
        _joined(parts[first : first + third], axis) for first in range(0, len(parts), third)
    )
    side_by_side = jnp.stack([both + even, both + odd], axis + 1)
    return side_by_side.reshape(*both.shape[:axis], -1, *both.shape[axis + 1 :])


def _halves(array: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """What is at even and at odd places along `axis`."""
    pairs = array.reshape(*array.shape[:axis], -1, 2, *array.shape[axis + 1 :])
    even, odd = (jax.lax.index_in_dim(pairs, place, axis + 1, keepdims=False) for place in (0, 1))
    return even, odd
