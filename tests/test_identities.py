"""No pair of different people: two folders, placeholder ids, and records of several segments."""

import json

import numpy as np
import pytest

from ecgjax.data.mixture import Mixture
from ecgjax.data.pairs import PatientPairs
from ecgjax.signals import LEADS
from tfds_builders.prepare import prepare

RATE_HZ = 100


def _signal_mv(person: int, seed: int, seconds: int = 10) -> np.ndarray:
    """Makes beats in all leads, whose height in mV times 100 is the number of the person."""
    rng = np.random.default_rng(seed)
    signal_mv = rng.normal(0, 0.01, (seconds * RATE_HZ, 12))
    signal_mv[::80] = person / 100
    signal_mv[40::80] = -person / 100
    return signal_mv


def _people(records: Mixture, indices: np.ndarray) -> np.ndarray:
    """Returns the number of the person of each recording, from its samples."""
    return np.rint(records.read(indices)[..., 0].max(axis=-1) / 10).astype(int)


def _drawn_people(folders: list) -> tuple[np.ndarray, np.ndarray]:
    """Returns the people of 400 or more drawn pairs, [pair, 2], and which are two recordings."""
    records = Mixture(folders)
    indices = np.arange(len(records))
    pairs = PatientPairs(indices, records.patients)
    rng = np.random.default_rng(0)
    positions = rng.integers(0, len(indices), 400)
    drawn = pairs.draw(positions, rng)
    return _people(records, drawn), drawn[:, 0] != drawn[:, 1]


def _arrays(folder, people: dict[str, int], table: str = ""):
    folder.mkdir()
    about = {"rate_hz": RATE_HZ, "units": "mV", "leads": LEADS, "axes": ["time", "lead"]}
    (folder / "arrays.json").write_text(json.dumps(about))
    for seed, (name, person) in enumerate(people.items()):
        np.save(folder / name, _signal_mv(person, seed))
    if table:
        (folder / "recordings.csv").write_text(table)
    return folder


def _prepare(dataset: str, tmp_path, source):
    out = tmp_path / f"out-{source.name}"
    return prepare(dataset, out, source=source, patient_key=tmp_path / "key")


def test_two_folders_with_equal_names_share_no_patient(tmp_path):
    first = _arrays(tmp_path / "a", {f"{name:04}.npy": 20 + name for name in range(12)})
    second = _arrays(tmp_path / "b", {f"{name:04}.npy": 60 + name for name in range(12)})
    folders = [_prepare("arrays/100hz", tmp_path, source) for source in (first, second)]
    people, _ = _drawn_people(folders)
    assert (people[:, 0] == people[:, 1]).all() and len(np.unique(people)) == 24
    ids = [member.column("record_id").to_pylist() for member in Mixture(folders).members]
    assert not {*ids[0]} & {*ids[1]}


@pytest.mark.parametrize(
    "placeholder", ["X X X X", "000000000", "unknown", "nan", "", "ANON", "None", "99999999"]
)
def test_a_placeholder_is_no_patient(tmp_path, placeholder):
    people = {f"{number}.npy": 20 + number // 2 for number in range(16)}
    rows = [f"{name},{placeholder if person < 24 else person}" for name, person in people.items()]
    table = "\n".join(["file,patient", *rows])
    folder = _prepare("arrays/100hz", tmp_path, _arrays(tmp_path / "a", people, table))
    pairs, differ = _drawn_people([folder])
    assert (pairs[:, 0] == pairs[:, 1]).all()
    assert (pairs[differ] >= 24).all() and differ.any()


def test_the_segments_of_a_record_are_one_patient(tmp_path):
    source = tmp_path / "records"
    source.mkdir()
    for person in (30, 40, 50):
        for segment in (1, 2, 3):
            name = f"p{person}_{segment}"
            stored = np.rint(1000 * _signal_mv(person, 10 * person + segment, seconds=20))
            stored.astype("<i2").tofile(source / f"{name}.dat")
            lines = [f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}\n" for lead in LEADS]
            header = f"{name} 12 {RATE_HZ} 2000\n{''.join(lines)}"
            (source / f"{name}.hea").write_text(header)
        segments = "".join(f"p{person}_{segment} 2000\n" for segment in (1, 2, 3))
        (source / f"p{person}.hea").write_text(f"p{person}/3 12 {RATE_HZ} 6000\n{segments}")
    folder = _prepare("wfdb_folder/100hz", tmp_path, source)
    assert len(Mixture([folder])) == 3 * 6
    pairs, differ = _drawn_people([folder])
    assert (pairs[:, 0] == pairs[:, 1]).all() and differ.all()
