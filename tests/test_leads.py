"""The leads of a data set: which ones are needed, calculated and kept, and offsets of 16 bits."""

import itertools

import numpy as np
import pytest

from ecgjax.signals import LEADS, LIMB_WEIGHTS, MISSING
from tfds_builders.recording import leads
from tfds_builders.recording.leads import LeadRule
from tfds_builders.recording.quality import RecordingError

NAMES = ["I", "II", *LEADS[6:]]


def _signal(time: int = 40) -> np.ndarray:
    """Returns I, II and V1 to V6 in microvolts."""
    return np.random.default_rng(0).normal(0, 500, (time, len(NAMES))).round()


@pytest.mark.parametrize(
    "names",
    [
        LEADS,
        [lead.lower() for lead in reversed(LEADS)],
        ["I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:]],  # MIMIC-IV-ECG
        ["DI", "DII", "DIII", "aVR", "aVL", "aVF", *(f"C{number}" for number in range(1, 7))],
        ["MLI", "MLII", "V1", "V2", "V3", "V4", "V5", "V6", "vx", "resp", "aVR-", "MCL1"],
    ],
)
def test_the_names_of_all_sources_are_known(names):
    columns = leads.find(names, "a.hea")
    assert list(columns) == [lead for lead in LEADS if lead in columns]
    assert {"I", "II", "V1", "V6"} <= set(columns) and len(set(columns.values())) == len(columns)
    for lead, column in columns.items():
        assert names[column].casefold().strip("dmlcv") == lead.casefold().strip("dmlcv")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*LEADS, "MLII"], "'II' and 'MLII' both mean lead II"),
        (["Lead I", *LEADS], "'Lead I' and 'I' both mean lead I;"),
        ([lead for lead in LEADS if lead != "V4"], "lacks lead V4 "),
        (["II", "V1", "V2", "V3", "V4", "V5", "V6"], r"lacks lead I \(found: II V1 "),
        (["II"], "lacks lead I, V1, V2, V3, V4, V5, V6 "),
        ([], "lacks lead I, II, "),
        (["-I", *LEADS[6:]], "lacks lead I, II "),
        (["Ch1", "Ch2"], "--lead-names .*--leads .*--allow-missing-leads"),
    ],
)
def test_absent_or_ambiguous_leads_are_rejected(names, message):
    with pytest.raises(RecordingError, match=f"a.hea: .*{message}") as caught:
        leads.find(names, "a.hea")
    assert caught.value.reason == "leads" and "\n" not in str(caught.value)


@pytest.mark.parametrize("known", list(itertools.combinations(LIMB_WEIGHTS, 2)))
def test_any_two_limb_leads_give_all_twelve(known):
    value_uv = _signal()
    limb = {lead: value_uv[:, :2] @ weights for lead, weights in LIMB_WEIGHTS.items()}
    given = np.stack([*(limb[lead] for lead in known), *value_uv.T[2:]], axis=1)
    stored = leads.to_stored(given, [*known, *LEADS[6:]], "a")
    expected = np.stack([*limb.values(), *value_uv.T[2:]], axis=1)
    np.testing.assert_allclose(stored.signal, expected, atol=0.5)
    assert stored.flags == ()


def test_a_subset_of_the_leads_is_kept_and_the_others_are_missing():
    value_uv = _signal()
    stored = leads.to_stored(value_uv, NAMES, "a", LeadRule(kept=("I", "aVF", "V2")))
    one, two = value_uv.T[:2]
    np.testing.assert_array_equal(stored.signal[:, 0], one)
    np.testing.assert_allclose(stored.signal[:, 5], two - one / 2, atol=0.5)
    np.testing.assert_array_equal(stored.signal[:, 7], value_uv[:, 3])
    assert (np.delete(stored.signal, [0, 5, 7], axis=1) == MISSING).all()


def test_a_single_lead_is_enough_for_a_data_set_of_that_lead():
    rule = LeadRule(kept=("I",))
    stored = leads.to_stored(_signal()[:, :1], ["I"], "a", rule)
    assert (stored.signal[:, 0] != MISSING).all() and (stored.signal[:, 1:] == MISSING).all()
    with pytest.raises(RecordingError, match="lacks lead I "):
        leads.to_stored(_signal()[:, :1], ["II"], "a", rule)


def test_leads_may_be_missing_on_request_but_not_all():
    rule = LeadRule(allow_missing=True)
    stored = leads.to_stored(_signal()[:, :2], ["II", "V5"], "a", rule)
    present = (stored.signal != MISSING).all(axis=0)
    assert [lead for lead, is_present in zip(LEADS, present, strict=True) if is_present] == [
        "II",
        "V5",
    ]
    with pytest.raises(RecordingError, match="lacks lead I, II, "):
        leads.to_stored(_signal()[:, :2], ["Resp", "V7"], "a", rule)


def test_names_of_ones_own_are_leads():
    rule = LeadRule(kept=("I", "V1"), names=(("EKG A", "I"), ("Ch 2", "V1")))
    assert leads.find(["ch 2", "Resp", "EKG A"], "a", rule) == {"I": 2, "V1": 0}


@pytest.mark.parametrize("offset_uv", [60_000, -60_000, 300_000, 32_000])
def test_a_lead_that_does_not_fit_loses_its_offset(offset_uv):
    value_uv = _signal()
    value_uv[3, 4] = np.nan
    shifted_uv = value_uv.copy()
    shifted_uv[:, 4] += offset_uv
    expected = leads.to_stored(value_uv, NAMES, "a").signal.astype(int)
    stored = leads.to_stored(shifted_uv, NAMES, "a")
    assert stored.flags == ("offset:V3",)
    np.testing.assert_array_equal(np.delete(stored.signal, 8, 1), np.delete(expected, 8, 1))
    present = np.arange(40) != 3
    assert stored.signal[3, 8] == MISSING
    assert np.ptp(stored.signal[present, 8].astype(int) - expected[present, 8]) == 0
    assert abs(np.median(stored.signal[present, 8])) <= 1


def test_offsets_of_i_and_ii_are_also_removed_from_the_leads_calculated_from_them():
    value_uv = _signal()
    value_uv[:, :2] += [-90_000, 110_000]
    stored = leads.to_stored(value_uv, NAMES, "a")
    assert stored.flags == tuple(f"offset:{lead}" for lead in ("I", "II", "III", "aVL", "aVF"))
    assert np.abs(stored.signal.astype(int)).max() < 12_000


def test_an_offset_with_a_wide_range_is_removed_as_far_as_it_fits():
    value_uv = _signal(100)
    value_uv[:, 5] = np.linspace(40_000, 100_000, 100)
    stored = leads.to_stored(value_uv, NAMES, "a")
    assert stored.flags == ("offset:V4",) and np.ptp(stored.signal[:, 9].astype(int)) == 60_000


@pytest.mark.parametrize("zeros", [slice(25), slice(15, None), slice(7, 8)])
@pytest.mark.parametrize("offset_uv", [60_000, -250_000])
def test_zeros_in_all_leads_are_missing_beside_a_large_offset(zeros, offset_uv):
    value_uv = _signal()
    expected_uv = value_uv.copy()
    value_uv[:, 7] += offset_uv
    value_uv[zeros] = 0
    stored = leads.to_stored(value_uv, NAMES, "a")
    assert stored.flags == ("offset:V6",) and (stored.signal[zeros] == MISSING).all()
    rows = np.arange(40)[zeros]
    expected_uv = np.delete(expected_uv, rows, axis=0)
    expected_uv[:, 7] -= np.rint(np.median(expected_uv[:, 7]))
    kept = np.delete(stored.signal, rows, axis=0)
    np.testing.assert_array_equal(kept[:, [0, 1, *range(6, 12)]], expected_uv)


@pytest.mark.parametrize("wrong", ["spike", "range", "infinite", "volts"])
def test_values_beyond_16_bits_that_are_no_offset_are_rejected(wrong):
    value_uv = _signal()
    change = {
        "spike": lambda lead: np.where(np.arange(40) == 7, 40_000, lead),
        "range": lambda lead: 1000 * lead + 50_000,
        "infinite": lambda lead: np.where(np.arange(40) == 7, np.inf, lead),
        "volts": lambda lead: lead + 2e9,
    }[wrong]
    value_uv[:, 2] = change(value_uv[:, 2])
    with pytest.raises(RecordingError, match="a: lead V1 reaches .* over 32767 uV; ") as caught:
        leads.to_stored(value_uv, NAMES, "a")
    assert caught.value.reason == "range"


def test_a_calculated_lead_beyond_16_bits_is_rejected():
    sign = np.where(np.arange(40) % 2, 1, -1)
    present = {lead: np.zeros(40) for lead in NAMES} | {"I": -30_000 * sign, "II": 30_000 * sign}
    with pytest.raises(RecordingError, match="lead III reaches 60000 uV") as caught:
        leads.complete(present, "a.hea")
    assert caught.value.reason == "range"


def test_quantise_rounds_and_marks_missing_samples():
    value_uv = np.array([[0.4], [-1.6], [np.nan], [32767.4], [-32767]])
    stored = leads.quantise(value_uv.repeat(12, axis=1), "a").signal
    np.testing.assert_array_equal(stored[:, 0], [0, -2, MISSING, 32767, -32767])
