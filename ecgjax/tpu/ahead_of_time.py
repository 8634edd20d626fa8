"""The very training step, compiled for a TPU slice on a machine that has none.

libtpu is the TPU's compiler and needs no TPU: the step is lowered on shapes over abstract devices, no weight is made,
and the compiled program says what it needs of memory and what its devices tell each other.
"""

import dataclasses
import math
import os
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from ecgjax.errors import InputError
from ecgjax.tpu import flops, hlo
from ecgjax.tpu.slices import Slice
from ecgjax.train.sharding import check_batch_size, data_mesh
from ecgjax.workflows.pretrain import Pretraining, step_and_state


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled step.

    Attributes:
      slice: where it would run.
      recordings: ECGs that all devices together take.
      flops: of one device's convolutions and matrix products.
      hbm_bytes: that one device needs: state, batch, intermediates and the program itself.
      temp_bytes: the intermediates of these.
      program: what one device does.
      compile_s: seconds that tracing and compiling took.
    """

    slice: Slice
    recordings: int
    flops: float
    hbm_bytes: int
    temp_bytes: int
    program: hlo.Program
    compile_s: float


def compile_step(
    settings: Pretraining, slice: Slice, *, samples: int, rate_hz: float, effort: float = 0.0
) -> Step:
    """Compiles the step of `pretrain` with these settings.

    Args:
      settings: of the run; the batch is the global one.
      slice: where it would run.
      samples: of a stored recording.
      rate_hz: of a stored recording, in Hz.
      effort: of the compiler, from -1 to 1; 0 is what `pretrain` on a TPU compiles with.

    Raises:
      InputError: no libtpu, a slice that does not exist, a batch that does not divide, or one too large for the chip.
    """
    started = time.monotonic()
    if settings.precision == "auto":  # as on a TPU
        settings = dataclasses.replace(settings, precision="bfloat16")
    mesh = data_mesh(devices(slice))
    check_batch_size(settings.batch_size, mesh)
    step, create = step_and_state(settings, rate_hz=rate_hz, mesh=mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = batch_shapes(settings, samples)
    traced = step.trace(jax.eval_shape(create, key), batch, key, None)
    compiled = _compile(traced.lower(), slice, effort)
    memory: Any = compiled.memory_analysis()
    return Step(
        slice=slice,
        recordings=math.prod(batch["signal"].shape[:-2]),
        flops=flops.count(traced.jaxpr) / slice.chips,
        # The state is given away: its results take the place of its arguments.
        hbm_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
        program=hlo.read(compiled.as_text() or ""),
        compile_s=time.monotonic() - started,
    )


def batch_shapes(settings: Pretraining, samples: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A stack of one batch as `ecgjax.data.batches.pretraining_batches` makes it."""
    views = () if settings.objective.examples == "single" else (2,)
    size = settings.batch_size
    return {
        "signal": jax.ShapeDtypeStruct((1, size, *views, samples, 12), jnp.int16),
        "patient": jax.ShapeDtypeStruct((1, size), jnp.int32),
    }


def devices(slice: Slice) -> list:
    """The slice's devices, abstract ones."""
    os.environ.update(_NO_TPU_HERE)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=slice.name).devices
    except RuntimeError as error:
        if "not installed" in str(error):
            raise InputError("the TPU's compiler is missing: pip install 'ecgjax[aot]'") from error
        raise InputError(
            f"topology {slice.name}: {_first_line(error)}; usual are {', '.join(slice.chip.slices.values())}"
        ) from error


_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",  # ask no cloud which machine this is, and do not warn that none answers
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # its lock is for those who use a TPU, not for its compiler
}


def _compile(lowered: jax.stages.Lowered, slice: Slice, effort: float) -> jax.stages.Compiled:
    options: Any = {"exec_time_optimization_effort": effort}
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        used = re.search(r"Used (\S+) of (\S+) hbm", str(error))
        if not used:
            raise
        raise InputError(
            f"the step does not fit {slice.name}: it needs {used[1]} of a chip's {used[2]}; "
            "lower --batch-size or take more chips"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
