"""How fast a compiled step might be, on its slice and from 8 to 256 chips.

An estimate, not a measurement, and two of them. At the roofline a device is busy for the longer of its convolutions and
products at the chip's peak and its HBM traffic at full bandwidth: no program is faster. By its cycles it is busy for
what the compiler itself expects of the program, table look-ups, copies and custom calls left out. In both, every
collective follows after that, one after the other, none hidden behind work (`ecgjax.tpu.slices`).

Weak scaling gives every chip as much to do as on the slice asked for. The ends, 8 and 256 chips, are compiled; whatever
is between them is linear in the number of chips, as the contrast's share of a chip grows with the global batch.
"""

import dataclasses
from collections import Counter

from ecgjax.tpu.ahead_of_time import Step, compile_step
from ecgjax.tpu.hlo import COLLECTIVES, Collective
from ecgjax.tpu.slices import Slice
from ecgjax.workflows.pretrain import Pretraining

ENDS = (8, 256)

Totals = dict[str, tuple[float, float]]
"""How many collectives of each kind a step runs, and the bytes of their results on one device."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One step on a slice; the seconds are one device's.

    Attributes:
      slice: where.
      recordings: ECGs that all devices together take; an ECG is one view of one recording.
      collectives: what the devices exchange.
      flops_s: convolutions and products at the chip's peak.
      traffic_s: HBM traffic at full bandwidth.
      cycles_s: what the compiler expects.
    """

    slice: Slice
    recordings: int
    collectives: Totals
    flops_s: float
    traffic_s: float
    cycles_s: float

    @property
    def exchange_s(self) -> float:
        """Seconds that the collectives take."""
        return sum(self.slice.seconds(kind, *both) for kind, both in self.collectives.items())

    @property
    def step_s(self) -> tuple[float, float]:
        """Seconds of a step at the roofline, and by the compiler's cycles."""
        roofline_s = max(self.flops_s, self.traffic_s)
        return roofline_s + self.exchange_s, max(roofline_s, self.cycles_s) + self.exchange_s

    @property
    def ecg_per_s(self) -> tuple[float, float]:
        """ECGs a second on all chips, likewise."""
        return self.recordings / self.step_s[0], self.recordings / self.step_s[1]

    def efficiency(self, base: "Estimate") -> tuple[float, float]:
        """ECGs a second and chip as a share of those of `base`, likewise."""
        return base.step_s[0] / self.step_s[0], base.step_s[1] / self.step_s[1]


def estimate(step: Step) -> Estimate:
    """The compiled step's."""
    chip, program = step.slice.chip, step.program
    return Estimate(
        slice=step.slice,
        recordings=step.recordings,
        collectives=totals(program.collectives),
        flops_s=step.flops / chip.flops,
        traffic_s=program.traffic_bytes / chip.hbm_bytes_s,
        cycles_s=program.cycles / chip.clock_hz,
    )


def totals(collectives: Counter[Collective]) -> Totals:
    """The collectives of a step by kind, those that occur."""
    count, size = Counter(), Counter()
    for one, times in collectives.items():
        count[one.kind] += times
        size[one.kind] += times * one.size
    return {kind: (count[kind], size[kind]) for kind in COLLECTIVES if kind in count}


def weak_scaling(
    settings: Pretraining, step: Step, *, samples: int, rate_hz: float, effort: float = 0.0
) -> list[Estimate]:
    """Estimates from 8 to 256 chips of the step's generation, each with the step's share of work a chip.

    Args:
      settings: those that the step was compiled with, as are
      samples: of a stored recording,
      rate_hz: of a stored recording, in Hz, and
      effort: of the compiler.
    """

    def end(chips: int) -> Estimate:
        there = step.slice.of(chips)
        if step.slice == there:
            return estimate(step)
        scaled = dataclasses.replace(
            settings, batch_size=settings.batch_size * chips // step.slice.chips
        )
        return estimate(
            compile_step(scaled, there, samples=samples, rate_hz=rate_hz, effort=effort)
        )

    few, many = (end(chips) for chips in ENDS)
    return [between(few, many, step.slice.of(chips)) for chips in step.slice.chip.slices]


def between(few: Estimate, many: Estimate, there: Slice) -> Estimate:
    """The estimate for a slice, linear in the number of chips between two others."""
    share = (there.chips - few.slice.chips) / (many.slice.chips - few.slice.chips)

    def mix(a: float, b: float) -> float:
        return a + (b - a) * share

    ends = [{**dict.fromkeys(COLLECTIVES, (0, 0)), **end.collectives} for end in (few, many)]
    collectives = {
        kind: (mix(ends[0][kind][0], ends[1][kind][0]), mix(ends[0][kind][1], ends[1][kind][1]))
        for kind in COLLECTIVES
    }
    return Estimate(
        slice=there,
        recordings=round(mix(few.recordings, many.recordings)),
        collectives={kind: both for kind, both in collectives.items() if both[0]},
        flops_s=mix(few.flops_s, many.flops_s),
        traffic_s=mix(few.traffic_s, many.traffic_s),
        cycles_s=mix(few.cycles_s, many.cycles_s),
    )
