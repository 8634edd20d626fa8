"""Recordings that an encoder has seen are never used to test it."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from ecgjax.adapt.linear_probe import LinearProbing
from ecgjax.classifier import load
from ecgjax.data.leaks import Past, find_leaks, refuse_leaks
from ecgjax.data.seen import Seen, seen_in
from ecgjax.data.splits import Splits
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import TASKS
from ecgjax.pretrained import load_encoder
from ecgjax.workflows import finetune
from ecgjax.workflows.benchmark import Benchmark, benchmark
from ecgjax.workflows.low_label import Labels
from ecgjax.workflows.targets import TARGETS


def _first_digits(records, column, indices):
    return sorted({int(text[:16], 16) for text in records.table[column].take(indices).to_pylist()})


def test_the_set_holds_prefixes_of_the_hashes_in_the_table(records):
    train = records.split("train")
    seen = seen_in(records, train)
    assert seen.waveforms.tolist() == _first_digits(records, "waveform_hash", train)
    assert seen.patients.tolist() == _first_digits(records, "patient_id", train)
    assert len(seen.patients) < len(seen.waveforms) == len(train)


def test_the_union_of_two_sets_holds_the_recordings_of_both(records):
    train = records.split("train")
    both = seen_in(records, train[:10]) | seen_in(records, train[5:])
    assert both.waveforms.tolist() == seen_in(records, train).waveforms.tolist()


def test_unseen_recordings_are_accepted(records):
    for split in ("validation", "test"):
        _refuse_seen(seen_in(records, records.split("train")), records, records.split(split))
    _refuse_seen(Seen.none(), records, records.split("train"))


def test_a_seen_recording_or_patient_is_refused(records):
    test = records.split("test")
    name = records.row(int(test[3]))["record_id"]
    waveform = seen_in(records, test[3:4])
    with pytest.raises(
        InputError, match=f"trained on 1 of the recordings .*split test, first recording {name}"
    ):
        _refuse_seen(waveform, records, test)
    patient = Seen(Seen.none().waveforms, waveform.patients)
    with pytest.raises(InputError, match="trained on 1 of the patients .*; choose another"):
        _refuse_seen(patient, records, test)


def _refuse_seen(seen, records, indices):
    refuse_leaks(records, indices, find_leaks(records, indices, [Past("the encoder", seen, ())]))


class _Edited:
    """`records` with other values in a column of the table."""

    def __init__(self, records, column, change):
        values = records.table[column].to_pylist()
        values[change[0]] = values[change[1]]
        place = records.table.schema.get_field_index(column)
        self.path = records.path
        self.table = records.table.set_column(place, column, pa.array(values))

    def __len__(self):
        return len(self.table)

    def column(self, name):
        return self.table[name]

    def row(self, index):
        return self.table.slice(index, 1).to_pylist()[0]


@pytest.mark.parametrize(
    ("column", "kind"), [("waveform_hash", "waveform"), ("patient_id", "patient")]
)
def test_splits_that_share_a_patient_or_waveform_are_refused(records, column, kind):
    Splits(records).refuse_shared()
    train = int(records.split("train")[2])
    test = int(records.split("test")[1])
    within_a_split = (train, int(records.split("train")[3]))
    Splits(_Edited(records, "waveform_hash", within_a_split)).refuse_shared()
    with pytest.raises(
        InputError, match=rf"\((train|test)\) are of one {kind}; prepare the data set again"
    ):
        Splits(_Edited(records, column, (train, test))).refuse_shared()


@pytest.fixture
def leaky(workdir, records):
    """An encoder that was trained on a test recording."""
    encoder = load(workdir)
    seen = encoder.seen | seen_in(records, records.split("test")[:1])
    return dataclasses.replace(encoder, seen=seen)


def test_the_benchmark_refuses_an_encoder_that_saw_a_test_recording(leaky, records, tmp_path):
    with pytest.raises(InputError, match="the encoder was trained on 1 of the recordings"):
        settings = Benchmark(labels=("20",), seeds=1)
        benchmark(settings, leaky, records, [TASKS["af"]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_finetuning_refuses_an_encoder_that_saw_a_test_recording(
    leaky, records, tmp_path, monkeypatch
):
    monkeypatch.setattr(finetune, "start_encoder", lambda *_, **__: (leaky, "compact_resnet"))
    with pytest.raises(InputError, match="the encoder was trained on 1 of the recordings"):
        finetune.finetune(LinearProbing(), TARGETS["af"], records, tmp_path / "out")


def test_a_finetuned_encoder_has_seen_the_recordings_of_both_trainings(
    workdir, records, tmp_path, tiny_encoders, monkeypatch
):
    start = load(workdir)
    fresh = dataclasses.replace(start, seen=Seen.none())
    monkeypatch.setattr(finetune, "start_encoder", lambda *_, **__: (fresh, "compact_resnet"))
    labels = Labels(count=12)
    finetune.finetune(LinearProbing(), TARGETS["af"], records, tmp_path, labels=labels)
    assert len(load_encoder(tmp_path).seen.waveforms) == 12
    assert np.isin(load_encoder(tmp_path).seen.waveforms, start.seen.waveforms).all()
