"""Are pairs of visits better than two crops of one recording? `python -m benchmarks.patient_pairs`.

This is the core idea of Liu et al. 2025 and of PCLR. Runs differ in the share of pairs that are two
crops of one recording (`--instance-share`: 1 means no pairs of visits) and in the seed; patients,
batches and steps are the same. The frozen encoders are probed on the validation split. Figures are
means over seeds; intervals cover the patients and the seeds, and those of a difference are paired.

With --repeated only patients with several recordings are pre-trained on: elsewhere in PTB-XL a pair
is two crops of one recording in any case, as nine patients of ten have one recording.
"""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.bootstrap import Interval
from ecgjax.evaluate.identification import (
    FIGURES,
    identification_bootstrap,
    queries,
    retrieve,
    standardise,
)
from ecgjax.evaluate.label_draws import LabelDraws
from ecgjax.evaluate.tasks import TASKS
from ecgjax.launch.command import keep_compiled_programs, parse, run
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.pretrained import load_encoder
from ecgjax.workflows.low_label import Labels, task_recordings
from ecgjax.workflows.pretrain import Pretraining, pretrain
from ecgjax.workflows.probing import Embeddings, draw_task, probe

CROPS_ONLY = 1.0
"""The instance share that all others are compared with."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares pairs of visits with two crops of one recording, at equal batches."""

    data: Path
    """Prepared data set."""
    out: Path
    """Folder for the runs and patient_pairs.csv. Finished runs are not repeated."""
    instance_shares: tuple[float, ...] = (0.0, 0.25, CROPS_ONLY)
    """Shares of pairs that are two crops of one recording."""
    seeds: int = 3
    """Pre-training runs of each share."""
    repeated: bool = False
    """Pre-train on patients with several recordings alone."""
    batch_size: int = 128
    """Pairs of a step."""
    num_steps: int = 275
    """Steps of a run."""
    tasks: tuple[str, ...] = ("superclass", "af", "av_block_1", "mi", "premature")
    """Tasks of the probes."""
    labels: str = "1000"
    """Labelled recordings of a probe: a count, a share or all."""

    def __post_init__(self):
        if CROPS_ONLY not in self.instance_shares or len(self.instance_shares) < 2:
            raise InputError(
                f"--instance-shares {' '.join(map(str, self.instance_shares))}: give "
                f"{CROPS_ONLY:g}, crops alone, and others to compare with it"
            )
        if unknown := sorted({*self.tasks} - {*TASKS}):
            raise InputError(f"--tasks {' '.join(unknown)}: give some of {' '.join(TASKS)}")
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds}: give 1 or more")
        Labels.parse(self.labels)


class RepeatedPatients(Mixture):
    """A data set whose training split holds patients with several recordings alone."""

    def parts(self, name: str) -> list[np.ndarray]:
        """Returns the indices of a split's recordings, one array for each data set."""
        parts = super().parts(name)
        if name != "train":
            return parts
        kept = []
        for member, part in zip(self.members, parts, strict=True):
            patients = member.patients[part]
            _, patient, count = np.unique(patients, return_inverse=True, return_counts=True)
            kept.append(part[count[patient] > 1])
        return kept


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    keep_compiled_programs()
    mixture = (RepeatedPatients if arguments.repeated else Mixture)([arguments.data])
    arguments.out.mkdir(parents=True, exist_ok=True)
    embedded = {
        share: [embedded_by(arguments, mixture, share, seed) for seed in range(arguments.seeds)]
        for share in arguments.instance_shares
    }
    rows = compare(arguments, Records(arguments.data), embedded)
    with (arguments.out / "patient_pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(markdown(rows))


def embedded_by(arguments: Arguments, mixture: Mixture, share: float, seed: int) -> Embeddings:
    """Pre-trains an encoder, or resumes, and returns its embeddings of all recordings."""
    workdir = arguments.out / f"share-{share:g}-seed-{seed}"
    settings = Pretraining(
        objective=PatientContrast(instance_share=share),
        batch_size=arguments.batch_size,
        num_steps=arguments.num_steps,
        seed=seed,
    )
    checkpoint = pretrain(settings, mixture, workdir, save_every=1000, log_every=50)
    records = mixture.members[0]
    indices = np.sort(np.concatenate([records.split("train"), records.split("validation")]))
    file = workdir / "embeddings.npy"
    if not file.exists():
        np.save(file, load_encoder(checkpoint).embed_records(records, indices))
    return Embeddings(indices, np.load(file))


def compare(
    arguments: Arguments, records: Records, embedded: dict[float, list[Embeddings]]
) -> list[dict]:
    """Returns a row for each figure and share: its value, and its difference from crops alone."""
    rows = []
    for task in arguments.tasks:
        measured = _task_draws(arguments, records, task, embedded)
        rows += _rows(f"{task}, AUROC", list(measured.values), measured.macro)
    identified = _identification(records, embedded)
    for number, name in enumerate(FIGURES):

        def interval(share: str, minus: str | None = None, number: int = number) -> Interval:
            return identified.per_class(share, minus=minus)[number]

        rows += _rows(f"identification, {name}", list(identified.values), interval)
    return rows


def _identification(records: Records, embedded: dict[float, list[Embeddings]]) -> LabelDraws:
    """Identifies patients of the validation split with every encoder; a seed counts as a draw."""
    held_out = records.split("validation")
    train = records.split("train")
    patients = records.patients[held_out]
    methods = {f"{share:g}": every_seed for share, every_seed in embedded.items()}
    names = {share: [f"{share} {seed}" for seed in range(len(methods[share]))] for share in methods}
    retrievals = {
        name: retrieve(standardise(each.select(held_out), each.select(train)), patients)
        for share, every_seed in methods.items()
        for name, each in zip(names[share], every_seed, strict=True)
    }
    single = identification_bootstrap(retrievals, patients[queries(patients)])
    return LabelDraws.stack(single, names)


def _task_draws(
    arguments: Arguments, records: Records, name: str, embedded: dict[float, list[Embeddings]]
) -> LabelDraws:
    """Probes every encoder with a draw of labels of its seed; a seed counts as a draw."""
    task = TASKS[name]
    train = task_recordings(records, task, records.split("train"))
    tested = task_recordings(records, task, records.split("validation"))
    count = Labels.parse(arguments.labels).number(len(train.indices))
    scores = {}
    for share, every_seed in embedded.items():
        draws = [draw_task(task, train, count, seed=seed) for seed in range(len(every_seed))]
        predicted = [
            probe(draw, each, tested.indices) for draw, each in zip(draws, every_seed, strict=True)
        ]
        scores[f"{share:g}"] = np.stack(predicted)
    return LabelDraws.measure(task.outputs.kind, tested.targets, scores, tested.patients)


def _rows(figure: str, shares: Sequence[str], interval: Callable[..., Interval]) -> list[dict]:
    """Returns the rows of a figure; `interval(share, minus=share)` gives its values."""
    crops = f"{CROPS_ONLY:g}"
    rows = []
    for share in shares:
        own = interval(share)
        row = {"figure": figure, "instance_share": share, "value": round(own.value, 4)}
        row |= {"interval": _text(own.within(0.0, 1.0))}
        row |= {"minus_crops": "", "minus_crops_interval": ""}
        if share != crops:
            gain = interval(share, minus=crops)
            row["minus_crops"] = f"{gain.value:+.4f}"
            row["minus_crops_interval"] = _text(gain)
        rows.append(row)
    return rows


def _text(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def markdown(rows: Sequence[dict]) -> str:
    """Returns the rows as a table in Markdown."""
    lines = [
        "| figure | instance share | value | minus crops alone |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        difference = row["minus_crops"]
        if difference:
            difference = f"{float(difference):+.3f} ({row['minus_crops_interval']})"
        value = f"{row['value']:.3f} ({row['interval']})"
        lines.append(f"| {row['figure']} | {row['instance_share']} | {value} | {difference} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
