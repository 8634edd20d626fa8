"""Cross-validation of a training with labels: each fold is tested by the model of the others.

The predictions of all folds together are the result, with confidence intervals over patients as for
any test set; the figures of each fold stand beside it. A finished fold is not trained again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.adapt.parts.training import Labelled
from ecgjax.data.splits import Splits
from ecgjax.errors import InputError
from ecgjax.evaluate import predictions
from ecgjax.evaluate.predictions import Predictions
from ecgjax.train.runlog import console
from ecgjax.whole_files import replace_text
from ecgjax.workflows.cohort import HeldOut, Site, Tests
from ecgjax.workflows.trial import Trial, arrange, plot_loss, write_results

FINISHED = "finished.json"
"""File of a finished fold with the hash of its settings and recordings."""


def cross_validate(
    trial: Trial,
    folds: Sequence[Splits],
    tests: Tests,
    sites: Sequence[Site],
    workdir: Path,
    *,
    refit: bool,
) -> dict[str, Any]:
    """Trains and tests every fold, in workdir/fold-1 and so on; writes metrics.json for all.

    Args:
      trial: method, target and encoder.
      folds: the splits of each fold.
      tests: rules for the recordings to test on.
      sites: other data sets, tested on the model that is trained on all folds.
      workdir: folder of the run.
      refit: train that model, in workdir/model.

    Returns:
      The content of metrics.json.

    Raises:
      InputError: the encoder has seen recordings of a fold, or those of another data set, or a fold
        has nothing to learn.
    """
    # All folds are checked now: a problem should not appear after the first one has been trained.
    held_out = [
        tests.own(splits, ("validation", "test"), fold=number)
        for number, splits in enumerate(folds, 1)
    ]
    for splits, own in zip(folds, held_out, strict=True):
        if not any(test.name == "test" for test in own):
            problem = f"{splits.origin}: no recording has a target of {trial.target.name}"
            raise InputError(f"{problem}; give other folds, or fewer")
    everything = _all_folds(folds)
    elsewhere = tests.others(everything, sites)
    records = everything.records
    drawn = []
    for number, splits in enumerate(folds, 1):
        console.print(f"fold {number} of {len(folds)}: draws its recordings")
        drawn.append(_draw(trial, splits, number, len(folds)))
    every_fold = []
    for number, (labelled, own) in enumerate(zip(drawn, held_out, strict=True), 1):
        console.print(f"fold {number} of {len(folds)}")
        every_fold.append(_run_fold(trial, labelled, own, workdir / f"fold-{number}"))
    pooled = _pool([fold.tested for fold in every_fold])
    count = min(fold.labelled for fold in every_fold)
    tested = {"test": pooled}
    excluded = sum(test.excluded for own in held_out for test in own if test.name == "test")
    figures = {"test": trial.results(pooled, excluded)}
    thresholds = {}
    if refit:
        labelled = trial.draw(everything)
        model = trial.train(labelled, workdir)
        sites_tested = {test.name: trial.predict(model, test.labelled) for test in elsewhere}
        # No recording is left for validation: the predictions of the folds choose the thresholds.
        # Sensitivity and specificity are those of other data sets only; on these predictions they
        # would be too good.
        thresholds = trial.save(model, pooled, sites_tested, workdir)
        tested |= sites_tested
        figures |= {
            test.name: trial.results(tested[test.name], test.excluded) for test in elsewhere
        }
        plot_loss(workdir)
    description = trial.describe(records.name, count, folds=len(folds))
    predictions.save(workdir, description, tested)
    results = trial.summary(records.name, count) | arrange(figures) | thresholds
    results["folds"] = [{"labelled": fold.labelled, **fold.figures} for fold in every_fold]
    write_results(results, workdir)
    trial.plot_examples(records, pooled, workdir)
    return results


@dataclasses.dataclass(frozen=True, eq=False)
class _Fold:
    """A finished fold."""

    labelled: int
    """Number of recordings that its model is trained on."""
    tested: Predictions
    figures: dict[str, Any]
    """Figures of its test, as in metrics.json."""


def _draw(trial: Trial, splits: Splits, number: int, folds: int) -> Labelled:
    """Draws the recordings that a fold is trained on.

    Raises:
      InputError: there are too few, or they have nothing to tell apart.
    """
    try:
        return trial.draw(splits)
    except InputError as error:
        remedy = "if few patients are cases, give fewer folds"
        raise InputError(f"fold {number} of {folds}: {error}; {remedy}") from error


def _run_fold(trial: Trial, labelled: Labelled, own: Sequence[HeldOut], folder: Path) -> _Fold:
    """Trains and tests one fold, or reads the results of an equal one in the folder."""
    key = _key(trial, labelled, own)
    results = _finished_before(folder, key)
    if results:
        console.print(f"{folder}: was finished before")
    else:
        (folder / FINISHED).unlink(missing_ok=True)
        results = trial.run(labelled, own, folder)
        replace_text(folder / FINISHED, json.dumps(key))
    return _Fold(results["labelled"], predictions.load(folder)[1]["test"], results["test"])


def _finished_before(folder: Path, key: dict[str, Any]) -> dict[str, Any]:
    """Returns the results of an equal fold in the folder; {} if it has none or they are damaged."""
    try:
        if json.loads((folder / FINISHED).read_text()) != key:
            return {}
        results = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    is_whole = isinstance(results, dict) and {"labelled", "test"} <= results.keys()
    return results if is_whole else {}


def _key(trial: Trial, labelled: Labelled, own: Sequence[HeldOut]) -> dict[str, Any]:
    """Returns all that the results of a fold depend on, in a few hashes."""
    digest = hashlib.sha256(labelled.records.fingerprint.encode())
    for each in (labelled, *(test.labelled for test in own)):
        digest.update(each.indices.tobytes() + each.targets.tobytes())
    settings = json.loads(json.dumps(dataclasses.asdict(trial.settings)))
    return {
        "recordings": digest.hexdigest(),
        "settings": {"method": type(trial.settings).__name__, **settings},
        "target": trial.target.outputs.to_config(),
        "encoder": f"{trial.encoder_name} {trial.encoder.fingerprint}",
    }


def _all_folds(folds: Sequence[Splits]) -> Splits:
    """Returns all recordings of the folds as one training split."""
    rows = np.concatenate([splits.indices("test") for splits in folds])
    return Splits(folds[0].records, {"train": np.sort(rows)}, "all folds")


def _pool(tests: Sequence[Predictions]) -> Predictions:
    """Joins the tests of all folds, in the order of the recordings."""
    arrays = {name: np.concatenate([vars(test)[name] for test in tests]) for name in vars(tests[0])}
    order = np.argsort(arrays["recordings"])
    return Predictions(**{name: values[order] for name, values in arrays.items()})
