"""Pairs of visits against crops: what is measured, and over what its intervals are."""

import numpy as np
import pytest
import scipy.stats

from benchmarks import patient_pairs
from ecgjax.errors import InputError
from ecgjax.evaluate.identification import retrieve, standardise
from ecgjax.workflows.probing import Embeddings

PATHS = {"data": "data", "out": "out"}


def _embedded(records, *, noise):
    """Embeddings by three seeds in which a patient's recordings are alike, but for the noise."""
    indices = np.sort(np.concatenate([records.split("train"), records.split("validation")]))
    every_seed = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        patient = rng.normal(size=(records.patients.max() + 1, 6))
        vectors = patient[records.patients[indices]]
        vectors = vectors + noise * (1 + seed) * rng.normal(size=vectors.shape)
        every_seed.append(Embeddings(indices, vectors.astype(np.float32)))
    return every_seed


def test_differences_between_seeds_widen_every_interval(records):
    arguments = patient_pairs.Arguments(**PATHS, tasks=("superclass",), labels="30")
    embedded = {0.0: _embedded(records, noise=0.2), 1.0: _embedded(records, noise=0.7)}
    rows = patient_pairs.compare(arguments, records, embedded)
    assert [(row["figure"], row["instance_share"]) for row in rows] == [
        (figure, share)
        for figure in ("superclass, AUROC", "identification, rank-1", "identification, mAP")
        for share in ("0", "1")
    ]
    held_out = records.split("validation")
    train = records.split("train")
    patients = records.patients[held_out]
    by_seed = [
        [
            retrieve(standardise(each.select(held_out), each.select(train)), patients).rank1.mean()
            for each in every_seed
        ]
        for every_seed in embedded.values()
    ]
    visits, crops = np.array(by_seed)
    (row,) = [row for row in rows if row["figure"] == "identification, rank-1"][:1]
    assert row["value"] == pytest.approx(visits.mean(), abs=1e-4)
    assert float(row["minus_crops"]) == pytest.approx((visits - crops).mean(), abs=1e-4)
    low, high = map(float, row["minus_crops_interval"].split(" to "))
    # Student's interval over the seeds alone, which the interval over patients and seeds contains.
    half = scipy.stats.t.ppf(0.975, 2) * (visits - crops).std(ddof=1) / np.sqrt(3)
    assert half > 0.02
    assert high - low > 1.9 * half
    assert "| identification, mAP | 0 | " in patient_pairs.markdown(rows)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"instance_shares": (0.0, 0.5)}, "--instance-shares 0.0 0.5: give 1, crops alone"),
        ({"tasks": ("heart",)}, "--tasks heart: give some of superclass"),
        ({"seeds": 0}, "--seeds 0: give 1 or more"),
        ({"labels": "few"}, "few"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        patient_pairs.Arguments(**PATHS, **wrong)
