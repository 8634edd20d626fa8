"""Quality flags and rejection reasons: the checks of samples, and the table that explains them."""

import ast
from pathlib import Path

import numpy as np
import pytest

import tfds_builders
from ecgjax.signals import LEADS, MISSING
from tfds_builders.recording import checks, quality
from tfds_builders.recording.quality import RecordingError

PACKAGE = Path(tfds_builders.__file__).parent


def _example_signal() -> np.ndarray:
    """Ten seconds at 100 Hz whose limb leads follow from I and II."""
    time = np.arange(1000)
    one = 300 * np.sin(time / 7)
    two = 500 * np.sin(time / 9 + 1)
    limb_leads = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    chest_leads = [200 * np.sin(time / (10 + number)) for number in range(6)]
    return np.stack([*limb_leads, *chest_leads], axis=1).round().astype(np.int16)


def test_missing_flat_and_saturated_leads_are_flagged():
    signal = _example_signal()
    assert checks.find_flags(signal, 100) == []
    signal[3, 0] = MISSING
    signal[:, 6] = 7
    signal[100:109, 7] = 2600  # 0.09 s
    signal[100:110, 8] = -2600  # 0.1 s
    assert checks.find_flags(signal, 100) == ["missing", "flat:V1", "saturated:V3"]


def test_huge_and_clipped_leads_are_flagged():
    signal = _example_signal()
    signal[100, 6] = 15_000
    signal[101, 6] = -15_000
    for beat in range(100, 900, 100):
        signal[beat : beat + 4, 7] = 1800
        signal[beat : beat + 2, 8] = 1800
    assert checks.find_flags(signal, 100) == ["huge:V1", "clipped:V2"]


def test_limb_leads_that_contradict_each_other_are_flagged():
    right = _example_signal()
    offset = np.array([0, 0, 900, *[0] * 9], np.int16)
    # An offset does not change the lead.
    assert checks.find_flags(right + offset, 100) == ["offset:III"]
    exchanged = right[:, [0, 1, 2, 3, 5, 4, *range(6, 12)]]  # aVF, aVL as in MIMIC-IV-ECG
    assert checks.find_flags(exchanged, 100) == ["goldberger:aVL", "goldberger:aVF"]
    assert "einthoven:III" in checks.find_flags(right[:, [1, 0, *range(2, 12)]], 100)
    gap = exchanged.copy()
    gap[:, 5] = MISSING
    assert checks.find_flags(gap, 100) == ["missing", "flat:aVF", "goldberger:aVL"]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("offset_uv", [400, -400, 8000, -20_000])
def test_offsets_are_flagged(offset_uv, missing):
    signal = _example_signal()
    signal[:, [1, 7]] += np.int16(offset_uv)
    if missing:
        signal[700:, :] = MISSING
        signal[50:200, 7] = MISSING
    expected = ["missing"] * missing + ["padded"] * missing + ["offset:II", "offset:V2"]
    assert checks.find_flags(signal, 100) == expected
    assert checks.find_flags(_example_signal() + np.int16(200), 100) == []


def test_an_offset_is_no_clipping():
    signal = _example_signal() + np.int16(3000)
    signal[:, 6] = np.where(np.arange(1000) % 100 < 8, 3900, 3000)  # clean beats and a baseline
    signal[::3, 6] += 5
    offsets = [f"offset:{lead}" for lead in LEADS]
    assert checks.find_flags(signal, 100) == offsets
    for beat in range(100, 900, 100):
        signal[beat : beat + 4, 7] = 4800
    assert checks.find_flags(signal, 100) == ["clipped:V2", *offsets]


def test_padding_and_gaps_are_flagged_and_are_no_signal():
    signal = _example_signal()
    signal[700:] = MISSING
    assert checks.find_flags(signal, 100) == ["padded"]
    signal[300:400] = MISSING
    assert checks.find_flags(signal, 100) == ["missing", "gap", "padded"]
    signal[:, 4] = MISSING
    assert checks.find_flags(signal, 100) == ["missing", "flat:aVL", "gap", "padded"]
    gap_in_one_lead = _example_signal()
    gap_in_one_lead[300:400, 8] = MISSING
    assert checks.find_flags(gap_in_one_lead, 100) == ["missing"]
    assert checks.find_flags(np.full((100, 12), MISSING, np.int16), 100) == ["missing"]


def test_absent_leads_are_not_flagged():
    signal = _example_signal()
    signal[:, 1:] = MISSING
    assert checks.find_flags(signal, 100, ("I",)) == []
    assert checks.find_flags(signal, 100, ()) == []
    signal[800:, 0] = MISSING
    assert checks.find_flags(signal, 100, ("I",)) == ["padded"]
    signal[200:300, 0] = MISSING
    assert checks.find_flags(signal, 100, ("I",)) == ["missing", "gap", "padded"]
    flags = checks.find_flags(signal, 100, ("I", "V1"))
    assert flags == ["missing", "flat:V1", "gap", "padded"]
    signal[:, 0] = 5
    assert checks.find_flags(signal, 100, ("I",)) == ["flat:I"]


def test_laws_are_checked_only_where_the_leads_are():
    exchanged = _example_signal()[:, [1, 0, *range(2, 12)]]
    exchanged[:, 0] = MISSING
    assert checks.find_flags(exchanged, 100, LEADS[1:]) == []
    exchanged = _example_signal()[:, [0, 1, 2, 3, 5, 4, *range(6, 12)]]
    exchanged[:, 5:] = MISSING
    assert checks.find_flags(exchanged, 100, LEADS[:5]) == ["goldberger:aVL"]


def _heart(rate_bpm: float, rate_hz: float, seconds: float = 10, noise_uv: float = 20):
    """Returns QRS complexes and broad T waves of another size in each lead, with some noise."""
    rng = np.random.default_rng(int(rate_bpm))
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    beat_s = np.arange(0.2, seconds, 60 / rate_bpm)
    since_s = time_s[:, None] - beat_s
    beats = np.exp(-((since_s / 0.02) ** 2)) + 0.3 * np.exp(-(((since_s - 0.25) / 0.06) ** 2))
    sizes_uv = rng.uniform(300, 1500, 12) * rng.choice([-1, 1], 12)
    noise = rng.normal(0, noise_uv, (len(time_s), 12))
    hum = 100 * np.sin(2 * np.pi * 50 * time_s)[:, None]
    return (beats.sum(axis=1)[:, None] * sizes_uv + noise + hum).astype(np.int16)


@pytest.mark.parametrize("rate_hz", [100, 128, 250, 500, 1000])
@pytest.mark.parametrize("rate_bpm", [32, 45, 70, 110, 150, 200])
def test_the_heart_rate_is_that_of_the_beats(rate_bpm, rate_hz):
    signal = _heart(rate_bpm, rate_hz)
    assert checks.heart_rate_bpm(signal, rate_hz) == pytest.approx(rate_bpm, rel=0.03)
    # A rate stated as half or double of what it is gives half or double the heart rate.
    if rate_bpm == 70:
        for factor in (0.5, 2):
            stated = checks.heart_rate_bpm(signal, rate_hz * factor)
            assert stated == pytest.approx(rate_bpm * factor, rel=0.05)


def test_the_heart_rate_does_not_need_all_leads_or_samples():
    signal = _heart(75, 500)
    signal[:, 6] += 8000
    signal[2000:2600] = MISSING
    signal[4200:] = MISSING
    assert checks.heart_rate_bpm(signal, 500) == pytest.approx(75, rel=0.03)
    signal[:, 1:] = MISSING
    assert checks.heart_rate_bpm(signal, 500) == pytest.approx(75, rel=0.03)


@pytest.mark.parametrize("samples", [0, 1, 3, 150, 210])
def test_too_few_beats_have_no_heart_rate(samples):
    assert checks.heart_rate_bpm(_heart(60, 100)[:samples], 100) is None
    assert checks.heart_rate_bpm(np.zeros((samples, 12), np.int16), 100) is None
    assert checks.heart_rate_bpm(np.full((1000, 12), MISSING, np.int16), 100) is None


def test_a_recording_without_an_ecg_is_rejected():
    signal = np.random.default_rng(0).integers(-20, 20, (500, 12)).astype(np.int16)
    with pytest.raises(
        RecordingError, match="a: no lead covers more than 39 uV; check gain"
    ) as error:
        checks.require_ecg(signal, "a")
    assert error.value.reason == "amplitude"
    signal[3, 7] = 40
    signal[4, 7] = -40
    checks.require_ecg(signal, "a")
    signal[:] = MISSING
    with pytest.raises(RecordingError, match="all samples are missing"):
        checks.require_ecg(signal, "a")


def test_a_reason_that_is_not_in_the_table_is_a_programming_error():
    with pytest.raises(ValueError, match="reason 'odd' is not in quality.REASONS") as error:
        raise RecordingError("odd", "a: is odd; leave it out")
    assert not isinstance(error.value, RecordingError)


def _constants(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    values = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {value for value in values if isinstance(value, str)}


def _raised_reasons(path: Path) -> set[str]:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    raised = [
        call for call in calls if ast.unparse(call.func).endswith(("RecordingError", "Refused"))
    ]
    return {call.args[0].value for call in raised if isinstance(call.args[0], ast.Constant)}


def test_the_table_has_all_reasons_that_are_raised_and_no_others():
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "quality.py"]
    raised = set().union(*map(_raised_reasons, files))
    assert len(raised) > 10 and raised <= set(quality.REASONS)
    assert set(quality.REASONS) <= set().union(*map(_constants, files))


def test_the_readme_has_the_table_of_reasons_and_flags():
    text = quality.README.read_text(encoding="utf-8")
    assert text == quality.update_readme(text), f"run `{quality.COMMAND}` to update the README"
    for word in (*quality.REASONS, *quality.FLAGS):
        assert f"| `{word}` |" in text
