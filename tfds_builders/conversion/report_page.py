"""report.html: one page that needs no other file, for a wide screen and for a phone."""

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ecgjax.signals import LEADS
from tfds_builders.conversion import charts, ecg_paper
from tfds_builders.conversion.headline import used_columns
from tfds_builders.conversion.plan import Kept, Rejection
from tfds_builders.conversion.sample import Accepted
from tfds_builders.conversion.thumbnails import DRAWN, svg
from tfds_builders.recording import quality, statements

PAPERS = 12
"""Accepted recordings that are drawn on ECG paper."""
EXAMPLES = 5
"""Rejected recordings that are named for each reason; report.json lists all."""
BPM = range(30, 200, 10)
"""Columns of the chart of heart rates."""

STYLE = """
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff }
body { max-width: 72em; margin: 1.5em auto; padding: 0 1em; overflow-wrap: break-word }
h1 { font-size: 1.6em } h2 { margin-top: 2em; border-top: 1px solid #ddd; padding-top: .8em }
.scroll { overflow-x: auto }
table { border-collapse: collapse; margin: .5em 0 } th { text-align: left; font-weight: 600 }
td, th { padding: .2em 1.2em .2em 0; border-bottom: 1px solid #ddd; vertical-align: top }
td { min-width: 3em } td.text { min-width: 9em; overflow-wrap: normal }
td.number { text-align: right; font-variant-numeric: tabular-nums }
td.share { white-space: nowrap } meter { width: 5em }
.good, .bad, .note { padding: .6em 1em; border-left: 5px solid #2a7; margin: .6em 0 }
.bad { border-color: #c33; background: #fdeeee } .note { border-color: #d90; background: #fff8e8 }
figure { margin: .5em 0 1em; font-size: 85% } figcaption { color: #555 }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22em), 1fr)) }
.small, .papers { gap: 0 1.5em }
.papers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34em), 1fr)) }
svg.ecg path { fill: none; stroke: #222; stroke-width: .7 } svg.ecg text { font-size: 9px }
svg.paper { width: 100%; min-width: 34em; background: #fffafa; display: block }
svg.paper path { fill: none; stroke: #111; stroke-width: 3; stroke-linejoin: round }
svg.paper path.pulse { stroke: #777 } svg.paper text { font: 34px sans-serif }
.charts { display: flex; flex-wrap: wrap; gap: 0 2em } .chart { max-width: 100%; overflow-x: auto }
.chart rect { fill: #47a } .chart text { font-size: 9px }
.chart text { text-anchor: middle }
@media (max-width: 40em) { meter { display: none } td, th { padding-right: .8em } }
"""


def to_html(
    summary: dict[str, Any],
    rows: Sequence[Rejection | Kept] = (),
    accepted: Sequence[Accepted] = (),
) -> str:
    """Returns report.html.

    Args:
      summary: the content of report.json.
      rows: all recordings; those with a thumbnail are drawn.
      accepted: random recordings that were written, of which the first PAPERS are drawn.
    """
    title = _text(summary["dataset"])
    sections = [_overview(summary), _rejected(summary, rows)]
    sections += [_papers(summary, accepted[:PAPERS]), _charts(summary)]
    sections += [_flags(summary, rows), _labels(summary)]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}</style></head><body>
<h1>{title}</h1>
{chr(10).join(sections)}
</body></html>
"""


def _overview(summary: dict[str, Any]) -> str:
    written = summary["written"]
    rejected = summary["rejected"]
    counts = f"{summary['found']:,} recordings found = {written:,} written + {rejected:,} rejected"
    lines = [f"<p class={'bad' if rejected else 'good'}>{counts}.</p>"]
    if summary["limit"]:
        lines.append(f"<p class=note>Only the first {summary['limit']} recordings of a split.</p>")
    lines += [f"<p class=bad>{_text(warning)}.</p>" for warning in summary["warnings"]]
    seconds = summary["samples"] / summary["rate_hz"]
    held = summary["leads"]
    names = f"{len(LEADS)} leads" if len(held) == len(LEADS) else f"lead {', '.join(held)}"
    each = summary["recordings_per_patient"]
    lines.append(
        f"<p>{summary['patients']:,} patients with {each['mean']:.3g} recordings each on average, "
        f"{each['maximum']:,} at most; {names} at {summary['rate_hz']:g} Hz, {seconds:g} s a "
        f"recording, {written * seconds / 3600:,.1f} hours in total.</p>"
    )
    lines += _source_table(summary["table"])
    lines += [f"<p>{count:,} x {_text(note)}.</p>" for note, count in summary["notes"].items()]
    splits = [(split, *counts.values()) for split, counts in summary["splits"].items()]
    return "\n".join([*lines, _table(("split", "written", "rejected", "patients"), splits)])


def _source_table(table: dict[str, Any] | None) -> Iterator[str]:
    if table and table["file"]:
        used = used_columns(table)
        unused = ", ".join(table["columns_unused"]) or "none"
        yield f"<p>Table {_text(table['file'])}: columns used: {_text(used)}; "
        yield f"not used: {_text(unused)}; {table['rows_without_recording']:,} rows without a "
        yield f"recording, {table['recordings_without_row']:,} recordings without a row.</p>"


def _rejected(summary: dict[str, Any], rows: Sequence[Rejection | Kept]) -> str:
    """Returns the section on rejections: for each reason all that the report says about it."""
    if not summary["reasons"]:
        return ""
    lines = [f"<h2 id=rejected>Rejected: {summary['rejected']:,}</h2>"]
    lines.append(f"<p>{_place_of_details(summary)}</p>")
    for reason, count in summary["reasons"].items():
        examples = [row for row in summary["rejections"] if row["reason"] == reason][:EXAMPLES]
        lines.append(f"<h3>{_text(reason)}: {count:,}</h3>{_explain(quality.REASONS[reason])}")
        names = [(row["record_id"], row["split"], row["detail"]) for row in examples]
        if summary["own_files"]:
            names = [name[:2] for name in names]
        lines.append(_table(("record", "split", "detail")[: len(names[0])], names))
        lines.append(_drawings(row for row in rows if row.kind == f"rejected {reason}"))
    return "\n".join(lines)


def _explain(texts: tuple[str, str]) -> str:
    meaning, remedy = texts
    return f"<p>{_text(meaning)} <b>Remedy:</b> {_text(remedy)}</p>"


def _place_of_details(summary: dict[str, Any]) -> str:
    first = f"The first {EXAMPLES} of each reason; report.json lists all."
    if not summary["own_files"]:
        return first
    table = f"KEY.{summary['dataset'].split('/')[0]}.csv"
    return f"{first} File and detail of each record are in the table {_text(table)} beside the key."


def _flags(summary: dict[str, Any], rows: Sequence[Rejection | Kept]) -> str:
    """Returns the section on quality flags, whose recordings are written."""
    if not summary["flagged"]:
        return "<h2>Quality flags</h2><p>No recording has one.</p>"
    lines = ["<h2>Quality flags</h2><p>These recordings are in the data set.</p>"]
    for name, count in summary["flagged"].items():
        share = f"{count:,} recordings ({count / summary['written']:.1%})"
        lines.append(f"<h3>{_text(name)}: {share}</h3>{_explain(quality.FLAGS[name])}")
        leads = [
            f"{flag.split(':')[1]} {number:,}"
            for flag, number in summary["quality"].items()
            if flag.startswith(f"{name}:")
        ]
        lines.append(f"<p>By lead: {', '.join(leads)}.</p>" if leads else "")
        lines.append(_drawings(row for row in rows if isinstance(row, Kept) and row.kind == name))
    return "\n".join(lines)


def _drawings(rows: Iterable[Rejection | Kept]) -> str:
    """Returns the thumbnails of the first DRAWN recordings of each kind."""
    count: Counter[str] = Counter()
    figures = []
    for row in rows:
        count[row.kind] += row.small is not None
        if row.small is not None and count[row.kind] <= DRAWN:
            caption = f"<figcaption>{_text(_caption(row))}</figcaption>"
            figures.append(f"<figure>{caption}{svg(row.small)}</figure>")
    return f"<div class=small>{''.join(figures)}</div>" if figures else ""


def _caption(row: Rejection | Kept) -> str:
    if isinstance(row, Rejection):
        return row.record_id
    return f"{row.recording.record_id}: {', '.join(row.quality)}"


def _papers(summary: dict[str, Any], accepted: Sequence[Accepted]) -> str:
    """Returns drawings of accepted recordings; of own files, the record ids are hashes."""
    figures = [
        f"<figure><figcaption>{_text(_person_and_labels(row))}</figcaption>"
        f"<div class=scroll>{ecg_paper.draw(signal, summary['rate_hz'])}</div></figure>"
        for row, signal in accepted
    ]
    scale = f"{ecg_paper.MM_PER_S} mm/s, {ecg_paper.MM_PER_MV} mm/mV"
    intro = f"Random recordings that were written, at {scale}; each lead is centred. Are the QRS "
    intro += "complexes upright in I, II, V5 and V6, and about as high as in the source?"
    figures = "\n".join(figures)
    return f"<h2>Accepted</h2>{ecg_paper.GRID}<p>{intro}</p><div class=papers>{figures}</div>"


def _person_and_labels(row: Kept) -> str:
    recording = row.recording
    age = "age unknown" if recording.age is None else f"{recording.age:.0f} years"
    facts = [age, recording.sex or "sex unknown", *recording.labels, *row.quality]
    return f"{recording.record_id}: {', '.join(facts)}"


def _charts(summary: dict[str, Any]) -> str:
    rates = Counter(rate // 10 * 10 for rate in summary["measured"]["heart_rates_bpm"])
    clipped = Counter({start: 0 for start in BPM})
    for start, count in rates.items():
        clipped[min(max(start, BPM[0]), BPM[-1])] += count
    names = {BPM[0]: f"<{BPM[1]}", BPM[-1]: f"{BPM[-1]}+"}
    hearts = {names.get(start, str(start)): count for start, count in sorted(clipped.items())}
    measured = f"Heart rate in bpm, of {sum(rates.values()):,} random recordings"
    figures = [
        charts.columns("Age in years, by recording", summary["ages"]),
        charts.columns("Sex, by recording", summary["sexes"]),
        charts.columns(measured, hearts),
    ]
    return f"<h2>Age, sex and heart rate</h2><div class=charts>{''.join(figures)}</div>"


def _labels(summary: dict[str, Any]) -> str:
    if not summary["labels"]:
        return "<h2>Labels</h2><p>No recording has a label.</p>"
    rows = [
        (code, statements.meaning(code), count, count / summary["written"])
        for code, count in summary["labels"].items()
    ]
    intro = "Codes are statements of SCP-ECG (EN 1064) as PTB-XL writes them, unless stated "
    intro += f"otherwise; {summary['unlabelled']:,} recordings have none."
    table = _table(("code", "meaning", "recordings", "share"), rows)
    return f"<h2>Labels</h2><p>{intro}</p>{table}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    titles = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f"<div class=scroll><table><tr>{titles}</tr>\n{lines}\n</table></div>"


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"<td class=share><meter value={value:.4f}></meter> {value:.1%}</td>"
    if isinstance(value, int):
        return f"<td class=number>{value:,}</td>"
    return f"<td{' class=text' if len(value) > 24 else ''}>{_text(value)}</td>"


def _text(value: str) -> str:
    return html.escape(value)
