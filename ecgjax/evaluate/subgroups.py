"""Groups of recordings by sex and age, and the rule for groups that are too small to report."""

import numpy as np

LEAST = 10
"""Cases, and controls, below which a group has no figures but its size."""
SEXES = ("female", "male")
AGE_BANDS = {"under 40 years": (0, 40), "40 to 65 years": (40, 66), "over 65 years": (66, 1000)}
"""Ages from the first number and below the second, in completed years."""
ALL = "all"
"""Name of the group of all recordings."""


def by_sex(sex: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a mask of the recordings of each sex, and of those without one if there are any.

    Args:
      sex: "female", "male" or None, [recording].
    """
    groups = {name: sex == name for name in SEXES}
    return _with_unknown(groups, "sex not recorded")


def by_age(age_years: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a mask of the recordings of each age band, and of those without an age if any.

    Args:
      age_years: age, NaN if it is not known, [recording].
    """
    whole = np.floor(age_years)
    groups = {name: (whole >= low) & (whole < high) for name, (low, high) in AGE_BANDS.items()}
    return _with_unknown(groups, "age not recorded")


def _with_unknown(groups: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    unknown = ~np.any(list(groups.values()), axis=0)
    return groups | ({name: unknown} if unknown.any() else {})


def is_reportable(target: np.ndarray) -> bool:
    """Returns whether a group has at least `LEAST` cases and `LEAST` controls."""
    cases = int((target == 1).sum())
    return min(cases, len(target) - cases) >= LEAST
