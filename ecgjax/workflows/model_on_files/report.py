"""The end of embed and predict on a terminal: counts, reasons, remedies and a next command."""

import re
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError, counted
from ecgjax.workflows.model_on_files.apply import Report
from ecgjax.workflows.model_on_files.options import Share
from ecgjax.workflows.model_on_files.result_table import ACCEPTED, REJECTED
from tfds_builders.recording import quality

WIDTH = 10
"""Columns of the names of the lines."""
READERS = {
    ".parquet": "import pyarrow.parquet as p; print(p.read_table('{}'))",
    ".csv": "import pyarrow.csv as p; print(p.read_csv('{}'))",
    ".npz": "import numpy as n; [print(k, v.shape, v.dtype) for k, v in n.load('{}').items()]",
}
"""Code that looks at a result, by its ending."""


def report_lines(report: Report, verb: str, share: Share) -> list[str]:
    """Returns lines for a terminal.

    Args:
      report: the outcome.
      verb: "embedded" or "predicted".
      share: the share of this process.
    """
    counts = report.summary["status"]
    found = f"{counts.total():,} = {counts[ACCEPTED]:,} {verb} + {counts[REJECTED]:,} rejected"
    lines = [_line("found", found)]
    for reason, count in report.summary["reason"].most_common():
        meaning, remedy = quality.REASONS[reason]
        lines.append(_line("rejected", f"{count:,} because of {reason}: {meaning} {remedy}"))
        lines.append(_line("", f"the first: {report.summary['first'][reason]}"))
    if flags := report.summary["flag"].most_common():
        words = ", ".join(f"{flag} {count:,}" for flag, count in flags)
        lines.append(_line("flags", f"recordings with {words} (column quality)"))
    if report.summary["nameless"]:
        remedy = "--patient-key FILE adds both, as prepare does"
        lines.append(_line("patients", f"no patient_id and record_id of own files; {remedy}"))
    speed = f"{counted(report.computed, 'recording')} in {report.seconds:.1f} s"
    rate = report.computed / max(report.seconds, 1e-9)
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    lines.append(_line("speed", f"{speed}, {shown} per second"))
    lines.append(_line("written", str(report.out)))
    return [*lines, _line("next", _next_command(report.out, share))]


def _line(name: str, text: str) -> str:
    return f"{name:<{WIDTH}}{text}"


def _next_command(out: Path, share: Share) -> str:
    if share.count > 1 and out.suffix == ".parquet":
        return f"when all {share.count} parts are there, read them as one: docs/embed-predict.md"
    code = READERS[out.suffix].format(out)
    return f'python -c "{code}"' if re.fullmatch(r"[\w./-]+", str(out)) else f"look at {out}"


def require_accepted(report: Report) -> None:
    """Checks that at least one recording was used.

    Raises:
      InputError: all were rejected; the message has the reasons and remedies.
    """
    summary: dict[str, Any] = report.summary
    rejected = summary["status"][REJECTED]
    if not rejected or summary["status"][ACCEPTED]:
        return
    reasons = ", ".join(
        f"{count:,} because of {reason} ({quality.REASONS[reason][1].rstrip('.')})"
        for reason, count in summary["reason"].most_common()
    )
    raise InputError(
        f"all recordings were rejected ({rejected:,}): {reasons}; {report.out} has the file and "
        f"the message of each one"
    )
