"""Facts that readers of a prediction model need, from the data sets and the encoder themselves.

The topics are those of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) and of the checklist of
EHRA, HRS and the ESC for AI in electrophysiology (Europace 2025, euaf071). A topic that nothing
here can answer says so.
"""

from collections.abc import Iterator, Sequence

import numpy as np

import ecgjax
from ecgjax.data.records import Records
from ecgjax.pretrained import Encoder
from ecgjax.train.origin import unknown_past
from ecgjax.workflows.clinical_report.study import Study
from ecgjax.workflows.cohort import data_names
from ecgjax.workflows.low_label_methods import Benchmark

Fact = tuple[str, str]
"""A topic and what there is to say."""
_PURPOSE = (
    "Comparison of ways of training ECG classifiers with few labels. Research use only: no model "
    "here is a medical device or has been validated for a clinical decision."
)
_PREDICTORS = (
    "The waveforms of the 12-lead ECG alone; no age, no sex, no other clinical information."
)
_ALL_LABELS = "All labels are the same in every draw; the frozen encoder has one draw then."
_INTERVALS = (
    "95 %, from resamples of the test patients, widened by the differences between draws of labels "
    "(Student's distribution). Methods share the resamples."
)
_UNKNOWN = (
    "How the recordings were selected in the hospitals, who assigned the labels and with how much "
    "agreement, ethnic origin, treatment, and devices; involvement of patients, registration, "
    "funding and ethical approval. See the publication of the data set."
)


def facts(
    settings: Benchmark, encoder: Encoder, records: Records, studies: Sequence[Study]
) -> Iterator[Fact]:
    """Yields the facts of a benchmark.

    Args:
      settings: settings of the benchmark.
      encoder: the pre-trained encoder.
      records: the data set that labels are drawn from.
      studies: the tasks and tests.
    """
    yield "Purpose", _PURPOSE
    yield "Training data", f"{_described(records)}. Fingerprint {records.fingerprint}."
    for name, study in {study.test: study for study in studies}.items():
        tested = study.records
        own = tested.fingerprint == records.fingerprint
        place = "a split of the training data set" if own else "another data set"
        yield f"Test data: {name}", f"{_described(tested)}, {place}. {_people(study)}"
    yield "Predictors", _PREDICTORS
    yield "Encoder", _encoder(encoder)
    yield "Encoder and test data", _independence(encoder, studies)
    for study in {study.task: study for study in studies}.values():
        yield f"Outcome: {study.task}", _outcome(study)
    amounts = f"Amounts {', '.join(settings.labels)}; {settings.seeds} draws of each"
    drawn = "whole patients at a time" if settings.draw == "patients" else "recording by recording"
    yield "Labels", f"{amounts}, {drawn}. {_ALL_LABELS}"
    if any({*settings.trained} & each.scores.keys() for study in studies for each in study.amounts):
        yield "Tuning", settings.tuning
    yield "Missing data", _missing(studies)
    yield "Intervals", _INTERVALS
    yield "Code", f"ecgjax {ecgjax.__version__}, Apache-2.0. The predictions lie beside the report."
    yield "Not known here", _UNKNOWN


def _described(records: Records) -> str:
    patients = len(np.unique(records.patients))
    leads = f"{len(records.leads)} leads"
    length = f"{records.samples / records.rate_hz:g} s at {records.rate_hz:g} Hz"
    return (
        f"{records.name}: {len(records):,} recordings of {patients:,} patients, {leads}, {length}"
    )


def _people(study: Study) -> str:
    people = study.people
    age = people.age_years[~np.isnan(people.age_years)]
    patients = len(np.unique(study.largest.patients))
    parts = [f"Tested here: {len(people.sex):,} recordings of {patients:,} patients"]
    if len(age):
        middle = np.quantile(age, [0.25, 0.5, 0.75])
        parts.append(
            f"median age {middle[1]:.0f} years (quartiles {middle[0]:.0f}-{middle[2]:.0f})"
        )
    known = people.sex != None  # noqa: E711, elementwise
    if known.any():
        parts.append(f"{(people.sex[known] == 'female').mean():.0%} female")
    if study.excluded:
        parts.append(f"{study.excluded:,} left out, since the encoder has seen them")
    return ", ".join(parts) + "."


def _encoder(encoder: Encoder) -> str:
    data = " and ".join(data_names(encoder.config)) or "no data"
    settings = encoder.config.get("pretraining") or {}
    parts = [f"{encoder!r}. Pre-trained on {data}"]
    if name := settings.get("objective", {}).get("name"):
        steps = settings.get("num_steps", 0)
        size = settings.get("batch_size", 0)
        parts.append(
            f"by {name}, {steps:,} steps with batches of {size:,}, seed {settings['seed']}"
        )
    return " ".join(parts) + "."


def _independence(encoder: Encoder, studies: Sequence[Study]) -> str:
    if warning := unknown_past(encoder.config):
        return warning
    excluded = sum(study.excluded for study in studies)
    end = f" {excluded:,} recordings were left out for that reason." if excluded else ""
    return (
        "Checked by hashes of patients and waveforms: the encoder was trained on no recording and "
        f"no patient of the test.{end}"
    )


def _outcome(study: Study) -> str:
    training = study.training
    classes = study.largest.classes
    parts = []
    for k, name in enumerate(classes):
        column = study.largest.truth[:, k]
        known = column[~np.isnan(column)]
        share = f"{training.prevalence(k):.1%} in training" if training.known[k] else "unknown"
        if k in study.reportable:
            parts.append(f"{name} {share}, {known.mean():.1%} of {len(known):,} in the test")
        else:
            parts.append(f"{name} {share}, too few in the test")
    listed = "; ".join(parts)
    return (
        f"{study.description}; labels as the data set has them. Drawn from "
        f"{training.recordings:,} recordings of {training.patients:,} patients. Share of "
        f"recordings: {listed}."
    )


def _missing(studies: Sequence[Study]) -> str:
    parts = []
    for study in studies:
        people = study.people
        without_label = int(np.isnan(study.largest.truth).sum())
        without_age = int(np.isnan(people.age_years).sum())
        without_sex = sum(each is None for each in people.sex)
        parts.append(
            f"{study.name}: {without_label:,} labels, {without_age:,} ages, {without_sex:,} sexes"
        )
    return (
        f"Not recorded in the test: {'; '.join(parts)}. A recording without a label counts for no "
        "figure of that label; one without age or sex is in no group by age or sex. Missing "
        "samples of a waveform are zeros for the encoder; nothing is imputed."
    )
