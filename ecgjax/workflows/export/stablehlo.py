"""Programs in StableHLO, which JAX runs on any platform without ecgjax and without Flax."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from ecgjax.encoders.parts.platforms import plain
from ecgjax.workflows.export.program import Program

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms that a file can be run on."""


def write(program: Program, path: Path, description: dict) -> None:
    """Writes the serialized program, with its weights."""
    batch = description["input"]["shape"][0]
    shape = export.symbolic_shape(f"{batch}, {program.samples}, {len(program.leads)}")
    signal = jax.ShapeDtypeStruct(shape, jnp.float32)
    with plain(), _without_locations():
        # A new function: jax.jit may have traced the program itself before, with CPU forms.
        exported = export.export(jax.jit(lambda signal: program(signal)), platforms=PLATFORMS)(
            signal
        )
    path.write_bytes(exported.serialize())


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """Keeps paths and lines of this installation out of the file."""
    option = "jax_traceback_in_locations_limit"
    before = jax.config.values[option]
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)


def read(path: Path, program: Program) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns the function in a file."""
    exported = export.deserialize(bytearray(path.read_bytes()))

    def run(signals: np.ndarray) -> dict[str, np.ndarray]:
        results: Any = exported.call(signals)
        return {name: np.asarray(value) for name, value in results.items()}

    return run
