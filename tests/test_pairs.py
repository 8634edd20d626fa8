"""A partner is another recording of the same patient, each equally likely; alone is only who has no other."""

import time

import numpy as np
import pytest

from ecgjax.data.pairs import PatientPairs

# Patients 0 to 4 have 1, 4, 2, 1 and 3 recordings, in no order; some of the data set's recordings must not be used.
PATIENTS = np.array([1, 4, 0, 2, 9, 1, 4, 3, 1, 9, 2, 4, 1], np.int32)
INDICES = np.flatnonzero(PATIENTS != 9)[::-1]


@pytest.fixture
def pairs():
    return PatientPairs(INDICES, PATIENTS)


def test_first_view_is_the_recording_at_the_position(pairs):
    rng = np.random.default_rng(0)
    assert [pairs.draw(position, rng)[0] for position in range(len(pairs))] == INDICES.tolist()
    assert len(pairs) == 11 and pairs.patients == 5


def test_partner_is_of_the_same_patient_and_another_recording_where_there_is_one(pairs):
    rng = np.random.default_rng(0)
    for position, index in enumerate(INDICES):
        mine = set(INDICES[PATIENTS[INDICES] == PATIENTS[index]])
        partners = {int(pairs.draw(position, rng)[1]) for _ in range(200)}
        assert partners == (mine - {index} or {index})


def test_partners_are_equally_likely(pairs):
    position = int(np.flatnonzero(INDICES == 8)[0])  # of patient 1, with recordings 0, 5, 8 and 12
    rng = np.random.default_rng(0)
    drawn = np.array([pairs.draw(position, rng)[1] for _ in range(6000)])
    counts = [(drawn == partner).sum() for partner in (0, 5, 12)]
    assert np.abs(np.array(counts) - 2000).max() < 4 * np.sqrt(6000 * 2 / 9)


def test_draws_follow_the_generator(pairs):
    def draw(seed):
        rng = np.random.default_rng(seed)
        return [pairs.draw(position, rng).tolist() for position in range(11)]

    assert draw(1) == draw(1) != draw(2)


def test_two_hundred_thousand_recordings_are_quick():
    patients = np.random.default_rng(0).integers(70_000, size=200_000).astype(np.int32)
    start = time.process_time()
    pairs = PatientPairs(np.arange(200_000), patients)
    assert time.process_time() - start < 0.5
    rng = np.random.default_rng(0)
    drawn = np.array([pairs.draw(position, rng) for position in rng.integers(200_000, size=5_000)])
    assert time.process_time() - start < 1.5
    assert (patients[drawn[:, 0]] == patients[drawn[:, 1]]).all()
    alone = np.bincount(patients)[patients[drawn[:, 0]]] == 1
    np.testing.assert_array_equal(drawn[:, 0] == drawn[:, 1], alone)
