"""Compiles the training step for a TPU slice, without a TPU: `python -m ecgjax.launch.compile --topology v5e:16x16`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from ecgjax.launch.command import chosen_pretraining, parse, run
from ecgjax.objectives import OBJECTIVES
from ecgjax.workflows.presets import PRESETS
from ecgjax.workflows.pretrain import Pretraining


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compiles the step of `pretrain` for a TPU slice, and says whether it fits and how fast it might be."""

    topology: str
    """Generation and shape of the slice: v5e:2x4, v5e:16x16, v5p:4x4x4, v6e:16x16, ..."""
    samples: int = 1000
    """Samples of a stored recording."""
    rate_hz: float = 100.0
    """Sampling rate of the stored recordings, in Hz."""
    preset: Literal[tuple(PRESETS)] | None = None  # type: ignore[valid-type]
    """A paper's settings for all options below; those that are given override them."""
    objective: Literal[tuple(OBJECTIVES)] = "patient_contrast"  # type: ignore[valid-type]
    """The method; the options below that are its settings change with it."""
    settings: Annotated[Pretraining, tyro.conf.arg(name="")] = Pretraining()
    """The run; its batch is that of all chips together."""
    effort: float = -1.0
    """The compiler's, -1 to 1. A TPU run compiles with 0: four times as long, a faster and smaller program."""
    weak_scaling: bool = True
    """Also predict 8 to 256 chips of the generation, each with as much to do as here."""
    out: Path | None = None
    """Write the report to this file, as JSON."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments, default=Arguments(topology=tyro.MISSING, **chosen_pretraining()))
    jax.config.update(
        "jax_platforms", "cpu"
    )  # an accelerator here is not needed, and others may be using it
    from ecgjax.tpu.ahead_of_time import compile_step
    from ecgjax.tpu.report import describe, show
    from ecgjax.tpu.scaling import weak_scaling
    from ecgjax.tpu.slices import parse_slice

    settings = arguments.settings
    how = {"samples": arguments.samples, "rate_hz": arguments.rate_hz, "effort": arguments.effort}
    step = compile_step(settings, parse_slice(arguments.topology), **how)
    scaling = weak_scaling(settings, step, **how) if arguments.weak_scaling else []
    show(settings, step, scaling)
    if arguments.out:
        arguments.out.write_text(json.dumps(describe(settings, step, scaling), indent=2) + "\n")


if __name__ == "__main__":
    run(main)
