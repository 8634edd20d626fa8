"""Identification of patients, against scikit-learn, a plain loop and hand-made neighbours."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ecgjax.data.seen import seen_in
from ecgjax.errors import InputError
from ecgjax.evaluate.identification import (
    FIGURES,
    identification_bootstrap,
    queries,
    retrieve,
    standardise,
)
from ecgjax.launch import identify as command_module
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import untrained
from ecgjax.workflows.identify import identify


def _cohort(rng, patients=30, decimals=None):
    """Returns embeddings [recording, 6] and patients with one to four recordings, in disorder."""
    patient = rng.permutation(np.repeat(np.arange(patients), 1 + np.arange(patients) % 4))
    embeddings = rng.normal(size=(patients, 6))[patient] + rng.normal(size=(len(patient), 6))
    return embeddings if decimals is None else np.round(embeddings, decimals), patient


def _search(embeddings, patients, query):
    """Returns similarity to all others, and whether each is of the same patient, in float64."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    others = np.arange(len(patients)) != query
    return (unit @ unit[query])[others], (patients == patients[query])[others]


@pytest.mark.parametrize("block", [1, 500, 2**24])
def test_average_precision_is_scikit_learns_and_rank1_that_of_a_loop(block):
    embeddings, patients = _cohort(np.random.default_rng(0))
    found = retrieve(embeddings, patients, block=block)
    counts = np.bincount(patients)
    assert found.queries.tolist() == [k for k, each in enumerate(patients) if counts[each] > 1]
    for query, rank1, precision in zip(*vars(found).values(), strict=True):
        similarity, same = _search(embeddings, patients, query)
        assert rank1 == same[similarity.argmax()]
        assert precision == pytest.approx(average_precision_score(same, similarity), abs=1e-9)
    assert 0.1 < found.rank1.mean() < 0.95


def test_ties_count_as_scikit_learn_counts_them_and_constants_as_chance():
    rng = np.random.default_rng(1)
    patients = rng.permutation(np.repeat(np.arange(12), 3))
    directions = np.eye(4)[rng.integers(4, size=36)]  # similarities are exactly 0 or 1
    found = retrieve(directions, patients)
    for query, rank1, precision in zip(*vars(found).values(), strict=True):
        similarity, same = _search(directions, patients, query)
        assert precision == pytest.approx(average_precision_score(same, similarity))
        assert rank1 == pytest.approx(same[similarity == similarity.max()].mean())
    constant = retrieve(np.ones((36, 4)), patients)
    np.testing.assert_allclose(constant.figures, 2 / 35)


def test_rank1_is_the_share_of_nearest_recordings_of_the_same_patient():
    angles = np.deg2rad([0, 1, 90, 92, 180, 91, 270])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], 1) * np.arange(1, 8)[:, None]
    # 0 and 1 find each other; 90 and 92 are nearest to 91, a recording of patient 2, and 91 to 90;
    # 180 to 92; the patient with one recording is searched, too, but asks nothing.
    found = retrieve(embeddings, np.array([0, 0, 1, 1, 2, 2, 3]))
    assert found.queries.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.rank1.mean() == pytest.approx(2 / 6)


def test_standardised_features_have_the_scale_of_the_training_recordings():
    rng = np.random.default_rng(2)
    reference = rng.normal(5, [1, 10, 0], size=(4000, 3)).astype(np.float32)
    found = standardise(np.array([[5, 5, 5], [6, 15, 9]], np.float32), reference)
    np.testing.assert_allclose(found, [[0, 0, 0], [1, 1, 0]], atol=0.05)
    assert found.dtype == np.float32 and not found[:, 2].any()


def test_intervals_are_those_of_a_bootstrap_over_patients():
    """Copies of a recording add no certainty: the interval is that of patients, not of queries."""
    embeddings, patients = _cohort(np.random.default_rng(3), patients=60)
    found = retrieve(embeddings, patients)
    of_query = patients[found.queries]
    bootstrap = identification_bootstrap({"encoder": found}, of_query, draws=2000)
    rank1, _ = bootstrap.per_class("encoder")
    assert rank1.value == pytest.approx(found.rank1.mean()) and len(FIGURES) == 2
    each = [found.rank1[of_query == patient] for patient in np.unique(of_query)]
    rng = np.random.default_rng(4)
    means = []
    for _ in range(2000):
        drawn = rng.integers(len(each), size=len(each))
        means.append(np.concatenate([each[k] for k in drawn]).mean())
    np.testing.assert_allclose(
        [rank1.low, rank1.high], np.quantile(means, [0.025, 0.975]), atol=0.02
    )


def test_what_cannot_be_searched_is_refused():
    assert not len(queries(np.arange(5)))
    with pytest.raises(InputError, match="identification needs patients with several recordings"):
        retrieve(np.ones((5, 2)), np.arange(5))
    with pytest.raises(InputError, match="some are not finite"):
        retrieve(np.full((4, 2), np.nan), np.array([0, 0, 1, 1]))


def test_command_prints_and_saves_both_encoders(command, workdir, prepared, tmp_path):
    options = ["--checkpoint", workdir, "--data", prepared, "--split", "validation"]
    status, out, err = command(command_module, *options, "--out", tmp_path / "found")
    assert status == 0, err
    saved = json.loads((tmp_path / "found/identify.json").read_text())
    for method, name in (("encoder", "the encoder"), ("random", "a random one")):
        row = next(line for line in out.splitlines() if line.startswith(name))
        for value, low, high in saved[method].values():
            assert 0 <= low <= value <= high <= 1 and f"{value:.3f} ({low:.3f}-{high:.3f})" in row
    assert saved["searched"] >= saved["queries"] >= 2 * saved["asked_patients"] > 0
    difference = saved["encoder"]["mAP"][0] - saved["random"]["mAP"][0]
    assert saved["difference"]["mAP"][0] == pytest.approx(difference, abs=2e-4)
    status, _, err = command(command_module, *options[:4], "--split", "train")
    assert status == 2 and "the encoder was trained on" in err.splitlines()[-1]


def test_seen_recordings_are_left_out_and_a_split_without_repeats_is_refused(
    records, monkeypatch, tiny_encoders
):
    fresh = untrained("compact_resnet", Preprocessing())
    split = records.split("validation")
    known = dataclasses.replace(fresh, seen=seen_in(records, split[:3]))
    left = ~np.isin(records.patients[split], records.patients[split[:3]])
    found = identify(known, records, "validation", exclude_seen=True)
    assert found.searched == left.sum() < len(split) - 2
    monkeypatch.setitem(vars(records), "patients", np.arange(len(records)))
    with pytest.raises(InputError, match="no patient of split validation has several recordings"):
        identify(fresh, records, "validation")
