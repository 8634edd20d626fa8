"""Leads: the names that sources use, and limb leads calculated from I and II."""

import numpy as np
import pytest

from ecgjax.signals import LEADS, MISSING
from tfds_builders.recording import leads
from tfds_builders.recording.quality import RecordingError


@pytest.mark.parametrize(
    "names",
    [
        LEADS,
        [lead.upper() for lead in LEADS],
        [lead.lower() for lead in reversed(LEADS)],
        [f"Lead {lead}" for lead in LEADS],
        [f"MDC_ECG_LEAD_{lead}" for lead in LEADS],
        ["I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:]],  # MIMIC-IV-ECG
        ["DI", "DII", "DIII", "aVR", "aVL", "aVF", *(f"C{number}" for number in range(1, 7))],
        ["MLI", "MLII", "V1", "V2", "V3", "V4", "V5", "V6", "vx", "resp", "aVR-", "MCL1"],
    ],
)
def test_the_names_of_all_sources_are_known(names):
    indices = leads.find(names, "a.hea")
    assert list(indices) == [lead for lead in LEADS if lead in indices]
    assert {"I", "II", "V1", "V6"} <= set(indices) and len(set(indices.values())) == len(indices)
    for lead, index in indices.items():
        own = names[index].casefold().removeprefix("lead ").removeprefix("mdc_ecg_lead_")
        assert own in (lead.casefold(), *leads.OTHER_NAMES.get(lead, ()))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*LEADS, "MLII"], "'II' and 'MLII' both mean lead II"),
        (["Lead I", *LEADS], "'Lead I' and 'I' both mean lead I;"),
        ([lead for lead in LEADS if lead != "V4"], "lacks lead V4 "),
        ([lead for lead in LEADS if lead != "II"], "lacks lead II "),
        (["II"], "lacks lead I, V1, V2, V3, V4, V5, V6 "),
        ([], "lacks lead I, II, "),
        ([*LEADS[1:], "lead one"], "lacks lead I "),
        ([*LEADS[1:], "-I"], "lacks lead I "),
    ],
)
def test_absent_or_ambiguous_leads_are_rejected(names, message):
    with pytest.raises(RecordingError, match=f"a.hea: .*{message}") as caught:
        leads.find(names, "a.hea")
    assert caught.value.reason == "leads" and "\n" not in str(caught.value)


def test_a_calculated_lead_beyond_16_bits_is_rejected():
    present = {lead: np.zeros(5) for lead in LEADS if lead not in leads.DERIVED}
    present |= {"I": np.full(5, -30_000.0), "II": np.full(5, 30_000.0)}
    with pytest.raises(RecordingError, match="lead III reaches 60000 uV") as caught:
        leads.complete(present, "a.hea")
    assert caught.value.reason == "range"


def test_quantise_rounds_marks_missing_samples_and_rejects_overflow():
    value_uv = np.array([0.4, -1.6, np.nan, 32767.4, -32767])
    np.testing.assert_array_equal(leads.quantise(value_uv, "a"), [0, -2, MISSING, 32767, -32767])
    for wrong in (-32768, 32768, np.inf, -np.inf):
        with pytest.raises(RecordingError, match="over 32767 uV"):
            leads.quantise(np.array([0, wrong]), "a")
