"""A task of the low-label benchmark with its recordings."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from ecgjax.evaluate.tasks import Task
from ecgjax.workflows.cohort import HeldOut
from ecgjax.workflows.low_label import LabelledRecordings, Labels


@dataclasses.dataclass(frozen=True, eq=False)
class TaskData:
    """A task with the recordings to draw from and to test on."""

    task: Task
    train: LabelledRecordings
    tests: list[HeldOut]
    """The tested split of the data set, and other data sets."""
    is_published: bool
    """True if splits and labels are those of the data set, not the user's own."""
    draw: Literal["patients", "recordings"] = "patients"
    """Rule of `Benchmark.draw`."""
    validation: LabelledRecordings | None = None
    """Recordings to choose settings with; None if the data set has none, or if they are tested."""

    def counts(self, amounts: Sequence[str]) -> list[int]:
        """Returns the numbers of labelled recordings that amounts mean for this task."""
        available = len(self.train.indices)
        down = self.draw == "recordings"
        return [Labels.parse(text).number(available, down=down) for text in amounts]
