"""Options of `prepare` that change a data set: their limits, the folder's name, and the result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from ecgjax.launch import prepare as command
from ecgjax.signals import LEADS, MISSING, UNMARKED
from tfds_builders.prepare import prepare
from tfds_builders.recording import options
from tfds_builders.recording.recording import RecordingsConfig

CONFIG = RecordingsConfig(name="500hz", rate_hz=500, samples=5000)
SMALL: dict[str, Any] = {"patients": 18, "limit": 2}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "500hz"),
        ({"seconds": None, "leads": (), "lead_names": (), "allow_missing_leads": False}, "500hz"),
        ({"seconds": 10, "leads": LEADS}, "500hz"),
        ({"seconds": 8}, "500hz-8s"),
        ({"seconds": 2.5, "limit": 3}, "500hz-2.5s-limit3"),
        ({"pad_from": 7}, "500hz-pad7s"),
        ({"limit": 50}, "500hz-limit50"),
        ({"allow_missing_leads": True}, "500hz-allow_missing_leads"),
        ({"leads": ["ii", "Lead I"], "pad_from": 7.0, "seconds": 8}, "500hz-8s-pad7s-leads_I_II"),
    ],
)
def test_the_name_of_the_config_lists_what_is_changed(given, name):
    config = options.change(CONFIG, given)
    assert config.name == name
    assert config.samples == 500 * (given.get("seconds") or 10)
    assert config.lead_rule.kept == (("I", "II") if "ii" in given.get("leads", ()) else LEADS)


def test_names_of_leads_become_part_of_the_config():
    config = options.change(CONFIG, {"lead_names": ("EKG A=I", " X = Y=avr")})
    assert config.lead_names == (("EKG A", "I"), ("X = Y", "aVR"))
    other = options.change(CONFIG, {"lead_names": ("EKG A=II", " X = Y=avr")})
    assert config.name.startswith("500hz-names_") and config.name != other.name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seconds": 0.5}, "--seconds 0.5: give .* at least 1 "),
        ({"seconds": float("nan")}, "--seconds nan: "),
        ({"seconds": float("inf")}, "--seconds inf: "),
        ({"seconds": -8}, "--seconds -8: "),
        ({"pad_from": 0}, "--pad-from 0: .* at least 1 and less than the 10 s"),
        ({"pad_from": 10}, "--pad-from 10: "),
        ({"pad_from": 8, "seconds": 8}, "--pad-from 8: .* less than the 8 s"),
        ({"pad_from": float("nan")}, "--pad-from nan: "),
        ({"leads": ("I", "V7")}, "--leads V7: 'V7' is no lead; choose from I, II, "),
        ({"leads": ("-I",)}, "--leads -I: "),
        ({"lead_names": ("EKG A",)}, "--lead-names 'EKG A': give NAME=LEAD"),
        ({"lead_names": ("=I",)}, "--lead-names '=I': give NAME=LEAD"),
        ({"lead_names": ("A=B",)}, "--lead-names 'A=B': 'B' is no lead"),
        ({"lead_names": ("A=I", "A=II")}, "--lead-names: 'A' is I and II; "),
        ({"duration": 8}, "no option 'duration'; choose from .*seconds"),
    ],
)
def test_wrong_options_are_refused_in_one_line(given, message):
    with pytest.raises(InputError, match=message) as error:
        options.change(CONFIG, given)
    assert "\n" not in str(error.value)


def _examples(prepared: Path) -> list[dict[str, np.ndarray]]:
    builder: Any = tfds.builder_from_directory(prepared)
    return [example for split in builder.info.splits for example in builder.as_data_source(split)]


def test_a_data_set_of_two_leads_and_shorter_windows(tmp_path):
    whole = _examples(prepare("synthetic/100hz", tmp_path, **SMALL))
    prepared = prepare("synthetic/100hz", tmp_path, leads=("I", "V2"), seconds=6, **SMALL)
    assert prepared.parent.name == "100hz-6s-leads_I_V2-limit2-patients18"
    examples = _examples(prepared)
    for example, expected in zip(examples, whole, strict=True):
        kept = example["signal"][:, [0, 7]]
        np.testing.assert_array_equal(kept, expected["signal"][:600, [0, 7]])
        assert (np.delete(example["signal"], [0, 7], axis=1) == MISSING).all()
        np.testing.assert_array_equal(example["waves"], expected["waves"][:600])
    rows = pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    flags = {flag.partition(":")[0] for row in rows for flag in row["quality"]}
    assert not flags & {"missing", "flat", "padded", "gap"}


def test_the_rest_of_a_recording_is_filled_up_on_request(tmp_path):
    prepared = prepare("synthetic/100hz", tmp_path, seconds=6, pad_from=3, **SMALL)
    table = pyarrow.parquet.read_table(prepared / "records.parquet")
    assert table["valid_samples"].to_pylist() == [600, 400] * (len(table) // 2)
    assert ["padded" in flags for flags in table["quality"].to_pylist()] == [False, True] * (
        len(table) // 2
    )
    rest = _examples(prepared)[1]
    assert (rest["signal"][400:] == MISSING).all() and (rest["waves"][400:] == UNMARKED).all()


@pytest.mark.parametrize("place", ["", "out", "deep/er"])
def test_output_inside_the_source_is_refused(tmp_path, place, monkeypatch):
    source = tmp_path / "raw"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    for out in (source / place, tmp_path / "link" / place):
        with pytest.raises(InputError, match=r"--out .*: is inside --source .*; give a folder"):
            prepare("wfdb_folder", out, source=source, patient_key=tmp_path / "key")
        words = ["prepare", "--dataset", "wfdb_folder", f"--out={out}", f"--source={source}"]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(InputError, match="is inside --source"):
            command.main()
    assert not list(source.iterdir())


def test_a_source_inside_the_prepared_data_set_is_refused(tmp_path):
    source = tmp_path / "wfdb_folder/100hz/1.0.0"
    source.mkdir(parents=True)
    with pytest.raises(InputError, match=r"--source .*: is a prepared data set below --out; "):
        prepare("wfdb_folder/100hz", tmp_path, source=source, patient_key=tmp_path / "key")


def test_a_short_recording_is_kept_by_the_options_that_its_rejection_names(tmp_path):
    source = tmp_path / "raw"
    source.mkdir()
    time = np.arange(3650)
    beats = (800 * np.sin(np.outer(time, np.linspace(0.05, 0.1, 12)))).round()
    np.save(source / "a.npy", beats[None])
    about = {"rate_hz": 500, "units": "uV", "leads": LEADS, "axes": ["recording", "time", "lead"]}
    (source / "arrays.json").write_text(json.dumps(about))
    given: dict[str, Any] = {"source": source, "patient_key": tmp_path / "key"}
    with pytest.raises(InputError, match="because of length .*--pad-from S.*--seconds S"):
        prepare("arrays/500hz", tmp_path / "out", **given)
    details = (tmp_path / "key.arrays.csv").read_text()
    assert "--pad-from 7.3 " in details and "--seconds 7.3 " in details
    changes: dict[str, Any]
    for changes, valid in [
        ({"pad_from": 7.3}, 3650),
        ({"seconds": 7.3}, 3650),
        ({"seconds": 3}, 1500),
    ]:
        prepared = prepare("arrays/500hz", tmp_path / "out", **given, **changes)
        table = pyarrow.parquet.read_table(prepared / "records.parquet")
        assert set(table["valid_samples"].to_pylist()) == {valid}
        np.testing.assert_array_equal(_examples(prepared)[0]["signal"][:valid], beats[:valid])
