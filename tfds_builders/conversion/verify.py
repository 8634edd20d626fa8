"""Verification of prepared WFDB records against wfdb, the reader written by PhysioNet."""

import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING
from tfds_builders.conversion import table
from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import wfdb as our_reader
from tfds_builders.formats.wfdb_header import UV_PER_UNIT
from tfds_builders.recording import leads

SEED = 0
TOLERANCE_MV = 0.5e-3 + 1e-9
"""Half of the stored LSB of 1 uV, and the rounding error of float64."""


def verify_records(builder: WfdbBuilder, count: int) -> str:
    """Compares our reader with wfdb on randomly chosen records of a prepared data set.

    Leads, sampling rate, missing samples and values in mV must agree, values within half an LSB.

    Args:
      builder: builder of a data set that is prepared.
      count: number of records to compare, if the data set holds that many.

    Returns:
      A line that reports the number of records and the version of wfdb.

    Raises:
      InputError: the readers disagree; the message names the record, the lead and the sample.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb calls deprecated functions of pandas
        import wfdb  # here: it takes a second

        records = _accepted_records(builder)
        if not records:
            problem = f"{builder.data_dir}: holds no record of {builder.source}"
            raise InputError(f"{problem}; give the --source that it was prepared from")
        chosen = random.Random(SEED).sample(records, min(count, len(records)))
        for record in chosen:
            _compare(record, wfdb)
    return f"verified {len(chosen)} recordings against wfdb {wfdb.__version__}"


def _accepted_records(builder: WfdbBuilder) -> list[Path]:
    """Returns the paths of all records of which a window was accepted."""
    rows = pyarrow.parquet.read_table(Path(builder.data_dir) / table.FILE, columns=["record_id"])
    accepted = set(rows["record_id"].to_pylist())
    recordings = builder.find_recordings()
    return sorted({builder.record_path(row) for row in recordings if row.record_id in accepted})


def _compare(record: Path, wfdb: Any) -> None:
    signal, rate_hz = our_reader.read_record(record)
    expected_mv, expected_hz = _read_with_wfdb(record, wfdb)
    remedy = f"wfdb {wfdb.__version__} disagrees; do not use the data set, and report the record"
    if (len(signal), rate_hz) != (len(expected_mv["I"]), expected_hz):
        problem = f"{record}: {len(signal)} samples at {rate_hz:g} Hz, not"
        problem += f" {len(expected_mv['I'])} at {expected_hz:g} Hz"
        raise InputError(f"{problem}; {remedy}")
    for lead, stored in zip(LEADS, signal.T, strict=True):
        value_mv = np.where(stored == MISSING, np.nan, stored / 1000)
        agrees = np.isclose(value_mv, expected_mv[lead], rtol=0, atol=TOLERANCE_MV, equal_nan=True)
        if not agrees.all():
            sample = int(agrees.argmin())
            problem = f"{record}: lead {lead}, sample {sample}: {value_mv[sample]:.6g} mV, not"
            problem += f" {expected_mv[lead][sample]:.6g} mV"
            raise InputError(f"{problem}; {remedy}")


def _read_with_wfdb(record: Path, wfdb: Any) -> tuple[dict[str, np.ndarray], float]:
    """Reads the leads as float64 [time] in mV, NaN for a missing sample, and the rate in Hz."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy = _copy_for_wfdb(record, Path(folder))
            columns = leads.find([name or "" for name in wfdb.rdheader(copy).sig_name], record)
            oracle = wfdb.rdrecord(copy, channels=list(columns.values()))
        except Exception as error:  # wfdb raises many kinds
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            problem = f"{record}: wfdb {wfdb.__version__} cannot read it ({reason})"
            raise InputError(f"{problem}; leave --verify out, and report the record") from error
    value_mv = {
        lead: signal * UV_PER_UNIT[unit] / 1000
        for lead, signal, unit in zip(columns, oracle.p_signal.T, oracle.units, strict=True)
    }
    for lead, (a, b) in leads.DERIVED.items():
        value_mv.setdefault(lead, a * value_mv["I"] + b * value_mv["II"])
    return value_mv, oracle.fs


def _copy_for_wfdb(record: Path, folder: Path) -> str:
    """Copies a header into a folder, links its signal files there, and returns the record's path.

    The copy has no date, since wfdb rejects the dates of CinC 2021; and no µ, since wfdb drops it.
    """
    header = record.with_name(f"{record.name}.hea").read_text("utf-8", "replace")
    lines = [line for line in header.splitlines() if line.strip() and not line.startswith("#")]
    _, *numbers = lines[0].split()[:4]
    lines[0] = " ".join(["record", *numbers])
    text = "\n".join(lines).replace("µ", "u").replace("μ", "u")
    (folder / "record.hea").write_text(f"{text}\n", encoding="utf-8")
    for file in {line.split()[0] for line in lines[1:]}:
        if Path(file).name == file:  # other names are never opened
            (folder / file).symlink_to(record.parent.resolve() / file)
    return str(folder / "record")
