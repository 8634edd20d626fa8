"""Convolutions over time with fewer products than taps, for CPUs.

On a CPU the products are the cost of a convolution with many channels. The fast FIR algorithm (Mou
& Duhamel 1991, IEEE Trans. Signal Processing 39(6):1322) splits a signal into even and odd samples
x0, x1 and a kernel into even and odd taps h0, h1. The even and odd outputs are

    y0 = (h0 + h1) * x1 + h0 * (x0 - x1)
    y1 = (h0 + h1) * x1 + h1 * (x0' - x1)        x0'[n] = x0[n + 1]

These are three convolutions of half the taps over half the samples, instead of four. Each of them
can be halved again: two halvings need 9 products per sample for 16 taps. Signal, kernel and output
then have 3 ** halvings parts, in the order of the products above. The sums are taken in another
order than in a plain convolution, and differ by rounding (1e-6 of the largest output).
"""

import jax
import jax.numpy as jnp
import numpy as np

FEWEST_CHANNELS = 64
"""Fewest input and output channels; with fewer, the additions cost more than the saved products."""
MOST_HALVINGS = 2
"""Most halvings. A third makes 27 parts: a training step of pclr_resnet takes as long, and its
compilation takes 13 s more."""


def conv1d(
    signal: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: tuple[int, int]
) -> jax.Array:
    """Plain convolution over time.

    Args:
      signal: [batch, time, in].
      kernel: [taps, in, out].
      stride: samples from one output to the next.
      padding: zeros before and after the signal.

    Returns:
      [batch, (time + sum(padding) - taps) // stride + 1, out].
    """
    return jax.lax.conv_general_dilated(
        signal, kernel, (stride,), [padding], dimension_numbers=("NWC", "WIO", "NWC")
    )


def fast_conv1d(signal: jax.Array, kernel: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """`conv1d` of stride 1 with fewer products.

    Args:
      signal: [batch, time, in].
      kernel: [taps, in, out].
      padding: zeros before and after the signal.

    Returns:
      [batch, time + sum(padding) - taps + 1, out].
    """
    taps, inputs, outputs = kernel.shape
    halvings = _halvings(taps, inputs, outputs, signal.dtype, fewest_taps=1)
    if not halvings:
        return conv1d(signal, kernel, padding=padding)
    signals = _signal_parts(_pad(signal, taps, padding, halvings), halvings)
    kernels = _summed_parts(kernel, halvings, axis=0)
    parts = [conv1d(*pair, padding=(0, 0)) for pair in zip(signals, kernels, strict=True)]
    return _join(parts, axis=1)[:, : signal.shape[1] + sum(padding) - taps + 1]


def fast_kernel_gradient(
    signal: jax.Array, output_gradient: jax.Array, taps: int, padding: tuple[int, int]
) -> jax.Array:
    """Gradient of the kernel of `conv1d` of stride 1, with fewer products.

    Args:
      signal: [batch, time, in].
      output_gradient: [batch, time', out], the gradient of the output.
      taps: kernel size.
      padding: zeros before and after the signal.

    Returns:
      [taps, in, out].
    """
    # Parts of fewer than four taps take longer: they read as much for fewer products.
    halvings = _halvings(
        taps, signal.shape[-1], output_gradient.shape[-1], signal.dtype, fewest_taps=4
    )
    if not halvings:
        return _kernel_gradient(signal, output_gradient, padding)
    signal = _pad(signal, taps, padding, halvings)
    missing = -output_gradient.shape[1] % 2**halvings
    output_gradient = jnp.pad(output_gradient, ((0, 0), (0, missing), (0, 0)))
    signals = _signal_parts(signal, halvings)
    gradients = _summed_parts(output_gradient, halvings, axis=1)
    pairs = zip(signals, gradients, strict=True)
    return _join([_kernel_gradient(*pair, (0, 0)) for pair in pairs], axis=0)


def _kernel_gradient(
    signal: jax.Array, output_gradient: jax.Array, padding: tuple[int, int]
) -> jax.Array:
    """Kernel gradient as a convolution in XLA's fast layout for CPUs; see `dense_conv`."""
    inputs = signal.transpose(2, 1, 0)
    gradients = output_gradient.swapaxes(0, 1)
    return conv1d(inputs, gradients, padding=padding).swapaxes(0, 1)


def _halvings(taps: int, inputs: int, outputs: int, dtype: np.dtype, *, fewest_taps: int) -> int:
    """Returns how many halvings of a kernel [taps, inputs, outputs] save time.

    None in bfloat16, because the differences of samples would be too coarse.
    """
    if min(inputs, outputs) < FEWEST_CHANNELS or dtype != jnp.float32:
        return 0
    halvings = 0
    while halvings < MOST_HALVINGS and taps % 2 == 0 and taps // 2 >= fewest_taps:
        taps = taps // 2
        halvings += 1
    return halvings


def _pad(signal: jax.Array, taps: int, padding: tuple[int, int], halvings: int) -> jax.Array:
    """Pads a signal by `padding`, and at its end so that all parts have the same length."""
    before, _ = padding
    time = signal.shape[1]
    parts = 2**halvings
    length = -(-(time + sum(padding) - taps + 1) // parts) + taps // parts - 1  # of a part
    for _ in range(halvings):
        length = 2 * (length + 1)
    after = length - time - before
    zero = jnp.zeros((), signal.dtype)
    return jax.lax.pad(signal, zero, ((0, 0, 0), (before, after, 0), (0, 0, 0)))


def _signal_parts(signal: jax.Array, halvings: int) -> list[jax.Array]:
    if not halvings:
        return [signal]
    even, odd = _even_odd(signal, axis=1)
    odd = odd[:, :-1]
    return [
        part
        for half in (odd, even[:, :-1] - odd, even[:, 1:] - odd)
        for part in _signal_parts(half, halvings - 1)
    ]


def _summed_parts(array: jax.Array, halvings: int, axis: int) -> list[jax.Array]:
    """Splits a kernel along its taps, or an output gradient along time; transpose of `_join`."""
    if not halvings:
        return [array]
    even, odd = _even_odd(array, axis)
    return [
        part for half in (even + odd, even, odd) for part in _summed_parts(half, halvings - 1, axis)
    ]


def _join(parts: list[jax.Array], axis: int) -> jax.Array:
    """Joins parts of an output along time, or of a kernel gradient along its taps.

    It is the transpose of `_summed_parts`.
    """
    if len(parts) == 1:
        return parts[0]
    third = len(parts) // 3
    both, even, odd = (
        _join(parts[first : first + third], axis) for first in range(0, len(parts), third)
    )
    interleaved = jnp.stack([both + even, both + odd], axis + 1)
    return interleaved.reshape(*both.shape[:axis], -1, *both.shape[axis + 1 :])


def _even_odd(array: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Returns the elements with an even and with an odd index along `axis`."""
    pairs = array.reshape(*array.shape[:axis], -1, 2, *array.shape[axis + 1 :])
    even = jax.lax.index_in_dim(pairs, 0, axis + 1, keepdims=False)
    odd = jax.lax.index_in_dim(pairs, 1, axis + 1, keepdims=False)
    return even, odd
