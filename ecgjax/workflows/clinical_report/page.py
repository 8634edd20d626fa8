"""The page of the report."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ecgjax.evaluate import html_page
from ecgjax.evaluate.plots import method_style
from ecgjax.workflows.clinical_report import pictures, tables, wording
from ecgjax.workflows.clinical_report.cases import draw_cases
from ecgjax.workflows.clinical_report.efficiency import Curves
from ecgjax.workflows.clinical_report.facts import Fact
from ecgjax.workflows.clinical_report.measures import Line
from ecgjax.workflows.clinical_report.study import Condition, Study

TITLE = "What the pre-trained encoder is worth with few labels"
_WARNING = "warning"
MOST_PICTURED = 6
"""Classes of a study with pictures; of more, the most common ones are shown."""


def introduction(studies: Sequence[Study], facts: Sequence[Fact]) -> Iterator[str]:
    """Yields the title, the contents, the methods and the facts."""
    yield html_page.heading(1, TITLE)
    yield html_page.paragraph(
        "Research use only. No medical device: nothing here supports a decision about a patient.",
        kind=_WARNING,
    )
    entries = [(study.file_stem, study.name) for study in studies]
    yield html_page.contents([("facts", "Data, encoder and methods"), *entries])
    yield html_page.heading(2, "Data, encoder and methods", anchor="facts")
    run = {method for study in studies for each in study.amounts for method in each.scores}
    meanings = [
        (method_style(name)[0], wording.METHODS[name]) for name in wording.METHODS if name in run
    ]
    yield html_page.table(("method", "meaning"), meanings)
    yield html_page.table(("topic", "facts"), facts)


def study_start(study: Study, curves: Curves | None, folder: Path) -> Iterator[str]:
    """Yields the heading of a study, its curves and the labels saved."""
    yield html_page.heading(2, study.name, anchor=study.file_stem)
    yield html_page.paragraph(f"{study.description[:1].upper()}{study.description[1:]}.")
    if curves is None:
        return
    picture = pictures.draw_curves(curves, folder)
    amounts = ", ".join(f"{each.labels:,}" for each in study.amounts)
    name = f"AUROC against the number of labels ({amounts}), {study.name}"
    caption = f"Amounts of labels: {amounts}."
    yield html_page.figure(picture, name, caption, reading=wording.CURVES)
    saved = tables.saved_tables(curves)
    yield html_page.heading(3, "Labels saved")
    if not saved:
        yield html_page.paragraph(
            "A method to compare with has to be run with two amounts of labels or more."
        )
        return
    yield html_page.explanation(wording.SAVED)
    for condition, table in saved:
        if len(saved) > 1:
            yield html_page.paragraph(_in_words(condition))
        yield table


def condition_parts(
    condition: Condition,
    lines: Sequence[Line],
    thresholds: tuple[float, ...],
    folder: Path,
    *,
    pictured: bool,
) -> Iterator[str]:
    """Yields the section of one class.

    Args:
      condition: the class.
      lines: its figures, with the largest amount of labels.
      thresholds: thresholds of net benefit.
      folder: folder for the pictures.
      pictured: whether there are pictures and ECGs of it.
    """
    largest = condition.study.largest
    amount = "all" if largest.is_complete else "the largest amount of"
    yield html_page.heading(3, f"{_in_words(condition.title)}: {amount} {largest.labels:,} labels")
    note = wording.scale_note(condition)
    yield html_page.paragraph(note, kind=_WARNING if condition.is_shifted else "")
    yield tables.figures_table(lines)
    yield html_page.explanation(wording.FIGURES)
    if pictured:
        yield from _pictures(condition, thresholds, folder)
    labels = f"{largest.labels:,} labels"
    yield html_page.paragraph(f"Net benefit per 100 recordings: all methods, {labels}.")
    yield tables.benefit_table(lines, thresholds)
    yield html_page.explanation(wording.BENEFIT_TABLE)
    yield html_page.paragraph(f"By sex and age: {_panel(condition)}.")
    yield tables.subgroup_table(lines, condition.method)
    yield html_page.explanation(wording.SUBGROUPS)
    if pictured:
        yield from _cases(condition, folder)


def _panel(condition: Condition) -> str:
    """Returns the method and the amount of labels that a panel is of."""
    name, _ = method_style(condition.method)
    return f"{name[:1].upper()}{name[1:]}, {condition.study.largest.labels:,} labels"


def _pictures(condition: Condition, thresholds: tuple[float, ...], folder: Path) -> Iterator[str]:
    yield html_page.paragraph(wording.PREFERENCE)
    labels = f"{condition.study.largest.labels:,} labels"
    panel = _panel(condition)
    figures = [
        html_page.figure(
            pictures.draw_reliability(condition, folder),
            f"{condition.title}: observed against predicted risk, all methods",
            f"All methods, {labels}.",
            reading=wording.RELIABILITY,
        )
    ]
    if by_sex := pictures.draw_reliability_by_sex(condition, folder):
        name = f"{condition.title}: observed against predicted risk of women and men"
        figures.append(html_page.figure(by_sex, name, f"{panel}.", reading=wording.BY_SEX))
    figures += [
        html_page.figure(
            pictures.draw_decision_curve(condition, thresholds, folder),
            f"{condition.title}: net benefit against the threshold, all methods",
            f"All methods, {labels}.",
            reading=wording.BENEFIT,
        ),
        html_page.figure(
            pictures.draw_risks(condition, folder),
            f"{condition.title}: histograms of predicted risks of cases and others",
            f"{panel}.",
            reading=wording.RISKS,
        ),
    ]
    yield html_page.pair(figures)


def _cases(condition: Condition, folder: Path) -> Iterator[str]:
    yield html_page.paragraph(f"ECGs: {_panel(condition)}.")
    yield html_page.explanation(wording.CASES)
    for case, title, path in draw_cases(condition, folder):
        yield html_page.figure(path, f"12-lead ECG, {title}", f"{title}: {case.reason}.")


def _in_words(name: str) -> str:
    words = wording.CLASS_NAMES.get(name)
    return f"{name} ({words})" if words else name
