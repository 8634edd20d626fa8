"""The report of a conversion: report.json for programs, report.html for people."""

import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfds_builders.conversion.plan import Kept, Rejection
from tfds_builders.conversion.thumbnails import DRAWN, svg
from tfds_builders.recording import quality

JSON = "report.json"
HTML = "report.html"
SHOWN = 200
"""Number of rejections that report.html lists; report.json lists all."""


def write(
    folder: Path,
    about: dict[str, Any],
    records: pa.Table,
    rejections: Sequence[Rejection],
    flagged: Sequence[Kept],
) -> None:
    """Writes report.json and report.html.

    Args:
      folder: the folder of the prepared data set.
      about: data set, sampling rate, samples, leads and limit.
      records: the table of the recordings that were written.
      rejections: the recordings that were not written.
      flagged: the recordings with a thumbnail, since they have quality flags.
    """
    summary = summarise(about, records, rejections)
    (folder / JSON).write_text(json.dumps(summary, indent=1), encoding="utf-8")
    (folder / HTML).write_text(to_html(summary, _drawings(rejections, flagged)), encoding="utf-8")


def _drawings(rejections: Sequence[Rejection], flagged: Sequence[Kept]) -> list[str]:
    """Returns HTML of the first DRAWN recordings of each reason and of each kind of flag."""
    count: Counter[str] = Counter()
    figures = []
    for row in (*rejections, *flagged):
        count[row.kind] += row.small is not None
        if row.small is not None and count[row.kind] <= DRAWN:
            caption = f"<figcaption>{_text(_caption(row))}</figcaption>"
            figures.append(f"<figure>{svg(row.small)}{caption}</figure>")
    return figures


def _caption(row: Rejection | Kept) -> str:
    if isinstance(row, Rejection):
        return f"{row.record_id}: rejected because of {row.reason}"
    return f"{row.recording.record_id}: {', '.join(row.quality)}"


def summarise(
    about: dict[str, Any], records: pa.Table, rejections: Sequence[Rejection]
) -> dict[str, Any]:
    """Returns the content of report.json: counts of recordings, and every rejection."""
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
    """Returns lines for a terminal: the counts, and a warning for each reason and empty split."""
    written = f"{summary['written']:,} written"
    lines = [f"{summary['found']:,} found = {written} + {summary['rejected']:,} rejected"]
    lines += [
        f"  WARNING: {count:,} rejected because of {reason}; {JSON} lists them"
        for reason, count in summary["reasons"].items()
    ]
    empty = [split for split, counts in summary["splits"].items() if not counts["written"]]
    return lines + [f"  WARNING: no recording of split {split} was written" for split in empty]


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } th { text-align: left; font-weight: 600 }
td, th { padding: .15em 1.5em .15em 0; border-bottom: 1px solid #ddd; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums } meter { width: 8em }
td.share { white-space: nowrap }
.good, .bad { padding: .6em 1em; border-left: 5px solid #2a7 }
figure { display: inline-block; width: 22em; margin: .5em 1em .5em 0; vertical-align: top }
figure { font-size: 85% }
svg.ecg path { fill: none; stroke: #222; stroke-width: .7 } svg.ecg text { font-size: 9px }
.bad { border-color: #c33; background: #fdeeee }
"""


def to_html(summary: dict[str, Any], drawings: Sequence[str] = ()) -> str:
    """Returns report.html, one page that needs no other file."""
    title = _text(summary["dataset"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>
<h1>{title}</h1>
{_overview(summary)}
{_rejected(summary)}
{_flagged(summary, drawings)}
{_table("Labels", ("statement", "recordings", "share"), _shares(summary, "labels"))}
</html>
"""


def _overview(summary: dict[str, Any]) -> str:
    written = summary["written"]
    rejected = summary["rejected"]
    style = "bad" if rejected else "good"
    counts = f"{summary['found']:,} recordings found = {written:,} written + {rejected:,} rejected"
    lines = [f"<p class={style}>{counts}.</p>"]
    if summary["limit"]:
        lines.append(
            f"<p class=bad>Only the first {summary['limit']} recordings of each split.</p>"
        )
    seconds = summary["samples"] / summary["rate_hz"]
    leads = f"{len(summary['leads'])} leads at {summary['rate_hz']:g} Hz"
    lines.append(f"<p>{summary['patients']:,} patients; {leads}, {seconds:g} s a recording,")
    lines.append(f"{written * seconds / 3600:,.1f} hours in total.</p>")
    splits = [(split, *counts.values()) for split, counts in summary["splits"].items()]
    lines.append(_table("Splits", ("split", "written", "rejected", "patients"), splits))
    return "\n".join(lines)


def _rejected(summary: dict[str, Any]) -> str:
    reasons = [(word, n, *quality.REASONS[word]) for word, n in summary["reasons"].items()]
    shown = [tuple(rejection.values()) for rejection in summary["rejections"][:SHOWN]]
    title = f"Rejected (the first {SHOWN}; all in {JSON})"
    return "\n".join(
        [
            _table("Rejected, by reason", ("reason", "recordings", "meaning", "remedy"), reasons),
            _table(title, ("record", "split", "reason", "detail"), shown),
        ]
    )


def _flagged(summary: dict[str, Any], drawings: Sequence[str]) -> str:
    flags = [
        (flag, count, share, quality.FLAGS[flag.split(":")[0]][0])
        for flag, count, share in _shares(summary, "quality")
    ]
    lines = [_table("Quality flags", ("flag", "recordings", "share", "meaning"), flags)]
    if drawings:
        lines.append(f"<h2>Rejected or flagged, the first {DRAWN} of each kind</h2>")
    return "\n".join([*lines, *drawings])


def _shares(summary: dict[str, Any], key: str) -> list[tuple[str, int, float]]:
    counts: Mapping[str, int] = summary[key]
    return [(word, count, count / summary["written"]) for word, count in counts.items()]


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
    if not lines:
        return ""
    titles = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f"<h2>{_text(title)}</h2><table><tr>{titles}</tr>\n{chr(10).join(lines)}\n</table>"


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"<td class=share><meter value={value:.4f}></meter> {value:.1%}</td>"
    if isinstance(value, int):
        return f"<td class=number>{value:,}</td>"
    return f"<td>{_text(value)}</td>"


def _text(value: str) -> str:
    return html.escape(value)
