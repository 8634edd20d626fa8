"""Warnings on a data set as a whole: what is wrong in so many recordings has one cause.

Each warning is one line, "finding: likely cause; remedy".
"""

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from tfds_builders.recording import quality
from tfds_builders.recording.statements import MEANINGS

LEAST = 10
"""Recordings from which a share is trusted."""
HALF = 0.5
"""Share from which a flag is reported whatever the number of recordings."""
MEDIAN_BPM = (48, 115)
"""Lowest and highest plausible median heart rate of a data set of adults. It is 68 in PTB-XL; a
sampling rate stated as half or double of the true one gives about 34 or 136."""
MEDIAN_BPM_OF_FEW = (40, 140)
"""The same for fewer than LEAST recordings, and at least LEAST_OF_FEW."""
LEAST_OF_FEW = 3
RANGE_MV = (0.4, 4.0)
"""Lowest and highest plausible median range of a lead. It is 1.2 mV in PTB-XL, and from 0.65 to
2.9 mV in 98 % of its recordings."""
UPRIGHT_SHARE = 0.4
"""Lowest plausible share of recordings with an upright lead I, II, V5 or V6; 0.83 and more in
PTB-XL."""
SHARE_OF_ONE_PATIENT = 0.05
MOST_OF_ONE_PATIENT = 20
"""A patient with this many recordings and more than SHARE_OF_ONE_PATIENT of all is reported."""


@dataclasses.dataclass(frozen=True)
class CommonFlag:
    """Flags that have one cause if many recordings carry them."""

    flags: tuple[str, ...]
    """Keys of quality.FLAGS; a recording with any of them counts."""
    share: float
    """Share of the recordings from which it is reported, if they are LEAST or more."""
    finding: str
    advice: str
    """Likely cause; remedy."""


COMMON_FLAGS = {
    "laws": CommonFlag(
        ("einthoven", "goldberger"),
        0.05,
        "have limb leads that contradict each other (III = II - I, aVR = -(I + II) / 2, ...)",
        "leads are probably exchanged in the files or their description, or one has a wrong gain; "
        "correct the order, names and gains of the leads and convert again",
    ),
    "flat": CommonFlag(
        ("flat",),
        0.05,
        "have a flat lead",
        "the device may not record it, or its gain is wrong; if it is absent, leave it out of the "
        "files or give --leads without it",
    ),
    "huge": CommonFlag(
        ("huge", "saturated"),
        0.02,
        "have a lead that no heart produces",
        "gain or units are probably wrong; correct them and convert again",
    ),
    "clipped": CommonFlag(
        ("clipped",),
        0.05,
        "have a lead with peaks cut off",
        "the range of the device or of the export is too small; export again with more range, or "
        "do not use amplitudes",
    ),
    "offset": CommonFlag(
        ("offset",),
        0.05,
        "have a baseline far from zero",
        "the amplifier has no AC coupling, or the files state a wrong zero of the converter; "
        "encoders of ecgjax remove the baseline, other programs may not",
    ),
    "padded": CommonFlag(
        ("padded",),
        0.05,
        "are shorter than a stored recording and filled up",
        "the source has shorter recordings; crops and embeddings leave the missing part out",
    ),
    "gap": CommonFlag(
        ("gap",),
        0.05,
        "are interrupted",
        "the files have gaps, which are missing samples; do not measure intervals across them",
    ),
}
"""Thresholds and advice, by the name of the group. PTB-XL has 0.08 % laws and 0.01 % of others."""
EXPECTED = {"missing", "corrected"}
"""Flags that need no warning on the data set."""
GROUP_BY_FLAG = {flag: name for name, common in COMMON_FLAGS.items() for flag in common.flags}


def groups(flags: Sequence[str]) -> list[str]:
    """Returns the groups of a recording's flags; a flag without a group is its own."""
    names = (flag.split(":")[0] for flag in flags)
    return list(dict.fromkeys(GROUP_BY_FLAG.get(name, name) for name in names))


def find_warnings(summary: dict[str, Any]) -> list[str]:
    """Returns the warnings, from the content of report.json."""
    return [
        *_splits(summary),
        *_common_flags(summary),
        *_heart_rates(summary["measured"]),
        *_amplitudes(summary["measured"]),
        *_patients(summary),
        *_labels(summary),
        *(summary["table"] or {}).get("warnings", []),
    ]


def _splits(summary: dict[str, Any]) -> Iterator[str]:
    for split, counts in summary["splits"].items():
        if not counts["written"]:
            yield f"no recording of split {split} was written"


def _common_flags(summary: dict[str, Any]) -> Iterator[str]:
    written = summary["written"]
    for name, count in summary["flag_groups"].items():
        common = COMMON_FLAGS.get(name) or _plain(name)
        asked = name in EXPECTED or (name == "padded" and summary["pad_from_s"] is not None)
        is_common = count >= LEAST and count >= common.share * written
        is_half = count >= min(2, written) and count >= HALF * written
        if asked or not (is_common or is_half):
            continue
        finding = f"{count:,} of {written:,} recordings ({count / written:.0%}) {common.finding}"
        advice = common.advice
        if name == "laws" and summary["measured"]["repair"]:
            repair = summary["measured"]["repair"]
            advice = f"to {repair} would repair nearly all of them, so that names or signs are "
            advice += "probably wrong; correct them in the files or their description, and convert "
            advice += "again"
        yield f"{finding}: {advice}"


def _plain(name: str) -> CommonFlag:
    meaning, remedy = quality.FLAGS[name]
    return CommonFlag((name,), 0.05, f"have the flag {name}", f"{meaning} {remedy}")


def _heart_rates(measured: dict[str, Any]) -> Iterator[str]:
    rates = measured["heart_rates_bpm"]
    if len(rates) >= LEAST_OF_FEW:
        lowest, highest = MEDIAN_BPM if len(rates) >= LEAST else MEDIAN_BPM_OF_FEW
        median = statistics.median(rates)
        if not lowest <= median <= highest:
            finding = f"the median heart rate is {median:.0f} bpm in {len(rates)} recordings"
            error = "half" if median < lowest else "double"
            cause = f"unless these patients are special, the stated sampling rate is {error} the "
            yield f"{finding}: {cause}true one; correct it in the files or their description"
    if measured["recordings"] >= LEAST and len(rates) < HALF * measured["recordings"]:
        found = f"{len(rates)} of {measured['recordings']} recordings have a clear heart rate"
        yield f"{found}: they may hold noise, or a wrong rate; look at them in report.html"


def _amplitudes(measured: dict[str, Any]) -> Iterator[str]:
    if measured["recordings"] < LEAST_OF_FEW:
        return
    range_mv = measured["lead_range_mv"]
    if range_mv is not None and not RANGE_MV[0] <= range_mv <= RANGE_MV[1]:
        finding = f"a lead covers {range_mv:g} mV in the median, and about 1.2 mV in most sources"
        yield f"{finding}: the gain is probably wrong; correct gain and units, and convert again"
    if measured["recordings"] < LEAST:
        return
    turned = [lead for lead, share in measured["upright"].items() if share < UPRIGHT_SHARE]
    if turned:
        words = "leads {} point" if len(turned) > 1 else "lead {} points"
        finding = f"{words.format(', '.join(turned))} downwards in most recordings"
        cause = "its sign is probably wrong (a negative gain?), or leads are exchanged"
        yield f"{finding}: {cause}; look at the drawings in report.html, and convert again"


def _patients(summary: dict[str, Any]) -> Iterator[str]:
    recordings = summary["recordings_before_windows"]
    most = summary["most_recordings_of_a_patient"]
    only_one = summary["patients"] == 1 and recordings >= LEAST
    if only_one or (most >= MOST_OF_ONE_PATIENT and most > SHARE_OF_ONE_PATIENT * recordings):
        finding = f"one patient has {most:,} of {recordings:,} recordings"
        cause = "an identifier such as ANONYMOUS may stand for many people"
        yield f"{finding}: {cause}; leave such a cell of the column patient empty, unless it is so"
    if similar := summary["similar_patients"]:
        finding = f"{similar:,} of {summary['patients']:,} patients have identifiers that differ "
        finding += "from another one only in leading zeros, an ending .0, case, blanks or hyphens"
        yield f"{finding}: they count as different patients; write each identifier in one way"


def _labels(summary: dict[str, Any]) -> Iterator[str]:
    if not summary["labels"]:
        finding = "no recording has a label"
        remedy = "finetune and benchmark need a column of labels here, or a table as --targets"
        yield f"{finding}: pretrain needs none; {remedy}"
    elif not any(label in MEANINGS for label in summary["labels"]):
        finding = "no label is an SCP-ECG statement as PTB-XL writes it (NORM, AFIB, IMI, ...)"
        yield f"{finding}: the tasks of finetune and benchmark ignore the labels; translate them"
