"""Training with labels, from a prepared data set to test results: the workflow of `finetune`."""

import shlex
from pathlib import Path

from ecgjax.adapt import Method
from ecgjax.adapt.local_contrast import LocalContrast
from ecgjax.data.records import Records
from ecgjax.data.splits import Splits
from ecgjax.errors import InputError
from ecgjax.evaluate.predictions import TESTED_SPLITS
from ecgjax.preprocessing import Preprocessing, absent_leads_note
from ecgjax.pretrained import Encoder, load_encoder, untrained
from ecgjax.train.origin import unknown_past
from ecgjax.train.runlog import console
from ecgjax.workflows.cohort import (
    PUBLISHED,
    Cohort,
    Site,
    Tests,
    divisions,
    open_sites,
    require_testable,
)
from ecgjax.workflows.cross_validation import cross_validate
from ecgjax.workflows.low_label import ALL, Labels
from ecgjax.workflows.site_table import result_table
from ecgjax.workflows.targets import Target
from ecgjax.workflows.trial import Trial


def finetune(
    settings: Method,
    target: Target,
    records: Records,
    workdir: Path,
    *,
    labels: Labels = ALL,
    checkpoint: Path | None = None,
    encoder_name: str | None = None,
    cohort: Cohort = PUBLISHED,
) -> dict:
    """Trains with labels, tests, and prints a table.

    Writes checkpoints, model, metrics.json, predictions.npz and loss.png; waves.png as well for
    `Waves`. After cross-validation they are in a folder for each fold.

    Args:
      settings: the method with its settings.
      target: the target to learn.
      records: a prepared data set.
      workdir: folder of the run. A run that was stopped there resumes.
      labels: number of labelled recordings to train on.
      checkpoint: the pre-trained encoder, a checkpoint or a shipped name; None trains from random
        weights.
      encoder_name: architecture to train from random weights; see `start_encoder`.
      cohort: splits of one's own, folds, and other data sets to test on.

    Returns:
      The content of metrics.json.

    Raises:
      InputError: method and target do not fit, the encoder was trained on test recordings, or
        splits share patients.
    """
    _refuse_mismatch(settings, target)
    encoder, name = start_encoder(
        checkpoint, encoder_name, seed=settings.seed, default=target.default_encoder
    )
    if note := absent_leads_note(encoder.preprocessing, records.leads, records.name):
        console.print(note)
    every_division = divisions(cohort, records, target, encoder.preprocessing.rate_hz)
    sites = open_sites(cohort, records, encoder.preprocessing)
    trial = Trial(settings, target, encoder, name, labels)
    tests = Tests(target, encoder, cohort.exclude_seen)
    if len(every_division) > 1:
        if sites and not cohort.refit:
            remedy = "add --refit, which trains one model on all folds for the other data sets"
            raise InputError(f"--test-data in cross-validation: {remedy}")
        results = cross_validate(trial, every_division, tests, sites, workdir, refit=cohort.refit)
    elif cohort.refit:
        raise InputError("--refit: there are no folds; give --folds 5, or leave it out")
    else:
        results = _train_once(trial, every_division[0], tests, sites, workdir)
    _print_results(target, results, workdir)
    return results


def _train_once(
    trial: Trial, splits: Splits, tests: Tests, sites: list[Site], workdir: Path
) -> dict:
    """Trains on one division of the data set and tests on its held-out splits and on all sites."""
    names = [name for name in TESTED_SPLITS if name in splits.names]
    # Test recordings are checked now: a problem with them should not appear after training.
    held_out = tests.own(splits, names) + tests.others(splits, sites)
    require_testable(held_out, trial.target, splits.records)
    return trial.run(trial.draw(splits), held_out, workdir)


def _print_results(target: Target, results: dict, workdir: Path) -> None:
    """Prints the figures of all tests, the files to look at, and the next command."""
    print(f"\n{result_table(target, results)}\n")
    width = max(map(len, target.printed_files)) + 2
    for title, file in target.printed_files.items():
        if (workdir / file).exists():
            print(f"{title + ':':{width}}{workdir / file}")
    if (workdir / "best").exists() and "during_training" in results:
        step = results["during_training"]["best"]["step"]
        print(f"{'best:':{width}}{workdir / 'best'} (the step that validated best, {step})")
    if (workdir / "model").exists():
        options = f"--checkpoint {shlex.quote(str(workdir))} --input FILES --out predictions.csv"
        print(f"{'next:':{width}}ecgjax predict {options}")
    elif "folds" in results:
        print(f"{'next:':{width}}the same command with --refit trains one model on all folds")


def _refuse_mismatch(settings: Method, target: Target) -> None:
    """Raises InputError unless the method fits the target: local contrast learns only waves."""
    if isinstance(settings, LocalContrast) != target.per_sample:
        given = f"--task {target.name} with {type(settings).__name__}"
        rule = "--task waves and --method local_contrast belong together"
        raise InputError(f"{given}: {rule}; give both or neither")


def start_encoder(
    checkpoint: Path | None, name: str | None, *, seed: int, default: str
) -> tuple[Encoder, str]:
    """Returns the encoder that training starts from, and the name of its architecture.

    Args:
      checkpoint: checkpoint of a pre-trained encoder, or None for random weights.
      name: architecture; with a checkpoint it must be the checkpoint's.
      seed: seed of random weights.
      default: architecture for random weights if no name is given.

    Raises:
      InputError: the checkpoint has another architecture than `name`.
    """
    if checkpoint is None:
        name = name or default
        return untrained(name, Preprocessing(), seed=seed), name
    encoder = load_encoder(checkpoint)
    restored = encoder.config["encoder"]["name"]
    if name not in (None, restored):
        problem = f"{checkpoint}: holds a {restored}, not a {name}"
        raise InputError(f"{problem}; leave --encoder out or give another checkpoint")
    console.print(f"{checkpoint}: {restored}, {encoder.restored} arrays restored")
    if warning := unknown_past(encoder.config):
        console.print(warning)
    return encoder, restored
