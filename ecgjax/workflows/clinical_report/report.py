"""The clinical report: report.html, report.csv and the pictures in the folder report."""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate import html_page
from ecgjax.evaluate.tasks import Task
from ecgjax.pretrained import Encoder
from ecgjax.train.runlog import console
from ecgjax.whole_files import replace_text, replaced
from ecgjax.workflows.clinical_report import measures, page, wording
from ecgjax.workflows.clinical_report.collect import Collector
from ecgjax.workflows.clinical_report.efficiency import Curves, curve_lines
from ecgjax.workflows.clinical_report.facts import facts
from ecgjax.workflows.clinical_report.measures import Line
from ecgjax.workflows.clinical_report.options import Reporting
from ecgjax.workflows.clinical_report.study import Condition, Study
from ecgjax.workflows.cohort import PUBLISHED, Cohort
from ecgjax.workflows.low_label_methods import Benchmark

RESAMPLES = 1000
"""Number of resamples of the test patients."""
HTML = "report.html"
CSV = "report.csv"
PICTURES = "report"
DEFAULT = Reporting(report=True)
"""Options of a report that is asked for."""


def write_report(
    settings: Benchmark,
    encoder: Encoder,
    records: Records,
    tasks: Sequence[Task],
    out: Path,
    cohort: Cohort = PUBLISHED,
    reporting: Reporting = DEFAULT,
) -> Path:
    """Writes the report of a finished benchmark from its predictions; trains nothing.

    Args:
      settings: settings of the benchmark.
      encoder: the pre-trained encoder.
      records: the data set that labels were drawn from.
      tasks: the tasks that were predicted.
      out: folder of the benchmark, with the folder of its predictions.
      cohort: splits of one's own, and other data sets that were tested.
      reporting: options of the report.

    Returns:
      report.html, which holds all pictures; they are also in the folder report, and every figure
      in report.csv.

    Raises:
      InputError: the predictions are missing, damaged or of other recordings, or there is nothing
        to report.
    """
    studies = list(Collector(settings, encoder, records, cohort, out).studies(tasks))
    if not studies:
        names = " ".join(task.name for task in tasks)
        raise InputError(f"{out}: no predictions of labels or classes among {names}; no report")
    folder = out / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(page.introduction(studies, list(facts(settings, encoder, records, studies))))
    lines: list[Line] = []
    for study in studies:
        console.print(f"report of {study.name}")
        for text, found in _study_parts(study, reporting.report_thresholds, folder):
            parts.append(text)
            lines += found
    write_lines(lines, out / CSV)
    replace_text(out / HTML, html_page.page(page.TITLE, parts))
    return out / HTML


def _study_parts(
    study: Study, thresholds: tuple[float, ...], folder: Path
) -> Iterator[tuple[str, list[Line]]]:
    """Yields parts of the page with the figures that are new in them."""
    resamples = study.resamples(RESAMPLES)
    reportable = study.reportable
    curves = Curves.measure(study, resamples) if reportable else None
    found = list(curve_lines(curves)) if curves else []
    yield "\n".join(page.study_start(study, curves, folder)), found
    pictured = _pictured(study)
    if len(pictured) < len(reportable):
        text = f"Pictures and ECGs are of the {len(pictured)} most common of {len(reportable)}."
        yield html_page.paragraph(text), []
    for k in range(len(study.largest.classes)):
        condition = Condition.make(study, k, resamples)
        if k not in reportable:
            yield html_page.paragraph(wording.too_few(condition)), [measures.size_line(condition)]
            continue
        mine = list(measures.condition_lines(condition, thresholds))
        shown = [*(line for line in found if _is_shown(line, condition)), *mine]
        section = page.condition_parts(condition, shown, thresholds, folder, pictured=k in pictured)
        yield "\n".join(section), mine


def _is_shown(line: Line, condition: Condition) -> bool:
    """Returns whether a line of the curves is of a condition with the largest amount of labels."""
    key = (line.condition, line.labels, line.metric)
    return key == (condition.title, condition.study.largest.labels, measures.AUROC)


def _pictured(study: Study) -> list[int]:
    """Returns the classes with pictures: those to report, the most common ones if they are many."""
    cases = (study.largest.truth == 1).sum(axis=0)
    ranked = sorted(study.reportable, key=lambda k: -cases[k])
    return sorted(ranked[: page.MOST_PICTURED])


def write_lines(lines: Sequence[Line], path: Path) -> None:
    """Writes report.csv; values have six significant digits."""
    names = [field.name for field in dataclasses.fields(Line)]
    with replaced(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for line in lines:
            row = {name: getattr(line, name) for name in names}
            writer.writerow({name: _digits(value) for name, value in row.items()})


def _digits(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
