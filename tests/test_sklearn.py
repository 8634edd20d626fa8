"""ecgjax.sklearn: the encoder in pipelines, clones, pickles, and scikit-learn's own checks."""

import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import ecgjax
from ecgjax import encoders
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import untrained
from ecgjax.signals import LEADS
from ecgjax.sklearn import EcgEmbedder
from ecgjax.train.manifest import encoder_config


@pytest.fixture(scope="module")
def signals_mv(records):
    return records.read(records.split("test")[:12]) * 1e-3


@pytest.fixture(scope="module")
def embedder(workdir):
    return EcgEmbedder(str(workdir), rate_hz=100)


@pytest.fixture(scope="module")
def embeddings(workdir, signals_mv):
    settings = {"rate_hz": 100, "leads": LEADS, "units": "mV"}
    return ecgjax.load(workdir)(signals_mv, **settings)


def test_embeddings_are_those_of_the_encoder(embedder, signals_mv, embeddings):
    np.testing.assert_array_equal(embedder.fit_transform(signals_mv), embeddings)
    flat = signals_mv.reshape(len(signals_mv), -1)
    fitted = clone(embedder).fit(flat)
    np.testing.assert_array_equal(fitted.transform(flat), embeddings)
    assert fitted.n_features_in_ == 12_000
    assert list(fitted.get_feature_names_out()[[0, -1]]) == ["embedding0", "embedding15"]


def test_recordings_of_different_lengths_come_as_a_list(embedder, signals_mv, embeddings):
    recordings = [signals_mv[0], signals_mv[1][:600], signals_mv[2]]
    result = clone(embedder).fit_transform(recordings)
    np.testing.assert_allclose(result[[0, 2]], embeddings[[0, 2]], rtol=1e-5, atol=1e-6)
    assert np.abs(result[1] - embeddings[1]).max() > 1e-4


def test_a_pipeline_is_tuned_and_pickled(embedder, signals_mv):
    labels = np.arange(len(signals_mv)) % 2
    pipeline = make_pipeline(embedder, LogisticRegression())
    grid = {"logisticregression__C": [0.1, 1.0], "ecgembedder__batch_size": [8]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(signals_mv, labels)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    expected = search.predict_proba(signals_mv)
    np.testing.assert_array_equal(again.predict_proba(signals_mv), expected)
    assert len(pickle.dumps(embedder.fit(signals_mv))) < 3000  # no weights


def test_names_of_the_features_reach_a_data_frame(embedder, signals_mv):
    pytest.importorskip("pandas")
    table = clone(embedder).set_output(transform="pandas").fit_transform(signals_mv[:2])
    assert list(table.columns[:2]) == ["embedding0", "embedding1"]


def test_a_pickle_refuses_other_weights(embedder, signals_mv):
    fitted = clone(embedder).fit(signals_mv)
    fitted.fingerprint_ = "0" * 16
    with pytest.raises(InputError, match="fitted with 0{16}; fit again, or restore"):
        fitted.transform(signals_mv)


def test_wrong_input_is_refused(workdir, signals_mv):
    with pytest.raises(InputError, match="no rate_hz; give the sampling rate of X in Hz"):
        EcgEmbedder(str(workdir)).fit(signals_mv)
    with pytest.raises(InputError, match="with 12 leads; give .recording, time x lead"):
        EcgEmbedder(str(workdir), rate_hz=100).fit(np.zeros((2, 1001)))
    flat_line = np.zeros((1, 1000, 12))
    with pytest.raises(InputError, match="recording 0: no lead covers more than 0 uV"):
        EcgEmbedder(str(workdir), rate_hz=100).fit(flat_line).transform(flat_line)


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_accepts_the_estimator(tmp_path, monkeypatch):
    """Its checks use a few numbers a row: here an encoder of one lead at 1 Hz."""
    encoder = CompactResnet(widths=(4,))
    monkeypatch.setitem(encoders.ENCODERS, "compact_resnet", encoder)
    preprocessing = Preprocessing(rate_hz=1.0, seconds=4.0, window_s=None, leads=("I",))
    config = encoder_config("compact_resnet", encoder, preprocessing)
    tiny = dataclasses.replace(untrained("compact_resnet", preprocessing), config=config)
    tiny.save(tmp_path / "model")
    # on_bad: rows of small numbers are no ECG.
    embedder = EcgEmbedder(str(tmp_path / "model"), rate_hz=1, leads=("I",), on_bad="nan")
    results = check_estimator(embedder, on_skip=None)
    assert sum(result["status"] == "passed" for result in results) >= 40
