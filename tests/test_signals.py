"""Lead names and ratios of sampling rates."""

import pytest

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, lead_indices, rate_ratio


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "ratio"),
    [(500, 100, (1, 5)), (100, 500, (5, 1)), (360, 100, (5, 18)), (409.6, 100, (125, 512))],
)
def test_rate_ratio_is_the_smallest_pair_of_integers(from_hz, to_hz, ratio):
    assert rate_ratio(from_hz, to_hz) == ratio


@pytest.mark.parametrize("rate_hz", [0, -100, float("nan"), float("inf")])
def test_impossible_rates_are_refused(rate_hz):
    with pytest.raises(InputError, match=f"sampling rate {rate_hz} Hz"):
        rate_ratio(rate_hz, 100)


def test_leads_are_found_by_name():
    names = ["v6", "AVR", "avl", "aVF", " I ", "iii", "II", "V5", "V4", "V3", "V2", "V1", "VX"]
    assert [names[i].strip().casefold() for i in lead_indices(names, "file")] == [
        lead.casefold() for lead in LEADS
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (LEADS[:11], "a.hea: lacks lead V6"),
        (LEADS[1:10], "a.hea: lacks lead I, V5, V6"),
        ((*LEADS, "avr"), "a.hea: has lead aVR, avr twice"),
        ((), "a.hea: lacks lead I, II"),
    ],
)
def test_absent_or_repeated_leads_are_refused(names, message):
    with pytest.raises(InputError) as error:
        lead_indices(names, "a.hea")
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
