"""Labels saved, by hand and on curves whose answer is known."""

import numpy as np
import pytest

from ecgjax.evaluate.labels_saved import labels_needed, labels_saved

AMOUNTS = np.array([100, 1000, 10000])


def _needed(curve, wanted):
    return labels_needed(AMOUNTS, np.array(curve)[:, None], np.array([wanted]))[0]


@pytest.mark.parametrize(
    ("curve", "wanted", "needed"),
    [
        ((0.6, 0.7, 0.8), 0.7, 1000),
        ((0.6, 0.7, 0.8), 0.75, 10**3.5),  # halfway on the logarithmic axis
        ((0.6, 0.7, 0.8), 0.62, 10**2.2),
        ((0.6, 0.7, 0.8), 0.81, np.inf),
        ((0.6, 0.7, 0.8), 0.6, 0),
        ((0.6, 0.8, 0.7), 0.75, 10**2.75),  # the first time that it is reached
        ((0.7, 0.6, 0.9), 0.75, 10**3.5),
    ],
)
def test_labels_needed_are_read_off_the_curve(curve, wanted, needed):
    assert _needed(curve, wanted) == pytest.approx(needed)


def test_a_method_that_needs_a_tenth_of_the_labels():
    """Resamples move both curves together, so that the ratio stays and its interval is narrow."""
    rng = np.random.default_rng(0)
    moved = np.append(0, rng.normal(0, 0.03, 500))
    reference = 0.1 * np.log10(AMOUNTS)[:, None] + 0.4 + moved
    found = labels_saved(AMOUNTS, reference, 100, 0.1 * np.log10(1000) + 0.4 + moved)
    assert (found.value, found.low, found.high) == pytest.approx((10, 10, 10))
    assert str(found) == "10 (10 to 10)"


def test_ratios_beyond_the_amounts_that_were_run_are_censored():
    moved = np.append(0, np.linspace(-0.05, 0.15, 201))
    reference = np.repeat(np.array([[0.6], [0.7], [0.8]]), 202, axis=1)
    found = labels_saved(AMOUNTS, reference, 500, 0.75 + moved)
    assert found.high == np.inf and str(found).endswith("to more than 20)")
    assert found.value == pytest.approx(10**3.5 / 500) and found.low == pytest.approx(2.2, abs=0.3)
    never = labels_saved(AMOUNTS, reference, 100, np.full(202, 0.9))
    assert str(never) == "more than 100 (95 % interval the same)"
    always = labels_saved(AMOUNTS, reference, 1000, np.full(202, 0.5))
    assert str(always) == "at most 0.1 (95 % interval the same)"


def test_resamples_without_a_value_are_left_out():
    reference = np.repeat(np.array([[0.6], [0.7], [0.8]]), 11, axis=1)
    reached = np.full(11, 0.7)
    reached[5] = np.nan
    assert labels_saved(AMOUNTS, reference, 100, reached).high == pytest.approx(10)
