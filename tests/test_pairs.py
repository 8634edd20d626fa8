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
    drawn = pairs.draw(np.arange(11), np.random.default_rng(0))
    assert drawn[:, 0].tolist() == INDICES.tolist() and pairs.patients == 5


def test_partner_is_of_the_same_patient_and_another_recording_where_there_is_one(pairs):
    rng = np.random.default_rng(0)
    drawn = np.array([pairs.draw(np.arange(11), rng)[:, 1] for _ in range(200)])
    for position, index in enumerate(INDICES):
        mine = set(INDICES[PATIENTS[INDICES] == PATIENTS[index]])
        assert set(drawn[:, position]) == (mine - {index} or {index})


def test_partners_are_equally_likely(pairs):
    position = np.flatnonzero(INDICES == 8)  # of patient 1, with recordings 0, 5, 8 and 12
    drawn = pairs.draw(np.repeat(position, 6000), np.random.default_rng(0))[:, 1]
    counts = [(drawn == partner).sum() for partner in (0, 5, 12)]
    assert np.abs(np.array(counts) - 2000).max() < 4 * np.sqrt(6000 * 2 / 9)


def test_draws_follow_the_generator(pairs):
    def draw(seed):
        return pairs.draw(np.arange(11), np.random.default_rng(seed)).tolist()

    assert draw(1) == draw(1) != draw(2)


def test_five_million_recordings_are_quick():
    patients = np.random.default_rng(0).integers(1_700_000, size=5_000_000).astype(np.int32)
    start = time.process_time()
    pairs = PatientPairs(np.arange(5_000_000), patients)
    drawn = pairs.draw(np.arange(0, 5_000_000, 25), np.random.default_rng(0))
    assert time.process_time() - start < 10
    assert (patients[drawn[:, 0]] == patients[drawn[:, 1]]).all()
    alone = np.bincount(patients)[patients[drawn[:, 0]]] == 1
    np.testing.assert_array_equal(drawn[:, 0] == drawn[:, 1], alone)
