"""A damaged recording stops a run by name, or is replaced; a disk that hangs ends it."""

import os
import shutil
import threading
import time

import numpy as np
import pytest

from ecgjax.data import shards, watchdog
from ecgjax.data.batches import pretraining_batches
from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.data.shards import RecordingDamaged, Shards
from ecgjax.data.watchdog import VARIABLE, watched
from ecgjax.errors import InputError
from ecgjax.launch import pretrain
from ecgjax.train.device_cache import DeviceCache
from ecgjax.train.sharding import data_mesh


def _damage(records, folder, rows) -> None:
    """Flips a byte of the samples of some recordings in a copy of their data set."""
    for row in rows:
        content = records.read([row])[0].tobytes()
        file = folder / records.place(row)[0].name
        data = bytearray(file.read_bytes())
        data[data.find(content[8000:8100]) + 50] ^= 1
        file.write_bytes(data)


@pytest.fixture
def copy(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "copy")


def _frequent(owners: np.ndarray) -> np.ndarray:
    """Returns the patients with most recordings, at least two each."""
    patients, counts = np.unique(owners, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    assert counts[order[1]] > 1
    return patients[order]


def test_a_damaged_recording_is_named(copy, records):
    row = int(records.split("train")[7])
    _damage(records, copy, [row])
    shard, record_id = records.place(row)
    opened = Records(copy)
    with pytest.raises(RecordingDamaged) as error:
        opened.read(np.arange(row - 3, row + 3))
    assert str(error.value).startswith(
        f"{copy / shard.name}: recording {row} ({record_id}) is damaged: "
    )
    assert error.value.row == row and "--skip-damaged" in str(error.value)
    np.testing.assert_array_equal(opened.read([row - 1, row + 1]), records.read([row - 1, row + 1]))


def test_a_damaged_first_recording_is_named_when_it_is_read(copy, records):
    _damage(records, copy, [0])
    opened = Records(copy)
    opened.read([1])
    with pytest.raises(RecordingDamaged, match="recording 0 "):
        opened.read([1, 0])


def test_another_recording_takes_the_place_of_a_damaged_one(copy, records, capsys):
    """The next one of the patient, or of the split; in every order of reading, and on devices.

    All recordings of a patient without a sound one have the same substitute.
    """
    train = records.split("train")
    owners = records.patients[train]
    own, others = (train[owners == owner] for owner in _frequent(owners)[:2])
    following = np.roll(train, -np.searchsorted(train, others[0]) - 1)
    following = following[~np.isin(following, [*others, own[0]])][0]
    _damage(records, copy, [int(own[0]), *others.tolist()])
    mixture = Mixture([copy], 0.2)
    read = mixture.read(np.array([[own[0], own[1]], [others[0], following]]))
    expected = records.read(np.array([[own[1], own[1]], [following, following]]))
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(mixture.read(others), np.stack([expected[1, 0]] * len(others)))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + len(others) and all("left out" in line for line in lines)
    assert records.place(own[0])[1] in lines[0] and f"of {len(train)} recordings" in lines[-1]
    backwards = Mixture([copy], 0.2)
    np.testing.assert_array_equal(backwards.read(train[::-1]), mixture.read(train)[::-1])
    cache = DeviceCache(backwards, train, data_mesh())
    settings = {"examples": "single", "batch_size": 8, "seed": 0}
    slots = pretraining_batches(mixture, [train], **settings, cache=cache).make(3)["slot"]
    signal = pretraining_batches(mixture, [train], **settings).make(3)["signal"]
    np.testing.assert_array_equal(np.asarray(cache.signals)[slots], signal)


def test_more_damage_than_allowed_ends_in_one_line(copy, records, command):
    train = records.split("train")
    _damage(records, copy, train[[2, 5]].tolist())
    options = ["--data", copy, "--batch-size", 16, "--num-steps", 9, "--no-first-look"]
    options += ["--skip-damaged", 1.5 / len(train)]
    status, _, errors = command(pretrain, *options)
    assert status == 2 and errors.count("left out") == 1
    last = errors.splitlines()[-1]
    assert f"2 of {len(train)} recordings so far, more than --skip-damaged" in last
    with pytest.raises(InputError, match="--skip-damaged 2: give a share"):
        Mixture([copy], 2)


def test_damage_in_another_split_is_not_replaced(copy, records):
    row = int(records.split("test")[0])
    _damage(records, copy, [row])
    mixture = Mixture([copy], 1.0)
    with pytest.raises(RecordingDamaged):
        mixture.read([row])


def test_a_shard_that_does_not_answer_ends_in_one_line(copy, monkeypatch):
    """A pipe without a writer blocks whoever opens it, as a network file system that hangs does."""
    monkeypatch.setenv(VARIABLE, "0.3")
    opened = Records(copy)
    shard = min(copy.glob("*-train.array_record-*"))
    shard.unlink()
    os.mkfifo(shard)
    monkeypatch.setattr(shards, "inside", lambda folder, name: folder / name)
    started = time.monotonic()
    with pytest.raises(InputError, match=f"{shard.name}: no answer within 0.3 s; check the disk"):
        Shards(copy, [(shard.name, 5)], None)
    assert time.monotonic() - started < 5
    hanging = threading.Event()
    monkeypatch.setattr(opened._shards, "_features", lambda *_: hanging.wait())
    with pytest.raises(InputError, match="no answer within 0.3 s"):
        opened.read([0])
    hanging.set()


def test_slow_files_are_waited_for(monkeypatch):
    def slow(reading: watchdog.Reading) -> str:
        for number in range(4):
            reading.begin(number)
            time.sleep(0.1)
        return "done"

    assert watched(slow, 0.25) == "done"
    monkeypatch.setenv(VARIABLE, "-1")
    with pytest.raises(InputError, match=f"{VARIABLE}=-1: give a number of seconds"):
        watched(slow)
    with pytest.raises(ZeroDivisionError):
        watched(lambda reading: 1 / 0, 5)
