"""The recordings of a run: the splits of its data set, and other data sets that it is tested on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ecgjax.data.leaks import Past, find_leaks, refuse_leaks, unsketched_note
from ecgjax.data.records import Records
from ecgjax.data.seen import seen_in
from ecgjax.data.splits import Splits, cross_validation, divide, strata
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing, absent_leads_note
from ecgjax.pretrained import Encoder
from ecgjax.remote import local
from ecgjax.train.origin import ancestors
from ecgjax.train.runlog import console
from ecgjax.workflows.low_label import LISTED, LabelledRecordings, absent_outputs
from ecgjax.workflows.own_splits import read_splits
from ecgjax.workflows.targets import Target


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Recordings to train on and to test on."""

    splits: Path | None = None
    """Your own splits: a table (CSV, TSV, Parquet) with a column of record ids, file names or
    patients, and a column "split" of train, validation and test, or of numbers of folds for
    cross-validation. Default: the splits of the data set."""
    patient_key: Path | None = None
    """Key of prepare --patient-key, which tells the recordings of file names and patients in your
    tables."""
    folds: int | None = None
    """Cross-validation for small cohorts: divide the patients into so many folds (5), and test each
    fold on the model that is trained on the others."""
    refit: bool = False
    """After cross-validation, train the model of the workdir on all folds."""
    test_data: tuple[str, ...] = ()
    """Other prepared data sets, folders or URLs, to test on besides: other hospitals."""
    test_data_split: Literal["all", "test"] = "all"
    """Recordings of --test-data to test on: all of them, or their test split."""
    exclude_seen: bool = False
    """Leave out of the tests what the encoder or the model was trained on, instead of stopping."""

    def __post_init__(self):
        if self.splits and self.folds is not None:
            raise InputError("--splits and --folds: give one of them")
        if len(set(self.test_data)) < len(self.test_data):
            given = " ".join(self.test_data)
            raise InputError(f"--test-data {given}: one is given twice; give each once")


PUBLISHED = Cohort()
"""The splits of the data set, and no other data set."""


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """Another data set to test on."""

    name: str
    """Name of the data set, with its folder if another one has the same name."""
    records: Records
    indices: np.ndarray
    """Numbers of the recordings to test on, [recording]."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Recordings to test on."""

    name: str
    """Name of the split, or of the site."""
    labelled: LabelledRecordings
    excluded: int = 0
    """Number of recordings that are left out since the encoder or the model has seen them."""


def divisions(cohort: Cohort, records: Records, target: Target, rate_hz: float) -> list[Splits]:
    """Returns the splits of a data set, or those of each fold.

    Args:
      cohort: the options.
      records: the data set to train on.
      target: the target, by which folds are balanced.
      rate_hz: sampling rate of the encoder, in Hz.

    Raises:
      InputError: the splits share patients, or the folds cannot be made.
    """
    if cohort.splits:
        every = read_splits(cohort.splits, records, key=cohort.patient_key)
    elif cohort.folds is not None:
        folds = divide(records, *_strata(records, target, rate_hz), cohort.folds)
        every = cross_validation(records, folds)
    else:
        every = [Splits(records)]
    for splits in every:
        splits.refuse_shared()
    return every


def _strata(records: Records, target: Target, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the recordings of a target and the class of each by which folds are balanced."""
    labelled = target.select(records, np.arange(len(records)), rate_hz)
    if target.per_sample or target.outputs.kind == "numbers":
        return labelled.indices, np.zeros(len(labelled.indices), int)
    return labelled.indices, strata(labelled.targets == 1)


def open_sites(cohort: Cohort, own: Records, preprocessing: Preprocessing) -> list[Site]:
    """Opens the other data sets to test on.

    Args:
      cohort: the options.
      own: the data set to train on.
      preprocessing: the encoder's preprocessing, for a line on leads that a data set lacks.

    Raises:
      InputError: one cannot be opened, or is the data set to train on.
    """
    sites: list[Site] = []
    for folder in cohort.test_data:
        records = Records(local(folder))
        if records.fingerprint == own.fingerprint:
            remedy = "leave it out: the test split of --data is tested anyway"
            raise InputError(f"--test-data {folder}: is the data set of --data; {remedy}")
        if note := absent_leads_note(preprocessing, records.leads, records.name):
            console.print(note)
        every = cohort.test_data_split == "all"
        indices = np.arange(len(records)) if every else records.split("test")
        taken = {own.name, *(site.name for site in sites)}
        name = f"{records.name} in {folder}" if records.name in taken else records.name
        sites.append(Site(name, records, indices))
    return sites


@dataclasses.dataclass(frozen=True, eq=False)
class Tests:
    """Recordings to test on, without those that the encoder or the model has seen."""

    target: Target
    encoder: Encoder
    """The encoder that training starts from."""
    exclude_seen: bool
    """Leave out recordings that it has seen, instead of refusing them."""

    def own(self, splits: Splits, names: Sequence[str], *, fold: int = 0) -> list[HeldOut]:
        """Returns the held-out splits of the data set to train on.

        Args:
          splits: its splits.
          names: the splits to test on.
          fold: number of the fold that they belong to, from 1, for messages; 0: there are no folds.

        Raises:
          InputError: the encoder has seen recordings of them, and they are not to be left out.
        """
        pasts = [self._past()]
        if note := unsketched_note(pasts[0]):
            console.print(note, markup=False)
        records = splits.records
        tests = []
        for name in names:
            site = Site(name, records, splits.indices(name))
            tests.append(self._held_out(site, self._select(site), pasts, fold))
        return [test for test in tests if len(test.labelled.indices)]

    def others(self, splits: Splits, sites: Sequence[Site]) -> list[HeldOut]:
        """Returns the other data sets.

        Args:
          splits: the splits of the data set to train on; its test split is no training data.
          sites: the other data sets.

        Raises:
          InputError: the encoder or the model has seen recordings of them, and they are not to be
            left out.
        """
        records = splits.records
        names = [name for name in splits.names if name != "test"]
        used = np.concatenate([np.zeros(0, int), *map(splits.indices, names)])
        trained = Past("the model", seen_in(records, used), (records.name,))
        tests = []
        for site in sites:
            try:
                labelled = self._select(site)
            except InputError as error:  # it has no such targets
                console.print(f"{site.name}: not tested ({error})", markup=False)
                continue
            tests.append(self._held_out(site, labelled, [self._past(), trained]))
        return [test for test in tests if len(test.labelled.indices)]

    def _past(self) -> Past:
        """Returns all that the encoder was trained on."""
        return Past("the encoder", self.encoder.seen, data_names(self.encoder.config))

    def _select(self, site: Site) -> LabelledRecordings:
        """Returns the recordings with targets.

        Raises:
          InputError: the data set cannot have them.
        """
        rate_hz = self.encoder.preprocessing.rate_hz
        return self.target.select(site.records, site.indices, rate_hz)

    def _held_out(
        self, site: Site, labelled: LabelledRecordings, pasts: Sequence[Past], fold: int = 0
    ) -> HeldOut:
        """Returns the recordings that nothing was trained on, after a line on each problem."""
        leaks = find_leaks(site.records, labelled.indices, pasts)
        if not self.exclude_seen:
            refuse_leaks(site.records, labelled.indices, leaks)
        for leak in leaks:
            console.print(f"{site.name}: {leak.reason}; they are left out of the test")
        seen = np.zeros(len(labelled.indices), bool)
        for leak in leaks:
            seen |= leak.rows
        if len(seen) and seen.all():
            problem = f"{site.records.path}: each of the {len(seen)} recordings to test on was seen"
            raise InputError(f"{problem}; choose another test set")
        test = HeldOut(site.name, labelled.take(~seen), int(seen.sum()))
        if absent := untested(test, self.target):
            names = ", ".join(absent[:LISTED]) + ", ..." * (len(absent) > LISTED)
            place = f"fold {fold}, {site.name}" if fold else site.name
            left_out = "not in its own figures" if fold else "not tested"
            console.print(f"{place}: no recording with (or none without) {names}; {left_out}")
        return test


def untested(test: HeldOut, target: Target) -> list[str]:
    """Returns the outputs that a test cannot tell anything about, such as labels without cases."""
    if target.per_sample:
        return []
    return absent_outputs(target.outputs, test.labelled.targets)


def require_testable(tests: Sequence[HeldOut], target: Target, records: Records) -> None:
    """Refuses tests that cannot tell anything about the target.

    Raises:
      InputError: all of them are such tests.
    """
    if not any(len(untested(test, target)) < len(target.outputs) for test in tests):
        names = " and ".join(test.name for test in tests) or "validation and test"
        problem = f"{records.path}: {names} cannot test {target.name}, without cases or recordings"
        raise InputError(f"{problem}; choose another task, --folds 5, --splits or --test-data")


def data_names(config: dict) -> tuple[str, ...]:
    """Returns the names of all data sets that the model of a config was trained on."""
    names = []
    for entry in ancestors(config):
        names += [*entry.get("data", "").split("+"), *entry.get("start_data", ())]
    return tuple(dict.fromkeys(filter(None, names)))
