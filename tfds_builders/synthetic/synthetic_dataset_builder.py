"""A cohort of simulated patients with two to four recordings each; nothing is downloaded."""

import dataclasses
from typing import cast

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING, UNMARKED
from tfds_builders.conversion import builder
from tfds_builders.recording import windows
from tfds_builders.recording.recording import Recording, RecordingsConfig
from tfds_builders.synthetic.patient import SITES
from tfds_builders.synthetic.recording import Plan, plan_patient, simulate
from tfds_builders.synthetic.rhythm import SECONDS

SPLITS_BY_REMAINDER = ("train",) * 12 + ("validation",) * 2 + ("test",) * 4
"""Split of a patient by its index modulo 18: two thirds train, a ninth validation, two ninths test,
for any number of patients."""


@dataclasses.dataclass(eq=False, kw_only=True)
class CohortConfig(RecordingsConfig):
    """A cohort at one sampling rate."""

    patients: int = 1008
    """Number of patients with about three recordings each; two thirds are for training."""
    seed: int = 0
    """Random seed of the cohort; another seed gives other patients."""


class Builder(builder.RecordingsBuilder):
    """A simulated cohort; README.md describes its content."""

    RELEASE_NOTES = {"2.0.0": "First cohort."}
    BUILDER_CONFIGS = [
        CohortConfig(name="100hz", rate_hz=100, samples=1000, description="The quick one."),
        CohortConfig(
            name="500hz",
            rate_hz=500,
            samples=5000,
            description="The rate of hospital carts, with mains hum.",
        ),
    ]
    patient_key = b"ecgjax/synthetic"
    recordings_per_shard = 512  # small shards, so that two cores share the work

    def find_recordings(self) -> list[Recording]:
        config = cast(CohortConfig, self.builder_config)
        for option, least in (("patients", len(SPLITS_BY_REMAINDER)), ("seed", 0)):
            value = getattr(config, option)
            if value < least:
                raise InputError(f"{option} {value}: give a number of at least {least}")
        return [
            window
            for index in range(config.patients)
            for plan in plan_patient(config.seed, index)
            for window in windows.divide(
                _recording(plan),
                samples=round(SECONDS * config.rate_hz),
                from_hz=config.rate_hz,
                config=config,
            )
        ]

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        plan, window = recording.location
        config = self.builder_config
        example = simulate(plan, rate_hz=int(config.rate_hz))
        absent = [column for column, lead in enumerate(LEADS) if lead not in config.leads]
        example["signal"][:, absent] = MISSING
        marks = example["waves"][window * config.samples :][: config.samples]
        padded = np.pad(marks, (0, config.samples - len(marks)), constant_values=UNMARKED)
        signal = windows.cut(example["signal"], window, config, recording.record_id)
        return {"signal": signal, "waves": padded}

    def extra_features(self) -> dict[str, tfds.features.FeatureConnector]:
        shape = (self.builder_config.samples,)
        encoding = tfds.features.Encoding.BYTES
        return {"waves": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=encoding)}


def _recording(plan: Plan) -> Recording:
    seed, patient, visit = plan.key
    device, _ = SITES[plan.visit.site]
    return Recording(
        record_id=f"{seed}-{patient:05d}-{visit}",
        source_patient_id=f"{seed}-{patient}",
        split=SPLITS_BY_REMAINDER[patient % len(SPLITS_BY_REMAINDER)],
        location=plan,
        recorded_at=plan.visit.recorded_at,
        age=plan.visit.age,
        sex="female" if plan.patient.female else "male",
        site=plan.visit.site,
        device=device,
        labels=plan.labels,
    )
