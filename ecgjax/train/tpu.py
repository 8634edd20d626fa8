"""What TPU slices are made of, and how long a collective takes on one.

Chips: Google's system architecture pages (docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e; read in 2026-11). Usable HBM
is what libtpu's compiler allows a program, a little less than what is soldered on. ICI: one direction of one link, the
page's bidirectional bandwidth a chip divided by twice its links (v4: "How to scale your model", part 2).

The time of a collective is that book's (Austin et al. 2025, jax-ml.github.io/scaling-book, part 3): the slower of
latency and bandwidth,

  all-gather of V bytes (the result):  max(hop * hops, V * (n - 1) / n / bandwidth)
  reduce-scatter of V bytes (the input): the same
  all-reduce of V bytes: a reduce-scatter and an all-gather, hence twice that
  all-to-all of V bytes (all devices' together): max(hop * hops, V / 4 / bandwidth)
  collective-permute of V bytes: hop * hops + V / one link

with n chips, 1 us a hop, and over the axes of the slice: hops is the sum of n_axis / 2 where the axis is a ring and of
n_axis - 1 where it is a line; bandwidth is the sum of two directions of a link for a ring and of one for a line, whose
end has no more. Measured ones are slower: the book shows 680 us for a computed 560, and 8 us for a computed 3.
"""

import dataclasses
import math

from ecgjax.signals import InputError

HOP_S = 1e-6
"""Seconds that a hop between neighbours takes, however few the bytes (the book, part 3: "typically around 1us")."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """One TPU chip, one JAX device.

    Attributes:
      hbm_bytes: memory a program may use.
      flops: peak of bfloat16 matrix products, a second.
      hbm_bytes_s: memory bandwidth, bytes a second.
      link_bytes_s: one direction of one ICI link, bytes a second.
      ring_axis: an axis of a slice is closed to a ring when it is a multiple of this.
      slices: usual shapes of slices by their number of chips.
    """

    hbm_bytes: float
    flops: float
    hbm_bytes_s: float
    link_bytes_s: float
    ring_axis: int
    slices: dict[int, str]


_FLAT = {8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBIC = {8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8"}
GIB = 2**30

CHIPS = {
    "v4": Chip(30.75 * GIB, 275e12, 1200e9, 45e9, 4, _CUBIC),
    "v5e": Chip(15.75 * GIB, 197e12, 819e9, 50e9, 16, _FLAT),
    "v5p": Chip(95 * GIB, 459e12, 2765e9, 100e9, 4, _CUBIC),
    "v6e": Chip(31.25 * GIB, 918e12, 1638e9, 100e9, 16, _FLAT),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips of one generation, wired as a mesh or a torus.

    Attributes:
      generation: a name in `CHIPS`.
      shape: chips along each axis.
    """

    generation: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """As libtpu wants it: v5e:16x16."""
        return f"{self.generation}:{'x'.join(map(str, self.shape))}"

    @property
    def chips(self) -> int:
        """How many."""
        return math.prod(self.shape)

    @property
    def chip(self) -> Chip:
        """What each of them is."""
        return CHIPS[self.generation]

    def of(self, chips: int) -> "Slice":
        """The usual slice of the same generation with so many chips."""
        return parse_slice(f"{self.generation}:{self.chip.slices[chips]}")

    def seconds(self, kind: str, size: float) -> float:
        """How long one collective over all chips takes.

        Args:
          kind: as in HLO: "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute".
          size: V of the module's formulas, in bytes.
        """
        if self.chips == 1:
            return 0.0
        latency, share = HOP_S * self._hops(), (self.chips - 1) / self.chips
        if kind == "collective-permute":
            return latency + size / self.chip.link_bytes_s
        if kind == "all-to-all":
            return max(latency, size / 4 / self._bandwidth())
        once = max(latency, size * share / self._bandwidth())
        return 2 * once if kind == "all-reduce" else once

    def _hops(self) -> int:
        return sum(math.ceil(axis / 2) if self._ring(axis) else axis - 1 for axis in self.shape)

    def _bandwidth(self) -> float:
        links = sum(2 if self._ring(axis) else 1 for axis in self.shape if axis > 1)
        return links * self.chip.link_bytes_s

    def _ring(self, axis: int) -> bool:
        # v4 and v5p are closed by optical switches between whole cubes of 4x4x4, v5e and v6e only around a whole pod.
        cubes = len(self.shape) == 2 or all(other % self.chip.ring_axis == 0 for other in self.shape)
        return cubes and axis % self.chip.ring_axis == 0


def parse_slice(name: str) -> Slice:
    """ "v5e:16x16" -> Slice("v5e", (16, 16)).

    Raises:
      InputError: an unknown generation, or not a shape.
    """
    generation, _, shape = name.partition(":")
    axes = shape.split("x")
    if generation not in CHIPS or not all(axis.isdigit() and int(axis) for axis in axes):
        usual = ", ".join(f"{known}:{chip.slices[256]}" for known, chip in CHIPS.items())
        raise InputError(f"topology {name!r}: give GENERATION:SHAPE, for example v5e:2x4, {usual}")
    return Slice(generation, tuple(map(int, axes)))
