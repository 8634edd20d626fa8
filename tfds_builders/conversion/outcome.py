"""The outcome of reading a recording: samples with quality flags, or the reason to reject it."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.conversion.plan import Kept, RecordingReader, Rejection
from tfds_builders.conversion.thumbnails import shrink
from tfds_builders.recording import checks
from tfds_builders.recording.padding import valid_samples
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig


class Accepted(NamedTuple):
    """A recording that was read and holds an ECG."""

    kept: Kept
    signal: np.ndarray
    """int16 [config.samples, 12], 1 uV per LSB, MISSING for a missing sample."""
    features: dict[str, Any]
    """A value for each extra feature of the builder."""


def read(builder: RecordingReader, recording: Recording) -> Accepted | Rejection:
    """Reads a recording and checks that it is an ECG.

    Args:
      builder: reads the recording.
      recording: its metadata.
    """
    config = builder.builder_config
    signal = None
    try:
        if recording.problem:
            raise RecordingError(*recording.problem)
        example = builder.read_recording(recording)
        flags = example.pop("flags", ())
        signal = _require_form(example.pop("signal"), config, recording.record_id)
        checks.require_ecg(signal, f"recording {recording.record_id}")
    except InputError as error:
        return _rejection(recording, error, signal)
    return Accepted(_kept(recording, signal, flags, config), signal, example)


def _kept(
    recording: Recording, signal: np.ndarray, known_flags: Sequence[str], config: RecordingsConfig
) -> Kept:
    digest = hashlib.sha256(signal.tobytes()).hexdigest()[:32]
    found = checks.find_flags(signal, config.rate_hz, config.required_leads)
    flags = list(dict.fromkeys([*known_flags, *found]))
    small = shrink(signal) if flags else None
    return Kept(recording, flags, digest, valid_samples(signal), small)


def _rejection(recording: Recording, error: InputError, signal: np.ndarray | None) -> Rejection:
    reason = error.reason if isinstance(error, RecordingError) else "unreadable"
    small = None if signal is None else shrink(signal)
    return Rejection(recording.record_id, recording.split, reason, str(error), small)


def _require_form(signal: np.ndarray, config: RecordingsConfig, record_id: str) -> np.ndarray:
    if signal.dtype != np.int16 or signal.ndim != 2 or signal.shape[1] != len(LEADS):
        form = f"{signal.dtype} {list(signal.shape)}"
        raise TypeError(f"{record_id}: read_recording returned {form}, not int16 [time, 12]")
    if len(signal) != config.samples:
        problem = f"recording {record_id}: {len(signal)} samples instead of {config.samples}"
        raise RecordingError("length", f"{problem}; download it again, or leave it out")
    return signal
