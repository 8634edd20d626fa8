"""The builder of cinc2021, on random records, and on real ones if available."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from helpers import tiny_ptb_xl

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.cinc2021 import snomed
from tfds_builders.prepare import prepare

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def _write(
    record: Path,
    *,
    samples: int = 2500,
    rate_hz: int = 250,
    age="60",
    sex="Male",
    dx="164889003",
    **changes: Any,
) -> np.ndarray:
    comments = [f"Age: {age}", f"Sex: {sex}", f"Dx: {dx}", "Rx: Unknown", "Hx: Mr Doe, born 1950"]
    seed = int.from_bytes(record.name.encode(), "big")  # a duplicate would be rejected
    return tiny_ptb_xl.write_record(
        record, seed=seed, samples=samples, fs=rate_hz, comments=comments, **changes
    )


def _records(prepared: Path) -> dict[str, dict[str, Any]]:
    rows = pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    return {row["record_id"]: row for row in rows}


def test_the_site_is_known_from_the_name_and_the_person_from_comments(tmp_path):
    for name in ("A0001", "E00001", "JS00001", "JS10647", "HR00001", "Q0001", "S0001", "I0001"):
        _write(tmp_path / "raw" / "g1" / name)
    _write(
        tmp_path / "raw" / "E00002",
        age="NaN",
        sex="Unknown",
        dx="164889003, 59118001,164889003,free text",
    )
    _write(tmp_path / "raw" / "other")
    prepared = prepare("cinc2021/100hz", tmp_path / "out", source=tmp_path / "raw")
    rows = _records(prepared)
    sites = {name: row["site"] for name, row in rows.items()}
    assert sites == {
        "A0001": "cpsc_2018",
        "E00001": "georgia",
        "E00002": "georgia",
        "JS00001": "chapman_shaoxing",
        "JS10647": "ningbo",
        "Q0001": "cpsc_2018_extra",
        "S0001": "ptb",
        "I0001": "st_petersburg_incart",
    }
    assert (rows["A0001"]["age"], rows["A0001"]["sex"], rows["A0001"]["labels"]) == (
        60.0,
        "male",
        ["AFIB"],
    )
    assert rows["E00002"]["age"] is None and rows["E00002"]["sex"] is None
    assert rows["E00002"]["labels"] == ["AFIB", "snomed:59118001"]
    assert rows["S0001"]["split"] == rows["I0001"]["split"] == "train"
    for file in prepared.iterdir():
        assert b"Doe" not in file.read_bytes(), file.name
    with_ptb_xl = prepare("cinc2021/100hz_with_ptb_xl", tmp_path / "out", source=tmp_path / "raw")
    assert set(_records(with_ptb_xl)) - set(rows) == {"HR00001"}


def test_windows_have_the_same_patient_and_a_short_record_is_rejected(tmp_path):
    _write(tmp_path / "raw/A0001", samples=8000)
    _write(tmp_path / "raw/A0002", samples=2400)
    _write(tmp_path / "raw/A0003")
    (tmp_path / "raw/A0004.hea").write_text("A0004 12 500\n")
    prepared = prepare("cinc2021/100hz", tmp_path / "out", source=tmp_path / "raw")
    rows = _records(prepared)
    assert set(rows) == {"A0001-w1", "A0001-w2", "A0001-w3", "A0003"}
    windows = [row for name, row in rows.items() if name.startswith("A0001")]
    assert (
        len({row["patient_id"] for row in windows}) == len({row["split"] for row in windows}) == 1
    )
    assert len({row["waveform_hash"] for row in rows.values()}) == 4
    summary = json.loads((prepared / "report.json").read_text())
    reasons = {rejection["record_id"]: rejection["reason"] for rejection in summary["rejections"]}
    assert reasons == {"A0002": "length", "A0004": "header"}


@pytest.mark.parametrize(
    ("name", "gain", "uv_per_lsb"),
    [
        ("E00001", 4880.0, 1.0),
        ("E00002", 1000.0, 1.0),
        ("HR00001", 200.0, 1.0),
        ("S0001", 2_000_000.0, 0.5),
        ("S0002", 2000.0, 0.5),
        ("I0001", 400_000.0, 2.5),
        ("JS00001", 200.0, 5.0),
    ],
)
def test_gains_known_to_be_wrong_are_corrected_and_flagged(tmp_path, name, gain, uv_per_lsb):
    arguments = {"samples": 5000, "rate_hz": 500, "adc_gain": [gain] * 12}
    stored = _write(tmp_path / "raw" / name, **arguments)
    config = "cinc2021/500hz_with_ptb_xl"
    prepared = prepare(config, tmp_path / "out", source=tmp_path / "raw")
    (row,) = _records(prepared).values()
    assert ("corrected" in row["quality"]) == (uv_per_lsb != 1000 / gain)
    (signal,) = Records(prepared).read([0])
    np.testing.assert_allclose(signal, stored * uv_per_lsb, atol=0.51)


def test_a_folder_without_records_of_the_challenge_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(
        InputError, match="cinc2021: give the folder of its files as --source; they are at https://"
    ):
        prepare("cinc2021", tmp_path)
    with pytest.raises(
        InputError, match="absent: no such folder; give the one that holds cinc2021"
    ):
        prepare("cinc2021", tmp_path, source=tmp_path / "absent")
    with pytest.raises(InputError, match="no A0001.hea, JS00001.hea or the like"):
        prepare("cinc2021", tmp_path / "out", source=tmp_path / "raw")


def test_codes_are_translated_to_known_statements_without_repetition():
    from ecgjax.evaluate.tasks import STATEMENTS

    assert set(snomed.SCP.values()) <= {statement.code for statement in STATEMENTS}
    assert snomed.labels("") == () and snomed.labels("427172004,17338001") == ("PVC",)


def _oracle_uv(header: Path, folder: Path) -> np.ndarray:
    """Reads a copy of a record with wfdb, without the date in its header, which wfdb refuses.

    The gains known to be wrong are corrected in the copy.
    """
    shutil.copy(header.with_suffix(".mat"), folder)
    first, rest = header.read_text().split("\n", 1)
    rest = rest.replace(" 4880/", " 1000/").replace(" 2000000/", " 2000/")
    (folder / header.name).write_text(" ".join(first.split()[:4]).replace(".mat", "") + "\n" + rest)
    oracle = tiny_ptb_xl.read_by_wfdb(folder / header.stem, physical=True)
    assert [name.casefold() for name in oracle.sig_name] == [lead.casefold() for lead in LEADS]
    return oracle.p_signal * 1000


def test_real_records_equal_those_of_wfdb(tmp_path):
    if "ECGJAX_SAMPLES" not in os.environ:
        pytest.skip("ECGJAX_SAMPLES does not name a folder with real recordings")
    source = Path(os.environ["ECGJAX_SAMPLES"], "cinc-2021")
    prepared = prepare("cinc2021/500hz_with_ptb_xl", tmp_path, source=source)
    builder: Any = tfds.builder_from_directory(prepared)
    written = {
        example["record_id"].decode(): example["signal"]
        for split in builder.info.splits
        for example in builder.as_data_source(split)
    }
    assert len(list(source.glob("*.hea"))) == 44
    compared = 0
    for header in source.glob("[!S]*.hea"):
        expected = _oracle_uv(header, tmp_path)
        windows = [
            written[name]
            for name in (header.stem, *(f"{header.stem}-w{i}" for i in range(1, 99)))
            if name in written
        ]
        assert len(windows) == len(expected) // 5000
        for index, window in enumerate(windows):
            np.testing.assert_allclose(
                window, expected[5000 * index : 5000 * (index + 1)], atol=0.51
            )
            compared += 1
    assert compared == 43
    ptb = [signal for name, signal in written.items() if name.startswith("S")]  # at 1000 Hz
    assert len(ptb) == 22 and all(300 < np.ptp(signal[:, 1]) < 3000 for signal in ptb)
