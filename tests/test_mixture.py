"""Several data sets in one pre-training run."""

import numpy as np
import pytest

from ecgjax.data.batches import pretraining_batches
from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from tfds_builders.prepare import prepare


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another cohort."""
    return prepare("synthetic/100hz", tmp_path_factory.mktemp("other"), patients=24, seed=7)


@pytest.fixture(scope="module")
def both(prepared, other):
    return Mixture([prepared, other])


def test_recordings_of_the_second_follow_those_of_the_first(both, prepared, other):
    one, two = Records(prepared), Records(other)
    assert len(both) == len(one) + len(two) and both.name == f"{one.name}+{two.name}"
    rows = np.array([[0, len(one)], [len(one) + 3, 5]])
    expected = np.stack([one.read([0])[0], two.read([0])[0], two.read([3])[0], one.read([5])[0]])
    np.testing.assert_array_equal(both.read(rows), expected.reshape(2, 2, *expected.shape[1:]))
    for split in ("train", "validation", "test"):
        parts = both.parts(split)
        np.testing.assert_array_equal(parts[0], one.split(split))
        np.testing.assert_array_equal(parts[1], two.split(split) + len(one))
        np.testing.assert_array_equal(both.split(split), np.concatenate(parts))


def test_patients_are_known_by_their_hashes(both, prepared, other):
    names = [
        name for path in (prepared, other) for name in Records(path).table["patient_id"].to_pylist()
    ]
    pairs = set(zip(names, both.patients.tolist(), strict=True))
    assert len(pairs) == len(set(names)) == len(set(both.patients.tolist()))
    assert both.patients.dtype == np.int32


def test_one_data_set_is_the_same_alone(prepared, records):
    alone = Mixture([prepared])
    assert (alone.name, alone.fingerprint) == (records.name, records.fingerprint)
    np.testing.assert_array_equal(alone.patients, records.patients)


def test_what_was_seen_is_of_all(both, prepared, other):
    seen = both.seen("train").waveforms
    assert len(seen) == sum(len(Records(path).split("train")) for path in (prepared, other))


def _chosen(both, weights, batches, batch_size=16):
    parts = both.parts("train")
    made = pretraining_batches(
        both,
        np.concatenate(parts),
        examples="single",
        batch_size=batch_size,
        seed=3,
        parts=[len(part) for part in parts],
        weights=weights,
        read=lambda rows: rows,
    )
    return np.stack([made.make(number)["signal"] for number in range(batches)])


def test_weights_are_shares_of_every_batch(both):
    first = both.parts("train")[0]
    for weights, share in (((3, 1), 0.75), ((1, 1), 0.5), ((0.1, 0.23), 0.1 / 0.33)):
        mine = np.isin(_chosen(both, weights, 40), first).sum(axis=1)
        assert mine.sum() == int(40 * 16 * share) and np.abs(mine - 16 * share).max() < 1


def test_every_data_set_has_epochs_of_its_own(both):
    one, two = both.parts("train")
    chosen = _chosen(both, (1, 1), 40).reshape(-1)
    for part in (one, two):
        mine = chosen[np.isin(chosen, part)]
        epochs = mine[: len(mine) // len(part) * len(part)].reshape(-1, len(part))
        assert len(epochs) > 1
        np.testing.assert_array_equal(
            np.sort(epochs, axis=1), np.broadcast_to(np.sort(part), epochs.shape)
        )


def test_without_weights_all_recordings_are_alike(both):
    train = both.split("train")
    chosen = _chosen(both, (), 40).reshape(-1)[: len(train)]
    np.testing.assert_array_equal(np.sort(chosen), train)


@pytest.mark.parametrize(
    "weights", [(1,), (1, 2, 3), (1, 0), (1, -1), (1, float("nan")), (1, 1e9), (0, 0), (-1, -3)]
)
def test_weights_that_cannot_be_honoured(both, weights):
    with pytest.raises(
        InputError, match="--weights .* for 2 data sets and a batch of 16: give each"
    ):
        _chosen(both, weights, 1)


def test_data_sets_that_do_not_go_together(prepared, tmp_path):
    with pytest.raises(InputError, match="one is given twice"):
        Mixture([prepared, prepared])
    faster = prepare("synthetic/500hz", tmp_path, patients=24)
    with pytest.raises(
        InputError, match="5000 samples at 500 Hz, but .* has 1000 at 100 Hz; prepare them"
    ):
        Mixture([prepared, faster])
