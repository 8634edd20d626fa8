"""The very training step, compiled for a TPU slice on a machine that has none.

libtpu is the TPU's compiler and needs no TPU: the step is lowered on shapes over abstract devices, no weight is made,
and the compiled program says what it needs of memory and what its devices tell each other.
"""

import dataclasses
import functools
import os
import re
import time
from collections import Counter

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from ecgjax.signals import InputError
from ecgjax.train import flops, hlo
from ecgjax.train.pretraining import Pretraining, step_and_state
from ecgjax.train.sharding import check_batch_size, data_mesh
from ecgjax.train.tpu import GIB, Slice


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled step; all numbers are one device's.

    Attributes:
      slice: where it would run.
      batch_size: pairs or recordings of the global batch.
      recordings: ECGs of the global batch.
      hbm_bytes: arguments, results and intermediates.
      flops: of convolutions and matrix products.
      traffic_bytes: what its instructions read and write.
      collectives: with the number of times each is run.
      compile_s: seconds it took to trace and compile.
    """

    slice: Slice
    batch_size: int
    recordings: int
    hbm_bytes: float
    flops: float
    traffic_bytes: float
    collectives: Counter[hlo.Collective]
    compile_s: float


def compile_step(settings: Pretraining, slice: Slice, *, samples: int, rate_hz: float) -> Step:
    """Compiles the step of `pretrain` with these settings.

    Args:
      settings: of the run; the batch is the global one.
      slice: where it would run.
      samples: of a stored recording.
      rate_hz: of a stored recording, in Hz.

    Raises:
      InputError: no libtpu, a slice that does not exist, a batch that does not divide, or one too large for the chip.
    """
    started = time.monotonic()
    mesh = data_mesh(devices(slice))
    check_batch_size(settings.batch_size, mesh)
    step, create = step_and_state(settings, rate_hz=rate_hz, mesh=mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = batch_shapes(settings, samples)
    traced = step.trace(jax.eval_shape(create, key), batch, key)
    compiled = _compile(traced.lower(), slice)
    program, memory = hlo.read(compiled.as_text()), compiled.memory_analysis()
    return Step(
        slice=slice,
        batch_size=settings.batch_size,
        recordings=batch["signal"].size // (samples * 12),
        hbm_bytes=_in_use(memory),
        flops=flops.count(traced.jaxpr) / slice.chips,
        traffic_bytes=compiled.cost_analysis()["bytes accessed"],
        collectives=program.collectives,
        compile_s=time.monotonic() - started,
    )


def devices(slice: Slice) -> list:
    """The slice's devices, abstract ones."""
    # Nobody's cloud instance is asked what it is, and warnings about its absence stay out of the report.
    os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_MIN_LOG_LEVEL="3", TF_CPP_MIN_LOG_LEVEL="3")
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=slice.name).devices
    except RuntimeError as error:
        if "not installed" in str(error):
            raise InputError("the TPU's compiler is not installed; pip install 'ecgjax[aot]'") from error
        reason = str(error).splitlines()[0]
        raise InputError(f"topology {slice.name}: {reason}; usual: {', '.join(slice.chip.slices.values())}") from error


def batch_shapes(settings: Pretraining, samples: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch as `ecgjax.data.batches.pretraining_batches` makes it."""
    views = (2,) if settings.objective.examples == "patient_pair" else ()
    size = settings.batch_size
    return {
        "signal": jax.ShapeDtypeStruct((size, *views, samples, 12), jnp.int16),
        "patient": jax.ShapeDtypeStruct((size,), jnp.int32),
    }
