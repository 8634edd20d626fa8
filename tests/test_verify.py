"""`prepare --verify`: stored samples against a second reader of the raw files."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_code15
import test_sph
from array_record.python.array_record_module import ArrayRecordWriter
from helpers import edf, muse, tiny_ptb_xl

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING
from tfds_builders.conversion import sample
from tfds_builders.conversion.shards import OPTIONS
from tfds_builders.prepare import prepare
from tfds_builders.second_readers import comparison, vendor_files, wfdb_package
from tfds_builders.second_readers.reading import CannotRead, Reading

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
VERSION = tiny_ptb_xl.wfdb.__version__
SAME_RATE = "they differ by at most 0.0 uV (tolerance 0.5 uV)"


def test_the_command_verifies_a_tiny_ptb_xl(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 2, 9, 10]))
    options = ["--dataset", "ptb_xl", "--source", source, "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "ecgjax.launch.prepare", *options, "--verify", "3"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.returncode == 0, done.stderr
    assert f"verified 3 recordings against wfdb {VERSION}: {SAME_RATE}\n" in done.stdout


def test_a_prepared_data_set_is_verified_without_rejected_records(tmp_path, capsys):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 2, 9, 10]))
    (source / "records100/00000/00002_lr.dat").write_bytes(b"")
    prepare("ptb_xl", tmp_path / "out", source=source)
    prepare("ptb_xl", tmp_path / "out", source=source, verify=100)
    line = f"verified 3 recordings against wfdb {VERSION}: {SAME_RATE}\n"
    assert capsys.readouterr().out == line


def test_gains_missing_samples_and_calculated_leads_are_verified(tmp_path, capsys):
    """A header like those of CinC 2021, with a date that wfdb rejects, and windows of a record."""
    names = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "resp"]
    settings = {"sig_name": names, "fmt": ["212"] * 9, "units": ["mV", "uV", "mV"] * 3}
    settings |= {"adc_gain": [200.0, 0.3, 333.3] * 3, "baseline": [0, 7, -12] * 3}
    stored = np.random.default_rng(0).integers(-900, 900, (12_000, 9))
    stored[100:200, 0] = -2048  # missing
    record = tmp_path / "raw/a"
    tiny_ptb_xl.write_record(record, d_signal=stored, fs=500, **settings)
    header = tmp_path / "raw/a.hea"
    lines = header.read_text().replace("/uV", "/µV").splitlines()
    lines[0] = f"{lines[0].replace('a ', 'a.mat ', 1)} 05-Feb-2020 11:39:16"
    lines[2] = lines[2].replace(" II", " Ⅱ")
    header.write_text("\n".join(["# a comment", *lines]))
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepare("wfdb_folder/500hz", tmp_path / "out", verify=1, **settings)
    assert "verified 1 recording " in capsys.readouterr().out
    prepare("wfdb_folder/100hz", tmp_path / "out", verify=2, **settings)
    assert "uV (tolerance 2.0 uV)" in capsys.readouterr().out


def _change_sample(prepared: Path, lead: int, value: int) -> None:
    """Changes sample 17 of a lead in all recordings of the shard of training data."""
    (shard,) = prepared.glob("*train*record-*")
    examples = sample.read(shard, range(2))
    changed = []
    for number, example in enumerate(examples, start=1):
        stored = np.random.default_rng(number).integers(-1500, 1500, (1000, 12)).astype("<i2")
        start = example.index(stored.tobytes())
        wrong = stored.copy()
        wrong[17, lead] = value
        end = start + stored.nbytes
        changed.append(example[:start] + wrong.tobytes() + example[end:])
    with contextlib.closing(ArrayRecordWriter(str(shard), OPTIONS)) as writer:
        for example in changed:
            writer.write(example)


@pytest.mark.parametrize(
    ("lead", "value", "message"),
    [(7, 1501, "lead V2, sample 17: 1.501 mV, not "), (0, MISSING, "lead I, sample 17: nan, not")],
)
def test_a_wrong_sample_of_the_shards_is_reported(tmp_path, lead, value, message):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 2, 9, 10]))
    _change_sample(prepare("ptb_xl", tmp_path / "out", source=source), lead, value)
    with pytest.raises(InputError, match=f"record 0000[12]: {message}") as caught:
        prepare("ptb_xl", tmp_path / "out", source=source, verify=4)
    assert f"wfdb {VERSION} disagrees" in str(caught.value) and "\n" not in str(caught.value)


def _own_array(folder: Path, axes=("recording", "time", "lead"), rate_hz=500) -> np.ndarray:
    folder.mkdir()
    numbers = np.random.default_rng(0).integers(-900, 900, (3, 10 * rate_hz, 12))
    order = [("recording", "time", "lead").index(axis) for axis in axes]
    np.save(folder / "Doe_Jane.npy", numbers.transpose(order))
    about = {"rate_hz": rate_hz, "units": "uV", "leads": LEADS, "axes": axes, "scale": 0.25}
    (folder / "arrays.json").write_text(json.dumps(about))
    return numbers


@pytest.mark.parametrize(
    ("axes", "rate_hz", "tolerance"),
    [
        (("recording", "time", "lead"), 500, "0.5"),
        (("lead", "time", "recording"), 500, "0.5"),
        (("recording", "lead", "time"), 400, "2.0"),
    ],
)
def test_arrays_are_verified_against_a_plain_call_of_numpy(
    tmp_path, capsys, axes, rate_hz, tolerance
):
    _own_array(tmp_path / "raw", axes, rate_hz)
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepare("arrays/500hz", tmp_path / "out", verify=3, **settings)
    line = capsys.readouterr().out
    assert line.startswith(f"verified 3 recordings against numpy {np.__version__}: ")
    assert line.endswith(f"(tolerance {tolerance} uV)\n")


def test_text_files_are_verified_with_decimal_points_and_commas(tmp_path, capsys):
    numbers = _own_array(tmp_path / "raw", ("recording", "time", "lead"))
    about = {"rate_hz": 500, "units": "mV", "leads": LEADS, "axes": ["time", "lead"]}
    (tmp_path / "raw/arrays.json").write_text(json.dumps(about))
    (tmp_path / "raw/Doe_Jane.npy").unlink()
    forms = [(";", ",", LEADS), (",", ".", LEADS), (";", ",", ["time", *(f"X {x}" for x in LEADS)])]
    for index, (delimiter, decimal, header) in enumerate(forms):
        cells = numbers[index] / 1000
        if len(header) > 12:  # names that only the user knows, and times: pandas cannot tell
            cells = np.column_stack([np.arange(5000) / 500, cells])
        rows = [
            delimiter.join(f"{cell:.3f}".replace(".", decimal) for cell in row) for row in cells
        ]
        text = "\n".join([delimiter.join(header), *rows])
        (tmp_path / f"raw/{index}.csv").write_text(text)
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    names = [f"X {lead}={lead}" for lead in LEADS]
    prepare("arrays/500hz", tmp_path / "out", verify=3, lead_names=names, **settings)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("verified 2 recordings against pandas ") and len(lines) == 2
    assert lines[1].startswith("not verified: 1 recordings ")


@pytest.mark.parametrize("config", ["100hz", "400hz", "500hz"])
def test_exams_of_code_15_are_verified_against_h5py(tmp_path, capsys, config):
    h5py = pytest.importorskip("h5py")
    exams = {1: test_code15._exam(4096), 2: test_code15._exam(4000, 1)}
    source = test_code15._write(tmp_path / "raw", exams)
    prepare(f"code15/{config}", tmp_path / "out", source=source, verify=2)
    assert f"verified 2 recordings against h5py {h5py.__version__}" in capsys.readouterr().out


def test_records_of_sph_are_verified_against_h5py(tmp_path, capsys):
    rows = [test_sph.ROW, test_sph.ROW | {"ECG_ID": "A00002", "N": "11000"}]
    source = test_sph._write(tmp_path / "raw", rows)
    prepare("sph/500hz", tmp_path / "out", source=source, verify=3)
    assert "verified 3 recordings against h5py" in capsys.readouterr().out


def test_own_files_are_not_named_where_the_readers_disagree(tmp_path):
    numbers = _own_array(tmp_path / "raw")
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepare("arrays/500hz", tmp_path / "out", **settings)
    numbers[:, 99, 3] += 400
    np.save(tmp_path / "raw/Doe_Jane.npy", numbers)
    with pytest.raises(InputError, match="lead aVR, sample 99") as caught:
        prepare("arrays/500hz", tmp_path / "out", verify=3, **settings)
    assert "Doe" not in str(caught.value) and "key.arrays.csv" in str(caught.value)


def test_vendor_files_are_verified_and_recordings_that_no_reader_reads_are_counted(
    tmp_path, capsys
):
    ecgdatakit = pytest.importorskip("ecgdatakit")
    muse.write(tmp_path / "raw/a.xml", seed=1)
    muse.write(tmp_path / "raw/b.xml", seed=2, kinds=("Rhythm", "Rhythm"))
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepare("vendor_folder/500hz", tmp_path / "out", verify=3, **settings)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"verified 2 recordings against ecgdatakit {ecgdatakit.__version__}")
    assert lines[1:] == ["not verified: 1 recordings that ecgdatakit cannot read"]
    assert not list(tmp_path.glob("key.*.unfinished"))


@pytest.mark.parametrize("kind", ["EDF+D", "BDF+D"])
def test_a_reader_that_closes_gaps_is_not_asked(tmp_path, kind):
    bits = {"EDF+D": 16, "BDF+D": 24}[kind]
    content = edf.Edf(kind=kind, bits=bits).content(np.zeros((1, 12, 500), int))
    (tmp_path / "a.edf").write_bytes(content)
    with pytest.raises(CannotRead, match="closes the gaps"):
        vendor_files.read(tmp_path / "a.edf", 0)


def test_all_groups_of_a_dicom_file_are_read_by_pydicom(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset

    def code(meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue = meaning if len(meaning) < 3 else "1"
        item.CodeMeaning = meaning
        return item

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.WaveformSequence = []
    stored = np.random.default_rng(0).integers(-900, 900, (20, 3)).astype("<i2")
    for names in (["Lead I (Einthoven)", "Lead II", "Lead V1"], ["Lead II"], ["Lead V2"]):
        group = Dataset()
        group.SamplingFrequency = 500
        group.NumberOfWaveformChannels = len(names)
        group.NumberOfWaveformSamples = len(stored)
        group.WaveformBitsAllocated = 16
        group.WaveformSampleInterpretation = "SS"
        group.ChannelDefinitionSequence = []
        for name in names:
            channel = Dataset()
            channel.ChannelSourceSequence = [code(name)]
            channel.ChannelSensitivity = 2.5
            channel.ChannelSensitivityUnitsSequence = [code("uV")]
            channel.ChannelBaseline = 0
            channel.ChannelSensitivityCorrectionFactor = 1
            channel.WaveformBitsStored = 16
            group.ChannelDefinitionSequence.append(channel)
        group.add_new("WaveformData", "OW", stored[:, : len(names)].tobytes())
        dataset.WaveformSequence.append(group)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    first, strip, last, joined = vendor_files.read(tmp_path / "a.dcm", 2)
    assert first.names == ("Lead I", "Lead II", "Lead V1") and first.rate_hz == 500
    np.testing.assert_allclose(first.value_uv, stored * 2.5)
    assert (strip.names, last.names) == (("Lead II",), ("Lead V2",))
    assert joined.names == (*first.names, "Lead V2")


def _reading(value_uv: np.ndarray, rate_hz: float = 100) -> Reading:
    return Reading("x 1", LEADS, value_uv, rate_hz)


def _noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 900, (samples, 12)).astype(np.int16)


def test_padding_and_gaps_agree_wherever_the_reader_has_them():
    signal = _noise(500)
    padded = np.full((1000, 12), MISSING, np.int16)
    padded[:500] = signal
    zeros = np.zeros((250, 12))
    readings = [signal, np.concatenate([signal, zeros]), np.concatenate([zeros, signal, zeros])]
    for value_uv in readings:
        assert comparison.compare(padded, _reading(value_uv * 1.0), 0, 100, {})[0] == 0
    gap = np.insert(signal, [200] * 50, MISSING, axis=0)
    assert comparison.compare(gap, _reading(signal * 1.0), 0, 100, {})[0] == 0
    wrong = signal.copy()
    wrong[300, 2] += 3
    assert comparison.compare(gap, _reading(wrong * 1.0), 0, 100, {})[0] == 3


def test_gaps_dropouts_and_zeros_beside_an_offset_agree():
    from tfds_builders.recording import windows
    from tfds_builders.recording.options import change
    from tfds_builders.recording.recording import rates

    (config,) = rates(100)
    value_uv = np.cumsum(_noise(5000), axis=0) / 50.0
    value_uv[:, 2:6] = value_uv[:, :2] @ [[-1, -0.5, 1, -0.5], [1, -0.5, -0.5, 1]]
    gap = value_uv.copy()
    gap[2000:2200] = np.nan
    dropout = value_uv.copy()
    dropout[1003:2011] = 7
    offset = value_uv + 250_000
    offset[2000:2050] = 0
    offset[4000:] = 0
    config = change(config, {"pad_from": 5})
    for case in (gap, dropout, offset):
        stored = windows.convert(case, LEADS, from_hz=500, window=0, config=config, origin="a")
        assert (stored["signal"] == MISSING).all(axis=1).any()
        difference_uv, _ = comparison.compare(stored["signal"], _reading(case, 500), 0, 100, {})
        assert difference_uv <= comparison.RESAMPLED_UV


def test_an_absent_lead_or_offset_is_no_difference_but_a_missing_sample_is():
    signal = _noise(500)
    one_lead = np.full_like(signal, MISSING)
    one_lead[:, 1] = signal[:, 1]
    assert comparison.compare(one_lead, _reading(signal * 1.0), 0, 100, {})[0] == 0
    assert comparison.compare(signal, _reading(signal + 90_000.0), 0, 100, {})[0] == 0
    assert comparison.compare(signal, _reading(signal + 2_000.0), 0, 100, {})[0] == 2000
    signal[7, 2] = MISSING
    difference, place = comparison.compare(signal, _reading(_noise(500) * 1.0), 0, 100, {})
    assert difference == np.inf and place.startswith("lead III, sample 7: nan, not")
    assert comparison.compare(signal, _reading(_noise(400) * 1.0), 0, 100, {})[0] == np.inf


def test_a_record_that_wfdb_cannot_read_is_not_compared(tmp_path):
    (tmp_path / "a.hea").write_text("a 1 100 10\nb.dat 999 200 16 0 0 0 0 I\n")
    with pytest.raises(CannotRead, match=f"wfdb {VERSION} cannot read it") as caught:
        wfdb_package.read(tmp_path / "a")
    assert caught.value.reader == f"wfdb {VERSION}"


def test_a_data_set_without_a_second_reader_is_refused_before_its_conversion(tmp_path):
    with pytest.raises(InputError, match="synthetic has no second reader; leave --verify out"):
        prepare("synthetic", tmp_path / "out", verify=1)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="--verify -1: give a number of at least 0"):
        prepare("ptb_xl", tmp_path / "out", verify=-1)
