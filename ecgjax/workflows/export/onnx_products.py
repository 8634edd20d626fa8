"""Matrix products, convolutions and Fourier transforms of JAX as nodes of ONNX."""

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from ecgjax.errors import InputError
from ecgjax.workflows.export.onnx_graph import Complex, Graph, Value, constant


def _dot(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    """Adds a product that sums over some dimensions and goes through others side by side."""
    (left_summed, right_summed), (left_batch, right_batch) = params["dimension_numbers"]
    left, right = values
    rows = _others(left, left_summed, left_batch)
    columns = _others(right, right_summed, right_batch)
    sides = [left.shape[axis] for axis in left_batch]
    summed = math.prod(left.shape[axis] for axis in left_summed)
    left = graph.transpose(left, (*left_batch, *rows, *left_summed))
    right = graph.transpose(right, (*right_batch, *right_summed, *columns))
    row_sizes = left.shape[len(sides) : len(left.shape) - len(left_summed)]
    column_sizes = right.shape[len(sides) + len(right_summed) :]
    if sides or len(right_summed) > 1 or not row_sizes:  # MatMul takes more rows than one axis
        left = graph.reshape(left, (*sides, math.prod(row_sizes), summed))
    right = graph.reshape(right, (*sides, summed, math.prod(column_sizes)))
    (name,) = graph.node("MatMul", graph.name(left), graph.name(right))
    return graph.reshape(Value((*left.shape[:-1], right.shape[-1]), name), shape)


def _others(value: Value, *used: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(len(value.shape)) if not any(axis in axes for axes in used))


def _convolve(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    """Adds a convolution over time."""
    numbers = params["dimension_numbers"]
    if params["batch_group_count"] != 1 or len(shape) != 3:
        raise InputError("ONNX has no such convolution in this converter; give another --format")
    signal = graph.transpose(values[0], numbers.lhs_spec)  # [batch, channel, time]
    kernel = graph.transpose(values[1], numbers.rhs_spec)  # [out, in, tap]
    signal = _spread(graph, signal, *params["lhs_dilation"])
    (padding,) = params["padding"]
    name = graph.name(signal)
    if min(padding) < 0:
        pads = graph.integers((0, 0, padding[0], 0, 0, padding[1]))
        (name,) = graph.node("Pad", name, pads)
        padding = (0, 0)
    (name,) = graph.node(
        "Conv",
        name,
        graph.name(kernel),
        kernel_shape=kernel.shape[2:],
        strides=tuple(params["window_strides"]),
        dilations=tuple(params["rhs_dilation"]),
        pads=tuple(padding),
        group=params["feature_group_count"],
    )
    channel_major = tuple(shape[axis] for axis in numbers.out_spec)
    return graph.transpose(Value(channel_major, name), np.argsort(numbers.out_spec).tolist())


def _spread(graph: Graph, signal: Value, distance: int) -> Value:
    """Adds zeros between the samples of a signal [batch, channel, time]."""
    if distance == 1:
        return signal
    batch, channels, time = signal.shape
    column = graph.reshape(signal, (batch, channels, time, 1))
    pads = graph.integers((0,) * 7 + (distance - 1,))
    (name,) = graph.node("Pad", graph.name(column), pads)
    wide = graph.reshape(
        Value((batch, channels, time, distance), name), (batch, channels, time * distance)
    )
    limits = map(graph.integers, ([0], [(time - 1) * distance + 1], [2]))
    (name,) = graph.node("Slice", graph.name(wide), *limits)
    return Value((batch, channels, (time - 1) * distance + 1), name)


def fourier(graph: Graph, params: dict, value: Complex) -> Value | Complex:
    """Adds a Fourier transform of real signals along the last axis, or its inverse.

    It is a matrix product. ONNX's own transform has more dimensions and is not faster for the
    lengths that encoders use.

    Raises:
      InputError: the transform has another kind or several axes.
    """
    kind = jax.lax.FftType(params["fft_type"]).name
    if kind not in ("RFFT", "IRFFT") or len(params["fft_lengths"]) != 1:
        raise InputError(f"ONNX has no {kind} in this converter; give another --format")
    (length,) = params["fft_lengths"]
    frequencies = np.arange(length // 2 + 1)
    turns = np.outer(np.arange(length), frequencies) % length
    wave = np.exp(-2j * np.pi * turns / length)
    if kind == "RFFT":
        return Complex(*(_times(graph, value.real, half) for half in (wave.real, wave.imag)))
    # All frequencies but zero and the highest one stand for a pair.
    weight = np.where((frequencies == 0) | (2 * frequencies == length), 1, 2) / length
    wave = (wave * weight).T
    real = _times(graph, value.real, wave.real)
    imaginary = _times(graph, value.imaginary, wave.imag)
    return graph.add(real.shape, "Add", graph.name(real), graph.name(imaginary))


def _times(graph: Graph, value: Value, matrix: np.ndarray) -> Value:
    names = (graph.name(value), graph.name(constant(matrix.astype(np.float32))))
    return graph.add((*value.shape[:-1], matrix.shape[1]), "MatMul", *names)


def complex_product(graph: Graph, left: Complex, right: Complex) -> Complex:
    """Adds the product of two complex arrays."""

    def combine(operator: str, first: list[str], second: list[str]) -> list[str]:
        return graph.node(operator, *first, *second)

    a, b, c, d = map(graph.name, (left.real, left.imaginary, right.real, right.imaginary))
    real = combine("Sub", graph.node("Mul", a, c), graph.node("Mul", b, d))
    imaginary = combine("Add", graph.node("Mul", a, d), graph.node("Mul", b, c))
    shape = np.broadcast_shapes(left.real.shape, right.real.shape)
    return Complex(Value(shape, *real), Value(shape, *imaginary))


HANDLERS: dict[str, Callable] = {"dot_general": _dot, "conv_general_dilated": _convolve}
