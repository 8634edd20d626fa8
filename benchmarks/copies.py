"""Sketches on real recordings: false alarms over all pairs, and the share of copies that is found.

python -m benchmarks.copies --data data/ptb_xl/100hz/2.0.0
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal

from benchmarks import report
from ecgjax.data.records import Records
from ecgjax.data.sketches import MOST_APART, sketch
from ecgjax.launch.command import parse, run
from ecgjax.signals import MISSING

SHOWN = (MOST_APART, 16, 20, 24, 32)
"""Numbers of different bits up to which pairs are counted."""
AT_ONCE = 128
Signals = np.ndarray


def false_alarms(sketches: np.ndarray, patients: np.ndarray) -> report.Rows:
    """Counts the pairs of different recordings by the number of different bits.

    Args:
      sketches: uint64 [recording, 2].
      patients: patient number of each recording, [recording].
    """
    counts = np.zeros((2, 129), np.int64)
    numbers = np.arange(len(sketches))
    for start in range(0, len(sketches), AT_ONCE):
        block = slice(start, start + AT_ONCE)
        apart = np.bitwise_count(sketches[block, None, 0] ^ sketches[None, :, 0])
        apart += np.bitwise_count(sketches[block, None, 1] ^ sketches[None, :, 1])
        is_pair = numbers[None] > numbers[block, None]
        is_same = patients[block, None] == patients[None]
        for row, chosen in enumerate((is_pair & ~is_same, is_pair & is_same)):
            counts[row] += np.bincount(apart[chosen], minlength=129)
    return [
        {"pairs of recordings": name, "number": int(row.sum())}
        | {f"up to {bits} bits": int(row[: bits + 1].sum()) for bits in SHOWN}
        for name, row in zip(("of two patients", "of one patient"), counts, strict=True)
    ]


def changes(rng: np.random.Generator) -> dict[str, tuple[Callable[[Signals], Signals], float]]:
    """Returns what may happen to a recording at 100 Hz, and the sampling rate of the result."""

    def shifted(samples: int) -> Callable[[Signals], Signals]:
        return lambda x: np.concatenate([x[:, :1].repeat(samples, 1), x[:, :-samples]], axis=1)

    def noisy(level_uv: float) -> Callable[[Signals], Signals]:
        return lambda x: x + rng.normal(0, level_uv, x.shape)

    def cut(samples: int) -> Callable[[Signals], Signals]:
        return lambda x: x[:, samples : x.shape[1] - samples]

    def without(leads: slice) -> Callable[[Signals], Signals]:
        def change(x: Signals) -> Signals:
            x = x.copy()
            x[:, :, leads] = MISSING
            return x

        return change

    band = scipy.signal.butter(2, [0.5, 40], "bandpass", fs=100, output="sos")
    return {
        "500 Hz": (lambda x: np.asarray(scipy.signal.resample_poly(x, 5, 1, axis=1)), 500.0),
        "250 Hz": (lambda x: np.asarray(scipy.signal.resample_poly(x, 5, 2, axis=1)), 250.0),
        "shifted by 10 ms": (shifted(1), 100.0),
        "shifted by 30 ms": (shifted(3), 100.0),
        "shifted by 50 ms": (shifted(5), 100.0),
        "shifted by 100 ms": (shifted(10), 100.0),
        "gain 0.9, offsets": (lambda x: 0.9 * x + 100 * np.arange(12), 100.0),
        "steps of 4.88 uV": (lambda x: np.round(x / 4.88) * 4.88, 100.0),
        "filter 0.5 to 40 Hz": (lambda x: np.asarray(scipy.signal.sosfilt(band, x, axis=1)), 100.0),
        "noise of 5 uV": (noisy(5), 100.0),
        "noise of 10 uV": (noisy(10), 100.0),
        "noise of 20 uV": (noisy(20), 100.0),
        "0.1 s cut at both ends": (cut(10), 100.0),
        "0.2 s cut at both ends": (cut(20), 100.0),
        "0.5 s cut at both ends": (cut(50), 100.0),
        "V1 and V2 absent": (without(slice(6, 8)), 100.0),
        "chest leads absent": (without(slice(6, 12)), 100.0),
    }


def found(signals: Signals, sketches: np.ndarray, rng: np.random.Generator) -> report.Rows:
    """Returns the share of changed recordings that count as copies of the originals."""
    rows = []
    for name, (change, rate_hz) in changes(rng).items():
        parts = np.array_split(signals, -(-len(signals) // AT_ONCE))
        other = np.concatenate([_changed_sketch(part, change, rate_hz) for part in parts])
        apart = np.bitwise_count(other ^ sketches).sum(1)
        row = {"change": name, "found": round(float((apart <= MOST_APART).mean()), 3)}
        rows.append(row | {"different bits, median": float(np.median(apart))})
    return rows


def _changed_sketch(
    signals: Signals, change: Callable[[Signals], Signals], rate_hz: float
) -> np.ndarray:
    changed = change(signals.astype(float)).round().clip(MISSING, 32767).astype(np.int16)
    valid_samples = np.full(len(changed), changed.shape[1])
    return sketch(changed, rate_hz=rate_hz, valid_samples=valid_samples)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Counts false alarms over all pairs of a data set, and the copies that are found."""

    data: Path
    """Prepared data set at 100 Hz."""
    copies: int = 1000
    """Random recordings that are changed."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    records = Records(arguments.data)
    sketches = records.sketches[np.arange(len(records))]
    report.show("false alarms", false_alarms(sketches, records.patients))
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(records), min(arguments.copies, len(records)), replace=False))
    report.show("copies", found(records.read(chosen), sketches[chosen], rng))


if __name__ == "__main__":
    run(main)
