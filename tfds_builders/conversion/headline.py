"""The end of a conversion on a terminal: what was found, written, rejected and noticed."""

import shlex
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecgjax.errors import counted
from ecgjax.signals import LEADS
from tfds_builders.conversion import keeper
from tfds_builders.recording import quality

WIDTH = 10
"""Columns of the names of the lines."""
BATCH = 256
"""Default of pretrain --batch-size."""
SECONDS = 10
"""Default of pretrain --preprocessing.seconds."""


def headline(summary: dict[str, Any], key_file: Path | None = None) -> list[str]:
    """Returns lines for a terminal.

    Args:
      summary: the content of report.json.
      key_file: the key of a user's own files, beside which the key table is.
    """
    key_table = "the table beside the key" if summary["own_files"] else "report.json"
    if summary["own_files"] and key_file:
        name = summary["dataset"].split("/")[0]
        key_table = str(keeper.key_table(key_file.expanduser().resolve(), name))
    counts = f"{summary['written']:,} written + {summary['rejected']:,} rejected"
    return [
        f"{summary['found']:,} found = {counts}",
        *_rejected(summary, key_table),
        *_patients(summary),
        *_signal(summary),
        *_table(summary["table"] or {}),
        *(_line("note", f"{count:,} x {note}") for note, count in summary["notes"].items()),
        *_measured(summary),
        *(_line("WARNING", warning) for warning in summary["warnings"]),
    ]


def next_command(summary: dict[str, Any], place: str) -> str:
    """Returns a command that works on the data set, with the options that it needs.

    Args:
      summary: the content of report.json.
      place: folder or URL of the data set.
    """
    train = summary["splits"].get("train", {"written": 0, "patients": 0})
    if train["written"] < 2:
        return "convert again with more recordings in split train, which pre-training needs"
    words = ["python -m ecgjax.launch.pretrain --data", shlex.quote(place)]
    if train["written"] < BATCH:
        words.append(f"--batch-size {1 << train['written'].bit_length() - 1}")
    if train["patients"] < 2:
        words.append("--objective simclr")  # pairs of patients need two patients
    seconds = summary["samples"] / summary["rate_hz"]
    if seconds != SECONDS:
        words.append(f"--preprocessing.seconds {seconds:g}")
    if tuple(summary["leads"]) != LEADS:
        words.append(f"--preprocessing.leads {' '.join(summary['leads'])}")
    return " ".join(words)


def _line(name: str, text: str) -> str:
    return f"{name:<{WIDTH}}{text}"


def _rejected(summary: dict[str, Any], place: str) -> Iterator[str]:
    for reason, count in summary["reasons"].items():
        meaning, remedy = quality.REASONS[reason]
        yield _line("rejected", f"{count:,} because of {reason}: {meaning} {remedy}")
    if summary["reasons"]:
        yield _line("", f"file and detail of each one: {place}")


def _patients(summary: dict[str, Any]) -> Iterator[str]:
    each = summary["recordings_per_patient"]
    per_patient = f"{each['mean']:.3g} on average, {each['maximum']:,} at most"
    yield _line("patients", f"{summary['patients']:,}; recordings per patient: {per_patient}")


def _signal(summary: dict[str, Any]) -> Iterator[str]:
    held = summary["leads"]
    names = f"{len(held)} leads" if len(held) == len(LEADS) else f"lead {', '.join(held)}"
    if summary["allow_missing_leads"]:
        names += ", of which a recording may lack some"
    seconds = summary["samples"] / summary["rate_hz"]
    parts = [f"{names}, {seconds:g} s at {summary['rate_hz']:g} Hz"]
    if summary["pad_from_s"] is not None:
        parts.append(f"recordings from {summary['pad_from_s']:g} s on are filled up")
    if corrected := summary["flagged"].get("corrected"):
        parts.append(f"known errors of the publisher corrected in {corrected:,} recordings")
    yield _line("signal", "; ".join(parts))
    flags = [f"{name} {count:,}" for name, count in summary["flagged"].items()]
    if flags:
        yield _line("flags", f"recordings with {', '.join(flags)} (report.html explains them)")


def _table(table: dict[str, Any]) -> Iterator[str]:
    """Yields lines on the user's table of recordings, from its accounting."""
    if not table.get("file"):
        return
    form = [table["encoding"]] * (table["encoding"].lower() not in ("utf-8", "utf-8-sig", "ascii"))
    form += [f"delimiter {table['delimiter']!r}"] * (table["delimiter"] != ",")
    name = f"{table['file']} ({', '.join(form)})" if form else table["file"]
    yield _line("table", f"{name}: used {used_columns(table)}")
    if table["columns_unused"]:
        yield _line("", f"not used: {', '.join(table['columns_unused'])}")
    recordings = table["recordings_without_row"]
    rows = table["rows_without_recording"]
    if recordings or rows:
        without = f"{counted(rows, 'row')} without a recording"
        yield _line("", f"{without}, {counted(recordings, 'recording')} without one")


def used_columns(table: dict[str, Any]) -> str:
    """Returns the columns that were used of the user's table, with what they were taken for."""
    return ", ".join(
        column if column == meaning else f"{column} as {meaning}"
        for column, meaning in table["columns_used"].items()
    )


def _measured(summary: dict[str, Any]) -> Iterator[str]:
    rates = summary["measured"]["heart_rates_bpm"]
    if rates:
        median = f"{statistics.median(rates):.0f} bpm in the median of {len(rates):,} recordings"
        yield _line("pulse", f"{median}, from {min(rates)} to {max(rates)}")
