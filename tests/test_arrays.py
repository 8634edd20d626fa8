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
from tfds_builders.prepare import prepare

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


def _prepare(tmp_path: Path, **about: Any) -> tuple[dict[str, np.ndarray], dict]:
    """Returns the signal or error by file and window, and the report."""
    (tmp_path / "raw" / description.FILE).write_text(json.dumps(ABOUT | about))
    arguments = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepared = prepare("arrays/500hz", tmp_path / "out", **arguments)
    summary = json.loads((prepared / "report.json").read_text())
    builder = arrays_dataset_builder.Builder(
        config="500hz", source=tmp_path / "raw", key_file=tmp_path / "key"
    )
    results = {}
    for recording in builder.find_recordings():
        name = f"{recording.location[0]}:{recording.location[1]}"
        try:
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
    np.savez(tmp_path / "raw/name.npz", other=_recordings(1, 5000))
    (tmp_path / "raw/empty.npy").write_bytes(b"")
    (tmp_path / "raw/cut.npy").write_bytes((tmp_path / "raw/good.npy").read_bytes()[:9000])
    (tmp_path / "raw/objects.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    )
    (tmp_path / "raw/not.npz").write_bytes(b"PK\x03\x04 and so on")
    (tmp_path / "raw/not.h5").write_bytes(b"nothing")
    (tmp_path / "raw/not.parquet").write_bytes(b"PAR1 nothing PAR1")
    (tmp_path / "raw/link.npy").symlink_to("/etc/passwd")
    results, summary = _prepare(tmp_path)
    reasons = {
        name: error.reason for name, error in results.items() if isinstance(error, InputError)
    }
    assert reasons == {
        "shape.npy#0:0": "shape",
        "leads.npy#0:0": "shape",
        "complex.npy#0:0": "format",
        "words.npy#0:0": "format",
        "short.npy#0:0": "length",
        "range.npy#0:0": "range",
        "infinite.npy#0:0": "range",
        "name.npz#0:0": "format",
        "empty.npy#0:0": "format",
        "cut.npy#0:0": "format",
        "objects.npy#0:0": "format",
        "not.npz#0:0": "format",
        "not.h5#0:0": "format",
        "not.parquet#0:0": "format",
        "link.npy#0:0": "file_name",
    }
    assert summary["written"] == 1 and summary["rejected"] == len(reasons)
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
            files.read(tmp_path / name, 0, about)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_hz": 0}, "rate_hz must be positive and scale must not be 0"),
        ({"rate_hz": None}, "rate_hz None; give a number"),
        ({"rate_hz": "500"}, "rate_hz '500'; give a number"),
        ({"units": "mmHg"}, "units 'mmHg'; give one of V, mV"),
        ({"axes": ["time", "leads"]}, "axes .* give one of"),
        ({"leads": "I II"}, "leads .* give a list of names"),
        ({"leads": ["I", "II"]}, "lacks lead V1"),
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
        prepare("arrays", tmp_path / "out", source=tmp_path, patient_key=tmp_path.parent / "key")
