"""TPU chips and slices, and the time that a collective takes on a slice.

Sources of the chips' figures: Google's system architecture pages
(docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e; read in 2026-11). Usable HBM is the memory that
libtpu's compiler allows a program, a little less than the chip has. ICI is one direction of one
link: the page's bidirectional bandwidth per chip divided by twice the number of its links (v4: "How
to scale your model", part 2). The clock is the peak divided by 2 * 128 * 128 operations of each of
the chip's matrix units (4 on v5e, 8 on v4 and v5p). The clock of v6e is not published; that of v5p
is used instead.

The time of a collective is latency plus bytes divided by bandwidth. Both come from part 3 of that
book (Austin et al. 2025, jax-ml.github.io/scaling-book). The book takes the larger of the two;
measured times are closer to the sum (it shows 680 us where 560 are computed, and 8 us where 3 are
computed). For V bytes on n chips:

  all-gather (V: the result): hop * hops + V * (n - 1) / n / bandwidth
  reduce-scatter (V: the input): the same
  all-reduce: a reduce-scatter and an all-gather, so twice that
  all-to-all (V: all devices together): hop * hops + V / 4 / bandwidth
  collective-permute (V: one device): hop * hops + V / one link

A hop takes 1 us. `hops` is a sum over the axes of the slice: n_axis / 2 for a ring, n_axis - 1 for
a line. `bandwidth` is a sum over the axes too: both directions of a link for a ring, one direction
for a line, whose end chips have one link only.
"""

import dataclasses
import math

from ecgjax.errors import InputError

HOP_S = 1e-6
"""Latency of a hop between neighbours in seconds (the book, part 3: "typically around 1us")."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """One TPU chip, one JAX device.

    Attributes:
      hbm_bytes: memory that a program may use.
      flops: peak of bfloat16 matrix products per second; by default JAX multiplies float32 in
        bfloat16 on a TPU.
      hbm_bytes_s: memory bandwidth in bytes per second.
      clock_hz: cycles per second.
      link_bytes_s: bandwidth of one direction of one ICI link, in bytes per second.
      ring_axis: an axis of a slice is a ring if its length is a multiple of this.
      slices: common shapes of slices by their number of chips.
    """

    hbm_bytes: float
    flops: float
    hbm_bytes_s: float
    clock_hz: float
    link_bytes_s: float
    ring_axis: int
    slices: dict[int, str]


GIB = 2**30
_FLAT = {8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBIC = {8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8"}

CHIPS = {
    "v4": Chip(30.75 * GIB, 275e12, 1200e9, 1.05e9, 45e9, 4, _CUBIC),
    "v5e": Chip(15.75 * GIB, 197e12, 819e9, 1.5e9, 50e9, 16, _FLAT),
    "v5p": Chip(95 * GIB, 459e12, 2765e9, 1.75e9, 100e9, 4, _CUBIC),
    "v6e": Chip(31.25 * GIB, 918e12, 1638e9, 1.75e9, 100e9, 16, _FLAT),
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
        """Name of the slice in libtpu's notation: v5e:16x16."""
        return f"{self.generation}:{'x'.join(map(str, self.shape))}"

    @property
    def chips(self) -> int:
        """Number of chips."""
        return math.prod(self.shape)

    @property
    def chip(self) -> Chip:
        """The model of its chips."""
        return CHIPS[self.generation]

    def resized(self, chips: int) -> "Slice":
        """Returns the common slice of the same generation with this number of chips."""
        return parse_slice(f"{self.generation}:{self.chip.slices[chips]}")

    def seconds(self, kind: str, count: float, size: float) -> float:
        """Returns the seconds that collectives over all chips take, one after the other.

        Args:
          kind: name in HLO: "all-reduce", "all-gather", "reduce-scatter", "all-to-all",
            "collective-permute".
          count: number of collectives.
          size: total bytes of their results on one device.
        """
        if self.chips == 1:
            return 0.0
        latency = HOP_S * self._hops()
        bandwidth = self._bandwidth()
        seconds = {
            "all-gather": size * (self.chips - 1) / self.chips / bandwidth,
            "all-reduce": size * (self.chips - 1) / self.chips / bandwidth,
            "reduce-scatter": size * (self.chips - 1) / bandwidth,
            "all-to-all": size * self.chips / 4 / bandwidth,
            "collective-permute": size / self.chip.link_bytes_s,
        }
        return (2 if kind == "all-reduce" else 1) * (count * latency + seconds[kind])

    def _hops(self) -> int:
        return sum(math.ceil(axis / 2) if self._ring(axis) else axis - 1 for axis in self.shape)

    def _bandwidth(self) -> float:
        links = sum(2 if self._ring(axis) else 1 for axis in self.shape if axis > 1)
        return links * self.chip.link_bytes_s

    def _ring(self, axis: int) -> bool:
        # v4 and v5p have optical switches that close rings between whole cubes of 4x4x4; v5e and
        # v6e have rings only around a whole pod.
        cubes = len(self.shape) == 2 or all(
            other % self.chip.ring_axis == 0 for other in self.shape
        )
        return cubes and axis % self.chip.ring_axis == 0


def parse_slice(name: str) -> Slice:
    """Parses the name of a slice: "v5e:16x16" gives Slice("v5e", (16, 16)).

    Raises:
      InputError: the generation is unknown, or the shape is malformed.
    """
    generation, _, shape = name.partition(":")
    axes = shape.split("x")
    if generation not in CHIPS or not all(axis.isdigit() and int(axis) for axis in axes):
        examples = ", ".join(f"{known}:{chip.slices[256]}" for known, chip in CHIPS.items())
        raise InputError(
            f"topology {name!r}: give GENERATION:SHAPE, for example v5e:2x4, {examples}"
        )
    return Slice(generation, tuple(map(int, axes)))
