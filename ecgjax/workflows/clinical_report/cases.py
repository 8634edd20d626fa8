"""ECGs of the most certain predictions, right and wrong, and of the least certain ones."""

import dataclasses
from pathlib import Path

import numpy as np
import PIL.Image

from ecgjax.evaluate import ecg_sheet
from ecgjax.workflows.clinical_report.study import Condition

_UNDECIDED = 0.5
_LEAST_CERTAIN = 2
"""Number of sheets of the least certain predictions."""
_LONGEST_TITLE = 100
"""Characters that fit on a sheet in one line. A second one would be in the way of tall beats."""
_COLOURS = 64
"""Colours of a sheet, which is then a third as large as with all."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A recording to show."""

    position: int
    """Position among the recordings with a label."""
    kind: str
    """Certainty of the prediction, and whether it is right."""
    reason: str
    """Rule by which it was chosen."""


def choose_cases(target: np.ndarray, risk: np.ndarray) -> list[Case]:
    """Chooses recordings to show, none of them twice.

    They are the case with the highest and with the lowest risk, the control with the highest one,
    and the recordings whose risk is nearest to one half. The case with the lowest risk counts as
    wrong below one half only, and so on; where nothing is wrong, nothing is shown.

    Args:
      target: 0 or 1, [recording].
      risk: predicted risk, [recording].
    """
    is_case = target == 1
    is_high = risk >= _UNDECIDED
    kinds = (
        ("certain, right", "highest risk among the cases", is_case & is_high, -risk),
        ("certain, wrong", "lowest risk among the cases", is_case & ~is_high, risk),
        ("certain, wrong", "highest risk among the others", ~is_case & is_high, -risk),
    )
    chosen: list[Case] = []
    for kind, reason, members, order in kinds:
        chosen += [Case(each, kind, reason) for each in _first(members, order, 1)]
    others = np.ones(len(risk), bool)
    others[[case.position for case in chosen]] = False
    nearest = _first(others, np.abs(risk - _UNDECIDED), _LEAST_CERTAIN)
    return chosen + [Case(each, "uncertain", "risk nearest to 50 %") for each in nearest]


def _first(members: np.ndarray, order: np.ndarray, number: int) -> list[int]:
    positions = np.flatnonzero(members)
    return positions[np.argsort(order[positions], kind="stable")][:number].tolist()


def draw_cases(condition: Condition, folder: Path) -> list[tuple[Case, str, Path]]:
    """Draws a 12-lead sheet of each chosen recording; returns it with its title and its file."""
    records = condition.study.records
    risk = condition.mean_risk()
    drawn = []
    for case in choose_cases(condition.target, risk):
        row = int(condition.rows[case.position])
        title = _title(condition, case, row, risk[case.position])
        path = folder / f"{condition.file_stem}-row-{row}.png"
        signals = list(records.read([row]))
        ecg_sheet.draw(signals, path, rate_hz=records.rate_hz, titles=[title])
        _reduce_colours(path)
        drawn.append((case, title, path))
    return drawn


def _title(condition: Condition, case: Case, row: int, risk: float) -> str:
    """Returns what there is to say of a recording: no name, no date, no identifier."""
    facts = condition.study.records.row(row)
    has_it = condition.target[case.position] == 1
    age = f"{int(facts['age'])} years" if facts["age"] is not None else None
    parts = [
        f"row {row}",
        f"risk {_percent(risk)} ({case.kind})",
        f"{'labelled' if has_it else 'not labelled'} {condition.title}",
        age,
        facts["sex"],
        " ".join(facts["labels"] or ()),
    ]
    title = "   ".join(part for part in parts if part)
    return title if len(title) <= _LONGEST_TITLE else f"{title[:_LONGEST_TITLE]} ..."


def _percent(risk: float) -> str:
    if risk < 0.001:
        return "below 0.1 %"
    return f"{100 * risk:.1f} %" if risk <= 0.999 else "above 99.9 %"


def _reduce_colours(path: Path) -> None:
    """Writes a PNG file anew with fewer colours; its size in millimetres stays."""
    with PIL.Image.open(path) as image:
        reduced = image.convert("RGB").quantize(_COLOURS)
        dots = image.info["dpi"]
    reduced.save(path, dpi=dots, optimize=True)
