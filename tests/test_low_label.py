"""Labelled recordings: the amount that is wanted, and draws that are nested and reproducible."""

import numpy as np
import pytest

from ecgjax.errors import InputError
from ecgjax.workflows.low_label import ALL, Labels, draw_labelled

_RNG = np.random.default_rng(0)
PATIENTS = np.array([f"p{k}" for k in _RNG.integers(300, size=500)])
CASES = (_RNG.random((500, 1)) < 0.06).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.1", 20),
        (".1", 20),
        ("10%", 20),
        ("0.5%", 1),
        ("1.0", 200),
        ("100%", 200),
        ("all", 200),
        ("1", 1),
        ("100", 100),
        ("5000", 5000),
    ],
)
def test_amount_of_labels_is_a_share_a_count_or_all(text, number):
    assert Labels.parse(text).number(200) == number


@pytest.mark.parametrize(
    "text",
    ["0", "0.0", "0%", "1.5", "101%", "-1", "-3", "-0.5", "few", "%", ".", "", "1e3", "nan%"],
)
def test_anything_else_is_refused_with_the_remedy(text):
    with pytest.raises(InputError) as refused:
        Labels.parse(text)
    remedy = "give all, a count such as 100, or a share such as 0.1 or 10%"
    assert str(refused.value) == f"labels {text}: not an amount; {remedy}"


@pytest.mark.parametrize("amount", [{"count": 0}, {"share": 0.0}, {"share": 1.1}])
def test_impossible_amount_is_refused_in_python_too(amount):
    with pytest.raises(InputError, match="give a count of 1 or more, or a share above 0"):
        Labels(**amount)


def test_share_of_less_than_one_recording_is_refused():
    with pytest.raises(InputError, match="0.001 of 200 labelled recordings is less than one"):
        Labels.parse("0.1%").number(200)


def test_all_is_the_default():
    assert Labels() == ALL == Labels.parse("1.0")


@pytest.mark.parametrize("balanced", [False, True])
def test_draw_is_exact_whole_patients_nested_and_reproducible(balanced):
    draws = {
        n: draw_labelled(CASES, PATIENTS, n, seed=3, balanced=balanced)
        for n in (1, 50, 51, 200, 500)
    }
    for n, indices in draws.items():
        assert len(indices) == len(set(indices)) == n and (np.diff(indices) > 0).all()
        names, drawn = np.unique(PATIENTS[indices], return_counts=True)
        available = np.array([(PATIENTS == name).sum() for name in names])
        assert (drawn < available).sum() <= 1
    assert set(draws[1]) < set(draws[50]) < set(draws[51]) < set(draws[200])
    same_seed = draw_labelled(CASES, PATIENTS, 50, seed=3, balanced=balanced)
    other_seed = draw_labelled(CASES, PATIENTS, 50, seed=4, balanced=balanced)
    np.testing.assert_array_equal(draws[50], same_seed)
    assert set(draws[50]) != set(other_seed)


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


def test_spread_draw_takes_one_recording_of_every_patient_before_a_second_one():
    number = len(set(PATIENTS))
    fewer = draw_labelled(CASES, PATIENTS, number - 1, seed=3, spread=True)
    more = draw_labelled(CASES, PATIENTS, number + 5, seed=3, spread=True)
    assert len(set(PATIENTS[fewer])) == number - 1
    assert len(set(PATIENTS[more])) == number
    assert set(fewer) < set(more)


def test_draw_cannot_be_balanced_and_spread():
    with pytest.raises(InputError, match="balanced and spread"):
        draw_labelled(CASES, PATIENTS, 10, seed=3, balanced=True, spread=True)
