"""The report of a conversion: report.json for programs, report.html for people."""

import dataclasses
import html
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tfds_builders.conversion.thumbnails import DRAWN, svg

if TYPE_CHECKING:
    from tfds_builders.conversion.plan import Kept

JSON, HTML = "report.json", "report.html"
SHOWN = 200
"""Rejections that report.html lists; report.json has them all."""


@dataclasses.dataclass(frozen=True)
class Rejection:
    """A recording that was not written, and why."""

    record_id: str
    split: str
    reason: str
    """A word to count by."""
    detail: str
    small: np.ndarray | None = None
    """What was read of it, as report.html draws it: int16 [POINTS, 12]."""

    @property
    def kind(self) -> str:
        """By which it is chosen to be drawn."""
        return f"rejected {self.reason}"

    def as_row(self) -> dict[str, str]:
        """Without the drawing."""
        return {
            "record_id": self.record_id,
            "split": self.split,
            "reason": self.reason,
            "detail": self.detail,
        }


def write(
    folder: Path,
    about: dict[str, Any],
    records: pa.Table,
    rejections: Sequence[Rejection],
    drawn: Sequence["Kept"],
) -> None:
    """Writes report.json and report.html of the recordings in the table `records`, those rejected and those drawn."""
    summary = summarise(about, records, rejections)
    (folder / JSON).write_text(json.dumps(summary, indent=1), encoding="utf-8")
    (folder / HTML).write_text(to_html(summary, _drawings(rejections, drawn)), encoding="utf-8")


def _drawings(rejections: Sequence[Rejection], drawn: Sequence["Kept"]) -> list[str]:
    """HTML of the first DRAWN recordings of each reason and of each kind of flag."""
    seen: Counter[str] = Counter()
    figures = []
    for row in (*rejections, *drawn):
        seen[row.kind] += row.small is not None
        if row.small is not None and seen[row.kind] <= DRAWN:
            figures.append(
                f"<figure>{svg(row.small)}<figcaption>{_text(_caption(row))}</figcaption></figure>"
            )
    return figures


def _caption(row: "Rejection | Kept") -> str:
    if isinstance(row, Rejection):
        return f"{row.record_id}: rejected because of {row.reason}"
    return f"{row.recording.record_id}: {', '.join(row.quality)}"


def summarise(
    about: dict[str, Any], records: pa.Table, rejections: Sequence[Rejection]
) -> dict[str, Any]:
    """What report.json says."""
    splits = Counter(records["split"].to_pylist())
    rejected = Counter(rejection.split for rejection in rejections)
    owners = set(zip(records["split"].to_pylist(), records["patient_id"].to_pylist(), strict=True))
    patients = Counter(split for split, _ in owners)
    return {
        **about,
        "found": len(records) + len(rejections),
        "written": len(records),
        "rejected": len(rejections),
        "patients": len(owners),
        "splits": {
            split: {
                "written": splits[split],
                "rejected": rejected[split],
                "patients": patients[split],
            }
            for split in dict.fromkeys([*splits, *rejected])
        },
        "labels": _counts(label for row in records["labels"].to_pylist() for label in row),
        "quality": _counts(flag for row in records["quality"].to_pylist() for flag in row),
        "reasons": _counts(rejection.reason for rejection in rejections),
        "rejections": [rejection.as_row() for rejection in rejections],
    }


def headline(summary: dict[str, Any]) -> list[str]:
    """Lines for a terminal: the sum, and what a person should look at."""
    lines = [
        f"{summary['found']:,} found = {summary['written']:,} written + {summary['rejected']:,} rejected"
    ]
    lines += [
        f"  WARNING: {count:,} rejected because of {reason}; {HTML} says which"
        for reason, count in summary["reasons"].items()
    ]
    empty = [split for split, counts in summary["splits"].items() if not counts["written"]]
    return lines + [f"  WARNING: nothing is left of split {split}" for split in empty]


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th { text-align: left; font-weight: 600 }
td, th { padding: .15em 1.5em .15em 0; border-bottom: 1px solid #ddd; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums } meter { width: 14em }
.good, .bad { padding: .6em 1em; border-left: 5px solid #2a7 }
figure { display: inline-block; width: 22em; margin: .5em 1em .5em 0; vertical-align: top; font-size: 85% }
svg.ecg path { fill: none; stroke: #222; stroke-width: .7 } svg.ecg text { font-size: 9px }
.bad { border-color: #c33; background: #fdeeee }
"""


def to_html(summary: dict[str, Any], drawings: Sequence[str] = ()) -> str:
    """report.html: one page that needs no other file."""
    written, rejected = summary["written"], summary["rejected"]
    seconds = summary["samples"] / summary["rate_hz"]
    verdict = f"{summary['found']:,} recordings found = {written:,} written + {rejected:,} rejected"
    part = (
        f"<p class=bad>Only the first {summary['limit']} recordings of each split.</p>"
        if summary["limit"]
        else ""
    )
    splits = [(split, *counts.values()) for split, counts in summary["splits"].items()]
    shown = [tuple(rejection.values()) for rejection in summary["rejections"][:SHOWN]]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{_text(summary["dataset"])}</title><style>{STYLE}</style>
<h1>{_text(summary["dataset"])}</h1>
<p class={"bad" if rejected else "good"}>{verdict}.</p>{part}
<p>{summary["patients"]:,} patients; {len(summary["leads"])} leads at {summary["rate_hz"]:g} Hz,
{seconds:g} s a recording, {written * seconds / 3600:,.1f} hours in all.</p>
{_table("Splits", ("split", "written", "rejected", "patients"), splits)}
{_table("Rejected, by reason", ("reason", "recordings"), summary["reasons"].items())}
{_table(f"Rejected (the first {SHOWN}; all in {JSON})", ("record", "split", "reason", "detail"), shown)}
{_table("Quality flags", ("flag", "recordings", "share"), _shares(summary["quality"], written))}
{f"<h2>Rejected or flagged, the first {DRAWN} of each kind</h2>" if drawings else ""}{"".join(drawings)}
{_table("Labels", ("statement", "recordings", "share"), _shares(summary["labels"], written))}
</html>
"""


def _shares(counts: dict[str, int], written: int) -> list[tuple[str, int, float]]:
    return [(word, count, count / written) for word, count in counts.items()]


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
    if not lines:
        return ""
    titles = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f"<h2>{_text(title)}</h2><table><tr>{titles}</tr>\n{chr(10).join(lines)}\n</table>"


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"<td><meter value={value:.4f}></meter> {value:.1%}</td>"
    if isinstance(value, int):
        return f"<td class=number>{value:,}</td>"
    return f"<td>{_text(value)}</td>"


def _text(value: str) -> str:
    return html.escape(value)
