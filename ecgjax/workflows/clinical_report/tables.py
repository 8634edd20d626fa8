"""Tables of the report, made from the lines of report.csv."""

from collections.abc import Sequence

from ecgjax.errors import counted
from ecgjax.evaluate import html_page
from ecgjax.evaluate.bootstrap import Interval
from ecgjax.evaluate.plots import method_style
from ecgjax.evaluate.subgroups import ALL
from ecgjax.workflows.clinical_report.efficiency import Curves, saved_entries
from ecgjax.workflows.clinical_report.measures import (
    AUROC,
    CALIBRATION,
    RANKING,
    SUBGROUP,
    TREAT_ALL,
    TREAT_NONE,
    Line,
    benefit_name,
)

_DASH = "-"
POLICIES = (TREAT_ALL, TREAT_NONE)


def format_interval(found: Interval, *, scale: float = 1.0, digits: int = 3) -> str:
    """Returns "0.912 (0.900 to 0.923)", with a dash for what is not defined."""
    if found.value != found.value:
        return _DASH
    value = f"{scale * found.value:.{digits}f}"
    if found.low != found.low:
        return value
    return f"{value} ({scale * found.low:.{digits}f} to {scale * found.high:.{digits}f})"


def saved_tables(curves: Curves) -> list[tuple[str, str]]:
    """Returns the table of labels saved for the mean and each class, with its title."""
    entries = list(saved_entries(curves))
    tables = []
    for condition in curves.conditions:
        found = [entry for entry in entries if entry[0] == condition]
        references = list(dict.fromkeys(entry[3] for entry in found))
        cells = {(entry[1], entry[2], entry[3]): str(entry[4]) for entry in found}
        rows = []
        for method, labels in dict.fromkeys((entry[1], entry[2]) for entry in found):
            auroc = curves.interval(method, labels, curves.conditions.index(condition))
            named = [cells.get((method, labels, each), _DASH) for each in references]
            name = method_style(method)[0]
            rows.append((f"{name}, {labels:,} labels", format_interval(auroc), *named))
        if rows:
            names = [f"{method_style(each)[0]} needs, times" for each in references]
            tables.append((condition, html_page.table(("method", "its AUROC", *names), rows)))
    return tables


def figures_table(lines: Sequence[Line]) -> str:
    """Returns the table of all methods: ranking and calibration."""
    metrics = [AUROC, *RANKING, *CALIBRATION]
    chosen = [line for line in lines if line.group == ALL]
    methods = dict.fromkeys(line.method for line in chosen)
    rows = [
        (_method_name(chosen, method), *(_cell(chosen, method, metric) for metric in metrics))
        for method in methods
        if method not in POLICIES
    ]
    return html_page.table(("method", *metrics), rows)


def benefit_table(lines: Sequence[Line], thresholds: Sequence[float]) -> str:
    """Returns the table of net benefit per 100 recordings."""
    chosen = [line for line in lines if line.group == ALL]
    methods = dict.fromkeys(line.method for line in chosen)
    rows = [
        (
            method_style(method)[0],
            *(
                _cell(chosen, method, benefit_name(threshold), scale=100, digits=2)
                for threshold in thresholds
            ),
        )
        for method in methods
    ]
    return html_page.table(("", *(f"acting at {100 * each:.3g} %" for each in thresholds)), rows)


def subgroup_table(lines: Sequence[Line], method: str) -> str:
    """Returns the table of groups by sex and age, after the line of all recordings."""
    mine = [line for line in lines if line.method == method]
    rows = []
    for group in dict.fromkeys(line.group for line in mine):
        members = [line for line in mine if line.group == group]
        size = f"{members[0].recordings:,}"
        if members[0].positives is None:
            rows.append((group, size, "too few", *[_DASH] * len(SUBGROUP)))
            continue
        cells = [_cell(members, method, metric) for metric in SUBGROUP]
        rows.append((group, size, f"{members[0].positives:,}", *cells))
    return html_page.table(("group", "recordings", "cases", *SUBGROUP), rows)


def _method_name(lines: Sequence[Line], method: str) -> str:
    draws = next(line.draws for line in lines if line.method == method)
    return f"{method_style(method)[0]}, {counted(draws, 'draw')}"


def _cell(
    lines: Sequence[Line], method: str, metric: str, *, scale: float = 1.0, digits: int = 3
) -> str:
    for line in lines:
        if line.method == method and line.metric == metric:
            return format_interval(line.interval, scale=scale, digits=digits)
    return _DASH
