"""Paired comparison of two methods that use labels: the workflow of `compare`."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.errors import InputError, counted
from ecgjax.evaluate import scores
from ecgjax.evaluate.bootstrap import Bootstrap, Interval
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.label_draws import LabelDraws
from ecgjax.evaluate.predictions import TESTED_SPLITS, Predictions, RunDescription, load

UNDEFINED = "n/a"
"""Text for a figure that is not defined, such as the AUROC of a class without cases."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A finished run of `finetune` with its predictions on one split."""

    workdir: Path
    description: RunDescription
    predictions: Predictions


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Two methods, tested on the same recordings; the runs of a method differ in their seed.

    Run k of one method is paired with run k of the other if both have equally many.
    """

    split: str
    """The split they were tested on."""
    runs: list[Run]
    """Runs of the first method."""
    against: list[Run]
    """Runs of the second method."""
    measured: dict[str, LabelDraws]
    """Each metric of the methods "runs" and "against", which is the mean over their runs."""


def compare(runs: Sequence[Path], against: Sequence[Path], split: str) -> Comparison:
    """Compares runs of one method with runs of another.

    Args:
      runs: workdirs of `finetune`.
      against: workdirs of `finetune` with the other method.
      split: "validation", "test", or the name of another data set that they were tested on.

    Raises:
      InputError: a method has no run, or a run appears twice; the runs differ in task, data or test
        recordings, or the runs of one method in more than their seed.
    """
    _refuse_repeated("runs", runs)
    _refuse_repeated("against", against)
    methods = {"runs": _load(runs, split), "against": _load(against, split)}
    first = methods["runs"][0]
    for method in methods.values():
        for run in method:
            _refuse_difference(run, _task(run), first, _task(first))
            settings = method[0].description.settings
            _refuse_difference(run, run.description.settings, method[0], settings)
    both = {path.resolve() for path in runs} & {path.resolve() for path in against}
    if both:
        paths = " ".join(map(str, both))
        raise InputError(f"{paths}: on both sides; give the workdirs of two methods")
    for run in (*methods["runs"], *methods["against"]):
        _refuse_other_recordings(run, first, split)
    names = {name: [f"{name} {k}" for k in range(len(methods[name]))] for name in methods}
    predicted = {
        name: run.predictions.predicted
        for method in methods
        for name, run in zip(names[method], methods[method], strict=True)
    }
    measured = {
        metric: LabelDraws.stack(bootstrap, names)
        for metric, bootstrap in _measure(first, predicted).items()
    }
    return Comparison(split, **methods, measured=measured)


def table(comparison: Comparison) -> str:
    """Returns both methods and the results of each class as text."""
    description = comparison.runs[0].description
    columns: list[dict[str, Interval]] = []
    for method, minus in (("runs", None), ("against", None), ("runs", "against")):
        columns.append({})
        for metric, measured in comparison.measured.items():
            names = description.classes
            columns[-1] |= scores.figures(metric, names, measured, method, minus=minus)
    width = max(16, *(len(name) + 2 for name in columns[0]))
    seeds = min(len(comparison.runs), len(comparison.against))
    over = "patients and seeds" if seeds > 1 else "patients"
    lines = [
        f"{description.task}, {_test(comparison.split, description.data)}",
        *_method_lines(comparison),
        "",
        f"{description.metric:{width}}{'runs':>8}{'against':>10}"
        f"   difference (95 % interval over {over})",
    ]
    for name in columns[0]:
        own, other, gain = (column[name] for column in columns)
        if math.isnan(gain.value):
            values = f"{UNDEFINED:>8}{UNDEFINED:>10}"
            lines.append(f"{name:{width}}{values}   {_reason(comparison, name)}")
            continue
        values = f"{own.value:8.3f}{other.value:10.3f}   {gain.text(signed=True)}"
        lines.append(f"{name:{width}}{values}")
    return "\n".join(lines)


def _reason(comparison: Comparison, name: str) -> str:
    """Returns the reason why a figure is not defined: the number of cases of its class."""
    run = comparison.runs[0]
    classes = run.description.classes
    if name not in classes or run.description.metric == "Dice":
        return "not defined for these test recordings"
    truth = run.predictions.truth[:, classes.index(name)]
    cases = counted(int((truth == 1).sum()), "case")
    controls = counted(int((truth == 0).sum()), "control")
    return f"{cases} and {controls} in {comparison.split}, and it needs both"


def _test(split: str, data: str) -> str:
    """Returns the test of a comparison in words."""
    is_own = split in TESTED_SPLITS
    return f"{split} of {data}" if is_own else f"trained on {data}, tested on {split}"


def _measure(run: Run, predicted: dict[str, np.ndarray]) -> dict[str, Bootstrap]:
    """Returns the metrics of the predictions of single runs on the recordings of a run."""
    truth = run.predictions.truth
    patients = run.predictions.patients
    if run.description.metric == "Dice":
        return {"Dice": dice_bootstrap(truth, predicted, patients)}
    return scores.measure(run.description.kind, truth, predicted, patients)


def _method_lines(comparison: Comparison) -> list[str]:
    """Returns one line for each method: its settings that the other method has differently."""
    methods = {"runs": comparison.runs, "against": comparison.against}
    own = comparison.runs[0].description.settings
    other = comparison.against[0].description.settings
    differing = [key for key in own if key in other and own[key] != other[key]]
    lines = []
    for name, runs in methods.items():
        settings = runs[0].description.settings
        keys = dict.fromkeys(["method", "labelled", *differing])
        shown = ", ".join(f"{key} {settings[key]}" for key in keys)
        lines.append(f"{name:8} {shown}; mean of {len(runs)}")
    return lines


def _load(workdirs: Sequence[Path], split: str) -> list[Run]:
    runs = []
    for workdir in workdirs:
        description, tests = load(workdir)
        if split not in tests:
            problem = f"{workdir}: has no predictions of {split}"
            raise InputError(f"{problem}; give --split {' or '.join(tests)}")
        runs.append(Run(workdir, description, tests[split]))
    return runs


def _task(run: Run) -> dict[str, Any]:
    """Returns what all runs of a comparison must have in common."""
    return {key: value for key, value in vars(run.description).items() if key != "settings"}


def _refuse_repeated(option: str, workdirs: Sequence[Path]) -> None:
    if not workdirs or len({path.resolve() for path in workdirs}) < len(workdirs):
        given = " ".join([option, *map(str, workdirs)])
        raise InputError(f"{given}: give one workdir or more, each once")


def _refuse_difference(run: Run, values: dict, first: Run, first_values: dict) -> None:
    for key in (*values, *first_values):
        if values.get(key) != first_values.get(key):
            problem = (
                f"{key} is {values.get(key)}, in {first.workdir} it is {first_values.get(key)}"
            )
            raise InputError(f"{run.workdir}: {problem}; compare like with like")


def _refuse_other_recordings(run: Run, first: Run, split: str) -> None:
    for name in ("recordings", "patients", "truth"):
        arrays = [getattr(each.predictions, name) for each in (run, first)]
        if not np.array_equal(*arrays, equal_nan=name == "truth"):
            problem = f"{name} of {split} differ from those in {first.workdir}"
            raise InputError(f"{run.workdir}: {problem}; use one data set")
