"""Headers, signal files and XML with random damage are read, or rejected with one line.

This takes little time, and no other file is opened. ECGJAX_FUZZ is the number of WFDB records, and
ten times the number of XML files; ECGJAX_FUZZ_SEED is the random seed of the damage.
"""

import os
import re
import sys
import time

import numpy as np
import pytest
from helpers import muse, tiny_ptb_xl

from ecgjax.signals import LEADS
from tfds_builders.formats import vendor_sandbox, wfdb
from tfds_builders.recording.leads import TWELVE
from tfds_builders.recording.quality import RecordingError

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

SEED = int(os.environ.get("ECGJAX_FUZZ_SEED", "0"))
CASES = int(os.environ.get("ECGJAX_FUZZ", "1000"))
WORDS = [
    b"-1",
    b"0",
    b"nan",
    b"inf",
    b"1e999",
    b"1e-999",
    b"9" * 30,
    b"..",
    b"../a.dat",
    b"/etc/passwd",
    b"\0",
    b"\n",
    b" ",
    b"#",
    b"(",
    b")/",
    b"x2",
    b":3",
    b"+24",
    b"/2",
    b"\xff\xfe",
    b"II",
    b"MLII",
    "\N{ARABIC-INDIC DIGIT FIVE}".encode(),
    b"a.dat",
    b"<",
    b"&b;",
    b"</LeadData>",
    b"==",
    b"%s",
]
_watched: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if (
        _watched is not None
        and event == "open"
        and isinstance(arguments[0], str | bytes | os.PathLike)
    ):
        _watched.append(os.path.realpath(os.fsdecode(arguments[0])))


sys.addaudithook(_watch)


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 4))):
        start, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        end = min(end, start + int(rng.integers(1, 40)))
        piece = data[start:end]
        choice = int(rng.integers(5))
        if choice == 0:
            piece = bytes(byte ^ (1 << int(rng.integers(8))) for byte in piece[:3]) + piece[3:]
        elif choice == 1:
            piece = b""
        elif choice == 2:
            piece = piece * int(rng.integers(2, 5))
        elif choice == 3:
            piece = WORDS[int(rng.integers(len(WORDS)))]
        else:
            other = int(rng.integers(len(data) + 1))
            piece = data[other : other + 20]
        data = data[:start] + piece + data[end:]
    return data


def _records(folder):
    """Yields (header, signal file, ending of the signal file) for each kind of format."""
    eight = list(muse.EIGHT)
    for form, names in (
        ("16", tiny_ptb_xl.NAMES),
        ("212", tiny_ptb_xl.NAMES),
        ("516", eight),
        ("24", eight),
    ):
        count = len(names)
        settings = {
            "sig_name": names,
            "fmt": [form] * count,
            "units": ["mV"] * count,
            "baseline": [0] * count,
        }
        stored = np.random.default_rng(0).integers(-900, 900, (40, count))
        tiny_ptb_xl.write_record(
            folder / "a", d_signal=stored, adc_gain=[1000.0] * count, **settings
        )
        yield (folder / "a.hea").read_bytes(), (folder / "a.dat").read_bytes(), ".dat"
        if form == "16":
            start = np.array([30, count, 40, 0, 4], "<i4").tobytes() + b"val\0"
            header = (folder / "a.hea").read_bytes().replace(b"a.dat 16 ", b"a.mat 16+24 ")
            yield header, start + (folder / "a.dat").read_bytes(), ".mat"


def test_a_damaged_record_is_read_or_rejected(tmp_path):
    global _watched
    rng = np.random.default_rng(SEED)
    originals = list(_records(tmp_path))
    slowest = 0.0
    read = 0
    wfdb.read_record(tmp_path / "a")  # loads the libraries
    try:
        for _ in range(CASES):
            header, data, ending = originals[int(rng.integers(len(originals)))]
            if rng.random() < 0.2:
                data = _damaged(data, rng)
            else:
                header = _damaged(header, rng)
            (tmp_path / "a.hea").write_bytes(header)
            (tmp_path / f"a{ending}").write_bytes(data)
            started = time.perf_counter()
            _watched = []
            try:
                stored, rate_hz = wfdb.read_record(tmp_path / "a")
                signal = stored.signal
                assert signal.dtype == np.int16 and signal.shape[1] == len(LEADS) and rate_hz > 0
                read += 1
            except RecordingError as error:
                assert "\n" not in str(error) and error.reason
            opened = _watched
            _watched = None
            slowest = max(slowest, time.perf_counter() - started)
            assert all(path.startswith(os.path.realpath(tmp_path)) for path in opened), opened
    finally:
        _watched = None
    assert slowest < 5 and 0 < read < CASES


def test_a_damaged_record_in_segments_is_read_or_rejected(tmp_path):
    global _watched
    rng = np.random.default_rng(SEED)
    header, data, _ = next(_records(tmp_path))
    masters = (b"a/3 12 100 90\na_1 40\n~ 10\na_2 40\n", b"a/3 12 100\nl 0\na_1 40\na_2 40\n")
    layout = re.sub(rb"a\.dat 16", b"~ 0", header.replace(b"a 12 100 40", b"l 12 100 0"))
    originals = {"a_1.hea": header, "a_2.hea": header, "l.hea": layout, "a.dat": data}
    read = 0
    for number in range(CASES // 4):
        files = originals | {"a.hea": masters[number % 2]}
        name = list(files)[int(rng.integers(len(files)))]
        files[name] = _damaged(files[name], rng)
        for file, content in files.items():
            (tmp_path / file).write_bytes(content)
        _watched = []
        try:
            stored, _ = wfdb.read_record(tmp_path / "a")
            assert stored.signal.dtype == np.int16 and stored.signal.shape[1] == len(LEADS)
            read += 1
        except RecordingError as error:
            assert "\n" not in str(error) and error.reason
        opened = _watched
        _watched = None
        assert all(path.startswith(os.path.realpath(tmp_path)) for path in opened), opened
    assert 0 < read < CASES // 4


def test_a_damaged_xml_file_is_read_or_refused(tmp_path):
    pytest.importorskip("ecgdatakit")
    rng = np.random.default_rng(SEED)
    muse.write(tmp_path / "good.xml", samples=40)
    original = (tmp_path / "good.xml").read_bytes()
    slowest = 0.0
    for _ in range(CASES // 10):
        (tmp_path / "a.xml").write_bytes(_damaged(original, rng))
        started = time.perf_counter()
        facts, signals = vendor_sandbox.answer(tmp_path / "a.xml", TWELVE)
        slowest = max(slowest, time.perf_counter() - started)
        assert "refused" in facts or all(signal.ndim == 2 for signal in signals)
    assert slowest < 5
