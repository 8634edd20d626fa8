"""Several data sets in one pre-training run."""

import shutil

import numpy as np
import pytest
from helpers import format_1

from ecgjax.data.batches import pretraining_batches
from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.prepare import prepare


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another cohort."""
    return prepare("synthetic/100hz", tmp_path_factory.mktemp("other"), patients=24, seed=7)


@pytest.fixture(scope="module")
def both(prepared, other):
    return Mixture([prepared, other])


def test_recordings_of_the_second_follow_those_of_the_first(both, prepared, other):
    one = Records(prepared)
    two = Records(other)
    assert len(both) == len(one) + len(two) and both.name == f"{one.name}+{two.name}"
    rows = np.array([[0, len(one)], [len(one) + 3, 5]])
    expected = np.stack([one.read([0])[0], two.read([0])[0], two.read([3])[0], one.read([5])[0]])
    np.testing.assert_array_equal(both.read(rows), expected.reshape(2, 2, *expected.shape[1:]))
    for split in ("train", "validation", "test"):
        parts = both.parts(split)
        np.testing.assert_array_equal(parts[0], one.split(split))
        np.testing.assert_array_equal(parts[1], two.split(split) + len(one))
        np.testing.assert_array_equal(both.split(split), np.concatenate(parts))


def test_a_patient_number_stands_for_one_hash(both, prepared, other):
    names = [
        name for path in (prepared, other) for name in Records(path).table["patient_id"].to_pylist()
    ]
    pairs = set(zip(names, both.patients.tolist(), strict=True))
    assert len(pairs) == len(set(names)) == len(set(both.patients.tolist()))
    assert both.patients.dtype == np.int32


def test_a_mixture_of_one_data_set_equals_the_data_set(prepared, records):
    alone = Mixture([prepared])
    assert (alone.name, alone.fingerprint) == (records.name, records.fingerprint)
    np.testing.assert_array_equal(alone.patients, records.patients)


def test_recordings_of_all_data_sets_are_seen(both, prepared, other):
    seen = both.seen("train").waveforms
    assert len(seen) == sum(len(Records(path).split("train")) for path in (prepared, other))


def test_valid_samples_of_the_second_follow_those_of_the_first(both, prepared, other):
    expected = [Records(path).valid_samples for path in (prepared, other)]
    np.testing.assert_array_equal(both.valid_samples, np.concatenate(expected))
    assert both.valid_samples.dtype == np.int32


def test_leads_that_only_one_data_set_holds_are_named(prepared, other, tmp_path, capsys):
    few = format_1.unbind(shutil.copytree(other, tmp_path / "few"), leads=["I", "II", "V2"])
    mixed = Mixture([prepared, few])
    assert mixed.leads == LEADS and mixed.members[1].leads == ("I", "II", "V2")
    line = capsys.readouterr().err.splitlines()[-1]
    lacks = "III, aVR, aVL, aVF, V1, V3, V4, V5, V6"
    assert line.startswith(f"warning: {few}: lacks {lacks}, which another data set holds; ")
    assert Mixture([few]).leads == ("I", "II", "V2")


class Numbers:
    """A cache whose slots are the numbers of the recordings."""

    def slots(self, indices):
        return indices


def _chosen(both, weights, batches, batch_size=16):
    made = pretraining_batches(
        both,
        both.parts("train"),
        examples="single",
        batch_size=batch_size,
        seed=3,
        weights=weights,
        cache=Numbers(),
    )
    return np.stack([made.make(number)["slot"] for number in range(batches)])


def test_weights_are_shares_of_every_batch(both):
    first = both.parts("train")[0]
    for weights, share in (((3, 1), 0.75), ((1, 1), 0.5), ((0.1, 0.23), 0.1 / 0.33)):
        counts = np.isin(_chosen(both, weights, 40), first).sum(axis=1)
        assert counts.sum() == int(40 * 16 * share) and np.abs(counts - 16 * share).max() < 1


def test_with_weights_every_data_set_has_its_own_epochs(both):
    one, two = both.parts("train")
    chosen = _chosen(both, (1, 1), 40).reshape(-1)
    for part in (one, two):
        drawn = chosen[np.isin(chosen, part)]
        epochs = drawn[: len(drawn) // len(part) * len(part)].reshape(-1, len(part))
        assert len(epochs) > 1
        np.testing.assert_array_equal(
            np.sort(epochs, axis=1), np.broadcast_to(np.sort(part), epochs.shape)
        )


def test_without_weights_an_epoch_holds_every_recording_once(both):
    train = both.split("train")
    chosen = _chosen(both, (), 40).reshape(-1)[: len(train)]
    np.testing.assert_array_equal(np.sort(chosen), train)


@pytest.mark.parametrize(
    "weights", [(1,), (1, 2, 3), (1, 0), (1, -1), (1, float("nan")), (1, 1e9), (0, 0), (-1, -3)]
)
def test_impossible_weights_are_refused(both, weights):
    with pytest.raises(
        InputError, match="--weights .* for 2 data sets and a batch of 16: give each"
    ):
        _chosen(both, weights, 1)


def test_data_sets_of_different_rates_or_given_twice_are_refused(prepared, tmp_path):
    with pytest.raises(InputError, match="one is given twice"):
        Mixture([prepared, prepared])
    faster = prepare("synthetic/500hz", tmp_path, patients=24)
    with pytest.raises(
        InputError, match="5000 samples at 500 Hz, but .* has 1000 at 100 Hz; prepare them"
    ):
        Mixture([prepared, faster])
