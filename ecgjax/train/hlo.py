"""Reads a compiled program's text (HLO): which collectives it runs, how often, and over how many bytes.

`compiled.cost_analysis()` knows nothing of collectives and counts the body of a loop once; the text has both.
"""

import dataclasses
import math
import re
from collections import Counter

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][a-z0-9\-]*)\(")
_SHAPE = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|body|to_apply|branch_computations)=\{?((?:%?[\w.\-]+(?:, )?)+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program, as every device runs it.

    Attributes:
      kind: one of `COLLECTIVES`.
      size: bytes of its result on one device.
      asynchronous: started first and waited for later, so that work in between may hide it.
    """

    kind: str
    size: int
    asynchronous: bool


@dataclasses.dataclass(frozen=True)
class Program:
    """What a program's text says.

    Attributes:
      collectives: each with the number of times a step runs it.
      endless: loops whose length the compiler does not know; their bodies are counted once.
    """

    collectives: Counter[Collective]
    endless: int


def read(text: str) -> Program:
    """The program that `compiled.as_text()` gives."""
    computations, entry = _computations(text)
    found: Counter[Collective] = Counter()
    endless = 0

    def visit(name: str, times: int) -> None:
        nonlocal endless
        for line in computations.get(name, ()):
            match = _INSTRUCTION.match(line)
            if not match:
                continue
            shape, opcode = match.groups()
            if collective := _collective(shape, opcode):
                found[collective] += times
            elif opcode == "while" and not _TRIPS.search(line):
                endless += 1
            trips = _TRIPS.search(line) if opcode == "while" else None
            # Only the start of an asynchronous call counts; its update and its end name the same computation.
            if opcode not in ("async-update", "async-done"):
                for called in _called(line):
                    visit(called, times * int(trips[1]) if trips else times)

    visit(entry, 1)
    return Program(found, endless)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Lines of each computation by name, and the entry's name."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            lines = computations.setdefault(match[1], [])
            entry = match[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)
    return computations, entry


def _called(line: str) -> list[str]:
    return [name.strip(" %") for match in _CALLED.finditer(line) for name in match[1].split(",") if name.strip(" %")]


def _collective(shape: str, opcode: str) -> Collective | None:
    kind = opcode.removesuffix("-done")
    # The end of an asynchronous one has the result's shape; its start adds operands and flags.
    return Collective(kind, shape_bytes(shape), kind != opcode) if kind in COLLECTIVES else None


def shape_bytes(shape: str) -> int:
    """Bytes of an array or tuple type as HLO writes it: "(f32[64,128]{1,0:T(8,128)}, bf16[8]{0})" has 32,784."""
    return sum(
        math.prod(int(size) for size in sizes.split(",") if size) * max(1, int(bits or 8) // 8)
        for _, bits, sizes in _SHAPE.findall(shape)
    )
