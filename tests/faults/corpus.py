"""Faulty records, and correct ones that look faulty, with the expected outcome of each.

Each case is a folder with a record `a`.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers import tiny_ptb_xl

OK = "ok"
Make = Callable[[Path], object]


def _good(folder: Path, **changes) -> np.ndarray:
    settings = {"fs": 500, "samples": 5000} | changes
    return tiny_ptb_xl.write_record(folder / "a", **settings)


def _edited(pattern: str, replacement: str, count: int = 0, **changes) -> Make:
    """Returns the maker of a good record whose header is edited."""

    def make(folder: Path) -> None:
        _good(folder, **changes)
        header = folder / "a.hea"
        text, count_found = re.subn(
            pattern, replacement, header.read_text(), count=count, flags=re.MULTILINE
        )
        assert count_found, pattern
        header.write_text(text)

    return make


def _signals(change: Callable[[bytes], bytes]) -> Make:
    """Returns the maker of a good record whose signal file is changed."""

    def make(folder: Path) -> None:
        _good(folder)
        (folder / "a.dat").write_bytes(change((folder / "a.dat").read_bytes()))

    return make


def _header(content: bytes) -> Make:
    return lambda folder: (_good(folder), (folder / "a.hea").write_bytes(content))


def _replaced(name: str, put: Callable[[Path], object]) -> Make:
    """Returns the maker of a good record, one file of which is replaced."""

    def make(folder: Path) -> None:
        _good(folder)
        (folder / name).unlink()
        put(folder / name)

    return make


def _stored(change: Callable[[np.ndarray], object], **changes) -> Make:
    """Returns the maker of a record with changed samples."""

    def make(folder: Path) -> None:
        stored = np.random.default_rng(0).integers(-900, 900, (changes.pop("samples", 5000), 12))
        change(stored)
        _good(folder, d_signal=stored, **changes)

    return make


def _leads(*names: str) -> Make:
    """Returns the maker of a record with these signal names; unlike in wfdb, they may repeat."""
    count = len(names)
    settings = {
        "sig_name": [f"n{index}" for index in range(count)],
        "fmt": ["16"] * count,
        "units": ["mV"] * count,
    }

    def make(folder: Path) -> None:
        _good(folder, adc_gain=[1000.0] * count, baseline=[0] * count, **settings)
        header = folder / "a.hea"
        header.write_text(
            re.sub(
                r" n(\d+)$",
                lambda match: f" {names[int(match[1])]}",
                header.read_text(),
                flags=re.M,
            )
        )

    return make


def _matlab(start: bytes) -> Make:
    def make(folder: Path) -> None:
        stored = _good(folder)
        header = folder / "a.hea"
        header.write_text(header.read_text().replace("a.dat 16 ", "a.mat 16+24 "))
        (folder / "a.mat").write_bytes(start + stored.astype("<i2").tobytes())

    return make


def _outside(folder: Path) -> Path:
    """Writes a record outside the source and returns its folder."""
    tiny_ptb_xl.write_record(folder.parent.parent / "outside" / "a", fs=500, samples=5000)
    return folder.parent.parent / "outside"


CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
TWELVE = tuple(tiny_ptb_xl.NAMES)
MATLAB = np.array([30, 12, 5000, 0, 4], "<i4").tobytes() + b"val\0"
FLIPPED = bytes([1])

CASES: dict[str, tuple[Make, str]] = {
    "good": (_good, OK),
    # signal files
    "cut": (_signals(lambda data: data[:60_000]), "length"),
    "cut by a byte": (_signals(lambda data: data[:-1]), "length"),
    "longer": (_signals(lambda data: data + bytes(24)), "length"),
    "empty": (_signals(lambda data: b""), "length"),
    "a web page": (_signals(lambda data: b"<html>404</html>"), "length"),
    "a flipped bit": (
        _signals(lambda data: data[:999] + bytes([data[999] ^ 1]) + data[1000:]),
        "checksum",
    ),
    "frames in another order": (
        _signals(lambda data: data[24:48] + data[:24] + data[48:]),
        "initial_value",
    ),
    "absent": (_replaced("a.dat", lambda path: None), "missing_file"),
    "a folder": (_replaced("a.dat", lambda path: path.mkdir()), "file_name"),
    "a pipe": (_replaced("a.dat", lambda path: os.mkfifo(path)), "file_name"),
    "a link outside": (
        _replaced("a.dat", lambda path: path.symlink_to(_outside(path.parent) / "a.dat")),
        "file_name",
    ),
    "a link to a device": (
        _replaced("a.dat", lambda path: path.symlink_to("/dev/zero")),
        "file_name",
    ),
    "a link to itself": (_replaced("a.dat", lambda path: path.symlink_to(path)), "missing_file"),
    # headers
    "no header": (_header(b""), "header"),
    "a comment": (_header(b"# nothing\n"), "header"),
    "bytes": (_header(bytes(range(256)) * 40), "header"),
    "two megabytes": (_header(b"\xff" * 2_000_000), "header"),
    "utf-16": (_header("a 12 500 5000\n".encode("utf-16")), "header"),
    "a header that is a web page": (_header(b"<!doctype html>\n<title>403</title>\n"), "header"),
    "a header that is a pipe": (_replaced("a.hea", lambda path: os.mkfifo(path)), "file_name"),
    "a header outside": (
        _replaced("a.hea", lambda path: path.symlink_to(_outside(path.parent) / "a.hea")),
        "file_name",
    ),
    "rate 0": (_edited("^a 12 500", "a 12 0"), "header"),
    "rate negative": (_edited("^a 12 500", "a 12 -500"), "header"),
    "rate nan": (_edited("^a 12 500", "a 12 nan"), "header"),
    "rate infinite": (_edited("^a 12 500", "a 12 1e999"), "header"),
    "rate a word": (_edited("^a 12 500", "a 12 fast"), "header"),
    "rate too low": (_edited("^a 12 500", "a 12 5"), "rate"),
    "rate too high": (_edited("^a 12 500", "a 12 5e9"), "rate"),
    "rate off by a little": (_edited("^a 12 500", "a 12 499.987"), OK),
    "rate with a counter": (_edited("^a 12 500", "a 12 500/1000(7)"), OK),
    "rate absent": (_edited("^a 12 250 5000", "a 12", fs=250), OK),
    "rate in words": (_edited("^a 12 500", "a 12 500Hz"), "header"),
    "samples absent": (_edited("^a 12 500 5000", "a 12 500"), OK),
    "samples 0": (_edited("^a 12 500 5000", "a 12 500 0"), OK),
    "samples absent, a time given": (_edited("^a 12 500 5000", "a 12 500 10:11:12 1/2/2020"), OK),
    "samples absent, the file cut": (
        lambda folder: (
            _edited("^a 12 500 5000", "a 12 500")(folder),
            (folder / "a.dat").write_bytes((folder / "a.dat").read_bytes()[:-1]),
        ),
        "length",
    ),
    "samples in words": (_edited("^a 12 500 5000", "a 12 500 5e3"), "header"),
    "samples negative": (_edited("^a 12 500 5000", "a 12 500 -5000"), "header"),
    "samples enormous": (_edited("^a 12 500 5000", "a 12 500 100000000000"), "header"),
    "samples one more": (_edited("^a 12 500 5000", "a 12 500 5001"), "length"),
    "signals none": (_edited("^a 12 500", "a 0 500"), "header"),
    "signals negative": (_edited("^a 12 500", "a -12 500"), "header"),
    "signals enormous": (_edited("^a 12 500", "a 999999999 500"), "header"),
    "a signal line too few": (_edited("^a 12 500", "a 13 500"), "header"),
    "a signal line too many": (_edited("^a 12 500", "a 11 500"), "header"),
    "segments of itself": (_header(b"a/2 12 500 10000\na 5000\na 5000\n"), "header"),
    "segments of a folder above": (_header(b"a/1 12 500 5000\n../a 5000\n"), "file_name"),
    "segments that are absent": (_header(b"a/1 12 500 5000\nb 5000\n"), "missing_file"),
    "segments that are gaps": (_header(b"a/1 12 500 5000\n~ 5000\n"), "leads"),
    "segments of no length": (_header(b"a/1 12 500 5000\nb 0\n"), "header"),
    "segments of another length": (_header(b"a/1 12 500 5000\nb 4000\n"), "header"),
    "digits of another script": (_edited("^a 12 500 5000", "a 12 500 ٥٠٠٠"), "header"),
    # signal lines
    "file above": (_edited(r"a\.dat", "../a.dat"), "file_name"),
    "file absolute": (_edited(r"a\.dat", "/etc/passwd"), "file_name"),
    "file of another system": (_edited(r"a\.dat", r"C:\\\\a.dat"), "file_name"),
    "file with a null": (_edited(r"a\.dat", "a\0.dat"), "file_name"),
    "file ..": (_edited(r"a\.dat", ".."), "file_name"),
    "format 61": (_edited(r"a\.dat 16 ", "a.dat 61 "), "checksum"),
    "format 8": (_edited(r"a\.dat 16 ", "a.dat 8 "), "format"),
    "format 212 of 16": (_edited(r"a\.dat 16 ", "a.dat 212 "), "length"),
    "format flac of 16": (_edited(r"a\.dat 16 ", "a.dat 516 "), "format"),
    "format of one signal other": (_edited(r"a\.dat 16 ", "a.dat 32 ", count=1), "header"),
    "offset beyond the end": (_edited(r"a\.dat 16 ", "a.dat 16+999999 "), "length"),
    "offset negative": (_edited(r"a\.dat 16 ", "a.dat 16+-24 "), "header"),
    "samples per frame": (_edited(r"a\.dat 16 ", "a.dat 16x4 "), "length"),
    "samples per frame of one signal": (_edited(r"a\.dat 16 ", "a.dat 16x4 ", count=1), "format"),
    "skew": (_edited(r"a\.dat 16 ", "a.dat 16:7 "), OK),
    "skew beyond the end": (_edited(r"a\.dat 16 ", "a.dat 16:999999 "), "missing"),
    "gain 0": (_edited(r"1000\.0\(0\)/mV", "0(0)/mV"), "units"),
    "no gain": (_edited(r"16 1000\.0\(0\)/mV.*$", "16"), "leads"),
    "gain nan": (_edited(r"1000\.0\(0\)/mV", "nan(0)/mV"), "header"),
    "gain tiny": (_edited(r"1000\.0\(0\)/mV", "1e-300(0)/mV"), "range"),
    "units of pressure": (_edited(r"1000\.0\(0\)/mV", "1000(0)/mmHg"), "units"),
    "uV called mV": (_edited(r"1000\.0\(0\)/mV", "1(0)/mV"), "range"),
    "V called mV": (_edited(r"1000\.0\(0\)/mV", "1000000(0)/mV"), "amplitude"),
    "mV called V": (_edited(r"1000\.0\(0\)/mV", "1000(0)/V"), "range"),
    "baseline enormous": (_edited(r"\(0\)/mV", "(2147483647)/mV"), "range"),
    "uV": (_edited(r"1000\.0\(0\)/mV", "1(0)/uV"), OK),
    # leads
    "a lead twice": (_leads(*TWELVE[:11], "V5"), "leads"),
    "a lead under two names": (_leads(*TWELVE, "MLII"), "leads"),
    "a lead unknown": (_leads(*TWELVE[:11], "V7"), "leads"),
    "one lead": (_leads("II"), "leads"),
    "no lead I": (_leads("II", "III", *CHEST), OK),
    "one limb lead": (_leads("II", *CHEST), "leads"),
    "names that are numbers": (_leads(*map(str, range(1, 13))), "leads"),
    "eight leads": (_leads("I", "II", *CHEST), OK),
    "aVF before aVL": (_leads("I", "II", "III", "aVR", "aVF", "aVL", *CHEST), OK),
    "names in full": (_leads(*(f"Lead {name}" for name in TWELVE)), OK),
    "fifteen leads": (_leads(*TWELVE, "vx", "vy", "vz"), OK),
    # samples
    "all missing": (_stored(lambda stored: stored.fill(-32768)), "missing"),
    "all flat": (_stored(lambda stored: stored.fill(7)), "amplitude"),
    "a lead missing": (_stored(lambda stored: stored[:, 3].fill(-32768)), OK),
    "some missing": (_stored(lambda stored: stored[100:200, :5].fill(-32768)), OK),
    "at the limits": (_stored(lambda stored: stored[::50].fill(32767)), OK),
    "nine seconds": (lambda folder: _good(folder, samples=4500), "length"),
    "eleven seconds": (lambda folder: _good(folder, samples=5500), OK),
    "250 Hz": (lambda folder: _good(folder, samples=2500, fs=250), OK),
    "1000 Hz": (lambda folder: _good(folder, samples=10_000, fs=1000), OK),
    "257 Hz": (lambda folder: _good(folder, samples=2600, fs=257), OK),
    # MATLAB
    "matlab": (_matlab(MATLAB), OK),
    "matlab of other rows": (
        _matlab(np.array([30, 11, 5000, 0, 4], "<i4").tobytes() + b"val\0"),
        "format",
    ),
    "matlab complex": (
        _matlab(np.array([30, 12, 5000, 1, 4], "<i4").tobytes() + b"val\0"),
        "format",
    ),
    "matlab 5": (_matlab(b"MATLAB 5.0 MAT-file Plat"), "format"),
    "matlab cut": (_matlab(MATLAB[:20]), "length"),
}
