"""Figures of the report, as lines of report.csv, from which its tables are made, too."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from ecgjax.evaluate import calibration, ranking
from ecgjax.evaluate.bootstrap import Interval
from ecgjax.evaluate.decision_curve import NetBenefit, treat_all
from ecgjax.evaluate.resampling import Figure, Resamples, make_interval
from ecgjax.evaluate.subgroups import ALL, by_age, by_sex, is_reportable
from ecgjax.workflows.clinical_report.study import Condition

SLOPE = "calibration slope"
INTERCEPT = "calibration intercept"
BRIER = "Brier score"
AUROC = "AUROC"
RANKING: dict[str, Figure] = {"AUPRC": ranking.average_precision, **ranking.sensitivities()}
"""Figures of ranking besides AUROC, which the label-efficiency curves have."""
CALIBRATION: dict[str, Figure] = {
    SLOPE: calibration.slope,
    INTERCEPT: calibration.intercept,
    BRIER: calibration.brier,
}
SUBGROUP: dict[str, Figure] = {
    AUROC: ranking.auroc,
    "AUPRC": ranking.average_precision,
    **CALIBRATION,
}
"""Figures of each group by sex and age."""
UNBOUNDED = (SLOPE, INTERCEPT)
"""Figures that may be below 0 or above 1."""
TREAT_ALL = "treat all"
TREAT_NONE = "treat none"


@dataclasses.dataclass(frozen=True)
class Line:
    """One figure; a group that is too small has one line with nothing but its size."""

    task: str
    test: str
    condition: str
    """Name of the class, or "mean" over classes."""
    labels: int
    """Number of labelled recordings that the method was trained with."""
    method: str
    """Method of the benchmark; treat all and treat none for net benefit."""
    draws: int
    """Number of draws of labels that the value is the mean of."""
    group: str
    """Recordings of the test: all, or those of one sex or age."""
    recordings: int
    """Number of recordings with a label in the group."""
    positives: int | None
    """Number of cases among them."""
    metric: str | None = None
    value: float | None = None
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None

    @property
    def interval(self) -> Interval:
        """Value and interval; NaN where there is none."""
        parts = (self.value, self.low, self.high)
        return Interval(*(math.nan if part is None else part for part in parts))


def condition_lines(condition: Condition, thresholds: tuple[float, ...]) -> Iterator[Line]:
    """Yields figures of all methods but AUROC, then those of groups by the preferred method."""
    for method, risks in condition.risks.items():
        blank = _blank(condition, method, ALL, condition.target)
        for name, figure in (RANKING | CALIBRATION).items():
            values = condition.resamples.values(figure, condition.target, risks)
            yield _filled(blank, name, values)
        yield from _benefit_lines(blank, condition, thresholds)
    yield from _policy_lines(condition, thresholds)
    for name, members in groups(condition).items():
        yield from _group_lines(condition, name, members)


def groups(condition: Condition) -> dict[str, np.ndarray]:
    """Returns the recordings of each sex and each age band, as masks."""
    people = condition.people
    return by_sex(people.sex) | by_age(people.age_years)


def size_line(condition: Condition) -> Line:
    """Returns the line of a condition that is too rare for figures."""
    blank = _blank(condition, condition.method, ALL, condition.target)
    return dataclasses.replace(blank, positives=None)


def _blank(condition: Condition, method: str, group: str, target: np.ndarray) -> Line:
    study = condition.study
    return Line(
        study.task,
        study.test,
        condition.title,
        study.largest.labels,
        method,
        len(condition.risks[method]),
        group,
        len(target),
        int((target == 1).sum()),
    )


def _filled(blank: Line, metric: str, values: np.ndarray) -> Line:
    """Returns a line with the value and interval of a figure, [1 + resample]."""
    bounds = (-np.inf, np.inf) if metric in UNBOUNDED else (0.0, 1.0)
    found = make_interval(values, bounds=bounds)
    parts: Mapping[str, float] = vars(found)
    defined = {name: part for name, part in parts.items() if not math.isnan(part)}
    return dataclasses.replace(blank, metric=metric, **defined)


def _benefit_lines(
    blank: Line, condition: Condition, thresholds: tuple[float, ...]
) -> Iterator[Line]:
    risks = condition.risks[blank.method]
    values = condition.resamples.values(NetBenefit(thresholds), condition.target, risks)
    for threshold, each in zip(thresholds, values, strict=True):
        found = make_interval(each)
        metric = benefit_name(threshold)
        yield dataclasses.replace(blank, metric=metric, **vars(found))


def _policy_lines(condition: Condition, thresholds: tuple[float, ...]) -> Iterator[Line]:
    """Yields the net benefit of treating everybody and nobody."""
    blank = _blank(condition, condition.method, ALL, condition.target)
    for method, values in (
        (TREAT_ALL, treat_all(condition.target, thresholds)),
        (TREAT_NONE, np.zeros(len(thresholds))),
    ):
        for threshold, value in zip(thresholds, values, strict=True):
            yield dataclasses.replace(
                blank, method=method, draws=0, metric=benefit_name(threshold), value=float(value)
            )


def _group_lines(condition: Condition, name: str, members: np.ndarray) -> Iterator[Line]:
    target = condition.target[members]
    blank = _blank(condition, condition.method, name, target)
    if not is_reportable(target):
        yield dataclasses.replace(blank, positives=None)
        return
    resamples: Resamples = condition.resamples.select(members)
    for metric, figure in SUBGROUP.items():
        values = resamples.values(figure, target, condition.risks[condition.method][:, members])
        yield _filled(blank, metric, values)


def benefit_name(threshold: float) -> str:
    """Returns the name of the net benefit at a threshold."""
    return f"net benefit at {threshold:.3g}"
