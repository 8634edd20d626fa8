"""The content of report.json: counts of recordings, patients, labels, flags and rejections."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from ecgjax.errors import InputError
from tfds_builders.conversion import data_set_checks, measurements
from tfds_builders.conversion.plan import Rejection, Shard
from tfds_builders.conversion.sample import Accepted
from tfds_builders.recording import identities, quality

WINDOW = re.compile(r"-w\d+$")
"""End of the record id of a window."""
OLDEST = 90
"""Years from which all ages are counted together."""


def summarise(
    about: dict[str, Any],
    records: pa.Table,
    shards: Sequence[Shard],
    accepted: Sequence[Accepted],
) -> dict[str, Any]:
    """Returns the content of report.json.

    Args:
      about: data set, sampling rate, samples, leads, limit, and what is known of the source.
      records: the table of the recordings that were written.
      shards: the outcome of the conversion.
      accepted: random recordings that were written.
    """
    rejections = [rejection for shard in shards for rejection in shard.rejections]
    flags = records["quality"].to_pylist()
    labels = records["labels"].to_pylist()
    summary = {
        **about,
        "found": len(records) + len(rejections),
        "written": len(records),
        "rejected": len(rejections),
        **_patients(records),
        "similar_patients": len(identities.similar(_source_patients(shards))),
        "splits": _splits(records, rejections),
        "labels": _counts(label for row in labels for label in row),
        "unlabelled": sum(not row for row in labels),
        "ages": _ages(records["age"].to_pylist()),
        "sexes": _counts(sex or "unknown" for sex in records["sex"].to_pylist()),
        "quality": _counts(flag for row in flags for flag in row),
        "flagged": _counts(name for row in flags for name in _names(row)),
        "flag_groups": _counts(name for row in flags for name in data_set_checks.groups(row)),
        "reasons": _counts(rejection.reason for rejection in rejections),
        "measured": measurements.measure(accepted, about["rate_hz"]),
    }
    summary["warnings"] = data_set_checks.find_warnings(summary)
    return summary | {"rejections": [rejection.as_row() for rejection in rejections]}


def _patients(records: pa.Table) -> dict[str, Any]:
    """Returns the number of patients, and how many recordings they have.

    The windows of one long recording count as one recording in "most_recordings_of_a_patient".
    """
    owners = records["patient_id"].to_pylist()
    windows = Counter(owners)
    names = records["record_id"].to_pylist()
    names = [WINDOW.sub("", name) if "-w" in name else name for name in names]
    whole = Counter(owner for owner, _ in set(zip(owners, names, strict=True)))
    return {
        "patients": len(windows),
        "recordings_per_patient": {
            "mean": round(len(records) / max(1, len(windows)), 3),
            "median": median(windows.values()) if windows else 0,
            "maximum": max(windows.values(), default=0),
        },
        "most_recordings_of_a_patient": max(whole.values(), default=0),
        "recordings_before_windows": sum(whole.values()),
    }


def _source_patients(shards: Sequence[Shard]) -> set[str]:
    return {row.recording.source_patient_id for shard in shards for row in shard.kept}


def _splits(records: pa.Table, rejections: Sequence[Rejection]) -> dict[str, dict[str, int]]:
    splits = records["split"].to_pylist()
    written = Counter(splits)
    rejected = Counter(rejection.split for rejection in rejections)
    owners = set(zip(splits, records["patient_id"].to_pylist(), strict=True))
    patients = Counter(split for split, _ in owners)
    return {
        split: {
            "written": written[split],
            "rejected": rejected[split],
            "patients": patients[split],
        }
        for split in dict.fromkeys([*written, *rejected])
    }


def _ages(years: Sequence[float | None]) -> dict[str, int]:
    """Returns the number of recordings by decade of age, "unknown" last."""
    decades = Counter(min(int(age), OLDEST) // 10 * 10 for age in years if age is not None)
    ages = {f"{start}-{start + 9}": decades[start] for start in range(0, OLDEST, 10)}
    unknown = sum(age is None for age in years)
    return ages | {f"{OLDEST}+": decades[OLDEST], "unknown": unknown}


def _names(flags: Sequence[str]) -> list[str]:
    """Returns the flags of a recording without their leads, each once."""
    return list(dict.fromkeys(flag.split(":")[0] for flag in flags))


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def all_rejected(shards: Sequence[Shard], key_table: Path | None) -> InputError:
    """Returns the error of a conversion that has rejected every recording.

    It counts the reasons with their remedies. Of a public source it has the first detail as well;
    of a user's own files nothing but the path of the key table, which has all details.
    """
    rejections = [rejection for shard in shards for rejection in shard.rejections]
    reasons = ", ".join(
        f"{count:,} because of {reason} ({quality.REASONS[reason][1].rstrip('.')})"
        for reason, count in _counts(rejection.reason for rejection in rejections).items()
    )
    problem = f"all recordings were rejected ({len(rejections):,}): {reasons}"
    if key_table:
        return InputError(f"{problem}; {key_table} has the file and the detail of each one")
    return InputError(f"{problem}; the first one: {rejections[0].detail}")
