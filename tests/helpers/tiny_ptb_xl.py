"""A folder in PTB-XL's layout with a few random recordings: `tiny_ptb_xl.py FOLDER` writes one."""

import csv
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates
    import wfdb

NAMES = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
ROW = {
    "ecg_id": "1",
    "patient_id": "100.0",
    "age": "56.0",
    "sex": "1",
    "height": "",
    "site": "0.0",
    "device": "CS-12   E",
    "recording_date": "1984-11-09 09:17:34",
    "report": 'sinusrhythmus, "normal"',
    "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
    "validated_by": "",
    "strat_fold": "3",
    "filename_lr": "records100/00000/00001_lr",
    "filename_hr": "records500/00000/00001_hr",
}


def rows(folds: list[int], **changes: str) -> list[dict[str, str]]:
    """Returns one row per fold, with ecg_id 1, 2, ... and different patients."""
    return [
        ROW
        | {"ecg_id": str(number), "patient_id": f"{100 + number}.0", "strat_fold": str(fold)}
        | {"filename_lr": f"records100/00000/{number:05d}_lr"}
        | {"filename_hr": f"records500/00000/{number:05d}_hr"}
        | changes
        for number, fold in enumerate(folds, start=1)
    ]


def write(folder: Path, table: list[dict[str, str]], *, samples: int = 1000) -> Path:
    """Writes the 100 Hz records of `table` and the table itself, and returns the folder."""
    for row in table:
        write_record(
            folder / f"records100/00000/{int(row['ecg_id']):05d}_lr",
            seed=int(row["ecg_id"]),
            samples=samples,
        )
    write_table(folder, table)
    return folder


def write_table(folder: Path, table: list[dict[str, str]]) -> None:
    """Writes `table` as ptbxl_database.csv."""
    with (folder / "ptbxl_database.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def write_record(record: Path, *, seed: int = 0, samples: int = 1000, **changes) -> np.ndarray:
    """Writes a record and returns its samples, int16 [samples, signals].

    `changes` are arguments of wfdb.wrsamp.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    names = changes.get("sig_name", NAMES)
    stored = np.random.default_rng(seed).integers(-1500, 1500, (samples, len(names)))
    arguments = {
        "fs": 100,
        "units": ["mV"] * len(names),
        "sig_name": names,
        "d_signal": stored,
        "fmt": ["16"] * len(names),
        "adc_gain": [1000.0] * len(names),
        "baseline": [0] * len(names),
    } | changes
    wfdb.wrsamp(record.name, write_dir=str(record.parent), **arguments)
    return arguments["d_signal"].astype(np.int16)


def read_by_wfdb(record: Path, *, physical: bool) -> Any:
    """Reads a record with wfdb: `.d_signal` as stored, or `.p_signal` in `.units`."""
    return wfdb.rdrecord(str(record), physical=physical)


if __name__ == "__main__":
    write(Path(sys.argv[1]), rows([1] * 6 + [2] * 4 + [9] * 2 + [10] * 2))
