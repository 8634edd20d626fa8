"""Options of the clinical report of the benchmark."""

import dataclasses

from ecgjax.errors import InputError
from ecgjax.evaluate.decision_curve import THRESHOLDS


@dataclasses.dataclass(frozen=True)
class Reporting:
    """The clinical report."""

    report: bool = False
    """Also write a clinical report: report.html (one file), report.csv, and the pictures in the
    folder report: labels saved, calibration, net benefit, subgroups by sex and age, ECGs."""
    report_thresholds: tuple[float, ...] = THRESHOLDS
    """Risks at which the report gives the net benefit of acting, above 0 and below 1."""

    def __post_init__(self):
        given = self.report_thresholds
        if not given or any(not 0 < each < 1 for each in given):
            listed = " ".join(map(str, given)) or "none"
            problem = f"--report-thresholds {listed}: not risks above 0 and below 1"
            raise InputError(f"{problem}; give some such as 0.05 0.1 0.2")
