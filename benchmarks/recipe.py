"""Separates what a recipe consists of: `python -m benchmarks.recipe --data DIR --out DIR`.

A row is an architecture, a way to cut crops and an objective, at an equal number of recordings seen
and at an equal time of training. Its frozen encoder is read in each of several ways and probed on
validation recordings (fold 9 of PTB-XL); the test split is never read. A run that has begun
resumes, and one that is finished is not repeated, so that the same command goes on after a stop and
more rows can be added to a folder. recipe.csv has a line for each probe, recipe.md a table.

The time of a step is measured: CPU time of this process on a CPU, which other programs hardly
change, and elapsed time on an accelerator. The time of compiling and of reading does not count.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from operator import mul
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from benchmarks import recipe_table
from benchmarks.architecture import check_architecture, file_name, split_architecture
from benchmarks.crops import with_crops
from benchmarks.probes import Probes, probe_rows
from benchmarks.read_outs import check_read_outs, read_through
from benchmarks.step_cost import digest, kept, step_cost_s
from ecgjax.data.mixture import Mixture
from ecgjax.errors import InputError
from ecgjax.launch.command import keep_compiled_programs, parse, run
from ecgjax.objectives import OBJECTIVES
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder, load_encoder, untrained_twin
from ecgjax.train.runlog import console
from ecgjax.workflows.encoder_settings import configured_encoder
from ecgjax.workflows.pretrain import Pretraining, pretrain, with_precision

RANDOM = "random"
"""Name of the row without training, in place of an objective."""
SAVE_EVERY = 500


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares architectures, read-outs, crops and objectives of pre-training by linear probes."""

    data: Path
    """Prepared data set."""
    out: Path
    """Folder for runs, recipe.csv and recipe.md."""
    architectures: tuple[str, ...] = (
        "compact_resnet",
        "lead_branches",
        "lead_branches:shared=true",
    )
    """Encoders, with settings after a colon: NAME:KEY=VALUE/KEY=VALUE, values in JSON."""
    crops: tuple[str, ...] = ("2.5", "5", "10", "multi")
    """Seconds of two crops; multi: two of 5 s and two of 2.5 s; own: those of the objective."""
    objectives: tuple[str, ...] = (RANDOM, "patient_contrast", "simclr", "swav", "lejepa", "visreg")
    """Objectives; random: the encoder without training."""
    views: Literal["same", "own"] = "same"
    """Augmentation of the crops: that of patient_contrast for all objectives, or each its own."""
    equal: tuple[Literal["samples", "time"], ...] = ("samples", "time")
    """Comparisons at an equal number of recordings, at an equal time, or both."""
    recordings: int = 35_200
    """Recordings that a run sees at an equal number of them."""
    time_s: float | None = None
    """Seconds of a run at equal time. Default: those of the folder's first trained row."""
    ema_decay: float = 0.0
    """`--ema-decay` of `pretrain` for all rows of the folder."""
    batch_recordings: int = 128
    """Batch size in recordings; an objective of pairs takes half as many pairs."""
    probes: Probes = Probes()
    """Linear probes."""
    cache: Literal["none", "device"] = "none"
    """Memory that holds all recordings: none (read shards) or device, for an accelerator."""
    seed: int = 0
    """Seed of pre-training."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A combination that is trained."""

    architecture: str
    crops: str
    objective: str


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    keep_compiled_programs()
    records = Mixture([arguments.data])
    rows = list(combinations(arguments))
    arguments.out.mkdir(parents=True, exist_ok=True)
    costs = arguments.out / "costs.json"
    for row in rows:
        settings = with_precision(row_settings(arguments, row))
        if row.objective == RANDOM:
            _finish(arguments, records, row, settings, "")
            continue
        for equal in arguments.equal:
            cost_s = step_cost_s(settings, records, costs)
            steps = arguments.recordings // arguments.batch_recordings
            time_s = arguments.time_s or kept(
                costs, "time_s", functools.partial(mul, cost_s, steps)
            )
            if equal == "time":
                steps = max(1, round(time_s / cost_s))
            sized = dataclasses.replace(settings, num_steps=steps)
            _finish(arguments, records, row, sized, equal, cost_s)


def combinations(arguments: Arguments) -> Iterator[Row]:
    """Yields the rows, after a check of all names; says which combinations do not exist.

    Raises:
      InputError: an unknown name, a read-out that an architecture lacks, or nothing to do.
    """
    if not 2 <= arguments.batch_recordings <= arguments.recordings:
        raise InputError(
            f"--recordings {arguments.recordings}, --batch-recordings "
            f"{arguments.batch_recordings}: give two or more to a batch, and one batch or more"
        )
    for name in {*arguments.objectives} - {RANDOM, *OBJECTIVES}:
        raise InputError(f"--objectives {name}: give some of {RANDOM} {' '.join(OBJECTIVES)}")
    for architecture in arguments.architectures:
        check_architecture("architectures", architecture)
        module = configured_encoder(*split_architecture(architecture))
        check_read_outs(module, Preprocessing(), arguments.probes.read_outs)
        if RANDOM in arguments.objectives:
            yield Row(architecture, "own", RANDOM)
        trained = [name for name in arguments.objectives if name != RANDOM]
        for objective, crops in itertools.product(trained, arguments.crops):
            row = Row(architecture, crops, objective)
            try:
                row_settings(arguments, row)
            except LookupError:
                console.print(f"left out: {objective} cannot cut crops {crops}")
                continue
            yield row


def row_settings(arguments: Arguments, row: Row) -> Pretraining:
    """Returns the settings of a row, without its number of steps.

    Raises:
      LookupError: the objective has no such crops.
    """
    name, words = split_architecture(row.architecture)
    settings = Pretraining(encoder=name, encoder_settings=words, seed=arguments.seed)
    if row.objective == RANDOM:
        return settings
    objective = OBJECTIVES[row.objective]()
    pairs = 1 if objective.examples == "single" else 2
    return dataclasses.replace(
        settings,
        objective=with_crops(objective, row.crops, same_views=arguments.views == "same"),
        batch_size=arguments.batch_recordings // pairs,
        ema_decay=arguments.ema_decay,
    )


def _finish(
    arguments: Arguments,
    records: Mixture,
    row: Row,
    settings: Pretraining,
    equal: str,
    cost_s: float = 0.0,
) -> None:
    """Trains and probes a row unless that was done; then writes the tables of all rows."""
    folder = arguments.out / file_name(row.architecture, row.crops, row.objective, equal)
    asked = [dataclasses.asdict(arguments.probes), settings.num_steps, arguments.views]
    if arguments.ema_decay:  # without it, files of earlier versions keep their names
        asked.append(arguments.ema_decay)
    file = folder / f"probes-{digest(asked)}.csv"
    if not file.exists():
        encoder = _trained(arguments, records, row, settings, folder)
        examples = 1 if row.objective == RANDOM else settings.batch_size * settings.num_steps
        pairs = 1 if settings.objective.examples == "single" else 2
        facts = {
            **dataclasses.asdict(row),
            "equal": equal,
            "recordings": 0 if row.objective == RANDOM else examples * pairs,
            "train_s": round(cost_s * settings.num_steps, 1),
            "parameters": sum(
                np.size(leaf) for leaf in jax.tree.leaves(encoder.variables["params"])
            ),
        }
        lines = []
        for read_out in arguments.probes.read_outs:
            read = read_through(encoder, read_out)
            found = probe_rows(arguments.probes, read, records.members[0])
            lines += [{**facts, "read_out": read_out, **line} for line in found]
        folder.mkdir(exist_ok=True)
        recipe_table.write(file, lines)
        jax.clear_caches()  # compiled programs of this row
    recipe_table.collect(arguments.out)


def _trained(
    arguments: Arguments, records: Mixture, row: Row, settings: Pretraining, folder: Path
) -> Encoder:
    if row.objective == RANDOM:
        module = configured_encoder(*split_architecture(row.architecture))
        return untrained_twin(Encoder(module, {}, settings.preprocessing), seed=arguments.seed)
    checkpoint = pretrain(
        settings, records, folder, save_every=SAVE_EVERY, log_every=50, cache=arguments.cache
    )
    return load_encoder(checkpoint)


if __name__ == "__main__":
    run(main)
