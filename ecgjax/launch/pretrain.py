"""Pre-trains an encoder without labels: `python -m ecgjax.launch.pretrain`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ecgjax.encoders import ENCODERS
from ecgjax.launch import chosen, run, say_where
from ecgjax.objectives import OBJECTIVES, Objective
from ecgjax.signals import Preprocessing
from ecgjax.train.optimizer import Optimizer


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Pre-trains an encoder without labels; without arguments on a synthetic cohort made on the spot.

    Resumes by itself: the same command goes on from the last checkpoint in the workdir.
    """

    data: Path | None = None
    """A prepared data set (see ecgjax.launch.prepare). Without it the embedded synthetic cohort is made."""
    workdir: Path | None = None
    """Checkpoints, logs, plots. Default: runs/pretrain-DATA."""
    objective: Literal[tuple(OBJECTIVES)] = "patient_contrast"  # type: ignore[valid-type]
    """The method."""
    settings: Annotated[tyro.conf.AvoidSubcommands[Objective], tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=OBJECTIVES["patient_contrast"]
    )
    """The method's settings."""
    encoder: Literal[tuple(ENCODERS)] = "compact_resnet"  # type: ignore[valid-type]
    """The encoder's architecture."""
    preprocessing: Preprocessing = Preprocessing()
    """The encoder's input."""
    optimizer: Optimizer = Optimizer()
    """AdamW and its schedule."""
    batch_size: int = 256
    """Pairs (or recordings) a step, over all devices."""
    num_steps: int | None = None
    """Steps of the run. Default: 300 on the synthetic cohort, 2,500 on other data."""
    seed: int = 0
    """Initial weights, order of recordings, views."""
    save_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between log lines."""


def main() -> None:
    """Entry point."""
    name = chosen("--objective", OBJECTIVES, "patient_contrast")
    arguments = tyro.cli(Arguments, default=Arguments(objective=name, settings=OBJECTIVES[name]()))
    say_where()
    # After the parser: --help and a mistyped option do not wait for them.
    from ecgjax.evaluate.first_look import first_look
    from ecgjax.train.pretraining import Pretraining, Records, pretrain
    from tfds_builders.conversion import prepare

    records = Records(arguments.data or prepare("synthetic/100hz", "runs/data", workers=2))
    workdir = arguments.workdir or Path("runs") / f"pretrain-{records.name.split('/')[0]}"
    settings = Pretraining(
        objective=arguments.settings,
        encoder=arguments.encoder,
        preprocessing=arguments.preprocessing,
        optimizer=arguments.optimizer,
        batch_size=arguments.batch_size,
        num_steps=arguments.num_steps or (2500 if arguments.data else 300),
        seed=arguments.seed,
    )
    checkpoint = pretrain(
        settings, records, workdir, save_every=arguments.save_every, log_every=arguments.log_every
    )
    first_look(checkpoint, records, workdir)


if __name__ == "__main__":
    run(main)
