"""Patient pairs: a recording and another one of the same patient, if the rule allows one."""

import dataclasses

import numpy as np

from ecgjax.errors import InputError

DAY_S = 86_400


@dataclasses.dataclass(frozen=True)
class PairRule:
    """Rule for the two recordings of a pair.

    An objective gives one as its `examples`; `PatientContrast` fills it from options of its own.
    """

    instance_share: float = 0.0
    """Share of the pairs that are the same recording twice."""
    min_days: float = 0.0
    """Smallest time between the recordings of a pair, in days."""
    max_days: float = 0.0
    """Largest time between the recordings of a pair, in days; 0: any."""

    def __post_init__(self):
        if not 0 <= self.instance_share <= 1:
            raise InputError(
                f"instance-share {self.instance_share}: give a share of the pairs, from 0 to 1"
            )
        if min(self.min_days, self.max_days) < 0 or 0 < self.max_days < self.min_days:
            raise InputError(
                f"min-days {self.min_days}, max-days {self.max_days}: give min-days of 0 or more, "
                f"and max-days of 0 or at least min-days"
            )

    @property
    def needs_dates(self) -> bool:
        """True if the rule restricts the time between recordings."""
        return self.min_days > 0 or self.max_days > 0


class PatientPairs:
    """Draws a partner for each recording.

    An epoch takes each recording once, as the first view of a pair. The second view is another
    recording of the same patient that the rule allows, each equally likely, or the recording itself
    if there is none. A recording without a date may be the partner of any other of its patient.
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
          indices: the recordings to use, [recording].
          patients: patient number of every recording of the data set.
          rule: the pairs that are allowed.
          recorded_at: time of every recording of the data set, datetime64[s], NaT if it is not
            known; needed if `rule.needs_dates`.
        """
        owner = patients[indices]
        dates = recorded_at[indices] if recorded_at is not None else np.zeros(0)
        order = np.lexsort((dates, owner)) if rule.needs_dates else np.argsort(owner, kind="stable")
        # A row of all recordings, sorted by patient: 80 MB for 5 million.
        self._row = np.asarray(indices)[order]
        starts = np.flatnonzero(np.r_[True, np.diff(owner[order]) != 0])
        # Patient p (0, 1, ... in the order of the row) has places bounds[p] to bounds[p + 1] - 1.
        self._bounds = np.r_[starts, len(indices)]
        # For each position in `indices`: number of the patient, and place in the row.
        self._patient = np.empty(len(indices), np.int32)
        self._patient[order] = np.repeat(np.arange(len(starts)), np.diff(self._bounds))
        self._place = np.empty(len(indices), np.int32)
        self._place[order] = np.arange(len(indices))
        self._instance_share = rule.instance_share
        self._calendar = (
            _Calendar(dates[order], self._patient[order], rule) if rule.needs_dates else None
        )

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self._bounds) - 1

    def draw(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws a partner for each recording.

        Args:
          positions: positions in `indices`, [position].
          rng: generator of random numbers.

        Returns:
          int64 [position, 2]: the recordings at `positions`, and their partners.
        """
        place = self._place[positions].astype(np.int64)
        patient = self._patient[positions]
        spans = (self._bounds[patient][None], self._bounds[patient + 1][None])
        if self._calendar:
            spans = self._calendar.allowed(place, *spans)
        partner = _draw_place(spans, place, rng.random(len(positions)))
        if self._instance_share:
            partner = np.where(rng.random(len(positions)) < self._instance_share, place, partner)
        return self._row[np.stack([place, partner], axis=1)]


def _draw_place(
    spans: tuple[np.ndarray, np.ndarray], place: np.ndarray, draw: np.ndarray
) -> np.ndarray:
    """Draws a place in the spans other than `place`; returns `place` if there is none.

    Args:
      spans: first places, and places after the last, both [span, position]. Only the first span may
        contain `place`.
      place: places in the row, [position].
      draw: uniform random numbers from 0 to 1, [position].
    """
    first, end = spans
    sizes = end - first
    inside = (first[0] <= place) & (place < end[0])
    choices = sizes.sum(0) - inside
    chosen = (draw * choices).astype(np.int64)
    chosen += inside & (chosen >= place - first[0])  # skips the recording itself
    before = np.cumsum(sizes, axis=0) - sizes
    span = (chosen[None] >= before + sizes)[:-1].sum(0)
    position = np.arange(len(place))
    partner = first[span, position] + chosen - before[span, position]
    return np.where(choices > 0, partner, place)


class _Calendar:
    """Dates of the row of recordings as one ascending sequence of numbers, for binary search.

    A key is the number of the patient times the length of a calendar, plus seconds since the first
    recording of all. Gaps keep one patient's search away from the next patient.
    """

    def __init__(self, recorded_at: np.ndarray, patient: np.ndarray, rule: PairRule):
        """
        Args:
          recorded_at: datetime64[s] of recordings sorted by patient, then by date, NaT last.
          patient: number of their patient, 0, 1, ...
          rule: the pairs that are allowed.
        """
        self._dated = ~np.isnat(recorded_at)
        seconds = recorded_at[self._dated].astype(np.int64)
        seconds -= seconds.min(initial=np.iinfo(np.int64).max)
        extent = int(seconds.max(initial=0))
        self._min_s = round(rule.min_days * DAY_S)
        self._max_s = min(round(rule.max_days * DAY_S), extent) if rule.max_days else extent
        # The key of a recording without a date: later than any search of the patient reaches. The
        # next patient begins where no search backwards reaches.
        self._undated = extent + self._max_s + 1
        self._length = self._undated + self._max_s + 1
        self._key = patient * np.int64(self._length) + self._undated
        self._key[self._dated] += seconds - self._undated

    def allowed(
        self, place: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds three spans of allowed partners: earlier, later, and without a date.

        For a recording without a date the first span is the whole patient, the others are empty.

        Args:
          place: places in the row, [position].
          begin: first place of the patient, [1, position].
          end: place after the patient's last, [1, position].

        Returns:
          First places, and places after the last, both [3, position].
        """
        key = self._key[place]
        dated = self._dated[place][None]
        earlier_end = self._after(key - self._min_s)
        later_begin = np.maximum(self._from(key + self._min_s), earlier_end)
        undated = self._from(key - key % self._length + self._undated)
        starts = np.stack([self._from(key - self._max_s), later_begin, undated])
        ends = np.stack([earlier_end, self._after(key + self._max_s), end[0]])
        ends = np.maximum(ends, starts)
        starts = np.where(dated, starts, np.concatenate([begin, end, end]))
        return starts, np.where(dated, ends, end)

    def _from(self, key: np.ndarray) -> np.ndarray:
        """Returns the first place with at least this key."""
        return np.searchsorted(self._key, key, side="left")

    def _after(self, key: np.ndarray) -> np.ndarray:
        """Returns the first place with a larger key."""
        return np.searchsorted(self._key, key, side="right")
