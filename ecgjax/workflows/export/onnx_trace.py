"""Conversion of a traced JAX function to an ONNX graph, one equation after the other.

Equations whose inputs are all known, such as those on weights alone, are computed at once.
Broadcasting is left to ONNX's operators where they can do it. Loops of `jax.lax.scan` become Scan.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from ecgjax.errors import InputError
from ecgjax.workflows.export import onnx_operations as operations
from ecgjax.workflows.export import onnx_products as products
from ecgjax.workflows.export.onnx_graph import BATCH, Complex, Graph, Value, constant

NESTED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Names of the parameter that holds the function of a call."""
INLINED = (
    "jit",
    "pjit",
    "closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "remat",
    "checkpoint",
)
"""Calls whose function becomes part of the graph."""
HANDLERS = {**operations.HANDLERS, **products.HANDLERS}
Input = Value | Complex


def trace(function: Callable, shape: tuple[int, ...], *, dynamic: bool) -> tuple[Graph, dict]:
    """Converts a function of one float32 array, called "signal" in the graph.

    Args:
      function: returns a dict of arrays.
      shape: shape of the array; its first size is replaced if the batch is dynamic.
      dynamic: the first dimension may have any size.

    Returns:
      The graph, and for each result the name of its value.

    Raises:
      InputError: the function has an operation that cannot be converted.
    """
    shape = (BATCH if dynamic else shape[0], *shape[1:])
    signal = jax.ShapeDtypeStruct(shape, jnp.float32)
    closed, results = jax.make_jaxpr(function, return_shape=True)(signal)
    graph = Graph(dynamic=dynamic)
    outputs = evaluate(graph, closed.jaxpr, closed.consts, [Value(shape, "signal")])
    avals = [variable.aval for variable in closed.jaxpr.outvars]
    names = [
        graph.name(_whole(graph, value, aval.shape))
        for value, aval in zip(outputs, avals, strict=True)
    ]
    graph.prune(names)
    return graph, dict(zip(sorted(results), names, strict=True))


def evaluate(
    graph: Graph, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Input]
) -> list[Input]:
    """Adds the equations of a function to a graph and returns the function's results."""
    known: dict[Any, Input] = dict(zip(jaxpr.invars, inputs, strict=True))
    known |= zip(jaxpr.constvars, map(constant, constants), strict=True)

    def read(variable: Any) -> Input:
        return constant(variable.val) if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        outputs = _convert(graph, equation, [read(variable) for variable in equation.invars])
        known |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _convert(graph: Graph, equation: Any, inputs: list[Input]) -> list[Input]:
    name = equation.primitive.name
    if all(0 in variable.aval.shape for variable in equation.outvars):
        return [constant(np.zeros(variable.aval.shape)) for variable in equation.outvars]
    if name in INLINED:
        inner = next(equation.params[key] for key in NESTED if key in equation.params)
        closed = inner if hasattr(inner, "jaxpr") else None
        constants = closed.consts if closed else []
        return evaluate(graph, closed.jaxpr if closed else inner, constants, inputs)
    if name == "scan":
        return _scan(graph, equation, inputs)
    if any(isinstance(value, Complex) or _is_complex(value) for value in inputs) or name == "fft":
        if not _computable(graph, equation, inputs):
            return _convert_complex(graph, equation, inputs)
    values: list[Value] = [value for value in inputs if isinstance(value, Value)]
    if _computable(graph, equation, values):
        return _compute(equation, values)
    if name in operations.ELEMENTWISE:
        return [operations.elementwise(graph, equation, values)]
    if name not in HANDLERS:
        raise InputError(f"ONNX has no {name} in this converter; give another --format")
    if name != "broadcast_in_dim":  # which needs no copies before it
        shapes = [variable.aval.shape for variable in equation.invars]
        values = [_whole(graph, *pair) for pair in zip(values, shapes, strict=True)]
    shapes = [variable.aval.shape for variable in equation.outvars]
    outputs = HANDLERS[name](graph, equation.params, values, shapes[0])
    return outputs if isinstance(outputs, list) else [outputs]


def _whole(graph: Graph, value: Any, shape: tuple[int, ...]) -> Value:
    return graph.expand(value, shape, "signal")


def _is_complex(value: Input) -> bool:
    return isinstance(value, Value) and value.array is not None and value.array.dtype.kind == "c"


def _computable(graph: Graph, equation: Any, inputs: Sequence[Input]) -> bool:
    """Returns whether all inputs are known and no output grows with the batch."""
    sizes = [size for variable in equation.outvars for size in variable.aval.shape]
    known = all(isinstance(value, Value) and value.array is not None for value in inputs)
    return known and not any(map(graph.varies, sizes)) and equation.primitive.name != "scan"


def _compute(equation: Any, values: Sequence[Value]) -> list[Input]:
    shapes = [variable.aval.shape for variable in equation.invars]
    types = [variable.aval.dtype for variable in equation.invars]
    arrays = [
        np.broadcast_to(value.array, shape).astype(dtype)
        for value, shape, dtype in zip(values, shapes, types, strict=True)
    ]
    outputs = equation.primitive.bind(*arrays, **equation.params)
    return [constant(output) for output in (outputs if isinstance(outputs, list) else [outputs])]


def _convert_complex(graph: Graph, equation: Any, inputs: list[Input]) -> list[Input]:
    name = equation.primitive.name
    pairs = [_as_complex(value) for value in inputs]
    if name not in ("mul", "broadcast_in_dim"):
        shapes = [variable.aval.shape for variable in equation.invars]
        pairs = [
            Complex(_whole(graph, pair.real, shape), _whole(graph, pair.imaginary, shape))
            for pair, shape in zip(pairs, shapes, strict=True)
        ]
    shape = equation.outvars[0].aval.shape
    if name == "fft":
        return [products.fourier(graph, equation.params, pairs[0])]
    if name == "mul":
        return [products.complex_product(graph, *pairs)]
    if name in ("real", "imag"):
        return [pairs[0].real if name == "real" else pairs[0].imaginary]
    if name in ("broadcast_in_dim", "reshape", "slice", "squeeze", "transpose", "pad"):
        halves = ([pair.real for pair in pairs], [pair.imaginary for pair in pairs])
        parts = (HANDLERS[name](graph, equation.params, half, shape) for half in halves)
        return [Complex(*parts)]
    raise InputError(f"ONNX has no {name} of complex numbers in this converter; see --format")


def _as_complex(value: Input) -> Complex:
    if isinstance(value, Complex):
        return value
    if value.array is None:
        return Complex(value, constant(np.zeros((1,) * len(value.shape), np.float32)))
    real = value.array.real.astype(np.float32)
    return Complex(constant(real), constant(value.array.imag.astype(np.float32)))


def _scan(graph: Graph, equation: Any, inputs: list[Input]) -> list[Input]:
    """Adds a loop. Results that nobody reads, such as those kept for a gradient, are left out."""
    from onnx import helper

    params = equation.params
    consts = params["num_consts"]
    carries = params["num_carry"]
    if params["reverse"]:
        raise InputError("ONNX has no reverse loop in this converter; give another --format")
    shapes = [variable.aval.shape for variable in equation.invars]
    whole = [_whole(graph, *pair) for pair in zip(inputs, shapes, strict=True)]
    body = Graph(graph)
    inner = params["jaxpr"].jaxpr
    given = [Value(variable.aval.shape, body.fresh()) for variable in inner.invars[consts:]]
    results = evaluate(body, inner, params["jaxpr"].consts, [*whole[:consts], *given])
    read = [
        place
        for place, variable in enumerate(equation.outvars)
        if place < carries or type(variable).__name__ != "DropVar"
    ]
    names = [body.fresh() for _ in read]
    for name, place in zip(names, read, strict=True):
        result = _whole(body, results[place], inner.outvars[place].aval.shape)
        body.nodes.append(helper.make_node("Identity", [body.name(result)], [name]))
    declared = functools.partial(operations.declared, graph)
    begins = [
        declared(value.name, variable.aval)
        for value, variable in zip(given, inner.invars[consts:], strict=True)
    ]
    ends = [
        declared(name, inner.outvars[place].aval) for name, place in zip(names, read, strict=True)
    ]
    outer = [graph.fresh() for _ in read]
    graph.nodes.append(
        helper.make_node(
            "Scan",
            [graph.name(value) for value in whole[consts:]],
            outer,
            body=helper.make_graph(body.nodes, "step", begins, ends),
            num_scan_inputs=len(given) - carries,
        )
    )
    outputs: list[Any] = [None] * len(equation.outvars)
    for name, place in zip(outer, read, strict=True):
        outputs[place] = Value(equation.outvars[place].aval.shape, name)
    return outputs
