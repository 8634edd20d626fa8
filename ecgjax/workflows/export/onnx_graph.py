"""An ONNX graph under construction: nodes, constants, and values with known or assumed shapes.

Sizes are those of a trace with a batch of BATCH recordings, a large prime number: a dimension that
is a multiple of it grows with the batch. Arrays of int16 become int32, because ONNX Runtime has no
comparisons and limits of int16.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

BATCH = 7919
"""Batch of a trace whose batch may vary."""


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """An array in the graph: a constant, or the output of a node.

    Its shape may have ones where the array has more: ONNX broadcasts by itself where it matters.
    """

    shape: tuple[int, ...]
    name: str = ""
    array: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Complex:
    """A complex array as two real ones: ONNX's operators take none."""

    real: Value
    imaginary: Value


def constant(array: Any) -> Value:
    """Returns a known value."""
    array = np.asarray(array)
    if array.dtype in (np.int16, np.int8):
        array = array.astype(np.int32)
    return Value(array.shape, array=array)


class Graph:
    """Nodes of a graph or of the body of a loop; equal nodes become one."""

    def __init__(self, outer: "Graph | None" = None, *, dynamic: bool = True):
        self.nodes: list[Any] = []
        self.initializers: list[Any] = [] if outer is None else outer.initializers
        self.dynamic = dynamic if outer is None else outer.dynamic
        self._outer = outer
        self._known: dict[Any, Any] = {}
        self._counter: list[int] = [0] if outer is None else outer._counter

    def fresh(self) -> str:
        """Returns a name that no array has."""
        self._counter[0] += 1
        return f"v{self._counter[0]}"

    def name(self, value: Value) -> str:
        """Returns the name of a value; a constant becomes an initializer."""
        if value.array is None:
            return value.name
        if self._outer is not None:
            return self._outer.name(value)
        from onnx import numpy_helper

        array = np.ascontiguousarray(value.array).reshape(value.array.shape)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.fresh()
            self.initializers.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes) -> list[str]:
        """Adds a node, unless there is an equal one, and returns the names of its outputs."""
        from onnx import helper

        key = (operator, inputs, outputs, tuple(sorted(attributes.items())))
        known = self._find(key)
        if known is None:
            known = [self.fresh() for _ in range(outputs)]
            self._known[key] = known
            self.nodes.append(helper.make_node(operator, inputs, known, **attributes))
        return known

    def add(self, shape: Sequence[int], operator: str, *inputs: str, **attributes) -> Value:
        """Adds a node with one output of the given shape; see `node`."""
        return Value(tuple(shape), self.node(operator, *inputs, **attributes)[0])

    def _find(self, key: Any) -> list[str] | None:
        outer = None if self._outer is None else self._outer._find(key)
        return self._known.get(key, outer)

    def prune(self, results: Sequence[str]) -> None:
        """Removes the nodes and constants that no result depends on."""
        needed = set(results)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed |= _names_read(node)
        self.nodes = kept[::-1]
        self.initializers = [array for array in self.initializers if array.name in needed]

    def varies(self, size: int) -> bool:
        """Returns whether a dimension of this size grows with the batch."""
        return self.dynamic and size > 0 and size % BATCH == 0

    def integers(self, numbers: Sequence[int]) -> str:
        """Returns the name of a constant int64 [number]."""
        return self.name(constant(np.array(numbers, np.int64)))

    def sizes(self, shape: Sequence[int], batch: str) -> str:
        """Returns the name of a shape, int64 [dimension], with the batch of the input `batch`."""
        if not any(map(self.varies, shape)):
            return self.integers(shape)
        (whole,) = self.node("Shape", batch, start=0, end=1)
        parts = []
        for size in shape:
            if not self.varies(size):
                parts.append(self.integers([size]))
            elif size == BATCH:
                parts.append(whole)
            else:
                parts += self.node("Mul", whole, self.integers([size // BATCH]))
        (sizes,) = self.node("Concat", *parts, axis=0)
        return sizes

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """Gives a value another shape of the same size."""
        shape = tuple(shape)
        if value.shape == shape:
            return value
        if value.array is not None:
            return constant(value.array.reshape(shape))
        sizes = self.integers([-1 if self.varies(size) else size for size in shape])
        return self.add(shape, "Reshape", self.name(value), sizes)

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        """Changes the order of the dimensions, unless it is right."""
        order = tuple(map(int, order))
        if order == tuple(range(len(order))):
            return value
        if value.array is not None:
            return constant(value.array.transpose(order))
        shape = [value.shape[axis] for axis in order]
        return self.add(shape, "Transpose", self.name(value), perm=order)

    def expand(self, value: Value, shape: Sequence[int], batch: str) -> Value:
        """Repeats a value along its dimensions of size one until it has the shape."""
        shape = tuple(shape)
        if value.shape == shape:
            return value
        value = self.reshape(value, (1,) * (len(shape) - len(value.shape)) + value.shape)
        if value.array is not None and not any(map(self.varies, shape)):
            return constant(np.broadcast_to(value.array, shape))
        pairs = zip(shape, value.shape, strict=True)
        repeated = [1 if size == own else size for size, own in pairs]
        return self.add(shape, "Expand", self.name(value), self.sizes(repeated, batch))


def _names_read(node: Any) -> set[str]:
    """Returns the names that a node reads, and the nodes in its body if it is a loop."""
    inner = [part for attribute in node.attribute for part in attribute.g.node]
    return set(node.input).union(*map(_names_read, inner))
