"""How fast a compiled step might be, on its slice and from 8 to 256 chips.

An estimate, not a measurement. A device is busy for the longest of: its convolutions and products at the chip's peak,
its HBM traffic at full bandwidth, and the cycles that the compiler itself estimates, which leave out table look-ups and
copies. Then every collective follows, one after the other, none hidden behind work (`ecgjax.train.tpu`).

Weak scaling gives every chip as much to do as on the slice asked for. The ends, 8 and 256 chips, are compiled too, with
the compiler's least effort: only their collectives and FLOPs are used. Collectives, counts and bytes of each kind, are
taken as linear in the number of chips; busy time as proportional to FLOPs, which grow with the contrast's global batch.
"""

import dataclasses
from collections import Counter

from ecgjax.train.ahead_of_time import Step, compile_step
from ecgjax.train.hlo import COLLECTIVES, Collective
from ecgjax.train.pretraining import Pretraining
from ecgjax.train.tpu import Slice

ENDS = (8, 256)
LEAST_EFFORT = -1.0

Totals = dict[str, tuple[float, float]]
"""How many collectives of each kind a step runs, and the bytes of their results on one device."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One step on a slice.

    Attributes:
      slice: where.
      collectives: what its devices exchange.
      busy_s: seconds that a device computes.
      exchange_s: seconds that the collectives take.
      recordings: ECGs that all devices together take.
    """

    slice: Slice
    collectives: Totals
    busy_s: float
    exchange_s: float
    recordings: int

    @property
    def step_s(self) -> float:
        """Seconds of the whole step."""
        return self.busy_s + self.exchange_s

    @property
    def ecg_per_s(self) -> float:
        """ECGs a second on all chips; an ECG is one view of one recording."""
        return self.recordings / self.step_s


def totals(collectives: Counter[Collective]) -> Totals:
    """The collectives of a step by kind, those that occur."""
    count, size = Counter(), Counter()
    for one, times in collectives.items():
        count[one.kind] += times
        size[one.kind] += times * one.size
    return {kind: (count[kind], size[kind]) for kind in COLLECTIVES if kind in count}


def roofs(step: Step) -> dict[str, float]:
    """Seconds that a device needs at least, by what bounds it."""
    chip = step.slice.chip
    return {
        "FLOPs": step.flops / chip.flops,
        "HBM traffic": step.program.traffic_bytes / chip.hbm_bytes_s,
        "compiler's cycles": step.program.cycles / chip.clock_hz,
    }


def estimate(step: Step) -> Estimate:
    """The compiled step's."""
    return _estimate(step.slice, totals(step.program.collectives), max(roofs(step).values()), step.recordings)


def weak_scaling(settings: Pretraining, step: Step, *, samples: int, rate_hz: float) -> list[Estimate]:
    """Estimates from 8 to 256 chips of the step's generation, each with the step's share of work a chip.

    Args:
      settings: those that the step was compiled with.
      step: the compiled step.
      samples: of a stored recording.
      rate_hz: of a stored recording, in Hz.
    """

    def end(chips: int) -> Step:
        if step.slice == step.slice.of(chips):
            return step
        scaled = dataclasses.replace(settings, batch_size=settings.batch_size * chips // step.slice.chips)
        return compile_step(scaled, step.slice.of(chips), samples=samples, rate_hz=rate_hz, effort=LEAST_EFFORT)

    few, many = (end(chips) for chips in ENDS)
    busy_s_per_flop = max(roofs(step).values()) / step.flops
    return [
        _estimate(
            step.slice.of(chips),
            _between(totals(few.program.collectives), totals(many.program.collectives), _share(chips)),
            busy_s_per_flop * (few.flops + (many.flops - few.flops) * _share(chips)),
            step.recordings * chips // step.slice.chips,
        )
        for chips in step.slice.chip.slices
    ]


def _share(chips: int) -> float:
    return (chips - ENDS[0]) / (ENDS[1] - ENDS[0])


def _between(few: Totals, many: Totals, share: float) -> Totals:
    def mix(a: float, b: float) -> float:
        return a + (b - a) * share

    pairs = {kind: (few.get(kind, (0, 0)), many.get(kind, (0, 0))) for kind in COLLECTIVES if kind in {**few, **many}}
    return {kind: (mix(a[0], b[0]), mix(a[1], b[1])) for kind, (a, b) in pairs.items()}


def _estimate(slice: Slice, collectives: Totals, busy_s: float, recordings: int) -> Estimate:
    exchange_s = sum(slice.seconds(kind, *both) for kind, both in collectives.items())
    return Estimate(slice, collectives, busy_s, exchange_s, recordings)
