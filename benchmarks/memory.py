"""Memory against batch size: XLA's allocation for NT-Xent and for a pre-training step.

Both are compiled but not run.

NT-Xent with its gradient: the textbook form, which stores the matrix of similarities, against
`ecgjax.objectives.parts.nt_xent`. The step: all pairs at once, against `--microbatch`. On several
devices the figures are those of one device.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import Inputs
from ecgjax.objectives.parts.nt_xent import nt_xent, unit_length
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.train.sharding import data_mesh
from ecgjax.workflows.compile import batch_shapes
from ecgjax.workflows.pretrain import Pretraining, step_and_state, with_precision

FIGURE = "temporary_mb"
DIMENSION = 128
TEMPERATURE = 0.1
RATE_HZ = 100
SAMPLES = 1000


def measure(
    inputs: Inputs,
    *,
    views: tuple[int, ...] = (2**12, 2**13, 2**14, 2**15, 2**16),
    encoders: tuple[str, ...] = ("compact_resnet", "xresnet1d50"),
    pairs: tuple[int, ...] = (256, 1024, 2048),
    microbatch: int = 256,
) -> list[dict]:
    """Measures the temporary memory in megabytes. Two views are a pair.

    Args:
      inputs: not used.
      views: batch sizes of the loss.
      encoders: encoders of the step.
      pairs: batch sizes of the step.
      microbatch: pairs of a microbatch.
    """
    losses = {"NT-Xent, textbook": _textbook, "NT-Xent, ecgjax": _ecgjax}
    rows = [
        {"what": name, "views": count, FIGURE: _loss_memory(loss, count)}
        for name, loss in losses.items()
        for count in views
    ]
    for encoder in encoders:
        for part in (0, microbatch):
            name = f"step, {encoder}" + (f" --microbatch {part}" if part else "")
            sizes = [size for size in pairs if size > part]
            rows += [
                {"what": name, "views": 2 * size, FIGURE: _step_memory(encoder, size, part)}
                for size in sizes
            ]
    return rows


def _textbook(projections: jax.Array, patients: jax.Array) -> jax.Array:
    unit = unit_length(projections)
    owner = jnp.repeat(patients, 2)
    positive = jnp.repeat((unit[:, 0] * unit[:, 1]).sum(-1) / TEMPERATURE, 2)
    views = unit.reshape(-1, unit.shape[-1])
    logits = jnp.matmul(views, views.T, precision="highest") / TEMPERATURE
    same_patient = owner[:, None] == owner[None, :]
    negatives = jax.nn.logsumexp(jnp.where(same_patient, -jnp.inf, logits), axis=1)
    return (jnp.logaddexp(positive, negatives) - positive).mean()


def _ecgjax(projections: jax.Array, patients: jax.Array) -> jax.Array:
    return nt_xent(projections, patients, temperature=TEMPERATURE)[0]


def _loss_memory(loss: Callable, views: int) -> float:
    projections = jax.ShapeDtypeStruct((views // 2, 2, DIMENSION), jnp.float32)
    patients = jax.ShapeDtypeStruct((views // 2,), jnp.int32)
    return _temporary_mb(jax.jit(jax.value_and_grad(loss)).lower(projections, patients))


def _step_memory(encoder: str, pairs: int, microbatch: int) -> float:
    objective = PatientContrast(microbatch=microbatch)
    settings = with_precision(Pretraining(encoder=encoder, objective=objective, batch_size=pairs))
    step, create = step_and_state(settings, rate_hz=RATE_HZ, mesh=data_mesh())
    key = jax.random.key(0)
    state = jax.eval_shape(create, key)
    return _temporary_mb(step.lower(state, batch_shapes(settings, SAMPLES), key, None))


def _temporary_mb(lowered: jax.stages.Lowered) -> float:
    # XLA assigns buffers before it generates machine code, so level 0 is enough and compiles
    # faster.
    compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    return compiled.memory_analysis().temp_size_in_bytes / 1e6
