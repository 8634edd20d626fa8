"""Predictions of the benchmark, arranged as the report shows them: studies and their conditions."""

import dataclasses

import numpy as np
from scipy.special import expit

from ecgjax.data.records import Records
from ecgjax.evaluate import calibration
from ecgjax.evaluate.benchmark_predictions import BenchmarkPredictions, file_name
from ecgjax.evaluate.resampling import Resamples
from ecgjax.evaluate.subgroups import is_reportable

PREFERRED = ("finetuned", "frozen")
"""Methods for panels that show one method: the first that was run with the amount of labels. It is
never chosen by its result, which would flatter it."""


@dataclasses.dataclass(frozen=True, eq=False)
class People:
    """The recordings of a test, by sex and age."""

    sex: np.ndarray
    """"female", "male" or None, [recording]."""
    age_years: np.ndarray
    """NaN if it is not known, [recording]."""

    @classmethod
    def read(cls, records: Records, rows: np.ndarray) -> "People":
        """Reads sex and age of some rows of a data set's table."""
        sex = np.array(records.column("sex").to_pylist(), object)[rows]
        age = records.column("age").to_numpy().astype(np.float64)
        return cls(sex, age[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """The recordings that labels are drawn from."""

    recordings: int
    patients: int
    cases: np.ndarray
    """Recordings with each class, [class]."""
    known: np.ndarray
    """Recordings with a label of each class, present or absent, [class]."""
    is_balanced: bool
    """True if a draw of some of them is half cases, half controls."""

    def prevalence(self, k: int) -> float:
        """Returns the share of cases of a class among the recordings with a label."""
        return float(self.cases[k] / self.known[k])

    def share(self, k: int, labels: int) -> float:
        """Returns the share of cases among so many labels, which may be balanced."""
        if not self.is_balanced or labels >= self.recordings:
            return self.prevalence(k)
        return float(min(self.cases[k], labels / 2) / labels)


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """One task on one test, with every amount of labels."""

    description: str
    """Description of the task in a few words."""
    amounts: tuple[BenchmarkPredictions, ...]
    """Predictions with each amount of labels, ascending."""
    training: Training
    records: Records
    """The tested data set."""
    people: People
    excluded: int = 0
    """Recordings that are left out since the encoder has seen them."""

    @property
    def largest(self) -> BenchmarkPredictions:
        """Predictions with the largest amount of labels, which most panels show."""
        return self.amounts[-1]

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.largest.task

    @property
    def test(self) -> str:
        """Name of the split or the data set."""
        return self.largest.test

    @property
    def name(self) -> str:
        """Name for headings."""
        return f"{self.task}, tested on {self.test}"

    @property
    def file_stem(self) -> str:
        """Beginning of the names of its files, and its anchor in the page."""
        return f"{file_name(self.task)}-{file_name(self.test)}"

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods of all amounts, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for each in self.amounts for name in each.scores))

    @property
    def reportable(self) -> list[int]:
        """Positions of the classes with enough cases and controls in the test."""
        truth = self.largest.truth
        columns = [column[~np.isnan(column)] for column in truth.T]
        return [k for k, column in enumerate(columns) if is_reportable(column)]

    def resamples(self, number: int) -> Resamples:
        """Returns the resamples that all figures of the study share."""
        return Resamples.make(self.largest.truth, self.largest.patients, number=number)


@dataclasses.dataclass(frozen=True, eq=False)
class Condition:
    """One class of a study with the largest amount of labels, and with risks of each method."""

    study: Study
    number: int
    """Position of the class."""
    known: np.ndarray
    """Recordings with a label, bool [recording]."""
    risks: dict[str, np.ndarray]
    """Predicted risks of the recordings with a label, [draw, known recording]."""
    resamples: Resamples

    @classmethod
    def make(cls, study: Study, number: int, resamples: Resamples) -> "Condition":
        """Returns a class of a study; risks that balanced draws have raised are moved back.

        Args:
          study: the study.
          number: position of the class.
          resamples: those of the study.
        """
        largest = study.largest
        known = ~np.isnan(largest.truth[:, number])
        learnt = study.training.share(number, largest.labels)
        prevalence = study.training.prevalence(number)
        risks = {}
        for method, stack in largest.scores.items():
            risk = stack[:, known, number].astype(np.float64)
            if learnt != prevalence:
                risk = calibration.shift(risk, share=learnt, prevalence=prevalence)
            risks[method] = risk
        return cls(study, number, known, risks, resamples.select(known))

    @property
    def is_shifted(self) -> bool:
        """True if the risks are not those that the models gave, see `make`."""
        training = self.study.training
        learnt = training.share(self.number, self.study.largest.labels)
        return learnt != training.prevalence(self.number)

    @property
    def title(self) -> str:
        """Name of the class."""
        return self.study.largest.classes[self.number]

    @property
    def file_stem(self) -> str:
        """Beginning of the names of its files, and its anchor in the page."""
        if len(self.study.largest.classes) == 1:
            return self.study.file_stem
        return f"{self.study.file_stem}-{file_name(self.title)}"

    @property
    def target(self) -> np.ndarray:
        """Targets of the recordings with a label, 0 or 1, [known recording]."""
        return self.study.largest.truth[self.known, self.number]

    @property
    def rows(self) -> np.ndarray:
        """Rows of the recordings with a label in the table of the data set, [known recording]."""
        return self.study.largest.recordings[self.known]

    @property
    def people(self) -> People:
        """Sex and age of the recordings with a label."""
        people = self.study.people
        return People(people.sex[self.known], people.age_years[self.known])

    @property
    def method(self) -> str:
        """The method of panels that show one, see `PREFERRED`."""
        preferred = [name for name in PREFERRED if name in self.risks]
        return preferred[0] if preferred else next(iter(self.risks))

    def mean_risk(self) -> np.ndarray:
        """Returns the risk by `method`, the mean of the log-odds over draws, [known recording]."""
        return expit(calibration.log_odds(self.risks[self.method]).mean(axis=0))
