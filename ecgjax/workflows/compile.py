"""Compiles the training step of `pretrain` for a TPU slice, and estimates its speed."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from ecgjax.signals import LEADS
from ecgjax.tpu import ahead_of_time
from ecgjax.tpu.ahead_of_time import CompiledStep
from ecgjax.tpu.report import describe, show
from ecgjax.tpu.scaling import weak_scaling
from ecgjax.tpu.slices import Slice
from ecgjax.train.sharding import check_batch_size, data_mesh
from ecgjax.workflows.pretrain import Pretraining, step_and_state


def compile_and_report(
    settings: Pretraining,
    slice: Slice,
    *,
    samples: int,
    rate_hz: float,
    effort: float,
    estimate_scaling: bool,
) -> dict:
    """Compiles the training step and reports whether it fits and how fast it might be.

    Args:
      settings: the run; its batch is the global one.
      slice: the slice to compile for.
      samples: samples of a stored recording.
      rate_hz: sampling rate of a stored recording, in Hz.
      effort: effort of the compiler, from -1 to 1; `pretrain` on a TPU compiles with 0.
      estimate_scaling: if true, also estimates 8 to 256 chips, each with the same work as here.

    Returns:
      The report as JSON; it is printed as well.

    Raises:
      InputError: as `compile_pretraining`.
    """
    compile_for = functools.partial(
        compile_pretraining, samples=samples, rate_hz=rate_hz, effort=effort
    )

    def compile_scaled(scaled: Slice) -> CompiledStep:
        batch_size = settings.batch_size * scaled.chips // slice.chips
        return compile_for(dataclasses.replace(settings, batch_size=batch_size), scaled)

    step = compile_for(settings, slice)
    scaling = weak_scaling(step, compile_scaled) if estimate_scaling else []
    show(settings.encoder, step, scaling)
    return describe(settings.encoder, step, scaling)


def compile_pretraining(
    settings: Pretraining, slice: Slice, *, samples: int, rate_hz: float, effort: float = 0.0
) -> CompiledStep:
    """Compiles the training step of `pretrain`; the arguments are those of `compile_and_report`.

    Raises:
      InputError: libtpu is missing, the slice does not exist, or the batch does not divide by the
        chips or is too large for their memory.
    """
    if settings.precision == "auto":
        settings = dataclasses.replace(settings, precision="bfloat16")  # as on a TPU
    mesh = data_mesh(ahead_of_time.devices(slice))
    check_batch_size(settings.batch_size, mesh)
    step, create = step_and_state(settings, rate_hz=rate_hz, mesh=mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = batch_shapes(settings, samples)
    return ahead_of_time.compile_step(
        step,
        (jax.eval_shape(create, key), batch, key, None),
        slice,
        batch_size=settings.batch_size,
        recordings=math.prod(batch["signal"].shape[:-2]),
        effort=effort,
    )


def batch_shapes(settings: Pretraining, samples: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of a stack of one batch from `data.batches.pretraining_batches`.

    Args:
      settings: the run.
      samples: samples of a stored recording.
    """
    views = () if settings.objective.examples == "single" else (2,)
    size = settings.batch_size
    return {
        "signal": jax.ShapeDtypeStruct((1, size, *views, samples, len(LEADS)), jnp.int16),
        "patient": jax.ShapeDtypeStruct((1, size), jnp.int32),
    }
