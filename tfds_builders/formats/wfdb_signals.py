"""The signal files of WFDB, read as arrays of samples.

https://physionet.org/physiotools/wag/signal-5.htm
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfds_builders.recording.quality import RecordingError


class Format(NamedTuple):
    """The encoding of samples in a file."""

    bits: int
    """Number of bits of a sample. The lowest value stands for a missing sample."""
    decode: Callable[[bytes, int], np.ndarray] | None = None
    """Function from (bytes, number of samples) to samples; None for FLAC."""

    @property
    def missing(self) -> int:
        """Value of a missing sample."""
        return -(1 << (self.bits - 1))

    def sizes(self, values: int) -> tuple[int, ...]:
        """Returns the possible sizes of `values` samples in bytes.

        There are two sizes at 12 bits, since a last single sample is padded to two or three bytes.
        """
        exact = -(-values * self.bits // 8)
        return (exact, 3 * (-(-values // 2))) if self.bits == 12 else (exact,)


def _decode_16(data: bytes, values: int) -> np.ndarray:
    return np.frombuffer(data, "<i2", count=values)


def _decode_61(data: bytes, values: int) -> np.ndarray:
    return np.frombuffer(data, ">i2", count=values).astype(np.int16)


def _decode_160(data: bytes, values: int) -> np.ndarray:
    return np.frombuffer(data, "<u2", count=values).view(np.int16) ^ np.int16(-32768)


def _decode_80(data: bytes, values: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8, count=values).astype(np.int16) - 128


def _decode_212(data: bytes, values: int) -> np.ndarray:
    """Decodes two samples from each three bytes.

    The bytes are the low byte of the first sample, the high halves of the second and the first, and
    the low byte of the second.
    """
    data += bytes(-len(data) % 3)
    triples = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int16)
    low, both, high = triples.T
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
    61: Format(16, _decode_61),
    80: Format(8, _decode_80),
    160: Format(16, _decode_160),
    212: Format(12, _decode_212),
    508: Format(8),
    516: Format(16),
    524: Format(24),
}
"""Supported formats by their number in the header."""


def read(path: Path, number: int, *, offset: int, frames: int, columns: int) -> np.ndarray:
    """Reads a signal file.

    Args:
      path: the file.
      number: its format, a key of FORMATS.
      offset: number of bytes before the first sample.
      frames: number of frames.
      columns: number of samples in a frame: the signals in the file, unless one has several.

    Returns:
      The stored integers [frames, columns].

    Raises:
      RecordingError: the file is absent, or its length or format differs.
    """
    signal_format = FORMATS[number]
    try:
        if signal_format.decode is None:
            return _read_flac(path, signal_format.bits, offset, frames, columns)
        data = _read_bytes(path, signal_format, offset, frames, columns)
    except OSError as error:
        raise _absent(path, error) from error
    return signal_format.decode(data, frames * columns).reshape(frames, columns)


def count_frames(path: Path, number: int, *, offset: int, columns: int) -> int:
    """Returns the number of whole frames in a signal file, for a header that does not say it.

    Raises:
      RecordingError: the file is absent or empty.
    """
    try:
        if FORMATS[number].decode is None:
            frames = _count_flac(path)
        else:
            frames = (path.stat().st_size - offset) * 8 // (FORMATS[number].bits * columns)
    except OSError as error:
        raise _absent(path, error) from error
    if frames < 1:
        problem = f"{path}: holds no samples, and the header does not say how many"
        raise RecordingError("length", f"{problem}; fetch the file again")
    return frames


def _absent(path: Path, error: OSError) -> RecordingError:
    problem = f"{path}: {error.strerror}"
    return RecordingError("missing_file", f"{problem}; is the source complete?")


def _read_bytes(path: Path, signal_format: Format, offset: int, frames: int, columns: int) -> bytes:
    """Returns the bytes of all samples, after a check of the file's size."""
    sizes = signal_format.sizes(frames * columns)
    size = path.stat().st_size
    if size - offset not in sizes:
        layout = f"{frames} frames of {columns} samples"
        problem = f"{path}: {size} bytes, but {offset + sizes[0]} by its header ({layout})"
        raise RecordingError("length", f"{problem}; fetch the file again")
    data = path.read_bytes()
    if path.suffix == ".mat":
        _check_matlab(path, data[:offset], frames, columns)
    return data[offset:] if offset else data


def _check_matlab(path: Path, preamble: bytes, samples: int, signals: int) -> None:
    """Checks the preamble of a matrix in a MATLAB 4 file, which the header's offset skips.

    The matrix must hold 16-bit integers, one row per signal.
    """
    expected = (30, signals, samples, 0)  # 30: little-endian, int16, full matrix; 0: not complex
    if len(preamble) < 20 or struct.unpack_from("<4i", preamble) != expected:
        layout = f"a MATLAB 4 file with a matrix of {signals} x {samples} 16-bit integers"
        raise RecordingError("format", f"{path}: does not begin as {layout}; fetch the file again")


def _count_flac(path: Path) -> int:
    import soundfile

    try:
        with path.open("rb") as file, soundfile.SoundFile(file) as sound:
            return sound.frames
    except soundfile.LibsndfileError as error:
        raise _not_flac(path, error) from error


def _read_flac(path: Path, bits: int, offset: int, samples: int, signals: int) -> np.ndarray:
    import soundfile  # here: it loads a library, and few records need it

    if offset:
        problem = f"{path}: FLAC at byte {offset} is not supported"
        raise RecordingError("format", f"{problem}; write it without an offset")
    if path.stat().st_size > (limit := 4 * samples * signals + (1 << 16)):
        problem = f"{path}: over {limit} bytes, more than its samples need"
        raise RecordingError("length", f"{problem}; fetch the file again")
    try:
        # From memory, so that the library opens no file itself.
        with soundfile.SoundFile(io.BytesIO(path.read_bytes())) as file:
            content = (file.format, file.subtype, file.channels, file.frames)
            if content != ("FLAC", f"PCM_{'S8' if bits == 8 else bits}", signals, samples):
                problem = f"{path}: holds {file.frames} samples of {file.channels} signals as"
                problem += f" {file.format} {file.subtype}"
                expected = f"{samples} samples of {signals} signals with {bits} bits"
                raise RecordingError("length", f"{problem}, not {expected}; fetch the file again")
            values: Any = file.read(dtype="int32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _not_flac(path, error) from error
    if len(values) != samples:
        problem = f"{path}: ends after {len(values)} of {samples} samples"
        raise RecordingError("length", f"{problem}; fetch it again")
    return values >> (32 - bits)  # soundfile aligns samples to the highest bit


def _not_flac(path: Path, error: Exception) -> RecordingError:
    problem = " ".join(f"{path}: not a complete FLAC file ({error})".split())
    return RecordingError("format", f"{problem}; fetch the file again")
