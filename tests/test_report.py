"""Report of a conversion: the terminal, report.json and report.html."""

import dataclasses
import html
import json
import re
import shlex
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tyro

from ecgjax.evaluate import tasks
from ecgjax.signals import LEADS, MISSING
from tfds_builders.conversion import (
    data_set_checks,
    ecg_paper,
    headline,
    measurements,
    report,
    report_page,
    sample,
    summary,
    table,
    thumbnails,
)
from tfds_builders.conversion.plan import Kept, Rejection, Shard
from tfds_builders.conversion.sample import Accepted
from tfds_builders.recording import checks, quality, statements
from tfds_builders.recording.recording import Recording

RATE_HZ = 100
AXIS = np.array([[0.7, 1.0], [0.2, 0.3], [-0.1, 0.4]])
"""Contributions of three deflections of a beat to the leads I and II, in mV."""
TABLE = {
    "file": "recordings.csv",
    "encoding": "cp1252",
    "delimiter": ";",
    "columns_used": {"file": "file", "patient_id": "patient"},
    "columns_unused": ["ward"],
    "rows_without_recording": 3,
    "recordings_without_row": 2,
    "warnings": ["ids 007 and 7 differ only by zeros: are they one patient"],
}


def _ecg(seed: int, *, beats_per_minute: float = 70, samples: int = 1000) -> np.ndarray:
    """Simulates int16 [samples, 12] in uV: a QRS complex, a T and a P wave, some noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(samples) / RATE_HZ
    phase = (time_s * beats_per_minute / 60 + rng.random()) % 1
    waves = [(0.4, 0.012), (0.7, 0.05), (0.2, 0.03)]
    shapes = np.stack([np.exp(-0.5 * ((phase - at) / width) ** 2) for at, width in waves], axis=1)
    one, two = 1000 * (shapes @ AXIS).T + rng.normal(0, 5, (2, samples))
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    chest = [shapes @ [height, 0.3, 0.1] * 1000 for height in (-0.8, -0.6, 0.5, 1.2, 1.1, 0.9)]
    return np.rint(np.stack([*limbs, *chest], axis=1)).astype(np.int16)


def _accepted(signals, rate_hz=RATE_HZ, **fields) -> list[Accepted]:
    rows = []
    for number, signal in enumerate(signals):
        metadata = {"record_id": f"r{number}", "source_patient_id": f"p{number}"}
        metadata |= {"split": "train", "location": 0, "labels": ("NORM",), "age": 60.0} | fields
        flags = checks.find_flags(signal, rate_hz)
        small = thumbnails.shrink(signal) if flags else None
        rows.append(Accepted(Kept(Recording(**metadata), flags, str(number), 1000, small), signal))
    return rows


def _summarise(accepted, rejections=(), rate_hz=RATE_HZ, **about) -> dict:
    facts = {"dataset": "toy/tiny:2.0.0", "rate_hz": rate_hz, "samples": 1000, "limit": None}
    facts |= {"leads": list(LEADS), "allow_missing_leads": False, "pad_from_s": None}
    facts |= {"table": None, "own_files": False, "notes": {}} | about
    records = table.make([row for row, _ in accepted], patient_key=b"key", about=facts)
    return summary.summarise(facts, records, [_shard(accepted, rejections)], accepted)


def _shard(accepted, rejections) -> Shard:
    return Shard(Path("x"), "train", [row for row, _ in accepted], list(rejections))


def _warnings(signals, rate_hz=RATE_HZ, **about) -> str:
    return "\n".join(_summarise(_accepted(signals, rate_hz), rate_hz=rate_hz, **about)["warnings"])


NORMAL = [_ecg(seed, beats_per_minute=60 + seed) for seed in range(20)]


def test_a_normal_data_set_has_no_warning():
    assert _warnings(NORMAL) == ""


def _exchange(one: str, other: str):
    order = [{one: other, other: one}.get(lead, lead) for lead in LEADS]
    return [signal[:, [LEADS.index(lead) for lead in order]] for signal in NORMAL]


def _negate(*names: str):
    signs = np.array([-1 if lead in names else 1 for lead in LEADS], np.int16)
    return [signal * signs for signal in NORMAL]


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (_exchange("I", "II"), r"20 of 20 recordings \(100%\).*to exchange I and II would repair"),
        (_exchange("aVR", "aVL"), "to exchange aVR and aVL would repair"),
        (_negate("aVR"), "to turn aVR upside down would repair"),
        (_negate(*LEADS), "leads I, II, V5, V6 point downwards in most recordings: its sign"),
        ([signal * 5 for signal in NORMAL], "a lead covers .* mV in the median.* the gain"),
        ([signal // 8 for signal in NORMAL], "a lead covers .* mV in the median.* the gain"),
        ([signal + 9000 for signal in NORMAL], r"20 of 20 .*baseline far from zero: the amplifier"),
        ([np.where(np.arange(12) == 7, 0, s).astype(np.int16) for s in NORMAL], "have a flat lead"),
        (
            [s.clip(-400, 600) for s in NORMAL[:1]] * 9 + NORMAL[:9],
            "have a lead with peaks cut off",
        ),
    ],
)
def test_an_error_of_the_whole_data_set_is_a_warning(signals, message):
    assert re.search(message, _warnings(signals))


def test_a_few_flags_are_no_warning():
    assert _warnings([*_exchange("I", "II")[:1], *NORMAL[1:]]) == ""


@pytest.mark.parametrize(
    ("count", "beats_per_minute", "error"),
    [
        (20, 35, "half"),
        (20, 140, "double"),
        (4, 35, "half"),
        (4, 44, ""),
        (2, 35, ""),
        (20, 54, ""),
    ],
)
def test_an_implausible_heart_rate_is_a_warning_with_the_rate_as_its_cause(
    count, beats_per_minute, error
):
    """A rate stated as half of what it is makes hearts slow."""
    signals = [_ecg(seed, beats_per_minute=beats_per_minute) for seed in range(count)]
    message = f"the stated sampling rate is {error} the true one" if error else "^$"
    assert re.search(message, _warnings(signals))


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        (["x"] * 20 + [f"p{n}" for n in range(30)], "one patient has 20 of 50 recordings"),
        (["x"] * 10, "one patient has 10 of 10 recordings"),
        (["x"] * 19 + [f"p{n}" for n in range(30)], ""),
        ([f"p{n // 10}" for n in range(30)], ""),
        (["042", "42", "7"], "2 of 3 patients have identifiers that differ from another one only"),
    ],
)
def test_unlikely_identifiers_of_patients_are_a_warning(patients, message):
    rows = _accepted(NORMAL[:1] * len(patients))
    kept = [
        dataclasses.replace(
            row, recording=dataclasses.replace(row.recording, source_patient_id=patient)
        )
        for (row, _), patient in zip(rows, patients, strict=True)
    ]
    warnings = _summarise([Accepted(row, NORMAL[0]) for row in kept])["warnings"]
    assert [warning[: len(message)] for warning in warnings] == [message] * bool(message)


def test_windows_of_one_recording_are_one_recording_of_the_patient():
    rows = _accepted(NORMAL[:1] * 40)
    kept = [
        dataclasses.replace(
            row,
            recording=dataclasses.replace(
                row.recording, record_id=f"r{n // 20}-w{n % 20 + 1}", source_patient_id=str(n // 20)
            ),
        )
        for n, (row, _) in enumerate(rows)
    ]
    summed = _summarise([Accepted(row, NORMAL[0]) for row in kept])
    assert summed["warnings"] == [] and summed["recordings_per_patient"]["maximum"] == 20


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), "no recording has a label"),
        (("Sinus", "427393009"), "no label is an SCP-ECG"),
        (("AFIB", "x"), ""),
    ],
)
def test_labels_that_no_task_can_use_are_a_warning(labels, message):
    warnings = _summarise(_accepted(NORMAL[:3], labels=labels))["warnings"]
    assert [message] == [warning[: len(message)] for warning in warnings] or not (
        message or warnings
    )


def test_every_flag_group_names_flags_and_every_flag_can_be_explained():
    for flag in quality.FLAGS:
        groups = dict.fromkeys(data_set_checks.groups([f"{flag}:I"]), 20)
        facts = {"written": 20, "flag_groups": groups, "pad_from_s": None}
        found = list(data_set_checks._common_flags(facts | {"measured": {"repair": None}}))
        assert len(found) == (flag not in data_set_checks.EXPECTED), flag
    named = {flag for common in data_set_checks.COMMON_FLAGS.values() for flag in common.flags}
    assert named <= quality.FLAGS.keys()


def test_the_terminal_accounts_for_recordings_patients_and_the_table():
    rejections = [Rejection("r9", "test", "units", "Jane.dat: in mmHg")] * 2
    accepted = _accepted([*_exchange("I", "II")[:1], *NORMAL[1:4]])
    about = {"table": TABLE, "own_files": True, "notes": {"channels without a unit": 1200}}
    summed = _summarise(accepted, rejections, **about)
    lines = headline.headline(summed, Path("/keys/key"))
    text = "\n".join(lines)
    assert lines[0] == "6 found = 4 written + 2 rejected"
    assert lines[1].startswith("rejected  2 because of units: The samples have no gain")
    assert lines[2].strip() == "file and detail of each one: /keys/key.toy.csv"
    assert "patients  4; recordings per patient: 1 on average, 1 at most" in text
    assert "signal    12 leads, 10 s at 100 Hz" in text
    assert (
        "table     recordings.csv (cp1252, delimiter ';'): used file, patient_id as patient" in text
    )
    assert "not used: ward" in text
    assert "note      1,200 x channels without a unit" in text
    assert "3 rows without a recording, 2 recordings without one" in text
    assert "recordings with einthoven 1, goldberger 1" in text
    assert "WARNING   ids 007 and 7 differ" in text
    assert "WARNING   no recording of split test was written" in text
    assert "Jane" not in text
    assert all(len(line.splitlines()) == 1 for line in lines)


def test_the_terminal_names_leads_padding_and_corrections():
    rows = [
        Accepted(dataclasses.replace(row, quality=["corrected", "padded"]), signal)
        for row, signal in _accepted(NORMAL[:3])
    ]
    summed = _summarise(rows, leads=["I", "II"], pad_from_s=7.0, allow_missing_leads=True)
    text = "\n".join(headline.headline(summed))
    assert "lead I, II, of which a recording may lack some, 10 s at 100 Hz" in text
    assert "recordings from 7 s on are filled up" in text
    assert "known errors of the publisher corrected in 3 recordings" in text
    assert "WARNING" not in text  # padding was asked for, corrections are no fault


@pytest.mark.parametrize(
    ("about", "options"),
    [
        ({}, []),
        ({"written": 300, "samples": 800}, ["--preprocessing.seconds", "8"]),
        ({"written": 100}, ["--batch-size", "64"]),
        ({"patients": 1}, ["--objective", "simclr"]),
        ({"leads": ["I", "II"]}, ["--preprocessing.leads", "I", "II"]),
    ],
)
def test_the_next_command_fits_the_data(about, options, monkeypatch):
    train = {"written": about.get("written", 5000), "patients": about.get("patients", 900)}
    facts = {"samples": 1000, "rate_hz": 100, "leads": list(LEADS), "splits": {"train": train}}
    words = shlex.split(headline.next_command(facts | about, "data/toy"))
    assert words == ["python", "-m", "ecgjax.launch.pretrain", "--data", "data/toy", *options]
    from ecgjax.launch import command, pretrain

    monkeypatch.setattr("sys.argv", words[2:])
    command.parse(pretrain.Arguments, default=pretrain.Arguments(**pretrain._defaults()))
    assert tyro  # the options exist


def test_no_command_is_suggested_without_training_recordings():
    facts = {"splits": {"test": {"written": 9, "patients": 9}}}
    assert "convert again with more recordings in split train" in headline.next_command(facts, "x")


def _page(tmp_path, rejections=(), **about) -> str:
    accepted = _accepted([*NORMAL, _exchange("I", "II")[0]], labels=("AFIB", "x:1"), sex="female")
    summed = _summarise(accepted, rejections, **about)
    report.write(tmp_path, summed, [_shard(accepted, rejections)], accepted)
    assert report.read(tmp_path) == json.loads((tmp_path / report.JSON).read_text())
    return (tmp_path / report.HTML).read_text()


def test_a_report_of_format_1_is_read_with_a_warning(tmp_path):
    old = {"dataset": "toy/tiny:1.0.0", "rate_hz": 100, "samples": 1000, "leads": list(LEADS)}
    old |= {"limit": None, "found": 3, "written": 3, "rejected": 0, "patients": 3, "splits": {}}
    old |= {"labels": {}, "quality": {}, "reasons": {}, "rejections": []}
    (tmp_path / report.JSON).write_text(json.dumps(old))
    lines = headline.headline(report.read(tmp_path))
    assert lines[0] == "3 found = 3 written + 0 rejected"
    assert "the report is of an older version" in lines[-1]


def test_the_page_draws_accepted_recordings_and_explains_codes(tmp_path):
    page = html.unescape(_page(tmp_path))
    assert page.count('class="paper"') == report_page.PAPERS
    assert "atrial fibrillation" in page and "the source's own code" in page
    assert "Age in years" in page and "Heart rate in bpm" in page and "Sex, by recording" in page
    assert 'name="viewport" content="width=device-width' in page and "overflow-x: auto" in page
    for flag in ("einthoven", "goldberger"):
        assert all(part in page.replace("&#x27;", "'") for part in quality.FLAGS[flag])
    assert "src=" not in page and "http" not in page  # it needs no other file


def test_the_page_has_each_reason_in_one_place_and_escapes_details(tmp_path):
    small = np.zeros((240, 12), np.int16)
    rejections = [Rejection("<b>", "train", "units", "<script>alert(1)</script>; & more", small)]
    page = _page(tmp_path, rejections)
    section = page[page.index("<h3>units: 1</h3>") : page.index("<h2>Quality flags")]
    meaning, remedy = quality.REASONS["units"]
    assert meaning in section and remedy in section and "<svg" in section and "&lt;b&gt;" in section
    assert "&lt;script&gt;" in section and "<script>" not in page


def test_the_page_of_own_files_says_where_the_details_are(tmp_path):
    rejections = [Rejection("00ff", "train", "units", "redacted")]
    page = _page(tmp_path, rejections, own_files=True)
    assert "KEY.toy.csv beside the key" in page and "redacted" not in page


@pytest.mark.parametrize("rate_hz", [100, 500, 976.5625])
def test_ecg_paper_has_25_mm_per_s_and_10_mm_per_mv(rate_hz):
    signal = np.zeros((round(10 * rate_hz), 12), np.int16)
    start = round(5 * rate_hz)
    signal[start : start + round(rate_hz), 6:] = 1000  # 1 mV for 1 s in the chest leads
    root = xml.etree.ElementTree.fromstring(ecg_paper.draw(signal, rate_hz))
    paths = [path.get("d") for path in root.iter("path") if path.get("class") is None]
    assert len(paths) == 13
    numbers = [list(map(int, re.findall(r"-?\d+", path))) for path in paths]
    x, y = (np.cumsum(numbers[6][part::2]) / ecg_paper.UNITS for part in (0, 1))
    high = x[y < y.max() - 5]
    assert y.max() - y.min() == 10
    assert high.max() - high.min() == pytest.approx(25, abs=0.3)
    assert x.min() == pytest.approx(ecg_paper.MARGIN_MM + 5 * 25, abs=0.3)


def test_ecg_paper_shows_absent_leads_gaps_and_short_recordings():
    signal = NORMAL[0].copy()
    signal[:, 3] = MISSING
    signal[300:320] = MISSING
    drawing = ecg_paper.draw(signal, RATE_HZ)
    xml.etree.ElementTree.fromstring(drawing)
    assert "aVR: no samples" in drawing and "-32768" not in drawing
    only_one = np.full_like(signal, MISSING)
    only_one[:, 0] = NORMAL[0][:, 0]
    assert ecg_paper.draw(only_one, RATE_HZ).count("<text") == 1
    for samples in (1, 2, 100):
        xml.etree.ElementTree.fromstring(ecg_paper.draw(NORMAL[0][:samples], RATE_HZ))
    xml.etree.ElementTree.fromstring(ecg_paper.draw(np.full((100, 12), MISSING, np.int16), 100))


def test_every_statement_of_the_tasks_has_a_meaning():
    assert list(statements.MEANINGS) == [statement.code for statement in tasks.STATEMENTS]
    assert "SNOMED" in statements.meaning("snomed:1") and "AHA" in statements.meaning("aha:1")


def test_the_sample_is_random_and_seeded_and_its_first_are_as_random():
    assert sample.choose(3, 12) == sample.choose(3, 200) and sorted(sample.choose(3, 9)) == [
        0,
        1,
        2,
    ]
    assert sample.choose(5000, 200)[:12] != list(range(12))
    assert len(set(sample.choose(5000, 200))) == 200


def test_measurements_of_recordings_without_samples_are_absent():
    silent = np.full((1000, 12), MISSING, np.int16)
    measured = measurements.measure(_accepted([silent]), RATE_HZ)
    assert measured["lead_range_mv"] is None and measured["heart_rates_bpm"] == []
    assert measured["upright"] == {} and json.dumps(measured)
    assert measured["einthoven"] == {"recordings": 0, "exact": 0, "rounding": 0}


def test_recordings_that_obey_einthovens_law_are_counted():
    rng = np.random.default_rng(0)
    exact = rng.integers(-500, 500, (1000, 12)).astype(np.int16)
    exact[:, 2] = exact[:, 1] - exact[:, 0]
    rounded = exact.copy()
    rounded[::3, 2] += 2
    exchanged = exact[:, [2, 1, 0, *range(3, 12)]]  # II = I + III holds, too
    broken = exact[:, [1, 0, 2, *range(3, 12)]]
    exact[100:110] = MISSING
    signals = [exact, rounded, exchanged, broken]
    measured = measurements.measure(_accepted(signals), RATE_HZ)
    assert measured["einthoven"] == {"recordings": 4, "exact": 2, "rounding": 3}


def test_ages_and_sexes_are_counted_with_unknown_ones():
    ages = pa.array([0.0, 9.9, 90.0, None, 45.0])
    assert summary._ages(ages.to_pylist()) | {} == {
        **{f"{start}-{start + 9}": 0 for start in range(10, 90, 10)},
        "0-9": 2,
        "40-49": 1,
        "90+": 1,
        "unknown": 1,
    }


def test_thumbnails_keep_spikes_and_gaps():
    small = thumbnails.shrink(
        np.where(np.arange(5000)[:, None] == 777, 5000, np.zeros((5000, 12))).astype(np.int16)
    )
    assert small.shape == (thumbnails.POINTS, 12) and small.max() == 5000
    small[50:60, 3] = MISSING
    drawing = thumbnails.svg(small)
    xml.etree.ElementTree.fromstring(drawing)
    assert drawing.count("<path") == 12 and "nan" not in drawing and len(drawing) < 40_000
