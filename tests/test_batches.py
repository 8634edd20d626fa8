"""Batches: every recording once an epoch, in an order that depends on the seed alone."""

import numpy as np
import pytest

from ecgjax.data.batches import labelled_batches, pretraining_batches
from ecgjax.data.pairs import PairRule
from ecgjax.errors import InputError


class Numbered:
    """A stand-in for `Records`: each recording holds its own number, which a batch then shows."""

    path = "numbered"
    samples = 1
    patients = np.repeat(np.arange(20), 3).astype(np.int32)

    def read(self, indices):
        return np.broadcast_to(
            np.asarray(indices, np.int16)[..., None, None], (*np.shape(indices), 1, 12)
        )


class Multiples:
    """A stand-in for `DeviceCache`: the slot of a recording is a multiple of its number."""

    def __init__(self, factor):
        self._factor = factor

    def slots(self, indices):
        return indices * self._factor


RECORDS = Numbered()
INDICES = np.arange(10, 50)


def _pairs(seed=0, batch_size=8, indices=INDICES, **settings):
    return pretraining_batches(
        RECORDS, [indices], examples="patient_pair", batch_size=batch_size, seed=seed, **settings
    )


def _seen(batches, first, last, **settings) -> np.ndarray:
    """Numbers of the recordings in batches `first` to `last` - 1, [batch, example(, view)]."""
    return np.concatenate(
        [stack["signal"][..., 0, 0] for stack in batches.between(first, last, **settings)]
    )


def test_every_recording_is_a_first_view_once_an_epoch_in_a_new_order():
    first, second = _seen(_pairs(), 0, 10).reshape(2, 40, 2)
    np.testing.assert_array_equal(np.sort(first[:, 0]), INDICES)
    np.testing.assert_array_equal(np.sort(second[:, 0]), INDICES)
    assert (first[:, 0] != second[:, 0]).any()
    partners = [dict(epoch.tolist()) for epoch in (first, second)]
    assert partners[0] != partners[1]


def test_a_batch_may_end_one_epoch_and_begin_the_next():
    seen = _seen(_pairs(batch_size=12), 0, 10)[..., 0].reshape(3, 40)
    np.testing.assert_array_equal(np.sort(seen, axis=1), np.broadcast_to(INDICES, (3, 40)))


def test_pairs_are_of_one_patient_among_the_given_recordings():
    batch = _pairs().make(0)
    assert batch["signal"].shape == (8, 2, 1, 12) and batch["signal"].dtype == np.int16
    assert batch["patient"].shape == (8,) and batch["patient"].dtype == np.int32
    seen = _seen(_pairs(), 0, 50)
    assert np.isin(seen, INDICES).all()
    assert (RECORDS.patients[seen[..., 0]] == RECORDS.patients[seen[..., 1]]).all()
    alone = [
        index
        for index in INDICES
        if (RECORDS.patients[INDICES] == RECORDS.patients[index]).sum() == 1
    ]
    np.testing.assert_array_equal(seen[..., 0] == seen[..., 1], np.isin(seen[..., 0], alone))
    np.testing.assert_array_equal(batch["patient"], RECORDS.patients[batch["signal"][:, 0, 0, 0]])


def test_pairs_follow_the_rule(records):
    """Dates come from the table of the simulated cohort, whose visits are years apart."""
    batches = pretraining_batches(
        records,
        [records.split("train")],
        examples=PairRule(min_days=200, max_days=900),
        batch_size=16,
        seed=0,
        cache=Multiples(1),
    )
    recorded_at = np.array(records.table["recorded_at"].to_pylist(), "datetime64[s]")
    np.testing.assert_array_equal(records.recorded_at, recorded_at)
    pairs = np.concatenate([batches.make(number)["slot"] for number in range(20)])
    days = np.abs(np.diff(recorded_at[pairs].astype(np.int64), axis=1))[:, 0] / 86_400
    alone = pairs[:, 0] == pairs[:, 1]
    assert ((days[~alone] >= 200) & (days[~alone] <= 900)).all() and 0 < alone.mean() < 1


def test_single_recordings_come_once_an_epoch():
    batches = pretraining_batches(RECORDS, [INDICES], examples="single", batch_size=8, seed=0)
    assert batches.make(0)["signal"].shape == (8, 1, 12)
    assert batches.make(0)["patient"].shape == (8,)
    np.testing.assert_array_equal(np.sort(_seen(batches, 0, 5).ravel()), INDICES)
    assert batches.recordings == 8 and _pairs().recordings == 16


def test_the_order_depends_on_the_seed_alone():
    np.testing.assert_array_equal(_seen(_pairs(seed=5), 0, 12), _seen(_pairs(seed=5), 0, 12))
    assert (_seen(_pairs(seed=5), 0, 12) != _seen(_pairs(seed=6), 0, 12)).any()


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_batches_do_not_depend_on_the_first_step_or_the_stack_size(at_once):
    """An epoch has five batches."""
    whole = _seen(_pairs(), 0, 14)
    for first, last in ((0, 14), (3, 7), (7, 14), (13, 14)):
        np.testing.assert_array_equal(
            _seen(_pairs(), first, last, at_once=at_once), whole[first:last]
        )
    lengths = [len(stack["patient"]) for stack in _pairs().between(3, 14, at_once=4)]
    assert lengths == [1, 4, 4, 2]  # stacks end at multiples of 4
    assert list(_pairs().between(5, 5)) == []


def test_processes_read_their_rows_of_the_same_batch():
    whole = _seen(_pairs(), 0, 6)
    parts = [
        _seen(_pairs(rows=rows), 0, 6) for rows in (np.array([0, 1, 4]), np.array([2, 3, 5, 6, 7]))
    ]
    np.testing.assert_array_equal(parts[0], whole[:, [0, 1, 4]])
    np.testing.assert_array_equal(parts[1], whole[:, [2, 3, 5, 6, 7]])
    assert _pairs(rows=np.array([7])).make(3)["patient"] == _pairs().make(3)["patient"][7]


def test_with_a_cache_batches_hold_slots_in_place_of_signals():
    batch = _pairs(cache=Multiples(10)).make(2)
    assert set(batch) == {"slot", "patient"}
    numbers = _pairs().make(2)["signal"][..., 0, 0].astype(int)
    np.testing.assert_array_equal(batch["slot"], 10 * numbers)


def test_only_labelled_recordings_are_read_and_with_their_targets():
    """Thirty epochs are enough for any other recording to show up."""
    chosen = np.array([4, 8, 15, 16, 23, 42])
    targets = np.eye(6, dtype=np.float32)
    batches = labelled_batches(RECORDS, chosen, targets, batch_size=4, seed=0)
    seen = []
    for batch in map(batches.make, range(45)):
        assert batch["signal"].shape == (4, 1, 12) and batch["targets"].dtype == np.float32
        np.testing.assert_array_equal(chosen[batch["targets"].argmax(1)], batch["signal"][:, 0, 0])
        seen.append(batch["signal"][:, 0, 0])
    numbers, counts = np.unique(np.concatenate(seen), return_counts=True)
    np.testing.assert_array_equal(numbers, chosen)
    np.testing.assert_array_equal(counts, 30)


def test_recordings_come_as_they_are_stored(records):
    indices = records.split("validation")
    batches = pretraining_batches(records, [indices], examples="patient_pair", batch_size=4, seed=0)
    stored = {signal.tobytes() for signal in records.read(indices)}
    for batch in batches.between(0, 3):
        assert batch["signal"].shape == (1, 4, 2, 1000, 12)
        assert {signal.tobytes() for signal in batch["signal"].reshape(-1, 1000, 12)} <= stored


@pytest.mark.parametrize("batch_size", [41, 0, -8])
def test_impossible_batch_sizes_are_refused(batch_size):
    with pytest.raises(InputError, match=f"batch of {batch_size} from 40 recordings"):
        _pairs(batch_size=batch_size)
    with pytest.raises(InputError, match=f"batch of {batch_size} from 40 labelled recordings"):
        labelled_batches(
            RECORDS, INDICES, np.zeros((40, 1), np.float32), batch_size=batch_size, seed=0
        )


def test_pairs_need_two_patients():
    with pytest.raises(InputError, match="numbered: one patient only"):
        _pairs(indices=np.array([0, 1, 2]), batch_size=2)
