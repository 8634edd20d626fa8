"""What TPU slices are made of, and how long a collective takes on one.

Chips: Google's system architecture pages (docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e; read in 2026-11). Usable
HBM is what libtpu's compiler allows a program, a little less than what is soldered on. ICI: one direction of one link,
the page's bidirectional bandwidth a chip divided by twice its links (v4: "How to scale your model", part 2). Clock:
peak divided by 2 * 128 * 128 operations of each of the chip's matrix units (4 on v5e, 8 on v4 and v5p); v6e's is not
published, and v5p's is taken for it.

The time of a collective is latency plus bytes over bandwidth, both as in that book's part 3 (Austin et al. 2025,
jax-ml.github.io/scaling-book), which takes the larger of the two; measured times are nearer to the sum (it shows 680 us
for a computed 560, and 8 us for a computed 3). For V bytes over n chips:

  all-gather (V: the result), reduce-scatter (V: the input): hop * hops + V * (n - 1) / n / bandwidth
  all-reduce: a reduce-scatter and an all-gather, hence twice that
  all-to-all (V: all devices' together): hop * hops + V / 4 / bandwidth
  collective-permute (V: one device's): hop * hops + V / one link

with 1 us a hop, and over the axes of the slice: hops is the sum of n_axis / 2 where the axis is a ring and of n_axis
- 1 where it is a line; bandwidth is the sum of two directions of a link for a ring and of one for a line, whose end has
no more.
"""

import dataclasses
import math

from ecgjax.errors import InputError

HOP_S = 1e-6
"""Seconds that a hop between neighbours takes, however few the bytes (the book, part 3: "typically around 1us")."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """One TPU chip, one JAX device.

    Attributes:
      hbm_bytes: memory a program may use.
      flops: peak of bfloat16 matrix products, a second; JAX multiplies float32 in bfloat16 on a TPU unless told not to.
      hbm_bytes_s: memory bandwidth, bytes a second.
      clock_hz: cycles a second.
      link_bytes_s: one direction of one ICI link, bytes a second.
      ring_axis: an axis of a slice is closed to a ring when it is a multiple of this.
      slices: usual shapes of slices by their number of chips.
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

    def seconds(self, kind: str, count: float, size: float) -> float:
        """How long collectives over all chips take, one after the other.

        Args:
          kind: as in HLO: "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute".
          count: how many.
          size: bytes of their results on one device, added up.
        """
        if self.chips == 1:
            return 0.0
        latency, bandwidth = HOP_S * self._hops(), self._bandwidth()
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
        # v4 and v5p are closed by optical switches between whole cubes of 4x4x4, v5e and v6e only around a whole pod.
        cubes = len(self.shape) == 2 or all(
            other % self.chip.ring_axis == 0 for other in self.shape
        )
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
