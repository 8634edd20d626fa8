"""Pictures of one condition and of the label-efficiency curves of a study."""

from pathlib import Path

import numpy as np

from ecgjax.evaluate import calibration, clinical_plots, plots
from ecgjax.evaluate.clinical_plots import Reliability
from ecgjax.evaluate.decision_curve import NetBenefit, treat_all
from ecgjax.evaluate.low_label_table import Row
from ecgjax.evaluate.resampling import make_interval
from ecgjax.evaluate.subgroups import by_sex, is_reportable
from ecgjax.workflows.clinical_report.efficiency import Curves
from ecgjax.workflows.clinical_report.study import Condition

SEX_COLOURS = {"female": plots.OKABE_ITO["purple"], "male": plots.OKABE_ITO["sky blue"]}
_COMMON = 0.2
"""Share of cases from which on decision curves show all thresholds."""
_RARE_LIMIT = 0.5
_ALL_LIMIT = 0.95


def draw_curves(curves: Curves, folder: Path) -> Path:
    """Draws AUROC against the number of labels, a panel for the mean and for each class."""
    rows = []
    for method, labels in curves.values:
        for c, condition in enumerate(curves.conditions):
            found = curves.interval(method, labels, c)
            parts = (condition, labels, method, found.value, found.low, found.high)
            rows.append(Row(*parts, None, None, None, curves.study.test))
    rows.sort(key=lambda row: curves.conditions.index(row.task))
    path = folder / f"{curves.study.file_stem}-labels.png"
    plots.low_label_curves(rows, path)
    return path


def draw_reliability(condition: Condition, folder: Path) -> Path:
    """Draws observed against predicted risk of all methods."""
    everybody = np.ones(len(condition.target), bool)
    curves = [
        _reliability(condition, method, everybody, *plots.method_style(method))
        for method in condition.risks
    ]
    path = folder / f"{condition.file_stem}-calibration.png"
    clinical_plots.reliability(curves, path, title=_title(condition, "calibration"))
    return path


def draw_reliability_by_sex(condition: Condition, folder: Path) -> Path | None:
    """Draws it for each sex by the preferred method; None if both sexes are too few."""
    curves = []
    for sex, members in by_sex(condition.people.sex).items():
        if sex in SEX_COLOURS and is_reportable(condition.target[members]):
            name = f"{sex} ({members.sum():,})"
            colour = SEX_COLOURS[sex]
            curves.append(_reliability(condition, condition.method, members, name, colour))
    if not curves:
        return None
    path = folder / f"{condition.file_stem}-calibration-by-sex.png"
    title = _title(condition, "calibration by sex", condition.method)
    clinical_plots.reliability(curves, path, title=title)
    return path


def _reliability(
    condition: Condition, method: str, members: np.ndarray, name: str, colour: str
) -> Reliability:
    """Returns one curve. Draws of labels are pooled: each bin holds the risks of all draws."""
    risks = condition.risks[method][:, members]
    draws = len(risks)
    pooled = risks.reshape(-1)
    target = np.tile(condition.target[members], draws)
    resamples = condition.resamples.select(np.tile(np.flatnonzero(members), draws))
    shares = resamples.values(calibration.observed_shares, target, pooled[None])
    intervals = [make_interval(values) for values in shares]
    enough = calibration.bin_counts(pooled) >= calibration.LEAST_IN_BIN * draws
    columns = [calibration.mean_risks(pooled)]
    columns += [
        np.array([getattr(each, part) for each in intervals]) for part in ("value", "low", "high")
    ]
    return Reliability(name, colour, *(np.where(enough, column, np.nan) for column in columns))


def draw_decision_curve(condition: Condition, thresholds: tuple[float, ...], folder: Path) -> Path:
    """Draws the net benefit of all methods, of treating everybody and of treating nobody."""
    prevalence = condition.target.mean()
    limit = max(_ALL_LIMIT if prevalence >= _COMMON else _RARE_LIMIT, *thresholds)
    grid = tuple(np.linspace(0.01, limit, 95))
    benefit = NetBenefit(grid)
    whole = np.ones((len(condition.target), 1))
    curves = []
    for method, risks in condition.risks.items():
        each = [benefit(condition.target, risk, whole)[:, 0] for risk in risks]
        curves.append((*plots.method_style(method), np.mean(each, axis=0)))
    path = folder / f"{condition.file_stem}-net-benefit.png"
    clinical_plots.decision_curve(
        np.array(grid),
        curves,
        treat_all(condition.target, grid),
        path,
        title=_title(condition, "net benefit"),
        marked=thresholds,
    )
    return path


def draw_risks(condition: Condition, folder: Path) -> Path:
    """Draws how risks by the preferred method are distributed, the mean over draws."""
    odds = calibration.log_odds(condition.mean_risk())
    is_case = condition.target == 1
    path = folder / f"{condition.file_stem}-risks.png"
    title = _title(condition, "predicted risks", condition.method)
    clinical_plots.risk_histogram(
        odds[is_case], odds[~is_case], path, label=condition.title, title=title
    )
    return path


def _title(condition: Condition, panel: str, method: str = "") -> str:
    """Returns the title of a picture: condition and panel, then the method and the labels."""
    name = f"{plots.method_style(method)[0]}, " if method else ""
    return f"{condition.title}: {panel}\n{name}{condition.study.largest.labels:,} labels"
