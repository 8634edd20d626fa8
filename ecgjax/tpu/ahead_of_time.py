"""Compiles a jitted step for a TPU slice on a machine that has no TPU.

libtpu contains the TPU's compiler, which needs no TPU. The step is lowered for abstract arrays on
abstract devices, so no weight is initialised. The compiled program shows how much memory the step
needs and what its devices exchange.
"""

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache

from ecgjax.errors import InputError, first_line
from ecgjax.tpu import flops, hlo
from ecgjax.tpu.slices import Slice


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A training step compiled for a slice.

    Attributes:
      slice: the slice it was compiled for.
      batch_size: recordings of the global batch, or pairs of recordings.
      recordings: ECGs of the global batch: every view of every recording counts.
      flops: FLOPs of the convolutions and matrix products of one device.
      hbm_bytes: memory that one device needs for state, batch, intermediates and the program
        itself.
      temp_bytes: the share of the intermediates in `hbm_bytes`.
      program: the work of one device.
      compile_s: seconds that tracing and compiling took.
    """

    slice: Slice
    batch_size: int
    recordings: int
    flops: float
    hbm_bytes: int
    temp_bytes: int
    program: hlo.Program
    compile_s: float


def compile_step(
    step: Any,
    arguments: Sequence[Any],
    slice: Slice,
    *,
    batch_size: int,
    recordings: int,
    effort: float = 0.0,
) -> CompiledStep:
    """Compiles a jitted training step for a slice.

    Args:
      step: a jitted function for a mesh of `devices(slice)`. It donates its state.
      arguments: its arguments; shapes (jax.ShapeDtypeStruct) stand for arrays.
      slice: the slice to compile for.
      batch_size: recordings (or pairs of recordings) of the global batch.
      recordings: ECGs of the global batch.
      effort: effort of the compiler, from -1 to 1; a training run on a TPU compiles with 0.

    Raises:
      InputError: the step needs more memory than a chip has.
    """
    started = time.monotonic()
    traced = step.trace(*arguments)
    compiled = _compile(traced.lower(), slice, effort)
    memory: Any = compiled.memory_analysis()
    return CompiledStep(
        slice=slice,
        batch_size=batch_size,
        recordings=recordings,
        flops=flops.count(traced.jaxpr) / slice.chips,
        # The state is donated: the new state takes the memory of the old one, and counts once.
        hbm_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
        program=hlo.parse_program(compiled.as_text() or ""),
        compile_s=time.monotonic() - started,
    )


def devices(slice: Slice) -> list:
    """Returns the abstract devices of a slice.

    Raises:
      InputError: libtpu is not installed, or libtpu knows no such slice.
    """
    os.environ.update(_LIBTPU_ENVIRONMENT)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=slice.name).devices
    except RuntimeError as error:
        if "not installed" in str(error):
            raise InputError("the TPU's compiler is missing: pip install 'ecgjax[aot]'") from error
        shapes = ", ".join(slice.chip.slices.values())
        raise InputError(
            f"topology {slice.name}: {first_line(error)}; common shapes are {shapes}"
        ) from error


_LIBTPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # no query of a cloud's metadata server, and no warning about it
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # the lock protects a TPU; the compiler uses none
}


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Keeps programs out of JAX's cache, which cannot load them again without a TPU."""
    config: Any = jax.config  # its options are made at import
    enabled = config.jax_enable_compilation_cache
    config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()


def _compile(lowered: jax.stages.Lowered, slice: Slice, effort: float) -> jax.stages.Compiled:
    options: Any = {"exec_time_optimization_effort": effort}
    try:
        with _without_cache():
            return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        used = re.search(r"Used (\S+) of (\S+) hbm", str(error))
        if not used:
            raise
        raise InputError(
            f"the step does not fit {slice.name}: it needs {used[1]} of a chip's {used[2]}; "
            "lower --batch-size or take more chips"
        ) from error
