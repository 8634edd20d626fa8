"""The benchmark of damaged recordings: what it adds, cuts and leaves out."""

import sys
from pathlib import Path

import numpy as np
import pytest

import ecgjax
from ecgjax.signals import LEADS

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import robustness

VALUE_UV = np.random.default_rng(0).normal(0, 300, (3, 1000, 12))


def _damage(name: str) -> np.ndarray:
    return robustness.damages(100.0)[name](VALUE_UV, np.random.default_rng(1))


def test_offsets_are_constant_in_each_lead():
    added_uv = _damage("offset, sd 1 mV") - VALUE_UV
    np.testing.assert_allclose(added_uv, np.broadcast_to(added_uv[:, :1], added_uv.shape))
    assert 500 < added_uv[:, 0].std() < 1500


@pytest.mark.parametrize(
    ("name", "height_uv", "most_hz"), [("hum 50 Hz, 0.1 mV", 100, 50), ("wander 1 mV", 1000, 0.3)]
)
def test_waves_have_their_amplitude_and_frequency(name, height_uv, most_hz):
    added_uv = _damage(name) - VALUE_UV
    assert np.abs(added_uv).max() <= height_uv * (1 + 1e-9)
    assert np.abs(added_uv).max() > 0.7 * height_uv
    crossings = (np.diff(np.sign(added_uv), axis=1) != 0).sum(1)
    assert crossings.max() <= 2 * most_hz * 10 + 1


def test_recordings_are_cut():
    np.testing.assert_array_equal(_damage("8 s"), VALUE_UV[:, :800])


def test_fewer_leads_are_the_same_as_missing_ones(workdir, records):
    encoder = ecgjax.load(workdir)
    indices = records.split("test")[:3]
    two = robustness.embed(encoder, records, indices, leads=("I", "V2"))
    columns = [LEADS.index("I"), LEADS.index("V2")]

    def remove(value_uv: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kept = np.isin(np.arange(12), columns)
        return np.where(kept, value_uv, np.nan)

    removed = robustness.embed(encoder, records, indices, damage=remove)
    np.testing.assert_allclose(two, removed, atol=1e-6)
