"""A compiled step as a report: does it fit, what do its devices tell each other, how fast might it be on 8 to 256 chips.

The estimate is a roofline, not a measurement: a step takes the longer of its arithmetic at peak and its memory traffic at
full bandwidth, and then every collective that is not asynchronous, one after the other (`ecgjax.train.tpu`).
"""

import dataclasses

import rich.console
import rich.table

from ecgjax.train.ahead_of_time import Step, compile_step
from ecgjax.train.pretraining import Pretraining
from ecgjax.train.tpu import GIB, parse_slice


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds of one step.

    Attributes:
      flops_s: arithmetic at the chip's peak.
      traffic_s: reading and writing HBM at full bandwidth.
      collective_s: collectives that nothing hides.
      hidden_s: asynchronous collectives, taken as hidden behind the work.
    """

    flops_s: float
    traffic_s: float
    collective_s: float
    hidden_s: float

    @property
    def step_s(self) -> float:
        """The whole step."""
        return max(self.flops_s, self.traffic_s) + self.collective_s


def estimate(step: Step) -> Estimate:
    """How long the step might take."""
    chip = step.slice.chip
    seconds = {True: 0.0, False: 0.0}
    for one, times in step.collectives.items():
        of_all = step.slice.chips if one.kind in ("reduce-scatter", "all-to-all") else 1
        seconds[one.asynchronous] += times * step.slice.seconds(one.kind, one.size * of_all)
    return Estimate(step.flops / chip.flops, step.traffic_bytes / chip.hbm_bytes_s, seconds[False], seconds[True])
