"""Linear probes of a frozen encoder on the validation split, for comparisons of recipes."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from benchmarks.read_outs import READ_OUTS
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.metrics import macro_auroc
from ecgjax.evaluate.tasks import TASKS, Task
from ecgjax.pretrained import Encoder
from ecgjax.workflows.low_label import LabelledRecordings, Labels, task_recordings
from ecgjax.workflows.probing import Draw, draw_task, embed, probe


@dataclasses.dataclass(frozen=True)
class Probes:
    """Settings of the probes."""

    read_outs: tuple[str, ...] = ("own",)
    """Parts of the network that make up the embedding: own, blocks, blocks_std."""
    tasks: tuple[str, ...] = ("superclass", "af", "av_block_1", "mi", "premature", "all")
    """Tasks of the probes."""
    labels: tuple[str, ...] = ("100", "1000", "all")
    """Numbers of labelled recordings, shares of them, or all."""
    seeds: int = 3
    """Number of draws of labelled recordings."""

    def __post_init__(self):
        for option, names, known in (
            ("read-outs", self.read_outs, READ_OUTS),
            ("tasks", self.tasks, TASKS),
        ):
            if not names or set(names) - set(known):
                raise InputError(
                    f"--probes.{option} {' '.join(names)}: give some of {' '.join(known)}"
                )
        for text in self.labels:
            Labels.parse(text)  # refuses what is no amount
        if self.seeds < 1 or not self.labels:
            raise InputError(f"--probes.seeds {self.seeds}: give one or more, and some labels")


def probe_rows(settings: Probes, encoder: Encoder, records: Records) -> list[dict]:
    """Probes an encoder; returns a dict for each task and number of labels.

    The AUROC is the mean over classes and draws, "spread" its standard deviation over the draws. A
    probe of all labels has one draw.
    """
    asked = [part for name in settings.tasks for part in _draws(settings, TASKS[name], records)]
    if not asked:
        raise InputError(f"--probes.labels {' '.join(settings.labels)}: {records.path} has fewer")
    needed = [
        indices
        for _, _, held_out, draws in asked
        for indices in (held_out.indices, *(draw.indices for draw in draws))
    ]
    embeddings = embed(encoder, records, np.concatenate(needed))
    rows = []
    for name, text, held_out, draws in asked:
        scores = [probe(draw, embeddings, held_out.indices) for draw in draws]
        values = [macro_auroc(held_out.targets, each) for each in scores]
        figures = {
            "auroc": round(float(np.mean(values)), 5),
            "spread": round(float(np.std(values)), 5),
        }
        rows.append({"task": name, "labels": text, **figures})
    return rows


def _draws(
    settings: Probes, task: Task, records: Records
) -> Iterator[tuple[str, str, LabelledRecordings, list[Draw]]]:
    """Yields task, number of labels, validation recordings and draws, for each number of labels."""
    labelled = task_recordings(records, task, records.split("train"))
    held_out = task_recordings(records, task, records.split("validation"))
    available = len(labelled.indices)
    for text in settings.labels:
        count = Labels.parse(text).number(available)
        if count > available:
            continue
        draws = [
            draw_task(task, labelled, count, seed=seed)
            for seed in range(settings.seeds if count < available else 1)
        ]
        yield task.name, text, held_out, draws
