"""The signal files of WFDB, https://physionet.org/physiotools/wag/signal-5.htm, as arrays of samples."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfds_builders.recording.quality import RecordingError


class Format(NamedTuple):
    """How samples lie in a file."""

    bits: int
    """Of a sample. The lowest of its values stands for a missing one."""
    decode: Callable[[bytes, int], np.ndarray] | None = None
    """(bytes, number of samples) to samples; None for FLAC."""

    @property
    def missing(self) -> int:
        return -(1 << (self.bits - 1))

    def sizes(self, values: int) -> tuple[int, ...]:
        """Bytes that so many samples may take; an odd last one of 12 bits is padded to two bytes or to three."""
        exact = -(-values * self.bits // 8)
        return (exact, 3 * (-(-values // 2))) if self.bits == 12 else (exact,)


def _decode_16(data: bytes, values: int) -> np.ndarray:
    return np.frombuffer(data, "<i2", count=values)


def _decode_80(data: bytes, values: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8, count=values).astype(np.int16) - 128


def _decode_212(data: bytes, values: int) -> np.ndarray:
    """Pairs in three bytes: low byte of the first, high halves of the second and the first, low byte of the second."""
    low, both, high = (
        np.frombuffer(data + bytes(-len(data) % 3), np.uint8).reshape(-1, 3).astype(np.int16).T
    )
    pairs = np.stack([low | (both & 0x0F) << 8, high | (both & 0xF0) << 4], axis=1)
    return ((pairs ^ 0x800) - 0x800).ravel()[:values]


def _decode_24(data: bytes, values: int) -> np.ndarray:
    wide = np.zeros((values, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8, count=3 * values).reshape(-1, 3)
    return wide.view("<i4")[:, 0] >> 8


def _decode_32(data: bytes, values: int) -> np.ndarray:
    return np.frombuffer(data, "<i4", count=values)


FORMATS = {
    16: Format(16, _decode_16),
    24: Format(24, _decode_24),
    32: Format(32, _decode_32),
    80: Format(8, _decode_80),
    212: Format(12, _decode_212),
    508: Format(8),
    516: Format(16),
    524: Format(24),
}


def read(path: Path, number: int, *, offset: int, samples: int, signals: int) -> np.ndarray:
    """Reads a signal file: frame after frame of a sample of each signal.

    Args:
      path: the file.
      number: its format, a key of FORMATS.
      offset: bytes before the first sample.
      samples: samples of each signal.
      signals: signals in the file.

    Returns:
      Whole numbers [samples, signals] as stored.

    Raises:
      RecordingError: the file is absent, of another length or of another format.
    """
    try:
        if FORMATS[number].decode is None:
            return _read_flac(path, FORMATS[number].bits, offset, samples, signals)
        return _read_plain(path, FORMATS[number], offset, samples, signals)
    except OSError as error:
        raise RecordingError(
            "missing_file", f"{path}: {error.strerror}; is the source complete?"
        ) from error


def _read_plain(path: Path, form: Format, offset: int, samples: int, signals: int) -> np.ndarray:
    sizes = form.sizes(samples * signals)
    if (size := path.stat().st_size) - offset not in sizes:
        layout = f"{samples} samples of {signals} signals"
        problem = f"{path}: {size} bytes, but {offset + sizes[0]} by its header ({layout})"
        raise RecordingError("length", f"{problem}; fetch the file again")
    data = path.read_bytes()
    if path.suffix == ".mat":
        _check_matlab(path, data[:offset], samples, signals)
    assert form.decode is not None
    return form.decode(data[offset:] if offset else data, samples * signals).reshape(
        samples, signals
    )


def _check_matlab(path: Path, preamble: bytes, samples: int, signals: int) -> None:
    """Checks what MATLAB 4 writes before a matrix, the bytes that a header's offset skips: 16-bit, a row a signal."""
    expected = (30, signals, samples, 0)  # 30: little-endian, int16, full matrix; 0: not complex
    if len(preamble) < 20 or struct.unpack_from("<4i", preamble) != expected:
        layout = f"a MATLAB 4 file with a matrix of {signals} x {samples} whole numbers of 16 bits"
        raise RecordingError("format", f"{path}: does not begin as {layout}; fetch the file again")


def _read_flac(path: Path, bits: int, offset: int, samples: int, signals: int) -> np.ndarray:
    import soundfile  # here: few records need it, and it loads a library

    if offset:
        raise RecordingError(
            "format", f"{path}: FLAC at byte {offset} is not supported; write it without an offset"
        )
    if path.stat().st_size > (most := 4 * samples * signals + (1 << 16)):
        raise RecordingError(
            "length", f"{path}: over {most} bytes, more than its samples take; fetch the file again"
        )
    try:
        # From memory, so that the library opens no file by itself.
        with soundfile.SoundFile(io.BytesIO(path.read_bytes())) as file:
            found = (file.format, file.subtype, file.channels, file.frames)
            if found != ("FLAC", f"PCM_{'S8' if bits == 8 else bits}", signals, samples):
                problem = f"{path}: holds {file.frames} samples of {file.channels} signals as {file.format}"
                expected = f"{samples} samples of {signals} signals with {bits} bits"
                raise RecordingError(
                    "length", f"{problem} {file.subtype}, not {expected}; fetch the file again"
                )
            values: Any = file.read(dtype="int32", always_2d=True)
    except soundfile.LibsndfileError as error:
        problem = " ".join(str(error).split())
        raise RecordingError(
            "format", f"{path}: not a whole FLAC file ({problem}); fetch the file again"
        ) from error
    if len(values) != samples:
        raise RecordingError(
            "length", f"{path}: ends after {len(values)} of {samples} samples; fetch it again"
        )
    return values >> (32 - bits)  # soundfile aligns to the highest bit
