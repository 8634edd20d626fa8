"""Reads a compiled program's text (HLO): its collectives, its memory traffic, and the compiler's own count of cycles.

`compiled.cost_analysis()` knows nothing of collectives, counts the body of a loop once, and takes a table look-up for
gigabytes of traffic; the text has it all, with the number of times that a loop runs.
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
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program, as every device runs it.

    Attributes:
      kind: one of `COLLECTIVES`.
      size: bytes of its result on one device.
    """

    kind: str
    size: int


@dataclasses.dataclass(frozen=True)
class Program:
    """What one device does in one run.

    Attributes:
      collectives: each with the number of times it is run.
      traffic_bytes: read from and written to HBM, padding included; what stays in VMEM (memory space S(1)) is none.
      cycles: the compiler's estimates, added up. Collectives, copies and custom calls have none.
      endless: loops whose length the compiler does not know; their bodies count once.
    """

    collectives: Counter[Collective]
    traffic_bytes: int
    cycles: int
    endless: int


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


def read(text: str) -> Program:
    """The program that `compiled.as_text()` gives."""
    computations, entry = _parse(text)
    collectives: Counter[Collective] = Counter()
    traffic = cycles = endless = 0
    for instruction, scope, times, fused in _executed(computations, entry, 1):
        if collective := _collective(instruction):
            collectives[collective] += times
        if instruction.opcode == "while":
            endless += _trips(instruction, computations) is None
        if not fused:
            found = _CYCLES.search(instruction.attributes)
            cycles += times * int(found[1]) if found else 0
            traffic += times * _traffic(instruction, computations[scope], computations)
    return Program(collectives, traffic, cycles, endless)


def shape_bytes(shape: str) -> int:
    """Bytes of an array or tuple type as HLO writes it: "(f32[64,128]{1,0:T(8,128)}, bf16[8]{0})" has 32,784."""
    return sum(math.prod(sizes) * width for sizes, width, _ in _arrays(shape))


def hbm_bytes(shape: str) -> int:
    """Bytes of HBM that a type takes, padded to its tiles: "f32[2,12]{1,0:T(8,128)}" has 4096, in VMEM (S(1)) none."""
    return sum(
        math.prod(_padded(sizes, layout)) * width
        for sizes, width, layout in _arrays(shape)
        if "S(" not in layout
    )


def _arrays(shape: str) -> Iterator[tuple[list[int], int, str]]:
    for _, bits, sizes, layout in _ARRAY.findall(shape):
        yield [int(size) for size in sizes.split(",") if size], max(1, int(bits or 8) // 8), layout


def _padded(sizes: list[int], layout: str) -> list[int]:
    """Sizes rounded up to the layout's tile: {2,0,1:T(8,128)} lays axis 2 in lanes of 128 and axis 0 in rows of 8."""
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
    """Instructions by computation and name, and the entry's name."""
    computations: _Computations = {}
    entry, scope = "", {}
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
    """Every instruction that a run comes by: (instruction, its computation, how often, whether inside a fusion)."""
    for instruction in computations.get(name, {}).values():
        yield instruction, name, times, fused
        # An asynchronous call's update and end name the computation of its start.
        if instruction.opcode in ("async-update", "async-done") or _is_reduce_scatter(instruction):
            continue
        rounds = (
            times * (_trips(instruction, computations) or 1)
            if instruction.opcode == "while"
            else times
        )
        inside = fused or instruction.opcode not in ("while", "conditional", "call", "async-start")
        for called in instruction.called:
            yield from _executed(computations, called, rounds, inside)


def _trips(loop: _Instruction, computations: _Computations) -> int | None:
    """How often a loop runs: as the compiler notes it, or n where it goes on while its counter is below a constant n.

    jax.lax.scan and fori_loop count from 0 by 1, and the TPU's compiler often drops the note.
    """
    if found := _TRIPS.search(loop.attributes):
        return int(found[1])
    condition = _CONDITION.search(loop.attributes)
    scope = computations.get(condition[1], {}) if condition else {}
    root = next((instruction for instruction in scope.values() if instruction.root), None)
    if root is None or root.opcode != "compare" or "direction=LT" not in root.attributes:
        return None
    bound = scope.get(root.operands[-1])
    return (
        int(bound.operands[0])
        if bound and bound.opcode == "constant" and bound.operands[0].isdigit()
        else None
    )


def _is_reduce_scatter(instruction: _Instruction) -> bool:
    # The TPU's: an all-reduce fused with the slicing of its result.
    return instruction.opcode == "fusion" and instruction.called[0].startswith("all-reduce-scatter")


def _collective(instruction: _Instruction) -> Collective | None:
    if _is_reduce_scatter(instruction):
        return Collective("reduce-scatter", shape_bytes(instruction.shape))
    kind = instruction.opcode.removesuffix("-done")
    # The end of an asynchronous one has the result's shape; its start adds operands and flags.
    return Collective(kind, shape_bytes(instruction.shape)) if kind in COLLECTIVES else None


def _traffic(
    instruction: _Instruction, scope: dict[str, _Instruction], computations: _Computations
) -> int:
    if instruction.opcode in _FREE or instruction.opcode.endswith(("-done", "-update")):
        return 0
    if (
        instruction.opcode == "slice-start"
    ):  # fetches a piece of a weight into VMEM ahead of its use
        return shape_bytes(instruction.shape.split("}), ")[-1])
    if instruction.opcode.endswith("-start"):  # the type has both the operands and the results
        return hbm_bytes(instruction.shape)
    fusion = computations.get(instruction.called[0]) if instruction.opcode == "fusion" else None
    total = (
        min(hbm_bytes(instruction.shape), _written_by(fusion))
        if fusion
        else hbm_bytes(instruction.shape)
    )
    for index, name in enumerate(instruction.operands):
        size = hbm_bytes(scope[name].shape) if name in scope else 0
        if size and instruction.opcode in _SLICES:
            size = min(size, hbm_bytes(instruction.shape))
        total += min(size, _read_of(fusion, index)) if size and fusion else size
    return total


def _read_of(fusion: dict[str, _Instruction], index: int) -> int:
    """Bytes that a fusion reads of one operand: only the slices, where it takes nothing else."""
    parameter = next(
        one for one in fusion.values() if one.opcode == "parameter" and one.operands == [str(index)]
    )
    size = 0
    for user in fusion.values():
        if parameter.name in user.operands and user.opcode != "parameter":
            first = user.operands.index(parameter.name) == 0
            if not (first and user.opcode in {*_SLICES, _UPDATE}):
                return sys.maxsize
            size += 0 if user.opcode == _UPDATE else hbm_bytes(user.shape)
    return size


def _written_by(fusion: dict[str, _Instruction]) -> int:
    """Bytes that a fusion writes: only the piece, where it updates one in place."""
    root = next(one for one in fusion.values() if one.root)
    return hbm_bytes(fusion[root.operands[1]].shape) if root.opcode == _UPDATE else sys.maxsize
