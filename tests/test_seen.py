"""What an encoder has seen, and what it therefore is not tested on."""

import numpy as np
import pyarrow as pa
import pytest

from ecgjax.adapt.linear_probe import LinearProbing
from ecgjax.data.seen import Seen, refuse_seen, refuse_shared, seen_in
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import TASKS
from ecgjax.pretrained import load
from ecgjax.workflows import finetune
from ecgjax.workflows.benchmark import Benchmark, benchmark


def _first_digits(records, column, indices):
    return sorted({int(text[:16], 16) for text in records.table[column].take(indices).to_pylist()})


def test_seen_are_prefixes_of_the_hashes_in_the_table(records):
    train = records.split("train")
    seen = seen_in(records, train)
    assert seen.waveforms.tolist() == _first_digits(records, "waveform_hash", train)
    assert seen.patients.tolist() == _first_digits(records, "patient_id", train)
    assert len(seen.patients) < len(seen.waveforms) == len(train)


def test_together_they_have_seen_what_either_has(records):
    train = records.split("train")
    both = seen_in(records, train[:10]) | seen_in(records, train[5:])
    assert both.waveforms.tolist() == seen_in(records, train).waveforms.tolist()


def test_what_was_not_seen_passes(records):
    for split in ("validation", "test"):
        refuse_seen(seen_in(records, records.split("train")), records, records.split(split))
    refuse_seen(Seen.none(), records, records.split("train"))


def test_a_recording_or_a_patient_that_was_seen_is_refused(records):
    test = records.split("test")
    name = records.row(int(test[3]))["record_id"]
    waveform = seen_in(records, test[3:4])
    with pytest.raises(
        InputError, match=f"trained on 1 of the recordings .*split test, first recording {name}"
    ):
        refuse_seen(waveform, records, test)
    patient = Seen(Seen.none().waveforms, waveform.patients)
    with pytest.raises(InputError, match="trained on 1 of the patients .*; pre-train without them"):
        refuse_seen(patient, records, test)


class _Edited:
    """`records` with other values in a column of the table."""

    def __init__(self, records, column, change):
        values = records.table[column].to_pylist()
        values[change[0]] = values[change[1]]
        place = records.table.schema.get_field_index(column)
        self.path, self.table = (
            records.path,
            records.table.set_column(place, column, pa.array(values)),
        )

    def __len__(self):
        return len(self.table)

    def column(self, name):
        return self.table[name]

    def row(self, index):
        return self.table.slice(index, 1).to_pylist()[0]


@pytest.mark.parametrize(
    ("column", "what"), [("waveform_hash", "waveform"), ("patient_id", "patient")]
)
def test_splits_that_share_something_are_refused(records, column, what):
    refuse_shared(records)
    train, test = int(records.split("train")[2]), int(records.split("test")[1])
    refuse_shared(
        _Edited(records, "waveform_hash", (train, int(records.split("train")[3])))
    )  # within a split
    with pytest.raises(
        InputError, match=rf"\((train|test)\) are of one {what}; prepare the data set again"
    ):
        refuse_shared(_Edited(records, column, (train, test)))


@pytest.fixture
def leaky(workdir, records):
    """An encoder that was trained on a test recording."""
    encoder = load(workdir)
    return type(encoder)(encoder.module, encoder.variables, encoder.preprocessing, encoder.config,
                         encoder.seen | seen_in(records, records.split("test")[:1]), encoder.restored)  # fmt: skip


def test_the_benchmark_refuses(leaky, records, tmp_path):
    with pytest.raises(InputError, match="the encoder was trained on 1 of the recordings"):
        benchmark(Benchmark(labels=(20,), seeds=1), leaky, records, [TASKS["af"]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_finetune_refuses(leaky, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "start_encoder", lambda *_, **__: (leaky, "compact_resnet"))
    settings = {"data": prepared, "task": TASKS["af"], "labels": None, "workdir": tmp_path / "out"}
    with pytest.raises(InputError, match="the encoder was trained on 1 of the recordings"):
        finetune.adapt_and_report(LinearProbing(), None, None, **settings)


def test_a_finetuned_encoder_has_seen_what_both_trainings_saw(
    workdir, prepared, tmp_path, tiny_encoders, monkeypatch
):
    start = load(workdir)
    settings = {"data": prepared, "task": TASKS["af"], "labels": 12, "workdir": tmp_path}
    fresh = type(start)(
        start.module,
        start.variables,
        start.preprocessing,
        start.config,
        Seen.none(),
        start.restored,
    )
    monkeypatch.setattr(finetune, "start_encoder", lambda *_, **__: (fresh, "compact_resnet"))
    finetune.adapt_and_report(LinearProbing(), None, None, **settings)
    assert len(load(tmp_path).seen.waveforms) == 12
    assert np.isin(load(tmp_path).seen.waveforms, start.seen.waveforms).all()
