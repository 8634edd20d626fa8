"""Parses the text of a compiled program (HLO): collectives, memory traffic and estimated cycles.

`compiled.cost_analysis()` does not report collectives, counts the body of a loop once, and counts a
table look-up as gigabytes of traffic. The text contains all of this, and the number of iterations
of a loop.
"""

import dataclasses
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "while",
    "conditional",
    "call",
    "after-all",
}
_SLICES = {"slice", "dynamic-slice", "gather"}
_UPDATE = "dynamic-update-slice"

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(
    r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*?)\)(?:, |$)(.*)"
)
_ARRAY = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\](\{[^}]*\})?")
_CALLED = re.compile(r"\b(?:calls|body|to_apply|branch_computations)=\{?((?:%?[\w.\-]+(?:, )?)+)")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective operation, which every device runs.

    Attributes:
      kind: one of `COLLECTIVES`.
      size: bytes of its result on one device.
    """

    kind: str
    size: int


@dataclasses.dataclass(frozen=True)
class Program:
    """The work of one device in one run of a program.

    Attributes:
      collectives: the number of runs of each collective.
      traffic_bytes: bytes read from and written to HBM, with padding; data in VMEM (memory space
        S(1)) does not count.
      cycles: sum of the compiler's estimates, which leave out collectives, copies and custom calls.
      unbounded_loops: number of loops whose length the compiler does not know; their bodies count
        once.
    """

    collectives: Counter[Collective]
    traffic_bytes: int
    cycles: int
    unbounded_loops: int


@dataclasses.dataclass(frozen=True)
class _Instruction:
    root: bool
    name: str
    shape: str
    opcode: str
    operands: list[str]
    attributes: str

    @property
    def called(self) -> list[str]:
        names = (
            name.strip(" %")
            for match in _CALLED.finditer(self.attributes)
            for name in match[1].split(",")
        )
        return [name for name in names if name]


_Computations = dict[str, dict[str, _Instruction]]


def parse_program(text: str) -> Program:
    """Parses the text that `compiled.as_text()` returns."""
    computations, entry = _parse(text)
    collectives: Counter[Collective] = Counter()
    traffic = 0
    cycles = 0
    unbounded_loops = 0
    for instruction, scope, times, fused in _executed(computations, entry, 1):
        if collective := _collective(instruction):
            collectives[collective] += times
        if instruction.opcode == "while":
            unbounded_loops += _iterations(instruction, computations) is None
        if not fused:
            estimated = _CYCLES.search(instruction.attributes)
            cycles += times * int(estimated[1]) if estimated else 0
            traffic += times * _traffic(instruction, computations[scope], computations)
    return Program(collectives, traffic, cycles, unbounded_loops)


def shape_bytes(shape: str) -> int:
    """Returns the bytes of an array or tuple type in HLO, without padding.

    "(f32[64,128]{1,0:T(8,128)}, bf16[8]{0})" has 32,784.
    """
    return sum(math.prod(sizes) * width for sizes, width, _ in _arrays(shape))


def hbm_bytes(shape: str) -> int:
    """Returns the bytes of HBM that a type takes, padded to its tiles.

    "f32[2,12]{1,0:T(8,128)}" takes 4096; an array in VMEM (S(1)) takes none.
    """
    return sum(
        math.prod(_padded(sizes, layout)) * width
        for sizes, width, layout in _arrays(shape)
        if "S(" not in layout
    )


def _arrays(shape: str) -> Iterator[tuple[list[int], int, str]]:
    for _, bits, sizes, layout in _ARRAY.findall(shape):
        yield [int(size) for size in sizes.split(",") if size], max(1, int(bits or 8) // 8), layout


def _padded(sizes: list[int], layout: str) -> list[int]:
    """Rounds sizes up to the layout's tile: {2,0,1:T(8,128)} tiles axis 2 by 128, axis 0 by 8."""
    tile = re.search(r"T\(([\d,]+)\)", layout)
    if not tile:
        return sizes
    lanes_first = [int(size) for size in reversed(tile[1].split(","))]
    axes = [int(axis) for axis in layout[1 : layout.index(":")].split(",") if axis]
    padded = list(sizes)
    for axis, size in zip(axes, lanes_first, strict=False):
        padded[axis] = -(-sizes[axis] // size) * size
    return padded


def _parse(text: str) -> tuple[_Computations, str]:
    """Returns the instructions by computation and name, and the name of the entry computation."""
    computations: _Computations = {}
    entry = ""
    scope: dict[str, _Instruction] = {}
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            scope = computations.setdefault(match[1], {})
            entry = match[1] if line.startswith("ENTRY") else entry
        elif match := _INSTRUCTION.match(line):
            root, name, shape, opcode, operands, attributes = match.groups()
            names = re.findall(r"%([\w.\-]+)", operands)
            scope[name] = _Instruction(
                bool(root), name, shape, opcode, names or [operands], attributes
            )
    return computations, entry


def _executed(
    computations: _Computations, name: str, times: int, fused: bool = False
) -> Iterator[tuple[_Instruction, str, int, bool]]:
    """Yields (instruction, its computation, number of runs, is it inside a fusion) of a program."""
    for instruction in computations.get(name, {}).values():
        yield instruction, name, times, fused
        # The update and the end of an asynchronous call name the same computation as its start.
        if instruction.opcode in ("async-update", "async-done") or _is_reduce_scatter(instruction):
            continue
        loop = instruction.opcode == "while"
        repeated = times * (_iterations(instruction, computations) or 1) if loop else times
        inside = fused or instruction.opcode not in ("while", "conditional", "call", "async-start")
        for called in instruction.called:
            yield from _executed(computations, called, repeated, inside)


def _iterations(loop: _Instruction, computations: _Computations) -> int | None:
    """Returns the number of iterations of a loop, None if it is unknown.

    It is the compiler's note, or n if the loop runs while its counter is below a constant n:
    jax.lax.scan and fori_loop count from 0 in steps of 1, and the TPU's compiler often drops the
    note.
    """
    if note := _TRIP_COUNT.search(loop.attributes):
        return int(note[1])
    condition = _CONDITION.search(loop.attributes)
    scope = computations.get(condition[1], {}) if condition else {}
    root = next((instruction for instruction in scope.values() if instruction.root), None)
    if root is None or root.opcode != "compare" or "direction=LT" not in root.attributes:
        return None
    bound = scope.get(root.operands[-1])
    if bound is None or bound.opcode != "constant" or not bound.operands[0].isdigit():
        return None
    return int(bound.operands[0])


def _is_reduce_scatter(instruction: _Instruction) -> bool:
    # The TPU's compiler writes a reduce-scatter as an all-reduce fused with the slicing of its
    # result.
    return instruction.opcode == "fusion" and instruction.called[0].startswith("all-reduce-scatter")


def _collective(instruction: _Instruction) -> Collective | None:
    if _is_reduce_scatter(instruction):
        return Collective("reduce-scatter", shape_bytes(instruction.shape))
    kind = instruction.opcode.removesuffix("-done")
    # The end of an asynchronous collective has the shape of the result; its start adds operands and
    # flags.
    return Collective(kind, shape_bytes(instruction.shape)) if kind in COLLECTIVES else None


def _traffic(
    instruction: _Instruction, scope: dict[str, _Instruction], computations: _Computations
) -> int:
    """Returns the bytes of HBM that an instruction reads and writes."""
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith(("-done", "-update")):
        return 0
    if opcode == "slice-start":  # fetches a piece of a weight into VMEM before it is used
        return shape_bytes(instruction.shape.split("}), ")[-1])
    if opcode.endswith("-start"):  # its type contains both the operands and the results
        return hbm_bytes(instruction.shape)
    fusion = computations.get(instruction.called[0]) if opcode == "fusion" else None
    result = hbm_bytes(instruction.shape)
    total = min(result, _bytes_written(fusion)) if fusion else result
    for index, name in enumerate(instruction.operands):
        size = hbm_bytes(scope[name].shape) if name in scope else 0
        if size and opcode in _SLICES:
            size = min(size, result)
        total += min(size, _bytes_read(fusion, index)) if size and fusion else size
    return total


def _bytes_read(fusion: dict[str, _Instruction], index: int) -> int:
    """Returns the bytes that a fusion reads of an operand: only its slices, if it uses no more."""
    parameter = next(
        instruction
        for instruction in fusion.values()
        if instruction.opcode == "parameter" and instruction.operands == [str(index)]
    )
    size = 0
    for user in fusion.values():
        if parameter.name in user.operands and user.opcode != "parameter":
            first = user.operands.index(parameter.name) == 0
            if not (first and user.opcode in {*_SLICES, _UPDATE}):
                return sys.maxsize
            size += 0 if user.opcode == _UPDATE else hbm_bytes(user.shape)
    return size


def _bytes_written(fusion: dict[str, _Instruction]) -> int:
    """Returns the bytes that a fusion writes: only the piece, if it updates one in place."""
    root = next(instruction for instruction in fusion.values() if instruction.root)
    return hbm_bytes(fusion[root.operands[1]].shape) if root.opcode == _UPDATE else sys.maxsize
