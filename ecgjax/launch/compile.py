"""Compiles a training step for a TPU: `python -m ecgjax.launch.compile --topology v5e:16x16`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from ecgjax.launch import command
from ecgjax.objectives import OBJECTIVES
from ecgjax.tpu.slices import parse_slice
from ecgjax.whole_files import replace_text
from ecgjax.workflows.compile import compile_and_report
from ecgjax.workflows.presets import PRESETS
from ecgjax.workflows.pretrain import Pretraining


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compiles the step of `pretrain` for a TPU slice; prints its memory and estimated speed."""

    topology: str
    """Generation and shape of the slice: v5e:2x4, v5e:16x16, v5p:4x4x4, v6e:16x16, ..."""
    samples: int = 1000
    """Samples of a stored recording."""
    rate_hz: float = 100.0
    """Sampling rate of the stored recordings, in Hz."""
    preset: Literal[tuple(PRESETS)] | None = None  # type: ignore[valid-type]
    """A paper's settings for all options below; options on the command line override them."""
    objective: Literal[tuple(OBJECTIVES)] = "patient_contrast"  # type: ignore[valid-type]
    """The method; it decides which of the options below are its settings."""
    settings: Annotated[Pretraining, tyro.conf.arg(name="")] = Pretraining()
    """The run; its batch is the global batch of all chips."""
    effort: float = -1.0
    """Effort of the compiler, -1 to 1. `pretrain` compiles with 0, which takes four times as long
    and gives a faster and smaller program."""
    weak_scaling: bool = True
    """Also estimate 8 to 256 chips of the generation, each with the same work as here."""
    out: Path | None = None
    """Write the report to this file, as JSON."""


def main() -> None:
    """Parses the options, compiles, and prints the report."""
    defaults = Arguments(topology=tyro.MISSING, **command.pretraining_defaults())
    arguments = command.parse(Arguments, default=defaults)
    objective = arguments.settings.objective
    command.check_choice("--objective", arguments.objective, OBJECTIVES, objective)
    if arguments.out:
        command.writable_folder(arguments.out.parent, "--out")
    jax.config.update("jax_platforms", "cpu")  # leaves an accelerator to others
    report = compile_and_report(
        arguments.settings,
        parse_slice(arguments.topology),
        samples=arguments.samples,
        rate_hz=arguments.rate_hz,
        effort=arguments.effort,
        estimate_scaling=arguments.weak_scaling,
    )
    if arguments.out:
        replace_text(arguments.out, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main)
