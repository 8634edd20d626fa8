"""Batches: every recording once an epoch, the same order for the same seed, and an exact place to resume from."""

import itertools

import jax
import numpy as np
import pytest

from ecgjax.data.batches import labelled_batches, pretraining_batches
from ecgjax.signals import InputError


class Numbered:
    """In the place of `Records`: each recording holds its own number, so that a batch shows what was read."""

    path, samples = "numbered", 1
    patients = np.repeat(np.arange(20), 3).astype(np.int32)

    def read(self, indices):
        return np.broadcast_to(np.asarray(indices, np.int16)[:, None, None], (len(indices), 1, 12))


RECORDS = Numbered()
INDICES = np.arange(10, 50)


def _pairs(seed=0, batch_size=8, indices=INDICES):
    batches = pretraining_batches(RECORDS, indices, examples="patient_pair", batch_size=batch_size, seed=seed)
    return iter(batches)


def _seen(batches, count) -> np.ndarray:
    """Numbers of the recordings in the next `count` batches, [batch, example] or [batch, example, view]."""
    return np.array([batch["signal"][..., 0, 0] for batch in itertools.islice(batches, count)])


def test_every_recording_is_a_first_view_once_an_epoch_in_a_new_order():
    first, second = _seen(_pairs(), 10).reshape(2, 40, 2)
    np.testing.assert_array_equal(np.sort(first[:, 0]), INDICES)
    np.testing.assert_array_equal(np.sort(second[:, 0]), INDICES)
    assert (first[:, 0] != second[:, 0]).any()
    partners = [dict(epoch.tolist()) for epoch in (first, second)]
    assert partners[0] != partners[1]


def test_pairs_are_of_one_patient_within_the_recordings_allowed():
    batch = next(_pairs())
    assert batch["signal"].shape == (8, 2, 1, 12) and batch["signal"].dtype == np.int16
    assert batch["patient"].shape == (8,) and batch["patient"].dtype == np.int32
    seen = _seen(_pairs(), 50)
    assert np.isin(seen, INDICES).all()
    assert (RECORDS.patients[seen[..., 0]] == RECORDS.patients[seen[..., 1]]).all()
    alone = [index for index in INDICES if (RECORDS.patients[INDICES] == RECORDS.patients[index]).sum() == 1]
    np.testing.assert_array_equal(seen[..., 0] == seen[..., 1], np.isin(seen[..., 0], alone))
    np.testing.assert_array_equal(batch["patient"], RECORDS.patients[batch["signal"][:, 0, 0, 0]])


def test_single_recordings():
    batches = iter(pretraining_batches(RECORDS, INDICES, examples="single", batch_size=8, seed=0))
    batch = next(batches)
    assert batch["signal"].shape == (8, 1, 12) and batch["patient"].shape == (8,)
    seen = np.concatenate([batch["signal"][None, :, 0, 0], _seen(batches, 4)])
    np.testing.assert_array_equal(np.sort(seen.ravel()), INDICES)


def test_order_is_the_seeds():
    np.testing.assert_array_equal(_seen(_pairs(seed=5), 12), _seen(_pairs(seed=5), 12))
    assert (_seen(_pairs(seed=5), 12) != _seen(_pairs(seed=6), 12)).any()


@pytest.mark.parametrize("taken", [0, 3, 7])
def test_iterator_resumes_at_its_exact_place(taken):
    """Also twice, and beyond the edge of an epoch (five batches)."""
    uninterrupted, batches = _seen(_pairs(), taken + 8), _pairs()
    _seen(batches, taken)
    for done in (taken, taken + 4):
        state, batches = batches.get_state(), _pairs()
        batches.set_state(state)
        np.testing.assert_array_equal(_seen(batches, 4), uninterrupted[done : done + 4])


def test_processes_share_an_epoch_without_overlap(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    seen = []
    for process in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        seen.append(_seen(_pairs(), 5))
    assert seen[0].shape == (5, 4, 2)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)[..., 0].ravel()), INDICES)
    with pytest.raises(InputError, match="batch of 7 over 2 processes"):
        _pairs(batch_size=7)


def test_labelled_recordings_are_the_only_ones_read_and_keep_their_targets():
    """Thirty epochs: a subset that leaks would show others by then."""
    chosen = np.array([4, 8, 15, 16, 23, 42])
    targets = np.eye(6, dtype=np.float32)
    batches = labelled_batches(RECORDS, chosen, targets, batch_size=4, seed=0)
    seen = []
    for batch in itertools.islice(batches, 45):
        assert batch["signal"].shape == (4, 1, 12) and batch["targets"].dtype == np.float32
        np.testing.assert_array_equal(chosen[batch["targets"].argmax(1)], batch["signal"][:, 0, 0])
        seen.append(batch["signal"][:, 0, 0])
    numbers, counts = np.unique(np.concatenate(seen), return_counts=True)
    np.testing.assert_array_equal(numbers, chosen)
    np.testing.assert_array_equal(counts, 30)


def test_real_recordings_come_as_they_are_stored(records):
    indices = records.split("validation")
    batches = pretraining_batches(records, indices, examples="patient_pair", batch_size=4, seed=0)
    stored = {signal.tobytes() for signal in records.read(indices)}
    for batch in itertools.islice(batches, 3):
        assert batch["signal"].shape == (4, 2, 1000, 12)
        assert {signal.tobytes() for signal in batch["signal"].reshape(-1, 1000, 12)} <= stored


@pytest.mark.parametrize("batch_size", [41, 0, -8])
def test_impossible_batch_is_refused(batch_size):
    with pytest.raises(InputError, match=f"batch of {batch_size} from 40 recordings"):
        _pairs(batch_size=batch_size)
    with pytest.raises(InputError, match=f"batch of {batch_size} from 40 labelled recordings"):
        labelled_batches(RECORDS, INDICES, np.zeros((40, 1), np.float32), batch_size=batch_size, seed=0)


def test_contrast_needs_two_patients():
    with pytest.raises(InputError, match="numbered: one patient only"):
        _pairs(indices=np.array([0, 1, 2]), batch_size=2)
