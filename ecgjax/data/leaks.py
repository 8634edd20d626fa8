"""Test recordings that a model has seen in training.

They are found by the hash of their samples, by the hash of their patient, by a sketch that copies
at another sampling rate, gain or offset share, and by name: public collections hold recordings of
each other.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ecgjax.data.records import Records
from ecgjax.data.seen import Seen, seen_hashes
from ecgjax.data.sketches import are_copies
from ecgjax.errors import InputError

_CINC = ("cpsc_2018", "cpsc_2018_extra", "st_petersburg_incart", "ptb", "georgia")
_CINC += ("chapman_shaoxing", "ningbo")
SOURCES: dict[str, tuple[str, ...]] = {
    # Reyna et al. 2021, doi:10.23919/CinC53138.2021.9662687, section "Data". HR00001 is record 1 of
    # PTB-XL; without the config's ending _with_ptb_xl, `prepare` leaves the HR records out.
    "cinc2021": _CINC,
    "cinc2021_with_ptb_xl": (*_CINC, "ptb_xl"),
    "ptb_xl": ("ptb_xl",),  # Wagner et al. 2020, doi:10.1038/s41597-020-0495-6
    "ptb_diagnostic": ("ptb",),  # Bousseljot et al. 1995, doi:10.13026/C28C71
}
"""Collections that hold the recordings of a public data set, by the names that the column `site` of
cinc2021 has for them. A data set that is not listed shares no recording with another, as far as its
publisher says."""
REMEDY = "choose another test set, or leave them out of the test by --exclude-seen"


@dataclasses.dataclass(frozen=True, eq=False)
class Past:
    """The recordings that a model has learnt from."""

    learner: str
    """Name of the learner in messages: "the encoder" or "the model"."""
    seen: Seen
    """Their hashes."""
    names: tuple[str, ...]
    """Names of the data sets that they are from, such as ptb_xl/100hz:2.0.0."""


@dataclasses.dataclass(frozen=True, eq=False)
class Leak:
    """Recordings of a test set that a model has learnt from."""

    rows: np.ndarray
    """True for each of them, bool [recording]."""
    reason: str
    """Number and origin of the recordings, in words."""


def find_leaks(records: Records, indices: np.ndarray, pasts: Sequence[Past]) -> list[Leak]:
    """Returns what models have learnt from among the recordings of a test set.

    Args:
      records: the data set of the test.
      indices: its recordings to test on, [recording].
      pasts: all that a model was trained on, with and without labels.
    """
    hashes = dict(zip(("recordings", "patients"), seen_hashes(records, indices), strict=True))
    leaks = []
    for past in pasts:
        known = {"recordings": past.seen.waveforms, "patients": past.seen.patients}
        for kind, values in hashes.items():
            rows = np.isin(values, known[kind])
            number = np.unique(values[rows]).size
            leaks.append(Leak(rows, f"{past.learner} was trained on {number} of the {kind}"))
        leaks.append(_copies(records, indices, past, exact=leaks[-2].rows))
        for name in past.names:
            leaks += _shared_sources(records, indices, past.learner, name)
    return [leak for leak in leaks if leak.rows.any()]


def _copies(records: Records, indices: np.ndarray, past: Past, exact: np.ndarray) -> Leak:
    """Returns the recordings that are copies of known ones, but not those with the same samples."""
    rows = np.zeros(len(indices), bool)
    if len(past.seen.sketches):
        rows = are_copies(records.sketches[indices], past.seen.sketches) & ~exact
    copied = f"copies of {rows.sum()} of the recordings (resampled, rescaled or shifted)"
    return Leak(rows, f"{past.learner} was trained on {copied}")


def unsketched_note(past: Past) -> str:
    """Returns a line on recordings of which copies cannot be found, "" if there are none."""
    if not past.seen.unsketched:
        return ""
    return (
        f"{past.learner} knows {past.seen.unsketched:,} of its recordings by exact hashes only, so "
        f"that copies at another sampling rate are not found; python -m ecgjax.launch.migrate "
        f"--checkpoint CHECKPOINT --data DATA --out FOLDER adds what finds them"
    )


def refuse_leaks(records: Records, indices: np.ndarray, leaks: Sequence[Leak]) -> None:
    """Refuses to test a model on recordings that it has learnt from.

    Raises:
      InputError: there is a leak.
    """
    if leaks:
        first = records.row(int(indices[np.argmax(leaks[0].rows)]))
        raise InputError(
            f"{records.path}: {leaks[0].reason} that it would be tested on (split "
            f"{first['split']}, first recording {first['record_id']}); {REMEDY}"
        )


def _shared_sources(records: Records, indices: np.ndarray, learner: str, name: str) -> list[Leak]:
    """Returns the recordings that the data set of this name holds, too."""
    if _family(name) == _family(records.name):
        return []  # their hashes tell
    leaks = []
    own = _recording_sources(records, indices)
    for source in SOURCES.get(_collection(name), ()):
        rows = own == source
        held = f"which holds {rows.sum()} of the recordings ({source})"
        leaks.append(Leak(rows, f"{learner} was trained on {name}, {held}"))
    return leaks


def _recording_sources(records: Records, indices: np.ndarray) -> np.ndarray:
    """Returns the collection that each recording is from, "" if none is known, [recording]."""
    sources = SOURCES.get(_collection(records.name), ())
    if len(sources) < 2:
        return np.full(len(indices), sources[0] if sources else "", object)
    return np.array(records.column("site").to_pylist(), object)[indices]


def _family(name: str) -> str:
    return name.partition("/")[0]


def _collection(name: str) -> str:
    """Returns the key of a data set in `SOURCES`."""
    return _family(name) + "_with_ptb_xl" * ("_with_ptb_xl" in name)
