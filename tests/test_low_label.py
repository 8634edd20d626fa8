"""Label subsets: whole patients, nested, reproducible, balanced where asked."""

import numpy as np
import pytest

from ecgjax.errors import InputError
from ecgjax.workflows.low_label import draw_labelled

_RNG = np.random.default_rng(0)
PATIENTS = np.array([f"p{k}" for k in _RNG.integers(300, size=500)])
CASES = (_RNG.random((500, 1)) < 0.06).astype(np.float32)


@pytest.mark.parametrize("balanced", [False, True])
def test_draw_is_exact_whole_patients_nested_and_reproducible(balanced):
    draws = {
        n: draw_labelled(CASES, PATIENTS, n, seed=3, balanced=balanced)
        for n in (1, 50, 51, 200, 500)
    }
    for n, indices in draws.items():
        assert len(indices) == len(set(indices)) == n and (np.diff(indices) > 0).all()
        cut = [
            p
            for p in set(PATIENTS[indices])
            if (PATIENTS[indices] == p).sum() < (PATIENTS == p).sum()
        ]
        assert len(cut) <= 1
    assert set(draws[1]) < set(draws[50]) < set(draws[51]) < set(draws[200])
    np.testing.assert_array_equal(
        draws[50], draw_labelled(CASES, PATIENTS, 50, seed=3, balanced=balanced)
    )
    assert set(draws[50]) != set(draw_labelled(CASES, PATIENTS, 50, seed=4, balanced=balanced))


def test_balanced_draw_has_half_cases_while_there_are_any():
    patients = np.arange(500)
    available = int(CASES.sum())
    for n in (2, 20, 2 * available, 200, 500):
        positives = CASES[draw_labelled(CASES, patients, n, seed=0, balanced=True)].sum()
        assert positives == min(n // 2, available)
    natural = [CASES[draw_labelled(CASES, patients, 50, seed=s)].mean() for s in range(40)]
    assert abs(np.mean(natural) - CASES.mean()) < 0.02


def test_balanced_draw_counts_every_recording_of_a_patient():
    """Six recordings of each patient with the condition, one of each without: still about half."""
    patients = np.concatenate([np.repeat(np.arange(20), 6), np.arange(100, 300)])
    targets = (patients < 20).astype(np.float32)[:, None]
    positives = targets[draw_labelled(targets, patients, 100, seed=0, balanced=True)].sum()
    assert 44 <= positives <= 56


def test_every_patient_is_drawn_equally_often():
    first = [PATIENTS[draw_labelled(CASES, PATIENTS, 1, seed=seed)][0] for seed in range(600)]
    assert len(set(first)) > 0.8 * len(set(PATIENTS))


@pytest.mark.parametrize("n", [0, 501])
def test_impossible_number_is_refused_with_both_numbers(n):
    with pytest.raises(InputError, match=f"{n} labelled recordings wanted of 500"):
        draw_labelled(CASES, PATIENTS, n, seed=0)


def test_balanced_draw_of_several_classes_is_refused():
    with pytest.raises(InputError, match="balanced draw of 2 classes"):
        draw_labelled(np.hstack([CASES, CASES]), PATIENTS, 10, seed=0, balanced=True)


def test_a_spread_draw_takes_a_second_recording_of_a_patient_after_everybodys_first():
    number = len(set(PATIENTS.tolist()))
    few, more = (
        draw_labelled(CASES, PATIENTS, n, seed=3, spread=True) for n in (number - 1, number + 5)
    )
    assert len(set(PATIENTS[few].tolist())) == number - 1
    assert len(set(PATIENTS[more].tolist())) == number
    assert set(few) < set(more)
    with pytest.raises(InputError, match="balanced and spread"):
        draw_labelled(CASES, PATIENTS, 10, seed=3, balanced=True, spread=True)
