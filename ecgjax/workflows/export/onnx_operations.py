"""Operations of JAX as nodes of ONNX (operator set 18).

A handler takes the graph, the parameters of the JAX operation, its inputs and the shape of its
output. https://onnx.ai/onnx/operators lists the operators.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ecgjax.errors import InputError
from ecgjax.workflows.export.onnx_graph import Graph, Value, constant

ELEMENTWISE = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "sqrt": "Sqrt",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "neg": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "and": "And",
    "or": "Or",
    "not": "Not",
    "copy": "Identity",
    "stop_gradient": "Identity",
    "ne": "",
    "rsqrt": "",
    "square": "",
    "integer_pow": "",
    "select_n": "",
    "clamp": "",
    "is_finite": "",
    "convert_element_type": "",
}
"""The operator of each operation on single values; "" for those that need several."""
REDUCTIONS = {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_or": "ReduceMax",
    "reduce_and": "ReduceMin",
}


def element_type(dtype: Any) -> int:
    """Returns ONNX's number of a type; integers below 32 bits are int32."""
    from onnx import helper

    dtype = np.dtype(dtype)
    return helper.np_dtype_to_tensor_dtype(
        np.dtype(np.int32) if dtype in (np.int8, np.int16) else dtype
    )


def declared(graph: Graph, name: str, aval: Any) -> Any:
    """Returns the declaration of an input or output, with a free size where the batch matters."""
    from onnx import helper

    sizes = ["batch" if graph.varies(size) else size for size in aval.shape]
    return helper.make_tensor_value_info(name, element_type(aval.dtype), sizes)


def elementwise(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    """Adds an operation on single values, whose inputs ONNX broadcasts."""
    operation = equation.primitive.name
    names = [graph.name(value) for value in values]
    shape = np.broadcast_shapes(*(value.shape for value in values))
    if operator := ELEMENTWISE[operation]:
        return graph.add(shape, operator, *names)
    if operation == "ne":
        return graph.add(shape, "Not", *graph.node("Equal", *names))
    if operation == "rsqrt":
        return graph.add(shape, "Reciprocal", *graph.node("Sqrt", *names))
    if operation == "square":
        return graph.add(shape, "Mul", names[0], names[0])
    if operation == "integer_pow":
        return Value(shape, *_integer_power(graph, names[0], equation.params["y"]))
    if operation == "select_n":
        return graph.add(shape, "Where", names[0], names[2], names[1])
    if operation == "clamp":
        return graph.add(shape, "Min", *graph.node("Max", names[1], names[0]), names[2])
    if operation == "is_finite":
        infinite = graph.node("IsInf", *names) + graph.node("IsNaN", *names)
        return graph.add(shape, "Not", *graph.node("Or", *infinite))
    number = element_type(equation.params["new_dtype"])
    return graph.add(shape, "Cast", *names, to=number)


def _integer_power(graph: Graph, name: str, power: int) -> list[str]:
    if power < 0:
        return graph.node("Reciprocal", *_integer_power(graph, name, -power))
    product = [name]
    for _ in range(power - 1):
        product = graph.node("Mul", *product, name)
    return product


def _reshape(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    return graph.reshape(values[0], shape)


def _ordered_reshape(
    graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]
) -> Value:
    order = params["dimensions"]  # made by jax.vmap
    value = values[0] if order is None else graph.transpose(values[0], order)
    return graph.reshape(value, shape)


def _broadcast(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    """Adds dimensions of size one only; `Graph.expand` repeats where it is needed."""
    (value,) = values
    if not value.shape and not params["broadcast_dimensions"]:
        return graph.reshape(value, (1,) * len(shape))
    places = dict(zip(params["broadcast_dimensions"], value.shape, strict=True))
    return graph.reshape(value, [places.get(axis, 1) for axis in range(len(shape))])


def _transpose(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    return graph.transpose(values[0], params["permutation"])


def _concatenate(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    names = [graph.name(value) for value in values if 0 not in value.shape]
    return graph.add(shape, "Concat", *names, axis=params["dimension"])


def _stack(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    axis = params["axis"]
    wide = [graph.reshape(value, (*value.shape[:axis], 1, *value.shape[axis:])) for value in values]
    return _concatenate(graph, {"dimension": axis}, wide, shape)


def _split(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> list[Value]:
    axis = params["axis"]
    sizes = params["sizes"]
    names = graph.node(
        "Split",
        graph.name(values[0]),
        graph.integers(sizes),
        outputs=len(sizes),
        axis=axis,
    )
    return [
        Value((*shape[:axis], size, *shape[axis + 1 :]), name)
        for size, name in zip(sizes, names, strict=True)
    ]


def _pad(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    before, after, between = zip(*params["padding_config"], strict=True)
    if any(between):
        raise InputError("ONNX has no padding between samples in this converter; see --format")
    value, fill = map(graph.name, values)
    return graph.add(shape, "Pad", value, graph.integers((*before, *after)), fill)


def _slice(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    value = values[0]
    strides = params["strides"] or (1,) * len(shape)
    limits = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    cut = [
        (axis, *limit) for axis, limit in enumerate(limits) if limit != (0, value.shape[axis], 1)
    ]
    if not cut:
        return value
    axes, starts, ends, steps = map(graph.integers, zip(*cut, strict=True))
    return graph.add(shape, "Slice", graph.name(value), starts, ends, axes, steps)


def _reverse(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    axes = params["dimensions"]
    lists = ([-1] * len(axes), [np.iinfo(np.int64).min] * len(axes), axes, [-1] * len(axes))
    return graph.add(shape, "Slice", graph.name(values[0]), *map(graph.integers, lists))


def _gather(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    """Takes places along one axis: known ones, such as the leads of an encoder, or of a vector."""
    value, places = values
    numbers = params["dimension_numbers"]
    axes = numbers.start_index_map
    taken = places.array
    plain = len(axes) == 1 and numbers.collapsed_slice_dims == axes
    vector = len(value.shape) == 1
    if not plain or numbers.operand_batching_dims or not (vector or taken is not None):
        raise InputError("ONNX has no such gather in this converter; give another --format")
    if vector:
        chosen = graph.name(graph.reshape(places, shape))
    else:
        chosen = graph.integers(taken[:, 0].tolist())
    return graph.add(shape, "Gather", graph.name(value), chosen, axis=axes[0])


def _sort(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    axis = params["dimension"]
    if len(values) > 1:
        raise InputError("ONNX has no sort by keys in this converter; give another --format")
    names = (graph.name(values[0]), graph.integers([shape[axis]]))
    return Value(shape, graph.node("TopK", *names, outputs=2, axis=axis, largest=0)[0])


def _numbers(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
    axis = params["dimension"]
    if graph.varies(shape[axis]):
        raise InputError("ONNX has no numbers of the batch in this converter; see --format")
    column = np.arange(shape[axis], dtype=params["dtype"])
    return constant(column.reshape([-1 if place == axis else 1 for place in range(len(shape))]))


def reduction(operation: str) -> Callable:
    """Returns the handler of a reduction over axes."""

    def reduce(graph: Graph, params: dict, values: list[Value], shape: tuple[int, ...]) -> Value:
        names = [graph.name(values[0])]
        logical = operation in ("reduce_or", "reduce_and")
        if logical:
            names = graph.node("Cast", *names, to=element_type(np.int32))
        axes = graph.integers(params["axes"])
        names = graph.node(REDUCTIONS[operation], *names, axes, keepdims=0)
        return Value(
            shape, *(graph.node("Cast", *names, to=element_type(bool)) if logical else names)
        )

    return reduce


HANDLERS: dict[str, Callable] = {
    "reshape": _ordered_reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "pad": _pad,
    "slice": _slice,
    "rev": _reverse,
    "gather": _gather,
    "sort": _sort,
    "iota": _numbers,
    **{operation: reduction(operation) for operation in REDUCTIONS},
}
