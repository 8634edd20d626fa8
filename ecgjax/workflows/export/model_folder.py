"""Model folders: checkpoints without the optimizer, which `ecgjax.load` reads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecgjax.classifier import load
from ecgjax.workflows.export.program import Program


def write(program: Program, path: Path, description: dict) -> None:
    """Writes the model, with all settings and the hashes of the recordings it has seen."""
    program.model.save(path)


def read(path: Path, program: Program) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns the function of the model in a folder."""
    return Program(load(path), program.rate_hz, program.leads, program.samples).apply
