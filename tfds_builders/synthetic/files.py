"""A folder of ECG files of simulated patients: `python -m tfds_builders.synthetic.files FOLDER`.

For tutorials and trials: WFDB records as a hospital might export them, and a table with the patient
and a label of each file.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.synthetic.recording import Plan, plan_patient, simulate

RATE_HZ = 500
TABLE = "recordings.csv"
RHYTHMS = {"AFIB": "fibrillation", "AFLT": "flutter"}


def write(folder: Path, /, *, patients: int = 100, seed: int = 0) -> list[dict[str, str]]:
    """Writes the recordings of a simulated cohort as WFDB records, and `recordings.csv`.

    Args:
      folder: new or empty folder.
      patients: number of patients, with two to four recordings of 10 s each.
      seed: random seed; another seed gives other patients.

    Returns:
      The rows of the table: file, patient, and label (fibrillation, flutter or sinus).

    Raises:
      InputError: the folder has files, or the number of patients is below 1.
    """
    if patients < 1:
        raise InputError(f"patients {patients}: give 1 or more")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(patients):
        for plan in plan_patient(seed, patient):
            name = f"ecg-{len(rows) + 1:05d}"
            _write_record(folder, name, plan)
            rhythms = [RHYTHMS[label] for label in plan.labels if label in RHYTHMS]
            label = rhythms[0] if rhythms else "sinus"
            rows.append({"file": name, "patient": f"P{seed}-{patient + 1:04d}", "label": label})
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _write_record(folder: Path, name: str, plan: Plan) -> None:
    """Writes NAME.dat in WFDB's format 16 at 1 uV per LSB, and its header NAME.hea."""
    signal = simulate(plan, rate_hz=RATE_HZ)["signal"]
    checksums = signal.sum(axis=0, dtype=np.int64) % 2**16
    header = [f"{name} {len(LEADS)} {RATE_HZ} {len(signal)}"]
    for lead, first, checksum in zip(LEADS, signal[0], checksums, strict=True):
        header.append(f"{name}.dat 16 1000(0)/mV 16 0 {first} {checksum} 0 {lead}")
    (folder / f"{name}.dat").write_bytes(signal.astype("<i2").tobytes())
    (folder / f"{name}.hea").write_text("\n".join([*header, ""]))


def main() -> None:
    """Writes the folder named on the command line, and prints what it holds."""
    import tyro

    try:
        rows = tyro.cli(write)
    except InputError as error:
        sys.exit(f"error: {error}")
    patients = {row["patient"] for row in rows}
    print(f"{len(rows):,} ECG files of {len(patients):,} patients, and {TABLE}")


if __name__ == "__main__":
    main()
