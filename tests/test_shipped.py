"""The shipped encoder: it loads by name, is what it was, is small, and knows what it has seen."""

from pathlib import Path

import numpy as np
import pytest

import ecgjax
from ecgjax.apply import as_stored
from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from ecgjax.train.checkpoint import WEIGHTS, find_checkpoint
from tfds_builders.recording import padding

PLACES = [0, 1, 500, 1200, 1919]
GOLDEN = [0.35675, 0.61042, 0.08678, 0.03843, 3.43819]
RESAMPLED = [0.35736, 0.60869, 0.08437, 0.03832, 3.43842]
"""The same of raw samples, which are resampled as `prepare` does."""


@pytest.fixture(scope="module")
def encoder():
    return ecgjax.load("ptb-xl")


def _beats(seconds: float = 10.0, rate_hz: float = 250.0) -> np.ndarray:
    """Returns [time, 12] in mV: a QRS complex and a T wave each second, another size per lead."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz % 1.0
    qrs = np.exp(-(((time_s - 0.3) / 0.012) ** 2))
    t_wave = 0.25 * np.exp(-(((time_s - 0.55) / 0.05) ** 2))
    first = 0.8 * qrs + t_wave
    second = 1.2 * qrs + 0.8 * t_wave
    limb = [first, second, second - first, -(first + second) / 2]
    limb += [first - second / 2, second - first / 2]
    chest = [(height * qrs + t_wave) for height in (-0.8, -0.6, 0.2, 1.1, 1.2, 0.9)]
    return np.stack([*limb, *chest], axis=1)


def test_golden_embedding(encoder):
    """The values were printed by the code that shipped the weights."""
    ((_, stored),) = as_stored(_beats()[None], LEADS, "mV")
    signal = padding.move_to_start(stored, 250)
    samples = [padding.valid_samples(signal)]
    (embedding,) = encoder.embed_stored(signal[None], samples, rate_hz=250)
    assert embedding.shape == (1920,)
    np.testing.assert_allclose(embedding[PLACES], GOLDEN, atol=1e-4)
    assert encoder.fingerprint == "5d85510f894ccb00"
    embedding = encoder(_beats(), rate_hz=250, leads=LEADS, units="mV")
    np.testing.assert_allclose(embedding[PLACES], RESAMPLED, atol=1e-4)


def test_it_is_small_and_knows_what_it_has_seen(encoder):
    files = [path for path in (WEIGHTS / "ptb-xl").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    # PTB-XL's folds 1 to 8 without duplicates
    assert (len(encoder.seen.waveforms), len(encoder.seen.patients)) == (17_418, 15_023)


def test_name_does_not_depend_on_the_folder(tmp_path, monkeypatch):
    """A folder of raw files that is called ptb-xl does not hide the shipped encoder."""
    (tmp_path / "ptb-xl").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("ptb-xl") == WEIGHTS / "ptb-xl"
    assert find_checkpoint(Path("ptb-xl")) == WEIGHTS / "ptb-xl"
    with pytest.raises(InputError, match="no such folder.*or one of ptb-xl"):
        find_checkpoint("ptbxl")
