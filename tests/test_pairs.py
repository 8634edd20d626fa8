"""A partner is another recording of the same patient, if there is one; each is equally likely."""

import time

import numpy as np
import pytest

from ecgjax.data.pairs import DAY_S, PairRule, PatientPairs
from ecgjax.errors import InputError

# Patients 0 to 4 have 1, 4, 2, 1 and 3 recordings, unordered; those of patient 9 must not be used.
PATIENTS = np.array([1, 4, 0, 2, 9, 1, 4, 3, 1, 9, 2, 4, 1], np.int32)
INDICES = np.flatnonzero(PATIENTS != 9)[::-1]


@pytest.fixture
def pairs():
    return PatientPairs(INDICES, PATIENTS)


def test_first_view_is_the_recording_at_the_position(pairs):
    drawn = pairs.draw(np.arange(11), np.random.default_rng(0))
    assert drawn[:, 0].tolist() == INDICES.tolist() and pairs.patients == 5


def test_a_partner_is_another_recording_of_the_same_patient_if_there_is_one(pairs):
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


def test_draws_depend_on_the_random_generator_alone(pairs):
    def draw(seed):
        return pairs.draw(np.arange(11), np.random.default_rng(seed)).tolist()

    assert draw(1) == draw(1) != draw(2)


def test_five_million_recordings_are_paired_quickly():
    patients = np.random.default_rng(0).integers(1_700_000, size=5_000_000).astype(np.int32)
    start = time.process_time()
    pairs = PatientPairs(np.arange(5_000_000), patients)
    drawn = pairs.draw(np.arange(0, 5_000_000, 25), np.random.default_rng(0))
    assert time.process_time() - start < 10
    assert (patients[drawn[:, 0]] == patients[drawn[:, 1]]).all()
    alone = np.bincount(patients)[patients[drawn[:, 0]]] == 1
    np.testing.assert_array_equal(drawn[:, 0] == drawn[:, 1], alone)


# Days of thirty recordings of four patients: some share a day, every fifth date is unknown.
_RNG = np.random.default_rng(5)
OWNERS = _RNG.integers(4, size=30).astype(np.int32)
DAYS = np.where(_RNG.random(30) < 0.2, np.nan, _RNG.integers(40, size=30))
DATES = np.array(
    [
        np.datetime64("NaT") if np.isnan(day) else np.datetime64(int(day) * DAY_S, "s")
        for day in DAYS
    ],
    "datetime64[s]",
)


@pytest.mark.parametrize("rule", [(0, 7), (10, 20), (10, 0), (0, 0.5), (50, 0), (3, 3)])
@pytest.mark.parametrize("dates", ["some unknown", "all unknown"])
def test_all_partners_that_the_rule_allows_are_equally_likely(rule, dates):
    days = DAYS if dates == "some unknown" else np.full(30, np.nan)
    recorded_at = DATES if dates == "some unknown" else np.full(30, "NaT", "datetime64[s]")
    usable = np.arange(30)[::-1][:-4]
    pairs = PatientPairs(
        usable, OWNERS, rule=PairRule(min_days=rule[0], max_days=rule[1]), recorded_at=recorded_at
    )
    rng = np.random.default_rng(0)
    positions = np.arange(len(usable))
    drawn = np.array([pairs.draw(positions, rng)[:, 1] for _ in range(1500)])
    for position, index in enumerate(usable):
        gap = np.abs(days[usable] - days[index])
        allowed = np.isnan(gap) | ((gap >= rule[0]) & (gap <= (rule[1] or np.inf)))
        others = usable[allowed & (OWNERS[usable] == OWNERS[index]) & (usable != index)]
        expected = others if len(others) else np.array([index])
        partners, counts = np.unique(drawn[:, position], return_counts=True)
        np.testing.assert_array_equal(partners, np.sort(expected))
        share = 1 / len(expected)
        assert np.abs(counts / 1500 - share).max() <= 5 * np.sqrt(share * (1 - share) / 1500)


def test_the_instance_share_of_pairs_is_one_recording_twice(pairs):
    mixed = PatientPairs(INDICES, PATIENTS, rule=PairRule(instance_share=0.3))
    position = np.flatnonzero(INDICES == 8)  # of patient 1, with three others
    drawn = mixed.draw(np.repeat(position, 6000), np.random.default_rng(0))
    assert abs((drawn[:, 0] == drawn[:, 1]).mean() - 0.3) < 4 * np.sqrt(0.21 / 6000)
    others = np.unique(drawn[:, 1], return_counts=True)[1][[0, 1, 3]]
    assert np.abs(others / 6000 - 0.7 / 3).max() < 0.03
    whole = PatientPairs(INDICES, PATIENTS, rule=PairRule(instance_share=1.0)).draw(
        np.arange(11), np.random.default_rng()
    )
    np.testing.assert_array_equal(whole[:, 0], whole[:, 1])


def test_five_million_recordings_are_paired_by_dates_quickly():
    rng = np.random.default_rng(0)
    patients = rng.integers(1_700_000, size=5_000_000).astype(np.int32)
    recorded_at = rng.integers(1_200_000_000, 1_700_000_000, size=5_000_000).astype("datetime64[s]")
    start = time.process_time()
    rule = PairRule(min_days=30, max_days=365)
    pairs = PatientPairs(np.arange(5_000_000), patients, rule=rule, recorded_at=recorded_at)
    drawn = pairs.draw(np.arange(0, 5_000_000, 25), np.random.default_rng(0))
    assert time.process_time() - start < 15
    gap = np.abs(np.diff(recorded_at[drawn].astype(np.int64), axis=1))[:, 0] / DAY_S
    assert ((gap >= 30) & (gap <= 365) | (drawn[:, 0] == drawn[:, 1])).all() and (
        gap > 0
    ).mean() > 0.1
    assert (patients[drawn[:, 0]] == patients[drawn[:, 1]]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"instance_share": 1.5}, "instance-share 1.5: give a share"),
        ({"min_days": -1}, "min-days -1, max-days 0"),
        ({"min_days": 30, "max_days": 7}, "min-days 30, max-days 7"),
    ],
)
def test_impossible_rules_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        PairRule(**wrong)
