"""Estimates how fast a compiled step might be, on its slice and on 8 to 256 chips.

These are estimates, not measurements, and there are two. The roofline estimate takes the longer of
two times: all convolutions and matrix products at the chip's peak, or all HBM traffic at full
bandwidth. No program is faster. The cycle estimate takes the compiler's own count of cycles, which
leaves out table look-ups, copies and custom calls. In both, the collectives follow one after the
other, and none overlaps with computation (`ecgjax.tpu.slices`).

Weak scaling gives every chip the same amount of work as on the given slice. Only the two ends, 8
and 256 chips, are compiled. Estimates between them are linear in the number of chips, because the
contrastive loss of one chip grows with the global batch.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable

from ecgjax.tpu.ahead_of_time import CompiledStep
from ecgjax.tpu.hlo import COLLECTIVES, Collective
from ecgjax.tpu.slices import Slice

FEWEST_CHIPS = 8
MOST_CHIPS = 256

Totals = dict[str, tuple[float, float]]
"""Number of collectives of each kind in a step, and the bytes of their results on one device."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimated time of a step on a slice; the seconds are those of one device.

    Attributes:
      slice: the slice.
      recordings: ECGs of the global batch: every view of every recording counts.
      collectives: the data that the devices exchange.
      flops_s: seconds of all convolutions and matrix products at the chip's peak.
      traffic_s: seconds of all HBM traffic at full bandwidth.
      cycles_s: seconds of the compiler's estimated cycles.
    """

    slice: Slice
    recordings: int
    collectives: Totals
    flops_s: float
    traffic_s: float
    cycles_s: float

    @property
    def collectives_s(self) -> float:
        """Seconds of all collectives."""
        return sum(self.slice.seconds(kind, *total) for kind, total in self.collectives.items())

    @property
    def step_s(self) -> tuple[float, float]:
        """Seconds of a step: the roofline estimate and the cycle estimate."""
        roofline_s = max(self.flops_s, self.traffic_s)
        return roofline_s + self.collectives_s, max(roofline_s, self.cycles_s) + self.collectives_s

    @property
    def ecg_per_s(self) -> tuple[float, float]:
        """ECGs per second on all chips: the roofline estimate and the cycle estimate."""
        return self.recordings / self.step_s[0], self.recordings / self.step_s[1]

    def efficiency(self, base: "Estimate") -> tuple[float, float]:
        """Returns ECGs per second and chip relative to `base`, for each of the two estimates."""
        return base.step_s[0] / self.step_s[0], base.step_s[1] / self.step_s[1]


def estimate(step: CompiledStep) -> Estimate:
    """Estimates the time of a compiled step."""
    chip = step.slice.chip
    program = step.program
    return Estimate(
        slice=step.slice,
        recordings=step.recordings,
        collectives=totals(program.collectives),
        flops_s=step.flops / chip.flops,
        traffic_s=program.traffic_bytes / chip.hbm_bytes_s,
        cycles_s=program.cycles / chip.clock_hz,
    )


def totals(collectives: Counter[Collective]) -> Totals:
    """Adds up the collectives of a step by kind; kinds that do not occur are left out."""
    counts = Counter()
    sizes = Counter()
    for collective, times in collectives.items():
        counts[collective.kind] += times
        sizes[collective.kind] += times * collective.size
    return {kind: (counts[kind], sizes[kind]) for kind in COLLECTIVES if kind in counts}


def weak_scaling(
    step: CompiledStep, compile_scaled: Callable[[Slice], CompiledStep]
) -> list[Estimate]:
    """Estimates the common slices of a step's generation, 8 to 256 chips, with equal work per chip.

    Args:
      step: the compiled step.
      compile_scaled: compiles the same step for another slice, with a global batch in proportion to
        its chips.
    """

    def compiled(chips: int) -> Estimate:
        slice = step.slice.resized(chips)
        return estimate(step if slice == step.slice else compile_scaled(slice))

    fewest = compiled(FEWEST_CHIPS)
    most = compiled(MOST_CHIPS)
    return [
        interpolate(fewest, most, step.slice.resized(chips)) for chips in step.slice.chip.slices
    ]


def interpolate(fewest: Estimate, most: Estimate, slice: Slice) -> Estimate:
    """Returns the estimate for a slice, linear in the number of chips between two estimates."""
    position = (slice.chips - fewest.slice.chips) / (most.slice.chips - fewest.slice.chips)

    def mix(low: float, high: float) -> float:
        return low + (high - low) * position

    collectives = {}
    for kind in COLLECTIVES:
        low_count, low_size = fewest.collectives.get(kind, (0, 0))
        high_count, high_size = most.collectives.get(kind, (0, 0))
        if count := mix(low_count, high_count):
            collectives[kind] = (count, mix(low_size, high_size))
    return Estimate(
        slice=slice,
        recordings=round(mix(fewest.recordings, most.recordings)),
        collectives=collectives,
        flops_s=mix(fewest.flops_s, most.flops_s),
        traffic_s=mix(fewest.traffic_s, most.traffic_s),
        cycles_s=mix(fewest.cycles_s, most.cycles_s),
    )
