"""Label-efficiency curves of a study, and the labels that they save."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ecgjax.evaluate import ranking
from ecgjax.evaluate.bootstrap import Interval
from ecgjax.evaluate.labels_saved import LabelsSaved, labels_saved
from ecgjax.evaluate.resampling import Resamples, make_interval
from ecgjax.evaluate.subgroups import ALL
from ecgjax.workflows.clinical_report.measures import AUROC, Line
from ecgjax.workflows.clinical_report.study import Study

MEAN = "mean"
"""Name of the mean over the classes."""
SAVERS = ("finetuned", "frozen")
"""Methods that use the pre-trained encoder."""
REFERENCES = ("scratch", "random")
"""Methods without it, whose need of labels is compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """AUROC of each method with each amount of labels, on the resamples of the test."""

    study: Study
    conditions: tuple[str, ...]
    """The mean over classes, if there are several, and each class with enough cases."""
    values: dict[tuple[str, int], np.ndarray]
    """AUROC by method and number of labels, [condition, 1 + resample]."""

    @classmethod
    def measure(cls, study: Study, resamples: Resamples) -> "Curves":
        """Computes the curves of a study with at least one class to report."""
        reportable = study.reportable
        names = tuple(study.largest.classes[k] for k in reportable)
        several = len(reportable) > 1
        values = {}
        for predicted in study.amounts:
            for method, stack in predicted.scores.items():
                draws = [_class_auroc(predicted.truth, stack, k, resamples) for k in reportable]
                mean = [np.mean(draws, axis=0)] * several
                joined = np.stack([*mean, *draws], axis=1)  # [draw, condition, 1 + resample]
                # Errors of draws are independent between the curves and along them.
                values[method, predicted.labels] = resamples.mean_over_draws(
                    joined, stream=len(values)
                )
        return cls(study, (MEAN, *names) if several else names, values)

    def amounts(self, method: str) -> list[int]:
        """Returns the numbers of labels that a method was run with, ascending."""
        return sorted(labels for name, labels in self.values if name == method)

    def interval(self, method: str, labels: int, condition: int) -> Interval:
        """Returns AUROC with its interval."""
        return make_interval(self.values[method, labels][condition], bounds=(0.0, 1.0))

    def saved(self, method: str, labels: int, reference: str, condition: int) -> LabelsSaved | None:
        """Returns how many times the labels a reference needs, None if it was run only once."""
        amounts = self.amounts(reference)
        if len(amounts) < 2:
            return None
        curves = np.stack([self.values[reference, each][condition] for each in amounts])
        return labels_saved(
            np.array(amounts), curves, labels, self.values[method, labels][condition]
        )


def _class_auroc(truth: np.ndarray, stack: np.ndarray, k: int, resamples: Resamples) -> np.ndarray:
    """Returns AUROC of one class with each draw of labels, [draw, 1 + resample]."""
    known = ~np.isnan(truth[:, k])
    chosen = resamples.select(known)
    return chosen.each_draw(ranking.auroc, truth[known, k], stack[:, known, k])


def saved_entries(curves: Curves) -> Iterator[tuple[str, str, int, str, LabelsSaved]]:
    """Yields condition, method, number of labels, reference and the labels saved."""
    for c, condition in enumerate(curves.conditions):
        for method in SAVERS:
            for reference in REFERENCES:
                for labels in curves.amounts(method):
                    if found := curves.saved(method, labels, reference, c):
                        yield condition, method, labels, reference, found


def curve_lines(curves: Curves) -> Iterator[Line]:
    """Yields AUROC of each method with each amount of labels, and the labels saved."""
    blanks = {condition: _blank(curves, condition) for condition in curves.conditions}
    for method, labels in curves.values:
        draws = _draws(curves.study, method, labels)
        for c, condition in enumerate(curves.conditions):
            found = curves.interval(method, labels, c)
            yield dataclasses.replace(
                blanks[condition],
                labels=labels,
                method=method,
                draws=draws,
                metric=AUROC,
                **vars(found),
            )
    for condition, method, labels, reference, saved in saved_entries(curves):
        yield dataclasses.replace(
            blanks[condition],
            labels=labels,
            method=method,
            draws=_draws(curves.study, method, labels),
            metric=f"labels that {reference} needs, ratio",
            value=saved.value,
            low=saved.low,
            high=saved.high,
        )


def _blank(curves: Curves, condition: str) -> Line:
    study = curves.study
    truth = study.largest.truth
    if condition == MEAN and len(curves.conditions) > 1:
        positives = None
        recordings = len(truth)
    else:
        column = truth[:, study.largest.classes.index(condition)]
        positives = int((column == 1).sum())
        recordings = int((~np.isnan(column)).sum())
    return Line(study.task, study.test, condition, 0, "", 0, ALL, recordings, positives)


def _draws(study: Study, method: str, labels: int) -> int:
    return next(len(each.scores[method]) for each in study.amounts if each.labels == labels)
