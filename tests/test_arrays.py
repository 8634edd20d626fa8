"""The builder of arrays: every kind of file, and descriptions that do not match."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.io

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING
from tfds_builders.arrays import arrays_dataset_builder, description, files
from tfds_builders.formats import text_signals
from tfds_builders.prepare import prepare
from tfds_builders.recording.leads import TWELVE
from tfds_builders.recording.options import change
from tfds_builders.recording.quality import RecordingError

ABOUT = {"rate_hz": 500, "units": "mV", "leads": list(LEADS), "axes": ["recording", "time", "lead"]}


def _recordings(count: int = 2, samples: int = 10_500) -> np.ndarray:
    """float32 [recording, time, lead] in mV."""
    return (
        np.random.default_rng(0).integers(-900, 900, (count, samples, 12)).astype(np.float32) / 1000
    )


def _write_npz(path: Path, data: np.ndarray) -> None:
    np.savez(path, signals=data, other=np.zeros(3))


def _write_hdf5(path: Path, data: np.ndarray) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["signals"] = data


def _write_zarr(path: Path, data: np.ndarray) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.open_group(str(path), mode="w").create_array("signals", data=data)


def _write_parquet(path: Path, data: np.ndarray) -> None:
    columns = {
        lead: [recording[:, i].tolist() for recording in data] for i, lead in enumerate(LEADS)
    }
    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=1)


def _write_mat(path: Path, data: np.ndarray) -> None:
    scipy.io.savemat(path, {"signals": data, "other": np.zeros(3)}, do_compression=True)


WRITERS = {
    ".mat": _write_mat,
    ".npy": np.save,
    ".npz": _write_npz,
    ".h5": _write_hdf5,
    ".zarr": _write_zarr,
    ".parquet": _write_parquet,
}


def _prepare(
    tmp_path: Path, options: dict[str, Any] | None = None, **about: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the signal or error by file and window, and the report."""
    (tmp_path / "raw" / description.FILE).write_text(json.dumps(ABOUT | about))
    arguments = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepared = prepare("arrays/500hz", tmp_path / "out", **arguments, **(options or {}))
    summary = json.loads((prepared / "report.json").read_text())
    (config,) = [c for c in arrays_dataset_builder.Builder.BUILDER_CONFIGS if c.name == "500hz"]
    builder = arrays_dataset_builder.Builder(
        config=change(config, options or {}), source=tmp_path / "raw", key_file=tmp_path / "key"
    )
    results: dict[str, Any] = {}
    for recording in builder.find_recordings():
        name = f"{recording.source_file}:{recording.location[1]}"
        try:
            if recording.problem:
                raise RecordingError(*recording.problem)
            results[name] = builder.read_recording(recording)["signal"]
        except InputError as error:
            results[name] = error
    return results, summary


@pytest.mark.parametrize("ending", sorted(WRITERS))
def test_every_kind_of_file_is_read(tmp_path, ending):
    (tmp_path / "raw/deeper").mkdir(parents=True)
    data = _recordings()
    data[1, 7, 3] = np.nan
    WRITERS[ending](tmp_path / f"raw/deeper/a{ending}", data)
    results, summary = _prepare(tmp_path)
    assert list(results) == [
        f"deeper/a{ending}#{recording}:{window}" for recording in (0, 1) for window in (0, 1)
    ]
    assert summary["written"] == 4 and summary["quality"]["missing"] == 1
    for name, signal in results.items():
        recording, window = map(int, re.findall(r"\d+", name.replace("h5", "")))
        expected = data[recording, 5000 * window :][:5000] * 1000.0
        np.testing.assert_allclose(
            np.where(signal == MISSING, np.nan, signal.astype(float)), expected, atol=0.51
        )


def test_axes_units_and_missing_samples_are_as_described(tmp_path):
    (tmp_path / "raw").mkdir()
    stored = np.random.default_rng(0).integers(-300, 300, (8, 5000)).astype(np.int16)
    stored[2, 5] = 9999
    np.save(tmp_path / "raw/a.npy", stored)
    names = ["Lead I", "Lead II", *LEADS[6:]]
    results, _ = _prepare(
        tmp_path, axes=["lead", "time"], leads=names, units="V", scale=4.88e-6, missing=9999
    )
    (signal,) = results.values()
    np.testing.assert_allclose(signal[:, 0], stored[0] * 4.88, atol=0.51)
    np.testing.assert_allclose(signal[:, 2], (stored[1] - stored[0]) * 4.88, atol=0.51)
    assert signal[5, 6] == MISSING and (signal == MISSING).sum() == 1


def test_files_that_cannot_be_read_are_rejected(tmp_path):
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw/good.npy", _recordings(1, 5000))
    np.save(tmp_path / "raw/shape.npy", np.zeros((5000, 12)))
    np.save(tmp_path / "raw/leads.npy", np.zeros((1, 5000, 11)))
    np.save(tmp_path / "raw/complex.npy", np.zeros((1, 5000, 12), complex))
    np.save(tmp_path / "raw/words.npy", np.full((1, 5000, 12), "x"))
    np.save(tmp_path / "raw/short.npy", _recordings(1, 4000))
    np.save(tmp_path / "raw/range.npy", _recordings(1, 5000) * 100)
    np.save(tmp_path / "raw/infinite.npy", np.full((1, 5000, 12), np.inf))
    np.save(tmp_path / "raw/none.npy", _recordings(0, 5000))
    np.savez(tmp_path / "raw/names.npz", a=_recordings(1, 5000), b=_recordings(1, 5000))
    (tmp_path / "raw/not.csv").write_text("Jane Doe, an ECG\n")
    (tmp_path / "raw/README.txt").write_text("Jane Doe, an ECG\n")
    (tmp_path / "raw/packed.zip").write_bytes(b"PK")
    (tmp_path / "raw/empty.npy").write_bytes(b"")
    (tmp_path / "raw/cut.npy").write_bytes((tmp_path / "raw/good.npy").read_bytes()[:9000])
    (tmp_path / "raw/objects.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    )
    (tmp_path / "raw/not.npz").write_bytes(b"PK\x03\x04 and so on")
    (tmp_path / "raw/not.h5").write_bytes(b"nothing")
    (tmp_path / "raw/not.parquet").write_bytes(b"PAR1 nothing PAR1")
    empty = pa.table({lead: pa.array([None], pa.list_(pa.float32())) for lead in LEADS})
    pyarrow.parquet.write_table(empty, tmp_path / "raw/empty.parquet")
    (tmp_path / "raw/link.npy").symlink_to("/etc/passwd")
    results, summary = _prepare(tmp_path)
    reasons = {
        name: error.reason for name, error in results.items() if isinstance(error, InputError)
    }
    assert reasons == {
        "shape.npy:0": "shape",
        "leads.npy:0": "shape",
        "complex.npy#0:0": "format",
        "words.npy#0:0": "format",
        "short.npy#0:0": "length",
        "range.npy#0:0": "range",
        "infinite.npy#0:0": "range",
        "none.npy:0": "format",
        "names.npz:0": "format",
        "empty.npy:0": "format",
        "cut.npy:0": "format",
        "objects.npy:0": "format",
        "not.npz:0": "format",
        "not.h5:0": "format",
        "not.parquet:0": "format",
        "empty.parquet#0:0": "shape",
        "not.csv:0": "format",
        "link.npy:0": "file_name",
        "packed.zip:0": "packed",
    }
    assert summary["written"] == 1 and summary["rejected"] == len(reasons)
    assert summary["notes"] == {arrays_dataset_builder.NAMED_README: 1}
    assert all(
        "\n" not in str(error) for error in results.values() if isinstance(error, InputError)
    )


def test_hdf5_may_not_reach_into_another_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file["signals"] = _recordings(1, 5000)
    about = description.Description(**ABOUT | {"leads": LEADS, "axes": tuple(ABOUT["axes"])})
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["signals"] = h5py.ExternalLink("outside.h5", "signals")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((1, 5000, 12), "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "outside.h5", "signals", (1, 5000, 12))
        file.create_virtual_dataset("signals", layout)
    (tmp_path / "raw.bin").write_bytes(bytes(240_000))
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset(
            "signals", (1, 5000, 12), "f4", external=[(tmp_path / "raw.bin", 0, 240_000)]
        )
    for name in ("link.h5", "virtual.h5", "external.h5"):
        with pytest.raises(InputError, match="has no array signals of its own"):
            (place,) = files.find(tmp_path / name, about, TWELVE).values()
            files.read(tmp_path / name, place, about, TWELVE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_hz": 0}, "rate_hz must be positive and scale must not be 0"),
        ({"rate_hz": None}, "rate_hz None; give a number"),
        ({"rate_hz": "500"}, "rate_hz '500'; give a number"),
        ({"units": "mmHg"}, "units 'mmHg'; give one of V, mV"),
        ({"units": ["mV"]}, "units .'mV'.; give one of V, mV"),
        ({"axes": ["time", "leads"]}, "axes .* give a list of"),
        ({"axes": ["recording", "time"]}, "axes .* may be absent if there is one lead"),
        ({"leads": "I II"}, "leads .* give a list of names"),
        ({"leads": ["I", "II"]}, "lacks lead V1, .* --leads"),
        ({"leads": ["I", "II", "DII"]}, "both mean lead II"),
        ({"scale": True}, "scale True; give a number"),
        ({"name": "Jane"}, "has rate_hz, .*, name; give rate_hz"),
        ({"array": 3}, "array 3; give a name"),
    ],
)
def test_a_description_with_an_invalid_field_is_refused(tmp_path, changes, message):
    (tmp_path / description.FILE).write_text(json.dumps(ABOUT | changes))
    with pytest.raises(InputError, match=message) as caught:
        description.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_absent_or_unreadable_description_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="arrays.json: No such file or directory; write one, such as"
    ):
        description.read(tmp_path)
    for content, message in (
        (b"{", "not JSON"),
        (b"[]", "has list"),
        (b"[" * 9999, "not JSON"),
        (b"\xff", "not JSON"),
    ):
        (tmp_path / description.FILE).write_bytes(content)
        with pytest.raises(InputError, match=message):
            description.read(tmp_path)
    (tmp_path / description.FILE).write_text(json.dumps(ABOUT))
    with pytest.raises(InputError, match="no file with one of the endings .npy"):
        prepare("arrays", f"{tmp_path}-out", source=tmp_path, patient_key=f"{tmp_path}-key")


def _write_mat_73(path: Path, arrays: dict[str, np.ndarray], kind: str = "double") -> None:
    """Writes arrays as MATLAB 7.3 does: HDF5 behind a header, with the axes in reverse order."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=np.asarray(array).T)
            file[name.split("/")[0]].attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def _write_groups(path: Path, arrays: dict[str, np.ndarray]) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


@pytest.mark.parametrize("name", ["arr_0", "ecg", "val"])
@pytest.mark.parametrize("ending", ["npz", "NPZ", "mat", "h5", "hdf5"])
def test_the_only_array_of_a_file_is_read_whatever_its_name(tmp_path, name, ending):
    (tmp_path / "raw").mkdir()
    data = _recordings(2, 5000)
    path = tmp_path / f"raw/a.{ending}"
    if ending == "mat":
        scipy.io.savemat(path, {name: data, "fs": 500, "who": "x"})
    elif ending in ("h5", "hdf5"):
        _write_groups(path, {name: data, "fs": np.float64(500)})
    else:
        with path.open("wb") as file:
            np.savez(file, **{name: data, "fs": np.array(500), "who": np.array("x")})
    results, summary = _prepare(tmp_path)
    assert summary["written"] == 2
    for signal, expected in zip(results.values(), data, strict=True):
        np.testing.assert_allclose(signal, expected * 1000, atol=0.51)


def test_of_several_arrays_the_message_lists_the_names(tmp_path):
    (tmp_path / "raw").mkdir()
    data = _recordings(1, 5000)
    np.savez(tmp_path / "raw/a.npz", first=data, second=data[:, ::-1])
    np.save(tmp_path / "raw/b.npy", data)
    results, _ = _prepare(tmp_path)
    assert "first [1, 5000, 12], second [1, 5000, 12]" in str(results["a.npz:0"])
    results, _ = _prepare(tmp_path, array="second")
    np.testing.assert_allclose(results["a.npz#0:0"], data[0, ::-1] * 1000, atol=0.51)
    results, _ = _prepare(tmp_path, array="third")
    assert "has no array 'third', but first [1, 5000, 12], second" in str(results["a.npz:0"])


LAYOUTS = {
    "rec1, rec2": (["rec1", "rec2"], ["rec1", "rec2"]),
    "a group each": (["rec1/ecg", "rec2/ecg"], ["rec1", "rec2"]),
    "the named one of a group": (["a/signals", "a/x", "b/signals", "b/x"], ["a", "b"]),
    "in one group": (["ecg/1", "ecg/2"], ["ecg/1", "ecg/2"]),
    "of two people": (["p1/a", "p1/b", "p2/c"], ["p1/a", "p1/b", "p2/c"]),
}


@pytest.mark.parametrize(("names", "recordings"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_file_may_hold_an_array_or_a_group_for_each_recording(tmp_path, names, recordings):
    (tmp_path / "raw").mkdir()
    arrays = dict(zip(names, _recordings(len(names), 5000), strict=True))
    _write_groups(tmp_path / "raw/a.h5", arrays)
    expected = {f"a.h5#{name}:0" for name in recordings}
    if not any("/" in name for name in names):
        np.savez(tmp_path / "raw/b.npz", **{name: array + 1 for name, array in arrays.items()})
        _write_mat_73(tmp_path / "raw/c.mat", {name: array + 2 for name, array in arrays.items()})
        expected |= {f"{file}#{name}:0" for file in ("b.npz", "c.mat") for name in recordings}
    results, summary = _prepare(tmp_path, axes=["time", "lead"])
    assert set(results) == expected and summary["written"] == len(expected)
    first = arrays[names[0]] * 1000
    np.testing.assert_allclose(results[f"a.h5#{recordings[0]}:0"], first, atol=0.51)
    noted = len(expected) if names == recordings else 0
    assert summary["notes"].get(files.ONE_OF_SEVERAL, 0) == noted


def test_a_table_names_files_or_recordings_in_them(tmp_path):
    (tmp_path / "raw").mkdir()
    one, two, three = _recordings(3, 5000)
    _write_groups(tmp_path / "raw/a.h5", {"r1/ecg": one, "r2/ecg": two})
    np.savez(tmp_path / "raw/b.npz", r1=three, r2=three + 1)
    table = "file,patient\na.h5,1\nb.npz#r1,2\nb#r2,3\n"
    (tmp_path / "raw/recordings.csv").write_text(table)
    _, summary = _prepare(tmp_path, axes=["time", "lead"])
    assert summary["written"] == 4 and summary["patients"] == 3


def test_a_recording_that_is_a_link_or_has_another_shape_is_not_dropped(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "raw").mkdir()
    one, two, three = _recordings(3, 5000)
    _write_groups(tmp_path / "raw/a.h5", {"r1": one, "r2": h5py.SoftLink("/r1")})
    _write_groups(tmp_path / "raw/b.h5", {"r1": two, "r2": three[:, :11]})
    results, summary = _prepare(tmp_path, axes=["time", "lead"])
    assert "links (r2)" in str(results["a.h5:0"])
    assert "array r2: shape [5000, 11]" in str(results["b.h5#r2:0"])
    assert summary["written"] == 1 and summary["reasons"] == {"format": 1, "shape": 1}


def test_files_of_matlab_7_3_have_their_axes_reversed(tmp_path):
    (tmp_path / "raw").mkdir()
    data = _recordings(2, 5000)
    _write_mat_73(tmp_path / "raw/a.mat", {"x": data})
    _write_mat_73(tmp_path / "raw/b.mat", {"s/ecg": data}, kind="struct")
    scipy.io.savemat(tmp_path / "raw/c.mat", {"s": {"ecg": data}})
    results, _ = _prepare(tmp_path)
    for index in (0, 1):
        np.testing.assert_allclose(results[f"a.mat#{index}:0"], data[index] * 1000, atol=0.51)
    for name in ("b.mat:0", "c.mat:0"):
        assert "holds structs or cells (s) and no array; in MATLAB: " in str(results[name])


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        (["recording", "lead", "time"], (0, 2, 1)),
        (["time", "lead", "recording"], (1, 2, 0)),
        (["lead", "time", "recording"], (2, 1, 0)),
    ],
)
def test_axes_may_be_in_any_order_and_the_message_says_which_ones_fit(tmp_path, axes, order):
    (tmp_path / "raw").mkdir()
    data = _recordings(2, 5000)
    np.save(tmp_path / "raw/a.npy", data.transpose(order))
    results, _ = _prepare(tmp_path, axes=axes)
    for index in (0, 1):
        np.testing.assert_allclose(results[f"a.npy#{index}:0"], data[index] * 1000, atol=0.51)
    np.save(tmp_path / "raw/b.npy", data)
    results, _ = _prepare(tmp_path, axes=axes)
    assert 'axes ["recording", "time", "lead"] in arrays.json would fit' in str(results["b.npy:0"])


@pytest.mark.parametrize(
    ("leads", "axes", "column"),
    [(["I"], ["recording", "time"], 0), (["ECG V2"], ["recording", "time", "lead"], 7)],
)
def test_a_single_lead_is_converted_on_request(tmp_path, leads, axes, column):
    (tmp_path / "raw").mkdir()
    data = _recordings(2, 5000)[:, :, :1]
    np.save(tmp_path / "raw/a.npy", data if "lead" in axes else data[:, :, 0])
    with pytest.raises(InputError, match="lacks lead .* give --lead-names .* --leads"):
        _prepare(tmp_path, leads=leads, axes=axes)
    options = {"leads": [LEADS[column]]}
    results, summary = _prepare(tmp_path, options, leads=leads, axes=axes)
    assert summary["written"] == 2
    np.testing.assert_allclose(results["a.npy#0:0"][:, column], data[0, :, 0] * 1000, atol=0.51)
    assert (np.delete(results["a.npy#0:0"], column, axis=1) == MISSING).all()


def test_channels_that_are_no_leads_are_left_out_and_counted(tmp_path):
    (tmp_path / "raw").mkdir()
    data = _recordings(1, 5000)
    data = np.concatenate([data, data[:, :, :2] * 1e6], axis=2)
    np.save(tmp_path / "raw/a.npy", data)
    results, summary = _prepare(tmp_path, leads=[*LEADS, "resp", "pressure"])
    np.testing.assert_allclose(results["a.npy#0:0"], data[0, :, :12] * 1000, atol=0.51)
    assert summary["notes"] == {arrays_dataset_builder.NO_LEAD: 2}


def test_text_files_and_arrays_of_one_folder_are_converted_together(tmp_path):
    (tmp_path / "raw").mkdir()
    one, two, three = _recordings(3, 5000)
    header = ",".join(LEADS)
    np.savetxt(tmp_path / "raw/A.CSV", one, "%.3f", ",", header=header, comments="")
    times = np.arange(5000)[:, None] / 500
    header = ";".join(["Time [s]", *LEADS])
    np.savetxt(tmp_path / "raw/b.txt", np.hstack([times, two]), "%.3f", ";", header=header)
    np.save(tmp_path / "raw/c.NPY", three)
    (tmp_path / "raw/c.NPY.npy").rename(tmp_path / "raw/c.NPY")
    (tmp_path / "raw/recordings.csv").write_text("file,patient\nA,1\nb.txt,1\nc,2\n")
    results, summary = _prepare(tmp_path, axes=["time", "lead"])
    assert summary["written"] == 3 and summary["patients"] == 2
    for signal, expected in zip(results.values(), (one, two, three), strict=True):
        np.testing.assert_allclose(signal, expected * 1000, atol=0.51)
    assert summary["notes"] == {text_signals.LEFT_OUT_TIMES: 1}


def test_recordings_of_8_s_are_kept_on_request(tmp_path):
    (tmp_path / "raw").mkdir()
    data = _recordings(2, 4000)
    np.save(tmp_path / "raw/a.npy", data)
    with pytest.raises(InputError, match=r"all recordings were rejected \(2\)"):
        _prepare(tmp_path)
    results, _ = _prepare(tmp_path, {"seconds": 8})
    np.testing.assert_allclose(results["a.npy#1:0"], data[1] * 1000, atol=0.51)
    results, summary = _prepare(tmp_path, {"pad_from": 7})
    np.testing.assert_allclose(results["a.npy#1:0"][:4000], data[1] * 1000, atol=0.51)
    assert (results["a.npy#1:0"][4000:] == MISSING).all() and summary["quality"]["padded"] == 2
