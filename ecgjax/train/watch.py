"""Measurements of a run while it trains, and the step that is best by one of them.

Measuring changes nothing: the state goes in, figures come out. With several processes each one
measures its own copy of the state, so that none waits long for another at the next step (Gloo
gives up after 30 s). The figures of the first one count: it alone logs them and keeps the best
step. No collective takes part, so none can hang.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from ecgjax.train.state import TrainState

Measurement = Mapping[str, float | np.ndarray]
"""Figures by name ("probe/af"), and pictures, uint8 [height, width, 3]."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """Measurements to take during a run."""

    every: int
    """Steps between measurements. The last step is always measured."""
    measure: Callable[[TrainState], Measurement]
    """Measures a state and does not keep it: the next step takes its memory."""
    best: str | None = None
    """Name of the figure that says which step is best; None: no step is kept."""
    lower_is_better: bool = False
    keep: Callable[[TrainState, int], None] | None = None
    """Keeps the state after a number of steps, in place of the one kept before."""

    def rank(self, figures: Mapping) -> float:
        """Returns a number that is higher for a better step; -infinity without the figure."""
        value = figures.get(self.best)
        if value is None or math.isnan(value):
            return -math.inf
        return -value if self.lower_is_better else value


class Watching:
    """The measurements of one run. The best figure so far is that of the log."""

    def __init__(
        self,
        watch: Watch,
        num_steps: int,
        lines: Sequence[Mapping],
        breakable: Callable[[Callable[[], Measurement], None], Measurement | None] | None = None,
    ):
        """
        Args:
          watch: the measurements to take.
          num_steps: steps of the whole run.
          lines: log lines of the steps before; a resumed run goes on from their best figure.
          breakable: does a measurement; returns its second argument, None, if a signal arrives.
        """
        self._breakable = breakable
        self._watch = watch
        self._num_steps = num_steps
        self._best = max(map(watch.rank, lines), default=-math.inf)

    def due(self, state: TrainState, step: int) -> Callable[[], Measurement | None] | None:
        """Returns the function that measures the state after `step` steps, None if none is due."""
        if step % self._watch.every and step != self._num_steps:
            return None
        measure = functools.partial(self._measure, state, step)
        breakable = self._breakable
        return functools.partial(breakable, measure, None) if breakable else measure

    def _measure(self, state: TrainState, step: int) -> Measurement:
        """Measures a state, and keeps it if it is better than all before."""
        figures = self._watch.measure(state)
        rank = self._watch.rank(figures)
        if rank > self._best:
            self._best = rank
            if self._watch.keep and jax.process_index() == 0:
                self._watch.keep(state, step)
        return figures


def best_and_last(watch: Watch, lines: Sequence[Mapping]) -> dict[str, dict]:
    """Returns the measured log lines of the best and of the last step, {} if none was measured.

    Both hold the step and the figures, without what depends on the training batch.
    """
    measured = [line for line in lines if watch.rank(line) > -math.inf]
    if not measured:
        return {}
    best = max(measured, key=watch.rank)  # the first one of equal lines, which was kept
    prefix = f"{str(watch.best).partition('/')[0]}/"
    return {
        name: {"step": line["step"]}
        | {key: value for key, value in line.items() if key.startswith(prefix)}
        for name, line in (("best", best), ("last", measured[-1]))
    }
