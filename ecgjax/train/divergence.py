"""Divergence: the first step whose loss or gradient is not finite, and the recordings of its batch.

The devices are never waited for: a step is looked at when its log line or checkpoint is due, and
the steps since the look before are looked at with it.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.data.batches import Batches
from ecgjax.errors import InputError
from ecgjax.signals import MISSING
from ecgjax.whole_files import replaced

FILE = "not_finite.csv"
"""File in the workdir with the recordings of the batch that made a run diverge."""
NAMED = 3
"""Number of recordings that the message names."""
REMEDY = "lower --optimizer.learning-rate, or look for absurd amplitudes in the data"


class Divergence:
    """The steps of a run that have not been looked at."""

    def __init__(self, batches: Batches, workdir: Path):
        self._batches = batches
        self._workdir = workdir
        self._waiting: list[tuple[int, jax.Array, jax.Array]] = []

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Takes the metrics of a dispatch that ended after `step` steps.

        Returns:
          The metrics to log.
        """
        finite = metrics.get("finite", jnp.isfinite(metrics["loss"])[None])
        self._waiting.append((step, finite, metrics["loss"]))
        return {name: value for name, value in metrics.items() if name != "finite"}

    def check(self) -> None:
        """Looks at all steps that were added.

        Raises:
          InputError: a loss or gradient is not finite. The message names the largest recordings of
            the batch, not_finite.csv all of them.
        """
        waiting = jax.device_get(self._waiting)
        self._waiting = []
        for step, finite, loss in waiting:
            if not finite.all():
                bad = step - len(finite) + 1 + int(np.argmin(finite))
                problem = "the gradient is not finite"
                if not math.isfinite(loss) or bad < step:
                    problem = f"the loss is {loss}"
                first = f" (first at step {bad})" if bad < step else ""
                raise InputError(f"step {step}: {problem}{first}; {REMEDY}{self._named(bad - 1)}")

    def _named(self, batch: int) -> str:
        """Writes the recordings of a batch to a file; returns words for the largest of them."""
        records = self._batches.records
        if records is None or self._batches.indices is None:
            return ""
        indices = np.unique(self._batches.indices(batch))
        samples = records.read(indices).astype(np.int32)
        peaks = np.where(samples == MISSING, 0, np.abs(samples)).max((1, 2))
        order = np.argsort(-peaks, kind="stable")
        rows = []
        for index, peak in zip(indices[order].tolist(), peaks[order].tolist(), strict=True):
            shard, record_id = records.place(index)
            rows.append((batch, index, str(shard), record_id, peak))
        named = ", ".join(
            f"{record_id} ({Path(shard).name}, index {index}, {peak:,} uV)"
            for _, index, shard, record_id, peak in rows[:NAMED]
        )
        return f"; batch {batch}: {named}{self._write(rows)}"

    def _write(self, rows: list[tuple]) -> str:
        file = self._workdir / FILE
        if jax.process_index():
            return ""
        try:
            with replaced(file) as unfinished, unfinished.open("w", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(("batch", "index", "shard", "record_id", "peak_uv"))
                writer.writerows(rows)
        except OSError:
            return ""
        return f", all in {file}"
