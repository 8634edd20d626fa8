"""Quality flags and rejection reasons: the checks of samples, and the table that explains them."""

import ast
from pathlib import Path

import numpy as np
import pytest

import tfds_builders
from ecgjax.signals import MISSING
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
    assert checks.find_flags(right + offset, 100) == []  # an offset does not change the lead
    exchanged = right[:, [0, 1, 2, 3, 5, 4, *range(6, 12)]]  # aVF, aVL as in MIMIC-IV-ECG
    assert checks.find_flags(exchanged, 100) == ["goldberger:aVL", "goldberger:aVF"]
    assert "einthoven:III" in checks.find_flags(right[:, [1, 0, *range(2, 12)]], 100)
    gap = exchanged.copy()
    gap[:, 5] = MISSING
    assert checks.find_flags(gap, 100) == ["missing", "flat:aVF", "goldberger:aVL"]


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
