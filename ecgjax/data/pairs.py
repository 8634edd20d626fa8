"""Patient pairs: for every recording another one of the same patient, where there is one that the rule allows."""

import dataclasses
import functools

import numpy as np

from ecgjax.errors import InputError

DAY_S = 86_400


@dataclasses.dataclass(frozen=True)
class PairRule:
    """Which two recordings may be a pair: what an objective asks for under the name of `examples`."""

    instance_share: float = 0.0
    """Share of the pairs that are one recording twice."""
    min_days: float = 0.0
    """Least time between a pair's recordings, in days."""
    max_days: float = 0.0
    """Most time between a pair's recordings, in days; 0: any."""

    def __post_init__(self):
        if not 0 <= self.instance_share <= 1:
            raise InputError(
                f"instance-share {self.instance_share}: give a share of the pairs, from 0 to 1"
            )
        if min(self.min_days, self.max_days) < 0 or 0 < self.max_days < self.min_days:
            raise InputError(
                f"min-days {self.min_days}, max-days {self.max_days}: give max-days 0 or the larger, none below 0"
            )

    @property
    def needs_dates(self) -> bool:
        """Whether the time between recordings matters."""
        return self.min_days > 0 or self.max_days > 0


class PatientPairs:
    """Draws a partner for each recording.

    An epoch takes each recording once as a pair's first view. Its second view is another recording of the same patient
    that the rule allows, each equally likely, or the recording itself where there is none. A recording without a date
    counts as any time away from all others.
    """

    def __init__(
        self,
        indices: np.ndarray,
        patients: np.ndarray,
        *,
        rule: PairRule = PairRule(),
        recorded_at: np.ndarray | None = None,
    ):
        """
        Args:
          indices: the recordings that may be used, [recording].
          patients: patient number of every recording of the data set.
          rule: which pairs are allowed.
          recorded_at: datetime64[s] of every recording of the data set, NaT where it is not known; given if the rule
            needs dates.
        """
        # Compressed rows: the recordings sorted by patient, and where each patient's begin. 5 million take 80 MB.
        owner = patients[indices]
        dates = recorded_at[indices] if recorded_at is not None else np.zeros(0)
        order = np.lexsort((dates, owner)) if rule.needs_dates else np.argsort(owner, kind="stable")
        self._by_patient = np.asarray(indices)[order]
        starts = np.flatnonzero(np.r_[True, np.diff(owner[order]) != 0])
        self._run = np.empty(len(indices), np.int32)
        self._run[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(indices)]))
        self._place = np.empty(len(indices), np.int32)
        self._place[order] = np.arange(len(indices))
        self._bounds = np.r_[starts, len(indices)]
        self._instance_share = rule.instance_share
        self._calendar = (
            _Calendar(dates[order], self._run[order], rule) if rule.needs_dates else None
        )

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self._bounds) - 1

    def draw(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64 [position, 2]: the recordings at `positions` of `indices`, and a partner for each."""
        place = self._place[positions].astype(np.int64)
        spans = (
            self._bounds[self._run[positions]][None],
            self._bounds[self._run[positions] + 1][None],
        )
        if self._calendar:
            spans = self._calendar.allowed(place, *spans)
        partner = _one_of(spans, place, rng.random(len(positions)))
        if self._instance_share:
            partner = np.where(rng.random(len(positions)) < self._instance_share, place, partner)
        return self._by_patient[np.stack([place, partner], axis=1)]


def _one_of(
    spans: tuple[np.ndarray, np.ndarray], place: np.ndarray, draw: np.ndarray
) -> np.ndarray:
    """A place in the spans other than `place`; `place` where there is none.

    Args:
      spans: first places and those after the last, both [span, position]; `place` may be in the first span alone.
      place: [position].
      draw: uniform from 0 to 1, [position].
    """
    sizes = spans[1] - spans[0]
    inside = (spans[0][0] <= place) & (place < spans[1][0])
    choices = sizes.sum(0) - inside
    chosen = (draw * choices).astype(np.int64)
    chosen += inside & (chosen >= place - spans[0][0])  # skips the recording itself
    before = np.cumsum(sizes, axis=0) - sizes
    span = (chosen[None] >= before + sizes)[:-1].sum(0)
    at = span, np.arange(len(place))
    return np.where(choices > 0, spans[0][at] + chosen - before[at], place)


class _Calendar:
    """When recordings were made, as one ascending row of numbers: patient after patient, with room between them."""

    def __init__(self, recorded_at: np.ndarray, run: np.ndarray, rule: PairRule):
        """Of recordings sorted by patient, then date: datetime64[s], NaT last; and their patients' numbers 0, 1, ..."""
        self._dated = ~np.isnat(recorded_at)
        seconds = recorded_at[self._dated].astype(np.int64)
        seconds -= seconds.min(initial=np.iinfo(np.int64).max)
        extent = int(seconds.max(initial=0))
        self._near = round(rule.min_days * DAY_S)
        self._far = min(round(rule.max_days * DAY_S), extent) if rule.max_days else extent
        # Without a date: later than anyone of the patient looks. The next patient: earlier than anyone looks back.
        self._undated = extent + self._far + 1
        self._patient = self._undated + self._far + 1
        self._key = run * np.int64(self._patient) + self._undated
        self._key[self._dated] += seconds - self._undated

    def allowed(
        self, place: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Spans of allowed partners: before, after and without a date; for one without a date the whole patient.

        Args:
          place: [position], places in the row.
          begin: [1, position], where the patient's recordings begin.
          end: [1, position], where they end.

        Returns:
          First places, and those after the last, both [3, position].
        """
        key, dated = self._key[place], self._dated[place][None]
        left, right = (
            functools.partial(np.searchsorted, self._key, side=side) for side in ("left", "right")
        )
        before = left(key - self._far), right(key - self._near)
        after = left(key + self._near), right(key + self._far)
        unknown = left(key - key % self._patient + self._undated)
        starts = np.stack([before[0], np.maximum(after[0], before[1]), unknown])
        ends = np.maximum(np.stack([before[1], after[1], end[0]]), starts)
        return np.where(dated, starts, np.concatenate([begin, end, end])), np.where(
            dated, ends, end
        )
