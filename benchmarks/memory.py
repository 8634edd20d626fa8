"""Memory against batch: what XLA allocates for NT-Xent and for a whole pre-training step, without running them.

NT-Xent with its gradient: the textbook one, whose matrix of similarities exists, against `ecgjax.objectives.parts.nt_xent`.
The step: all pairs at once, against `--microbatch`. On several devices the figures are for each.
"""

import jax
import jax.numpy as jnp

from benchmarks import Given
from ecgjax.objectives.parts.nt_xent import nt_xent, unit_length
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.tpu.ahead_of_time import batch_shapes
from ecgjax.train.sharding import data_mesh
from ecgjax.workflows.pretrain import Pretraining, step_and_state, with_precision

FIGURE = "temporary_mb"
DIMENSION, TEMPERATURE, RATE_HZ, SAMPLES = 128, 0.1, 100, 1000


def measure(
    given: Given,
    *,
    views: tuple[int, ...] = (2**12, 2**13, 2**14, 2**15, 2**16),
    encoders: tuple[str, ...] = ("compact_resnet", "xresnet1d50"),
    pairs: tuple[int, ...] = (256, 1024, 2048),
    microbatch: int = 256,
) -> list[dict]:
    """Megabytes of temporaries. Two views are a pair."""
    losses = {"NT-Xent, textbook": _textbook, "NT-Xent, ecgjax": _ours}
    rows = [
        {"what": name, "views": count, FIGURE: _of_loss(loss, count)}
        for name, loss in losses.items()
        for count in views
    ]
    for encoder in encoders:
        for part in (0, microbatch):
            name = f"step, {encoder}" + (f" --microbatch {part}" if part else "")
            sizes = [size for size in pairs if size > part]
            rows += [
                {"what": name, "views": 2 * size, FIGURE: _of_step(encoder, size, part)}
                for size in sizes
            ]
    return rows


def _textbook(projections: jax.Array, patients: jax.Array) -> jax.Array:
    unit, owner = unit_length(projections), jnp.repeat(patients, 2)
    positive = jnp.repeat((unit[:, 0] * unit[:, 1]).sum(-1) / TEMPERATURE, 2)
    views = unit.reshape(-1, unit.shape[-1])
    logits = jnp.matmul(views, views.T, precision="highest") / TEMPERATURE
    negatives = jax.nn.logsumexp(
        jnp.where(owner[:, None] == owner[None, :], -jnp.inf, logits), axis=1
    )
    return (jnp.logaddexp(positive, negatives) - positive).mean()


def _ours(projections: jax.Array, patients: jax.Array) -> jax.Array:
    return nt_xent(projections, patients, temperature=TEMPERATURE)[0]


def _of_loss(loss, views: int) -> float:
    projections = jax.ShapeDtypeStruct((views // 2, 2, DIMENSION), jnp.float32)
    patients = jax.ShapeDtypeStruct((views // 2,), jnp.int32)
    return _temporaries(jax.jit(jax.value_and_grad(loss)).lower(projections, patients))


def _of_step(encoder: str, pairs: int, microbatch: int) -> float:
    objective = PatientContrast(microbatch=microbatch)
    settings = with_precision(Pretraining(encoder=encoder, objective=objective, batch_size=pairs))
    step, create = step_and_state(settings, rate_hz=RATE_HZ, mesh=data_mesh())
    key = jax.random.key(0)
    return _temporaries(
        step.lower(jax.eval_shape(create, key), batch_shapes(settings, SAMPLES), key, None)
    )


def _temporaries(lowered: jax.stages.Lowered) -> float:
    # Buffers are assigned before machine code is made, which need not be fast here: level 0 compiles sooner.
    compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    return compiled.memory_analysis().temp_size_in_bytes / 1e6
