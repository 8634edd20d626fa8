"""Pre-trains an encoder without labels: `python -m ecgjax.launch.pretrain`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from ecgjax.launch.command import chosen_pretraining, parse, run, say_where
from ecgjax.objectives import OBJECTIVES
from ecgjax.remote import local
from ecgjax.train.processes import Processes
from ecgjax.workflows.presets import PRESETS
from ecgjax.workflows.pretrain import Pretraining

DEMO = {"num_steps": 220, "batch_size": 128}
"""Enough for the synthetic cohort: about a minute on two CPU cores."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Pre-trains an encoder without labels; without arguments on a synthetic cohort made on the spot.

    Resumes by itself: the same command goes on from the last checkpoint in the workdir.
    """

    data: tuple[str, ...] = ()
    """Prepared data sets (see ecgjax.launch.prepare), folders or URLs. Without any a synthetic cohort is made."""
    weights: tuple[float, ...] = ()
    """Each data set's share of a batch. Default: every recording counts the same."""
    workdir: Path | None = None
    """Checkpoints, logs, plots. Default: runs/pretrain-DATA."""
    preset: Literal[tuple(PRESETS)] | None = None  # type: ignore[valid-type]
    """A paper's settings for all options below; those that are given override them."""
    objective: Literal[tuple(OBJECTIVES)] = "patient_contrast"  # type: ignore[valid-type]
    """The method; the options below that are its settings change with it."""
    settings: Annotated[Pretraining, tyro.conf.arg(name="")] = Pretraining()
    """The run."""
    save_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between log lines."""
    first_look: bool = True
    """Compare with a random encoder at the end."""
    cache: Literal["none", "device"] = "none"
    """Read each batch from the shards, or keep all recordings in device memory. The batches are the same."""
    processes: Annotated[Processes, tyro.conf.arg(name="")] = Processes()
    """Alone, or one of several."""


def main() -> None:
    """Entry point."""
    defaults = chosen_pretraining()
    if not any(word.startswith("--data") for word in sys.argv):
        demo = DEMO if not defaults["preset"] else {"num_steps": DEMO["num_steps"]}
        defaults["settings"] = dataclasses.replace(defaults["settings"], **demo)
    arguments = parse(Arguments, default=Arguments(**defaults))
    arguments.processes.join()
    say_where()
    # After the parser: a mistyped option does not wait for them.
    from ecgjax.data.mixture import Mixture
    from ecgjax.train.runlog import console
    from ecgjax.workflows.first_look import first_look, say_next
    from ecgjax.workflows.pretrain import pretrain
    from tfds_builders.prepare import prepare

    if not arguments.data:
        console.print("simulating a cohort of 1,008 patients in runs/data (kept for the next time)")
    records = Mixture([*map(local, arguments.data)] or [prepare("synthetic/100hz", "runs/data")])
    workdir = (
        arguments.workdir
        or Path("runs") / f"pretrain-{'+'.join(m.name.split('/')[0] for m in records.members)}"
    )
    how = {
        name: getattr(arguments, name) for name in ("save_every", "log_every", "cache", "weights")
    }
    checkpoint = pretrain(arguments.settings, records, workdir, **how)
    if jax.process_index() == 0:
        (first_look if arguments.first_look else say_next)(checkpoint, records.members[0], workdir)


if __name__ == "__main__":
    run(main)
