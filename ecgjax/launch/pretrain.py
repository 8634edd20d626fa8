"""Pre-trains an encoder without labels: `python -m ecgjax.launch.pretrain`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from ecgjax.launch import chosen, parse, run, say_where
from ecgjax.objectives import OBJECTIVES
from ecgjax.train.pretraining import Pretraining
from ecgjax.train.processes import Processes

DEMO = {"num_steps": 220, "batch_size": 128}
"""Enough for the synthetic cohort: about a minute on two CPU cores."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Pre-trains an encoder without labels; without arguments on a synthetic cohort made on the spot.

    Resumes by itself: the same command goes on from the last checkpoint in the workdir.
    """

    data: tuple[Path, ...] = ()
    """Prepared data sets (see ecgjax.launch.prepare). Without any the embedded synthetic cohort is made."""
    weights: tuple[float, ...] = ()
    """Each data set's share of a batch. Default: every recording counts the same."""
    workdir: Path | None = None
    """Checkpoints, logs, plots. Default: runs/pretrain-DATA."""
    objective: Literal[tuple(OBJECTIVES)] = "patient_contrast"  # type: ignore[valid-type]
    """The method; the options below that are its settings change with it."""
    settings: Annotated[Pretraining, tyro.conf.arg(name="")] = Pretraining()
    """The run."""
    save_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between log lines."""
    cache: Literal["none", "device"] = "none"
    """Read each batch from the shards, or keep all recordings in device memory. The batches are the same."""
    processes: Annotated[Processes, tyro.conf.arg(name="")] = Processes()
    """Alone, or one of several."""


def main() -> None:
    """Entry point."""
    objective = chosen("--objective", OBJECTIVES, "patient_contrast")
    settings = Pretraining(objective=OBJECTIVES[objective]())
    if not any(word.startswith("--data") for word in sys.argv):
        settings = dataclasses.replace(settings, **DEMO)
    arguments = parse(Arguments, default=Arguments(objective=objective, settings=settings))
    arguments.processes.join()
    say_where()
    # After the parser: a mistyped option does not wait for them.
    from ecgjax.data.mixture import Mixture
    from ecgjax.evaluate.first_look import first_look
    from ecgjax.train.pretraining import pretrain
    from ecgjax.train.runlog import console
    from tfds_builders.prepare import prepare

    if not arguments.data:
        console.print("simulating a cohort of 1,008 patients in runs/data (kept for the next time)")
    records = Mixture(arguments.data or [prepare("synthetic/100hz", "runs/data")])
    workdir = arguments.workdir or Path("runs") / f"pretrain-{'+'.join(m.name.split('/')[0] for m in records.members)}"
    how = {"save_every": arguments.save_every, "log_every": arguments.log_every, "cache": arguments.cache}
    how["weights"] = arguments.weights
    checkpoint = pretrain(arguments.settings, records, workdir, **how)
    if jax.process_index() == 0:
        first_look(checkpoint, records.members[0], workdir)


if __name__ == "__main__":
    run(main)
