"""Examination of prepared data sets: every hash, every recording, the table and its splits."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ecgjax.data import files
from ecgjax.data.descriptions import SPLITS
from ecgjax.data.records import Records
from ecgjax.data.sketches import MOST_APART, are_copies
from ecgjax.errors import InputError
from ecgjax.workflows.doctor.findings import Finding, problem

MARKS = (files.TABLE, "binding.json", "dataset_info.json", "features.json", "*.array_record-*")
"""Files of a prepared data set; one of them is enough to recognise a damaged one."""
REPORT = "report.json"
AT_ONCE = 256
"""Recordings that are read at once."""
COMPARED = 256
"""Recordings whose sketches are computed again."""
SHOWN = 5
"""Damaged places that are listed; the rest is counted."""

Progress = Callable[[int, int], None]
"""Called as progress(recordings done, recordings in total)."""


def find(path: Path) -> list[Path]:
    """Returns the prepared data sets in a folder or up to three folders below, damaged ones too."""
    patterns = [f"{'*/' * depth}{mark}" for depth in range(files.DEEPEST + 1) for mark in MARKS]
    folders = {file.parent for pattern in patterns for file in path.glob(pattern)}
    hidden = (".", "incomplete.")
    return sorted(
        folder
        for folder in folders
        if not any(name.startswith(hidden) for name in folder.relative_to(path).parts)
    )


def unfinished(path: Path) -> Iterator[Finding]:
    """Yields the conversions below a folder that were interrupted."""
    patterns = [f"{'*/' * depth}incomplete.*" for depth in range(files.DEEPEST + 1)]
    for folder in sorted(folder for pattern in patterns for folder in path.glob(pattern)):
        remedy = "run the same prepare command again, which continues it"
        yield Finding("NOTE", str(folder), "a conversion that did not finish", remedy)


def examine(path: Path, progress: Progress) -> Iterator[Finding]:
    """Yields findings on one prepared data set."""
    subject = str(path)
    if not (path / files.TABLE).exists():
        remedy = "copy the whole folder again, or prepare it again"
        yield Finding("PROBLEM", str(path / files.TABLE), "is missing", remedy)
        return
    try:
        records = Records(path, accept_unbound=True)
    except InputError as error:
        yield problem(subject, error)
        return
    if not records.is_bound:
        remedy = f"verify and bind it: python -m ecgjax.launch.migrate --data {path}"
        yield Finding("PROBLEM", subject, "no hashes bind its table and shards", remedy)
    damaged = list(_damage(records, progress))
    yield from damaged[:SHOWN]
    if len(damaged) > SHOWN:
        count = len(damaged) - SHOWN
        yield Finding("PROBLEM", subject, f"{count:,} more places are damaged", damaged[0].remedy)
    table = list(_table(records))
    yield from table
    found = [] if damaged else list(_sketches(records))
    if not damaged and not table and not any(finding.level == "PROBLEM" for finding in found):
        yield Finding("OK", subject, _summary(records))
    yield from found
    yield from _warnings(path)


def _damage(records: Records, progress: Progress) -> Iterator[Finding]:
    """Reads every recording, which compares its hash, and yields what is damaged."""
    for start in range(0, len(records), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(records)))
        try:
            records.read(rows)
        except InputError as error:
            yield problem(str(records.path), error)
        progress(int(rows[-1]) + 1, len(records))


def _table(records: Records) -> Iterator[Finding]:
    """Yields contradictions of the table, whose rows decide which recordings a model may see."""
    try:
        patients = records.patients
        rows = {}
        for name in SPLITS:
            with contextlib.suppress(InputError):  # an empty split; others were compared at opening
                rows[name] = records.split(name)
    except InputError as error:
        yield problem(str(records.path), error)
        return
    if "train" not in rows:
        remedy = "give the table of your recordings a column split, or convert more patients"
        yield Finding("NOTE", str(records.path), "no recording is for training", remedy)
    seen: dict[int, str] = {}
    for name, indices in rows.items():
        shared = [patient for patient in set(patients[indices].tolist()) if patient in seen]
        if shared:
            message = f"{len(shared):,} patients are in split {name} and in another one"
            remedy = "correct the column split, since results on them would be too good"
            yield Finding("PROBLEM", str(records.path), message, remedy)
        seen |= dict.fromkeys(patients[indices].tolist(), name)


def _sketches(records: Records) -> Iterator[Finding]:
    """Yields sketches that are not those of the samples, and copies in two splits."""
    subject = str(records.path)
    if not records.sketches.are_stored:
        remedy = f"add them: python -m ecgjax.launch.migrate --data {records.path}"
        yield Finding("NOTE", subject, "has no sketches, by which copies are found", remedy)
        return
    chosen = np.unique(np.linspace(0, len(records) - 1, COMPARED).astype(int))
    stored = records.sketches[chosen]
    apart = np.bitwise_count(stored ^ records.sketches.compute(chosen)).sum(1)
    if wrong := int((apart > MOST_APART).sum()):
        message = f"{wrong:,} of {len(chosen):,} sketches are not those of their recordings"
        yield Finding("PROBLEM", subject, message, "prepare the data set again")
        return
    every = records.sketches[np.arange(len(records))]
    splits = records.column("split").to_pylist()
    parts = {name: every[[split == name for split in splits]] for name in SPLITS}
    for name, other in itertools.combinations(SPLITS, 2):
        if copies := int(are_copies(parts[other], parts[name]).sum()):
            message = f"{copies:,} recordings of split {other} are copies of some in {name}"
            remedy = "results on them would be too good; leave them out of the source"
            yield Finding("NOTE", subject, message, remedy)


def _summary(records: Records) -> str:
    count = len(np.unique(records.patients))
    seconds = records.samples / records.rate_hz
    compared = "all files and recordings agree with their hashes"
    if not records.is_bound:
        compared = "every recording agrees with its hash in the table"
    return (
        f"{records.name}, {len(records):,} recordings of {count:,} patients, {seconds:g} s at "
        f"{records.rate_hz:g} Hz; {compared}"
    )


def _warnings(path: Path) -> Iterator[Finding]:
    """Yields the warnings that the conversion gave."""
    file = path / REPORT
    try:
        warnings = json.loads(file.read_text(encoding="utf-8")).get("warnings", [])
    except (OSError, ValueError, AttributeError):
        remedy = "prepare the data set again if you need it; training does not"
        yield Finding("NOTE", str(file), "the report cannot be read", remedy)
        return
    for warning in warnings:
        remedy = f"look at {path / 'report.html'}"
        yield Finding("NOTE", str(path), str(warning), remedy)
