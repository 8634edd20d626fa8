"""ecgjax predict: a row for each recording, with predictions, thresholds and refusals."""

import sys

import jax
import numpy as np
import pyarrow.csv
import pytest
from helpers import tiny_ptb_xl

from ecgjax.classifier import Classifier, load
from ecgjax.errors import InputError
from ecgjax.launch import predict as command
from ecgjax.outputs import EncoderWithHead, Outputs, separate
from ecgjax.pretrained import load_encoder
from ecgjax.workflows.model_on_files.apply import Job
from ecgjax.workflows.predict import column_names, predict, predict_files

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb 4.3, pandas 3.1
LABELS = Outputs("rhythm", "labels", ("AFIB", "quality"), thresholds=(0.5, 0.9))
CLASSES = Outputs("class", "classes", ("sinus", "AFIB", "other"))
AGE = Outputs("age", "numbers", ("age",), means=(60.0,), scales=(15.0,))


@pytest.fixture(scope="module")
def make(workdir):
    """Returns a function that makes a classifier with a random head."""
    encoder = load_encoder(workdir)

    def make(outputs):
        model = EncoderWithHead(encoder=encoder.module, outputs=len(outputs))
        signal = np.zeros((1, 1000, 12), np.float32)
        variables = jax.jit(model.init, static_argnames="train")(
            jax.random.key(0), signal, train=False
        )
        _, head = separate(dict(variables))
        rng = np.random.default_rng(0)
        head = jax.tree.map(lambda leaf: np.float32(rng.normal(size=leaf.shape) ** 2), head)
        return Classifier(encoder, head, outputs, 2.5)

    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty records, two of them to be refused: one with too few leads, one in wrong units."""
    folder = tmp_path_factory.mktemp("own")
    for seed in range(18):
        tiny_ptb_xl.write_record(folder / f"rec{seed:02d}", seed=seed)
    tiny_ptb_xl.write_record(folder / "few_leads", sig_name=["I", "V1"])
    tiny_ptb_xl.write_record(folder / "millivolts", units=["uV"] * 12)
    return folder


def _signals(folder):
    records = [tiny_ptb_xl.read_by_wfdb(path, physical=True) for path in _names(folder)]
    return np.stack([record.p_signal for record in records]), records[0].sig_name


def _names(folder):
    return [folder / f"rec{seed:02d}" for seed in range(18)]


def _of_arrays(classifier, folder):
    signals, names = _signals(folder)
    return classifier.predict(signals, rate_hz=100, leads=names, units="mV", batch_size=32)


def _accepted(table):
    return table.filter(np.array(table["status"].to_pylist()) == "ok")


def test_labels_have_probabilities_and_thresholds(make, folder):
    classifier = make(LABELS)
    table = predict_files(classifier, [folder])
    reasons = dict(zip(table["file"].to_pylist(), table["reason"].to_pylist(), strict=True))
    refused = {file: reason for file, reason in reasons.items() if reason}
    assert refused == {"few_leads": "leads", "millivolts": "amplitude"}
    assert [name for name in table.column_names[10:]] == [
        *("AFIB", "output_quality", "AFIB_present", "output_quality_present")
    ]
    for column in table.column_names[10:]:
        assert table[column].null_count == 2
    expected = _of_arrays(classifier, folder)
    rows = _accepted(table)
    found = np.stack([rows[name].to_numpy() for name in ("AFIB", "output_quality")], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert rows["AFIB_present"].to_pylist() == (expected[:, 0] >= 0.5).tolist()
    assert rows["output_quality_present"].to_pylist() == (expected[:, 1] >= 0.9).tolist()


def test_classes_have_the_most_probable_one(make, folder):
    classifier = make(CLASSES)
    rows = _accepted(predict_files(classifier, [folder]))
    probabilities = np.stack([rows[name].to_numpy() for name in CLASSES.names], axis=1)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    best = [CLASSES.names[index] for index in _of_arrays(classifier, folder).argmax(1)]
    assert rows["predicted_class"].to_pylist() == best


def test_numbers_are_in_their_own_unit(make, folder, tmp_path):
    classifier = make(AGE)
    report = predict(classifier, [folder], Job(tmp_path / "age.csv"))
    assert report.summary["status"] == {"ok": 18, "rejected": 2}
    table = pyarrow.csv.read_csv(tmp_path / "age.csv")
    assert table["age"].null_count == 2
    expected = _of_arrays(classifier, folder)[:, 0]
    np.testing.assert_allclose(_accepted(table)["age"].to_numpy(), expected, rtol=1e-5)


def test_prepared_data_have_the_predictions_of_their_recordings(make, records):
    classifier = make(CLASSES)
    table = predict_files(classifier, [records.path], batch_size=32)
    expected = classifier.predict_records(records, np.arange(len(records)), batch_size=32)
    np.testing.assert_allclose(table["sinus"].to_numpy(), expected[:, 0], atol=1e-6)
    assert table["record_id"].to_pylist() == records.column("record_id").to_pylist()


def test_names_that_are_taken_get_a_prefix():
    outputs = Outputs("x", "labels", ("file", "A", "A_present"))
    assert column_names(outputs) == ["output_file", "A", "output_A_present"]


def test_the_command_writes_what_the_model_predicts(make, folder, tmp_path, monkeypatch, capsys):
    make(LABELS).save(tmp_path / "model")
    assert isinstance(load(tmp_path / "model"), Classifier)
    out = tmp_path / "p.csv"
    words = ["--checkpoint", tmp_path / "model", "--input", folder, "--out", out]
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, words)])
    command.main()
    assert "20 = 18 predicted + 2 rejected" in capsys.readouterr().out
    assert out.read_text().count("\n") == 21


def test_an_encoder_without_a_head_is_refused(workdir, folder, tmp_path, monkeypatch):
    words = ["--checkpoint", workdir, "--input", folder, "--out", tmp_path / "p.csv"]
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, words)])
    with pytest.raises(InputError, match="encoder without a head.*finetune"):
        command.main()
