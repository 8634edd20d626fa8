"""Recognition of raw files: which builder reads them, and the command that converts them."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePath

from ecgjax.errors import InputError, counted
from ecgjax.workflows.doctor.findings import Finding, problem
from tfds_builders.formats import table_names
from tfds_builders.raw_files import detection
from tfds_builders.raw_files.detection import Part

CHALLENGE = re.compile(r"(A|Q|I|S|HR|E|JS)\d{4,5}\.hea", re.ASCII)
"""Names of the records of the PhysioNet/CinC Challenges."""
LOOKED_INTO = 200
"""Vendors' files of a folder whose first bytes are compared with the known formats."""
START_BYTES = 1 << 16
SHOWN = 3
"""Files with a problem that are listed; the rest is counted."""
OWN_DATA = "see docs/own-data.md"


def examine(path: Path) -> Iterator[Finding]:
    """Yields which builder reads a file or the files of a folder."""
    try:
        parts, left_out = detection.detect([path])
    except InputError as error:
        yield problem(str(path), error)
        return
    for part in parts:
        yield from _part(part)
    if left_out:
        note = f"{len(left_out):,} files are no ECG by their names, or lack an arrays.json"
        yield Finding("NOTE", str(path), note, f"is that right? For their formats {OWN_DATA}")


def _part(part: Part) -> Iterator[Finding]:
    """Yields the builder of a folder with its command, and what the command will miss."""
    source = str(part.source)
    files = part.files or ()
    damaged = [file.problem[1] for file in files if file.problem]
    if part.dataset == detection.VENDOR:
        damaged += _unknown(part)
    for message in damaged[:SHOWN]:
        yield problem(source, InputError(message))
    if len(damaged) > SHOWN:
        message = f"{len(damaged) - SHOWN:,} more files with such problems"
        yield Finding("PROBLEM", source, message, "correct them as those above")
    sound = len(files) - len(damaged)
    if part.files is not None and not sound:
        return
    count = counted(sound, "recording file") if files else "raw recordings"
    yield Finding("OK", source, f"{count} for {part.dataset}", f"next: {_command(part)}")
    if part.dataset == detection.WFDB and all(
        CHALLENGE.fullmatch(PurePath(file.path).name) for file in files
    ):
        message = "the records are named like those of the PhysioNet/CinC Challenges"
        yield Finding("NOTE", source, message, "--dataset cinc2021 reads their labels, too")
    elif part.dataset in (detection.WFDB, detection.ARRAYS) and not _has_table(part.source):
        message = f"no {table_names.NAME}.csv, so every file counts as a patient of its own"
        remedy = f"write one with the columns file and patient: {OWN_DATA}"
        yield Finding("NOTE", source, message, remedy)


def _unknown(part: Part) -> list[str]:
    """Returns a line for each of the first files whose content no reader of vendors' files knows.

    Without the extra `vendor` there is no reader, and no line.
    """
    if importlib.util.find_spec("ecgdatakit") is None:
        return []
    from tfds_builders.formats import vendor_readers
    from tfds_builders.formats.vendor_content import Refused

    lines = []
    sound = [part.source / file.path for file in part.files or () if not file.problem]
    for path in sound[:LOOKED_INTO]:
        try:
            with path.open("rb") as file:
                vendor_readers.find_reader(file.read(START_BYTES))
        except Refused as refused:
            lines.append(f"{path}: {refused.args[1]}")
        except OSError as error:
            lines.append(f"{path}: {error.strerror}; give a file that can be read")
    return lines


def _has_table(folder: Path) -> bool:
    return any(folder.glob(f"{table_names.NAME}.*"))


def _command(part: Part) -> str:
    """Returns the command that converts a part."""
    dataset = part.dataset
    if dataset == "ptb_xl" and not (part.source / "records100").is_dir():
        dataset = "ptb_xl/500hz"
    command = f"python -m ecgjax.launch.prepare --dataset {dataset} --source "
    command += f"{shlex.quote(str(part.source))} --out data"
    return command + " --patient-key ~/.ecgjax/key" * (part.dataset in detection.OWN)
