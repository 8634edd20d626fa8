"""Synthetic: a cohort of simulated patients with two to four recordings each. Nothing is downloaded."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.signals import InputError
from tfds_builders import conversion
from tfds_builders.synthetic.patient import draw_patient
from tfds_builders.synthetic.recording import plan, simulate

SPLIT_OF_REMAINDER = ("train",) * 12 + ("validation",) * 2 + ("test",) * 4
"""Split of a patient by its index modulo 18: the same shares however many patients, and nobody changes sides."""


@dataclasses.dataclass(eq=False, kw_only=True)
class CohortConfig(conversion.RecordingsConfig):
    """A cohort at one sampling rate."""

    patients: int = 1008
    """Patients in all splits; two thirds are for training. About three recordings each."""
    seed: int = 0
    """Another seed, other patients."""


class Builder(conversion.RecordingsBuilder):
    """A simulated cohort: see README.md for what is in it."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First cohort."}
    BUILDER_CONFIGS = [
        CohortConfig(name="100hz", rate_hz=100, samples=1000, description="The quick one."),
        CohortConfig(name="500hz", rate_hz=500, samples=5000, description="The rate of hospital carts, with mains hum."),
    ]
    DEFAULT_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/synthetic"
    recordings_per_shard = 512  # small shards, so that two cores share the work

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[conversion.Recording]:
        config = self.builder_config
        if config.patients < len(SPLIT_OF_REMAINDER):
            raise InputError(f"patients={config.patients}: give at least {len(SPLIT_OF_REMAINDER)}, for one in each split")
        return [
            _recording(config.seed, patient, visit)
            for patient in range(config.patients)
            for visit in range(len(draw_patient(config.seed, patient).visits_days))
        ]

    def read_recording(self, recording: conversion.Recording) -> dict[str, np.ndarray]:
        patient, visit = recording.location
        return simulate(self.builder_config.seed, patient, visit, rate_hz=int(self.builder_config.rate_hz))

    def extra_features(self) -> dict[str, tfds.features.FeatureConnector]:
        samples = self.builder_config.samples
        return {"waves": tfds.features.Tensor(shape=(samples,), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)}


def _recording(seed: int, patient: int, visit: int) -> conversion.Recording:
    made, _ = plan(seed, patient, visit)
    return conversion.Recording(
        record_id=f"{seed}-{patient:05d}-{visit}",
        source_patient_id=f"{seed}-{patient}",
        split=SPLIT_OF_REMAINDER[patient % len(SPLIT_OF_REMAINDER)],
        location=(patient, visit),
        recorded_at=made.visit.recorded_at,
        age=made.visit.age,
        sex="female" if made.patient.female else "male",
        site="simulated",
        device="ecgjax dipole 1.0",
        labels=made.labels,
    )
