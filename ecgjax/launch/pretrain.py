"""Pre-trains an encoder without labels: `python -m ecgjax.launch.pretrain`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from ecgjax.data.mixture import Mixture
from ecgjax.launch import command
from ecgjax.objectives import OBJECTIVES
from ecgjax.remote import local
from ecgjax.train.lock import locked
from ecgjax.train.processes import Processes
from ecgjax.workflows.presets import PRESETS
from ecgjax.workflows.pretrain import Pretraining, pretrain

DEMO = {"num_steps": 220, "batch_size": 128}
"""Settings for the synthetic cohort: about a minute on two CPU cores."""
DEMO_DATA = Path("runs/data")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Pre-trains an encoder without labels, by default on a simulated cohort.

    Resumes by itself: the same command continues from the last checkpoint in the workdir.
    """

    data: tuple[str, ...] = ()
    """Prepared data sets (see `prepare`), folders or URLs. Default: a simulated cohort."""
    weights: tuple[float, ...] = ()
    """Share of a batch for each data set. Default: every recording counts the same."""
    workdir: Path | None = None
    """Folder for checkpoints, logs and plots. Default: runs/pretrain-DATA."""
    preset: Literal[tuple(PRESETS)] | None = None  # type: ignore[valid-type]
    """Settings of a paper. Options that are given as well override them."""
    objective: Literal[tuple(OBJECTIVES)] = "patient_contrast"  # type: ignore[valid-type]
    """Pre-training method. Its settings are options below: --objective NAME --help lists them."""
    init: str | None = None
    """Continues pre-training: a checkpoint, workdir, model folder or shipped encoder, such as
    ptb-xl, whose encoder the run starts from, with its architecture and preprocessing."""
    settings: Annotated[Pretraining, tyro.conf.arg(name="")] = Pretraining()
    """Settings of the run."""
    save_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between log lines."""
    probe_every: int | None = None
    """Steps between probes on validation recordings; 0: none. Default: up to ten in a long run."""
    first_look: bool = True
    """Compare the encoder with a random encoder at the end."""
    cache: Literal["none", "device"] = "none"
    """Memory that holds all recordings: none (read shards) or device. The batches are equal."""
    skip_damaged: float = 0.0
    """Share of the training recordings that may be damaged: named, and replaced by others."""
    processes: Annotated[Processes, tyro.conf.arg(name="")] = Processes()
    """Training in several processes."""


def main() -> None:
    """Parses the options and pre-trains."""
    arguments = command.parse(Arguments, default=Arguments(**_defaults()))
    objective = arguments.settings.objective
    command.check_choice("--objective", arguments.objective, OBJECTIVES, objective)
    if arguments.workdir:
        command.writable_folder(arguments.workdir, "--workdir")
    arguments.processes.join()
    command.keep_compiled_programs()
    command.log_devices()
    # Imported late: --help need not wait for scikit-learn and matplotlib.
    from ecgjax.workflows.first_look import first_look, missing_part, print_next

    records = Mixture([*map(local, arguments.data)] or [_demo_data()], arguments.skip_damaged)
    names = "+".join(member.name.split("/")[0] for member in records.members)
    workdir = arguments.workdir or Path("runs", f"pretrain-{names}")
    if arguments.first_look and (note := missing_part(records.members[0])):
        print(note)
    with locked(workdir, "--workdir"):
        checkpoint = pretrain(
            dataclasses.replace(arguments.settings, init=arguments.init),
            records,
            workdir,
            save_every=arguments.save_every,
            log_every=arguments.log_every,
            probe_every=arguments.probe_every,
            cache=arguments.cache,
            weights=arguments.weights,
        )
        if jax.process_index() == 0:
            finish = first_look if arguments.first_look else print_next
            finish(checkpoint, records.members[0], workdir)


def _defaults() -> dict:
    """Returns the defaults of all options; shorter training without --data."""
    defaults = command.pretraining_defaults()
    if not any(word.startswith("--data") for word in sys.argv):
        demo = {"num_steps": DEMO["num_steps"]} if defaults["preset"] else DEMO
        defaults["settings"] = dataclasses.replace(defaults["settings"], **demo)
    return defaults


def _demo_data() -> Path:
    """Simulates the cohort, unless an earlier command did; returns its folder."""
    from tfds_builders.prepare import prepare

    command.writable_folder(DEMO_DATA.parent, "working directory, or prepared data as --data")
    print(f"simulating 1,008 patients in {DEMO_DATA} (kept for next time)", file=sys.stderr)
    return prepare("synthetic/100hz", DEMO_DATA)


if __name__ == "__main__":
    command.run(main)
