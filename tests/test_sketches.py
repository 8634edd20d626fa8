"""Copies of a recording share its sketch, whatever their rate, gain or offset; others do not."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from etils import epath

from ecgjax.data.leaks import Past, find_leaks, refuse_leaks, unsketched_note
from ecgjax.data.records import Records
from ecgjax.data.seen import Seen, seen_in
from ecgjax.data.sketches import MOST_APART, WORDS, are_copies, distances, sketch, to_text
from ecgjax.data.stored_sketches import StoredSketches
from ecgjax.errors import InputError
from ecgjax.launch import migrate
from ecgjax.signals import MISSING
from ecgjax.train.checkpoint import write_parts
from ecgjax.train.manifest import make_manifest
from ecgjax.train.model import load_model
from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.recording.recording import Recording, RecordingsConfig


@pytest.fixture(scope="module")
def signals(records):
    return records.read(np.arange(24))


def _sketch(signals, rate_hz=100.0):
    valid_samples = np.full(len(signals), signals.shape[1])
    return sketch(signals, rate_hz=rate_hz, valid_samples=valid_samples)


def _resampled(signals, up, down):
    resampled = scipy.signal.resample_poly(signals.astype(float), up, down, axis=1)
    return resampled.round().clip(-32767, 32767).astype(np.int16)


def _shifted(signals, samples):
    shifted = np.roll(signals, samples, axis=1)
    shifted[:, :samples] = shifted[:, samples : samples + 1]
    return shifted


COPIES = {
    "500 Hz": (lambda x: _resampled(x, 5, 1), 500.0),
    "400 Hz": (lambda x: _resampled(x, 4, 1), 400.0),
    "250 Hz": (lambda x: _resampled(x, 5, 2), 250.0),
    "257 Hz": (lambda x: _resampled(x, 257, 100), 257.0),
    "500 Hz, one sample shifted": (lambda x: _shifted(_resampled(x, 5, 1), 1), 500.0),
    "three samples shifted": (lambda x: _shifted(x, 3), 100.0),
    "two samples cut off": (lambda x: x[:, 2:], 100.0),
    "steps of 4.88 uV": (lambda x: (np.round(x / 4.88) * 4.88).astype(np.int16), 100.0),
    "gain": (lambda x: (x * 0.9).astype(np.int16), 100.0),
    "offsets": (lambda x: x + np.arange(12, dtype=np.int16) * 100, 100.0),
    "a lead reversed": (lambda x: x * np.where(np.arange(12) == 6, -1, 1).astype(np.int16), 100.0),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found(name, signals):
    change, rate_hz = COPIES[name]
    apart = np.bitwise_count(_sketch(signals) ^ _sketch(change(signals), rate_hz)).sum(1)
    assert apart.max() <= MOST_APART


def test_other_recordings_are_not(signals, records):
    """Recordings of one simulated patient included; docs/limits.md has PTB-XL."""
    every = _sketch(records.read(np.arange(len(records))))
    apart = np.bitwise_count(every[:, None] ^ every[None]).sum(2)
    assert apart[~np.eye(len(every), dtype=bool)].min() > MOST_APART


def test_sketches_do_not_depend_on_the_batch_and_are_those_of_the_table(signals, records):
    one_by_one = np.concatenate([_sketch(signal[None]) for signal in signals])
    np.testing.assert_array_equal(one_by_one, _sketch(signals))
    assert records.sketches.are_stored
    np.testing.assert_array_equal(records.sketches[np.arange(24)], one_by_one)
    assert records.column("sketch").to_pylist()[:24] == to_text(one_by_one)


def test_padding_counts_for_nothing(signals):
    padded = np.full((24, 1300, 12), MISSING, np.int16)
    padded[:, :1000] = signals
    found = sketch(padded, rate_hz=100.0, valid_samples=np.full(24, 1000))
    assert np.bitwise_count(found ^ _sketch(signals)).sum(1).max() <= 2


def test_a_recording_without_content_has_no_sketch(signals):
    flat = np.full_like(signals[:2], 7)
    flat[1] = MISSING
    assert not _sketch(flat).any()
    assert not are_copies(_sketch(flat), _sketch(flat)).any()
    assert not sketch(signals, rate_hz=25.0, valid_samples=np.full(24, 1000)).any()
    assert not sketch(signals, rate_hz=100.0, valid_samples=np.full(24, 699)).any()


def test_distances_are_those_of_a_direct_comparison():
    rng = np.random.default_rng(0)
    known = rng.integers(1, 2**63, (300, WORDS), np.uint64)
    own = known[rng.integers(0, 300, 200)].copy()
    for row, flips in enumerate(rng.integers(0, 30, 200)):
        for bit in rng.choice(128, flips, replace=False):
            own[row, bit // 64] ^= np.uint64(1 << int(bit % 64))
    apart = np.bitwise_count(own[:, None] ^ known[None]).sum(2).min(1)
    expected = np.where(apart <= MOST_APART, apart, 64 * WORDS)
    np.testing.assert_array_equal(distances(own, known), expected)
    assert (expected <= MOST_APART).sum() > 50 < (expected > MOST_APART).sum()
    assert not are_copies(own, np.zeros((0, WORDS), np.uint64)).any()


def test_hostile_sketches_are_refused_soon():
    """One piece that all share would make all pairs candidates: hours of work."""
    known = np.random.default_rng(0).integers(1, 2**63, (400_000, WORDS), np.uint64)
    known[:, 0] &= np.uint64(~0xFFFF & (2**64 - 1))
    with pytest.raises(InputError, match="400,000 sketches of known recordings, too many of them"):
        are_copies(known[:120], known)


def _leaks(records, indices, seen):
    return find_leaks(records, indices, [Past("the encoder", seen, ())])


class Elsewhere(RecordingsBuilder):
    """Recordings of `records` at 500 Hz, one sample later, with another key and other names."""

    BUILDER_CONFIGS = [RecordingsConfig(name="fast", rate_hz=500, samples=5000)]
    pkg_dir_path = epath.Path(__file__).parent  # TFDS finds no folder for a single module
    patient_key = b"another key"
    signals: np.ndarray
    splits: tuple[str, ...]

    def find_recordings(self):
        return [
            Recording(
                record_id=f"r{number}", source_patient_id=str(number), split=split, location=number
            )
            for number, split in enumerate(self.splits)
        ]

    def read_recording(self, recording):
        signal = self.signals[[recording.location]]
        return {"signal": _shifted(_resampled(signal, 5, 1), 1)[0]}


@pytest.fixture(scope="module")
def elsewhere(records, tmp_path_factory):
    """Ten training recordings, and five of the test split."""
    chosen = np.r_[records.split("train")[:10], records.split("test")[:5]]
    Elsewhere.signals = records.read(chosen)
    Elsewhere.splits = ("train",) * 10 + ("test",) * 5
    folder = tmp_path_factory.mktemp("elsewhere")
    made = Elsewhere(data_dir=folder, source=folder)
    made.download_and_prepare()
    return Records(Path(made.data_dir))


def test_another_rate_and_key_do_not_hide_a_seen_recording(records, elsewhere):
    seen = seen_in(records, records.split("train"))
    train = elsewhere.split("train")
    leaks = _leaks(elsewhere, train, seen)
    assert [leak.rows.tolist() for leak in leaks] == [[True] * 10]
    with pytest.raises(InputError, match=r"trained on copies of 10 of the recordings \(resampled"):
        refuse_leaks(elsewhere, train, leaks)
    assert not _leaks(elsewhere, elsewhere.split("test"), seen)


def test_a_recording_with_the_same_samples_is_no_copy_besides(records):
    train = records.split("train")
    reasons = [leak.reason for leak in _leaks(records, train, seen_in(records, train))]
    assert len(reasons) == 2 and not any("copies" in reason for reason in reasons)


def test_an_old_set_says_what_it_cannot_know(records):
    train = records.split("train")
    seen = seen_in(records, train)
    halves = seen.to_uint32()
    kept = Seen.from_uint32(halves)
    for name in ("waveforms", "patients", "sketches"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(seen, name))
    assert not unsketched_note(Past("the encoder", kept, ()))
    old = Seen.from_uint32({name: halves[name] for name in ("waveforms", "patients")})
    assert old.unsketched == len(train) and not len(old.sketches)
    assert f"knows {len(train)} of its recordings" in unsketched_note(Past("it", old, ()))
    both = old | seen_in(records, train[:3])
    assert (both.unsketched, len(both.sketches)) == (len(train), 3)
    assert Seen.from_uint32(Seen.none().to_uint32()).sketches.shape == (0, WORDS)


def test_sketches_of_an_old_data_set_are_computed(records):
    indices = records.split("test")[[4, 0, 4]]
    computed = StoredSketches(records, are_stored=False)[indices]
    np.testing.assert_array_equal(computed, records.sketches[indices])


def test_a_model_gets_the_sketches_of_its_recordings(records, workdir, prepared, tmp_path, command):
    """The command writes a model folder from an old one, for the data set it was trained on."""
    model = load_model(workdir)
    assert len(model.seen.sketches) == len(records.split("train"))
    _save_old(tmp_path / "old", model)
    assert load_model(tmp_path / "old").seen.unsketched == len(records.split("train"))
    options = ["--data", prepared, "--checkpoint", tmp_path / "old", "--out", tmp_path / "new"]
    status, output, _ = command(migrate, *options)
    assert status == 0 and f"sketches of {len(model.seen.sketches)} recordings" in output
    new = load_model(tmp_path / "new").seen
    np.testing.assert_array_equal(new.sketches, model.seen.sketches)
    assert new.unsketched == 0 and command(migrate, *options)[0] == 2


def _save_old(folder, model):
    """Writes a model folder as earlier versions did."""
    halves = model.seen.to_uint32()
    arrays = {"encoder": model.variables}
    arrays["data"] = {name: halves[name] for name in ("waveforms", "patients")}
    manifest = make_manifest(arrays, model.config)
    write_parts(folder, {**arrays, "config": model.config, "manifest": manifest})
