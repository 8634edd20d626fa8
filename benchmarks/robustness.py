"""Measures a frozen encoder on damaged recordings: `python -m benchmarks.robustness --help`.

A linear probe is trained on the embeddings of the undamaged training split. It then scores the
recordings of another split, undamaged and damaged. For recordings with few leads a second probe is
trained on training recordings with the same leads: the encoder stays the same. All recordings go
through the public call of the encoder, as raw microvolts.
"""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

import ecgjax
from ecgjax.adapt import linear_probe
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.metrics import macro_auroc
from ecgjax.evaluate.tasks import TASKS
from ecgjax.launch.command import parse, run
from ecgjax.signals import LEADS, MISSING
from ecgjax.workflows.low_label import task_recordings

TASK_NAMES = ("af", "av_block_1", "mi", "superclass")
OFFSETS_MV = (0.3, 1, 5, 20)
"""Standard deviations of a constant offset of each lead."""
LENGTHS_S = (8, 7, 5)
SUBSETS = {
    "8 leads": ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"),
    "limb leads": ("I", "II", "III", "aVR", "aVL", "aVF"),
    "leads I, II": ("I", "II"),
    "lead I": ("I",),
}
CHUNK = 1024
"""Recordings that are read and damaged at once."""

Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Function of recordings float64 [recording, time, lead] in uV, NaN for missing samples."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measures a frozen encoder on offsets, hum, wander, shorter recordings and fewer leads."""

    checkpoint: Path
    """Pre-trained checkpoint, or the workdir of its run."""
    data: Path
    """Prepared data set with the labels of PTB-XL."""
    split: Literal["validation", "test"] = "validation"
    """Split that is damaged and scored; choices are made on validation."""
    conditions: tuple[str, ...] = ()
    """Names of the conditions to measure. Default: all."""
    window_s: float | None = None
    """Length of the windows in seconds, 0 for whole recordings. Default: the checkpoint's."""
    other_rate: Path | None = None
    """The same recordings, or some of them, prepared at another sampling rate: how far do their
    embeddings differ? Nothing else is measured then."""
    out: Path | None = None
    """CSV file of the table."""
    seed: int = 0
    """Seed of offsets and phases."""


def damages(rate_hz: float) -> dict[str, Damage]:
    """Returns the damages that keep all leads, by name, for recordings of a sampling rate."""

    def offset(spread_mv: float) -> Damage:
        return lambda value_uv, rng: (
            value_uv + 1e3 * spread_mv * rng.normal(size=(len(value_uv), 1, value_uv.shape[2]))
        )

    def sine(amplitude_mv: float, lowest_hz: float, highest_hz: float) -> Damage:
        def add(value_uv: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            shape = (len(value_uv), 1, 1)
            frequency_hz = rng.uniform(lowest_hz, highest_hz, shape)
            phase = rng.uniform(0, 2 * np.pi, (len(value_uv), 1, value_uv.shape[2]))
            seconds = np.arange(value_uv.shape[1])[:, None] / rate_hz
            wave = np.sin(2 * np.pi * frequency_hz * seconds + phase)
            return value_uv + 1e3 * amplitude_mv * wave

        return add

    def cut(seconds: float) -> Damage:
        return lambda value_uv, rng: value_uv[:, : round(seconds * rate_hz)]

    return {
        "undamaged": lambda value_uv, rng: value_uv,
        **{f"offset, sd {spread:g} mV": offset(spread) for spread in OFFSETS_MV},
        # At 100 Hz a hum of 50 Hz is at the Nyquist frequency: its samples alternate.
        "hum 50 Hz, 0.1 mV": sine(0.1, 50, 50),
        "wander 1 mV": sine(1.0, 0.05, 0.3),
        **{f"{seconds} s": cut(seconds) for seconds in LENGTHS_S},
    }


def embed(
    encoder: ecgjax.Encoder,
    records: Records,
    indices: np.ndarray,
    *,
    damage: Damage | None = None,
    leads: tuple[str, ...] = LEADS,
    seed: int = 0,
) -> np.ndarray:
    """Embeds damaged recordings with some of their leads: float32 [len(indices), dimension]."""
    rng = np.random.default_rng(seed)
    columns = [LEADS.index(lead) for lead in leads]
    parts = []
    for start in range(0, len(indices), CHUNK):
        stored = records.read(indices[start : start + CHUNK])[..., columns]
        value_uv = np.where(stored == MISSING, np.nan, stored.astype(np.float64))
        if damage:
            value_uv = damage(value_uv, rng)
        parts.append(
            encoder(
                value_uv,
                rate_hz=records.rate_hz,
                leads=leads,
                units="uV",
                allow_missing_leads=True,
                on_bad="nan",
                batch_size=256,
            )
        )
    # A recording that is refused counts as the average one.
    embeddings = np.concatenate(parts)
    return np.where(np.isfinite(embeddings), embeddings, np.nanmean(embeddings, axis=0))


def measure(arguments: Arguments) -> dict[str, dict[str, float]]:
    """Returns the AUROC of each task by condition."""
    encoder = ecgjax.load(arguments.checkpoint)
    if arguments.window_s is not None:
        window_s = arguments.window_s or None
        preprocessing = dataclasses.replace(encoder.preprocessing, window_s=window_s)
        encoder = dataclasses.replace(encoder, preprocessing=preprocessing)
    records = Records(arguments.data)
    known = [*damages(records.rate_hz), *SUBSETS, *(f"{name}, own probe" for name in SUBSETS)]
    if unknown := sorted(set(arguments.conditions) - set(known)):
        raise InputError(f"--conditions {unknown[0]!r}: give some of {'; '.join(known)}")
    probes = Probes(records, arguments.split)
    clean = embed(encoder, records, probes.train)
    fitted = probes.fit(clean)
    rows: dict[str, dict[str, float]] = {}

    def score(name: str, fitted: dict[str, linear_probe.LinearProbe], **options) -> None:
        if arguments.conditions and name not in arguments.conditions:
            return
        embeddings = embed(encoder, records, probes.tested, seed=arguments.seed, **options)
        rows[name] = probes.score(fitted, embeddings)
        print(
            f"| {name} |", " | ".join(f"{value:.4f}" for value in rows[name].values()), flush=True
        )

    print(f"| condition | {' | '.join(TASK_NAMES)} |\n|{' --- |' * (len(TASK_NAMES) + 1)}")
    for name, damage in damages(records.rate_hz).items():
        score(name, fitted, damage=damage)
    for name, leads in SUBSETS.items():
        score(name, fitted, leads=leads)
        if not arguments.conditions or f"{name}, own probe" in arguments.conditions:
            own = probes.fit(embed(encoder, records, probes.train, leads=leads))
            score(f"{name}, own probe", own, leads=leads)
    return rows


def between_rates(encoder: ecgjax.Encoder, records: Records, other: Records) -> tuple[int, float]:
    """Compares embeddings of the same recordings at two sampling rates.

    Returns:
      The number of recordings in both data sets, and the median distance between their two
      embeddings as a share of the median distance between different recordings.
    """
    ids = [data.column("record_id").to_pylist() for data in (records, other)]
    shared = sorted({*ids[0]} & {*ids[1]})
    pair = [
        data.read(np.array([names.index(name) for name in shared]))
        for data, names in zip((records, other), ids, strict=True)
    ]
    first, second = (
        encoder(
            np.where(stored == MISSING, np.nan, stored.astype(np.float64)),
            rate_hz=data.rate_hz,
            leads=LEADS,
            units="uV",
        )
        for data, stored in zip((records, other), pair, strict=True)
    )
    apart = np.linalg.norm(first[:, None] - first, axis=-1)
    same = np.linalg.norm(first - second, axis=-1)
    return len(shared), float(np.median(same) / np.median(apart[np.triu_indices(len(apart), 1)]))


class Probes:
    """Linear probes of all tasks: the labels of the training split and of the tested one."""

    def __init__(self, records: Records, split: str):
        self.train = records.split("train")
        self.tested = records.split(split)
        self._labelled = {
            name: (
                task_recordings(records, TASKS[name], self.train),
                task_recordings(records, TASKS[name], self.tested),
            )
            for name in TASK_NAMES
        }

    def fit(self, embeddings: np.ndarray) -> dict[str, linear_probe.LinearProbe]:
        """Fits the probe of each task to embeddings of `train`."""
        return {
            name: linear_probe.fit(
                embeddings[np.searchsorted(self.train, train.indices)],
                train.targets,
                train.patients,
                seed=0,
            )
            for name, (train, _) in self._labelled.items()
        }

    def score(
        self, fitted: dict[str, linear_probe.LinearProbe], embeddings: np.ndarray
    ) -> dict[str, float]:
        """Returns the macro AUROC of each task on embeddings of `tested`."""
        return {
            name: macro_auroc(
                test.targets,
                fitted[name].scores(embeddings[np.searchsorted(self.tested, test.indices)]),
            )
            for name, (_, test) in self._labelled.items()
        }


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    if arguments.other_rate:
        encoder = ecgjax.load(arguments.checkpoint)
        count, share = between_rates(
            encoder, Records(arguments.data), Records(arguments.other_rate)
        )
        print(f"{count} recordings at both rates: median distance {share:.1%} of that of others")
        return
    rows = measure(arguments)
    if arguments.out:
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("condition", *TASK_NAMES))
            writer.writerows((name, *row.values()) for name, row in rows.items())


if __name__ == "__main__":
    run(main)
