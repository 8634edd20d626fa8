"""Names of leads and units, limb leads from two others, and ratios of sampling rates."""

import itertools

import numpy as np
import pytest

from ecgjax.errors import InputError
from ecgjax.signals import (
    LARGEST_FACTOR,
    LEADS,
    LIMB_WEIGHTS,
    RATE_TOLERANCE,
    UV_PER_UNIT,
    lead_columns,
    lead_name,
    limb_weights,
    rate_ratio,
    unit_name,
)


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "ratio"),
    [
        (500, 100, (1, 5)),
        (100, 500, (5, 1)),
        (360, 100, (5, 18)),
        (409.6, 100, (125, 512)),
        (976.5625, 500, (64, 125)),
        (488.28125, 500, (128, 125)),
        (256.25, 500, (80, 41)),
        (249.88, 100, (2500, 6247)),
    ],
)
def test_rate_ratio_is_the_smallest_pair_of_integers(from_hz, to_hz, ratio):
    assert rate_ratio(from_hz, to_hz) == ratio


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "ratio"),
    [
        (333.333333, 500, (3, 2)),
        (499.9999, 500, (1, 1)),
        (np.float32(333.3333), 100, (3, 10)),
        (1000 / 3.9, 500, (39, 20)),
    ],
)
def test_the_simplest_ratio_stands_for_one_that_has_large_factors(from_hz, to_hz, ratio):
    assert rate_ratio(from_hz, to_hz) == ratio


def test_the_drift_of_any_rate_is_bounded():
    rng = np.random.default_rng(0)
    rates = [
        *rng.uniform(50, 2000, 300),
        *(500 * rng.integers(1, 4, 300) + rng.normal(0, 0.1, 300)),
    ]
    for from_hz, to_hz in itertools.product(rates, (100, 500)):
        up, down = rate_ratio(float(from_hz), to_hz)
        assert abs(from_hz * up / (down * to_hz) - 1) <= RATE_TOLERANCE
        assert max(up, down) <= LARGEST_FACTOR


@pytest.mark.parametrize("rate_hz", [0, -100, float("nan"), float("inf")])
def test_impossible_rates_are_refused(rate_hz):
    with pytest.raises(InputError, match=f"sampling rate {rate_hz} Hz"):
        rate_ratio(rate_hz, 100)


SPELLINGS = [
    "{}", " {} ", "EKG {}", "ECG-{}", "ecg_{}", "ECG{}", "ECG1_{}", "Lead {}", "Lead{}", "lead: {}",
    "ECG Lead {}", "MDC_ECG_LEAD_{}", "{}-REF", "{} (mV)", "{} [µV]", "{}(μV)", "{}_mV", "{} mV",
    "{}, uV", "{} in millivolts", "{}:", "\N{NO-BREAK SPACE}{}",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_a_lead_is_known_by_any_spelling_that_cannot_be_mistaken(spelling, change):
    for lead in LEADS:
        assert lead_name(change(spelling.format(lead))) == lead


@pytest.mark.parametrize(
    ("lead", "names"),
    [
        ("I", "DI D1 L1 LI MLI D-I Ｉ Ⅰ ｉ Einthoven_I"),
        ("II", "DII D2 L2 LII MLII D_II ＩＩ Ⅱ"),
        ("III", "D3 L3 LIII MLIII Ⅲ"),
        ("aVR", "AVR aV-R a_VR av.r avr_(mV) Goldberger-aVR"),
        ("aVL", "aV_L AVL"),
        ("V1", "C1 V_1 V-1 v.1 Ｖ１ V1-REF Wilson_V1"),
        ("V6", "C6 ECG_C6 LeadV6"),
    ],
)
def test_other_names_of_a_lead_are_known(lead, names):
    for name in names.split():
        assert lead_name(name) == lead
        assert lead_name(name.replace("_", " ")) == lead


@pytest.mark.parametrize(
    "name",
    "-aVR aVR- −I aVR+ I-II V1-V2 V1R V3R V7 V9 V10 VX MCL1 Resp 1 Ch1 l ll LL LA RA C7 EEG_I ECG "
    "EKG Lead mV V a ABP PLETH I-AVF MDC_ECG_LEAD_AVRneg".split(),
)
def test_a_name_that_may_be_mistaken_is_no_lead(name):
    assert lead_name(name) is None
    assert lead_name(f"ECG {name}") is None
    assert lead_name("") is None


@pytest.mark.parametrize(
    ("unit", "names"),
    [
        ("uV", "uV µV μV UV uv microvolt Microvolts uVolt (uV) MDC_DIM_MICRO_VOLT ｕＶ"),
        ("mV", "mV MV mv millivolt MILLIVOLTS mVolt [mV] MDC_DIM_MILLI_VOLT"),
        ("nV", "nV NV nanovolts"),
        ("V", "V v volt Volts"),
    ],
)
def test_units_are_known_by_their_spellings(unit, names):
    assert unit in UV_PER_UNIT
    assert [unit_name(f" {name} ") for name in names.split()] == [unit] * len(names.split())


@pytest.mark.parametrize("unit", ["", "mmHg", "NU", "1", "uV/bit", "kV", "pV", "adu", "milli"])
def test_other_units_are_no_voltage(unit):
    assert unit_name(unit) is None


def test_leads_are_found_by_name():
    names = ["v6", "AVR", "avl", "aVF", " I ", "iii", "II", "V5", "V4", "V3", "V2", "V1", "VX"]
    columns = lead_columns(names, "file")
    assert list(columns) == list(LEADS)
    assert [names[column].strip().casefold() for column in columns.values()] == [
        lead.casefold() for lead in LEADS
    ]
    assert lead_columns(["Resp", "V3"], "file") == {"V3": 1}


def test_a_repeated_lead_is_refused_and_a_name_of_ones_own_counts_first():
    with pytest.raises(InputError, match="a.hea: columns 'MLI' and 'ECG I' both mean lead I; "):
        lead_columns(["MLI", "ECG I"], "a.hea")
    assert lead_columns(["MLI", "X", "V1"], "a.hea", {" x ": "I"}) == {"I": 1, "V1": 2}
    with pytest.raises(InputError, match="'X' and 'Y' both mean lead I"):
        lead_columns(["X", "Y"], "a.hea", {"X": "I", "Y": "I"})


@pytest.mark.parametrize("known", list(itertools.combinations(LIMB_WEIGHTS, 2)))
def test_any_two_limb_leads_give_the_others(known):
    one, two = np.random.default_rng(0).normal(size=(2, 50))
    limb = {lead: a * one + b * two for lead, (a, b) in LIMB_WEIGHTS.items()}
    weights = limb_weights(tuple(lead for lead in LEADS if lead in (*known, "V1")))
    assert set(weights) == set(LIMB_WEIGHTS) - set(known)
    for lead, pairs in weights.items():
        calculated = sum(weight * limb[other] for other, weight in pairs)
        np.testing.assert_allclose(calculated, limb[lead], atol=1e-9)


def test_one_limb_lead_gives_no_other():
    assert limb_weights(("II", "V1", "V6")) == {}
