"""Pre-training: recordings without labels in, a checkpoint with an encoder out."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.sharding import Mesh

from ecgjax.data.batches import pretraining_batches
from ecgjax.data.mixture import Mixture
from ecgjax.encoders import ENCODERS
from ecgjax.errors import InputError
from ecgjax.objectives import Objective
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.preprocessing import Preprocessing, Preprocessor
from ecgjax.train.checkpoint import describe
from ecgjax.train.device_cache import DeviceCache
from ecgjax.train.loop import train
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.runlog import console
from ecgjax.train.sharding import check_batch_size, data_mesh, rows_here
from ecgjax.train.state import TrainState, create_state, make_step
from ecgjax.workflows.precision import bfloat16_deviation

LARGEST_DEVIATION = 0.5
"""Relative error up to which bfloat16 is taken as right. Rounding makes 0.16 of the gradient of compact_resnet on noise
(on a CPU, where it is exact otherwise); what is broken is off by 1 or more, or not a number."""


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Settings of a pre-training run."""

    objective: Annotated[
        tyro.conf.AvoidSubcommands[Objective],  # pyright: ignore[reportInvalidTypeForm]
        tyro.conf.arg(name=""),
    ] = PatientContrast()
    """The method, with its settings."""
    encoder: Literal[tuple(ENCODERS)] = "compact_resnet"  # type: ignore[valid-type]
    """The encoder's architecture."""
    preprocessing: Preprocessing = Preprocessing()
    """The encoder's input."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the encoder computes in; parameters, statistics, embeddings and loss are float32 in any case. auto: bfloat16
    on a GPU or TPU if it is found right there, else float32."""
    optimizer: Optimizer = Optimizer()
    """AdamW and its schedule."""
    batch_size: int = 256
    """Pairs (or recordings) a step, over all devices. 256 with --data, 128 on the synthetic cohort."""
    num_steps: int = 2200
    """Steps of the run; the learning rate's schedule ends with them. 2200 with --data, 220 on the synthetic cohort."""
    seed: int = 0
    """Initial weights, order of recordings, views."""

    def __post_init__(self):
        if self.num_steps < 1:
            raise InputError(f"{self.num_steps} steps: give 1 or more")


def pretrain(
    settings: Pretraining,
    records: Mixture,
    workdir: Path,
    *,
    save_every: int,
    log_every: int,
    cache: Literal["none", "device"] = "none",
    weights: Sequence[float] = (),
) -> Path:
    """Pre-trains on the split train of `records`; goes on where an earlier run in `workdir` was stopped.

    Args:
      settings: the run.
      records: the prepared data sets.
      workdir: checkpoints and logs.
      save_every: steps between checkpoints.
      log_every: steps between log lines.
      cache: where the recordings wait: "none" reads each batch from the shards, "device" keeps all in device memory.
        The batches are the same.
      weights: each data set's share of a batch; without them all recordings are treated alike.

    Returns:
      The last checkpoint's folder.
    """
    recording_s = records.samples / records.rate_hz
    if abs(recording_s - settings.preprocessing.seconds) > 0.5 / records.rate_hz:
        raise InputError(
            f"--preprocessing.seconds {settings.preprocessing.seconds:g}: the recordings of {records.path} are "
            f"{recording_s:g} s long; give {recording_s:g}, or prepare them at another length"
        )
    settings = with_precision(settings)
    mesh, parts = data_mesh(), records.parts("train")
    indices = np.concatenate(parts)
    check_batch_size(settings.batch_size, mesh)
    resident = DeviceCache(records, indices, mesh) if cache == "device" else None
    batches = pretraining_batches(
        records,
        indices,
        examples=settings.objective.examples,
        batch_size=settings.batch_size,
        seed=settings.seed,
        parts=[len(part) for part in parts],
        weights=weights,
        rows=rows_here(settings.batch_size, mesh),
        read=resident and resident.slots,
    )
    init_key, key = jax.random.split(jax.random.key(settings.seed))
    step, create = step_and_state(
        settings, rate_hz=records.rate_hz, mesh=mesh, fetch=resident and resident.fetch
    )
    _, path = train(
        step,
        create(init_key),
        batches,
        num_steps=settings.num_steps,
        key=key,
        mesh=mesh,
        workdir=workdir,
        config=saved_config(settings, records, weights),
        seen=records.seen("train"),
        title="pre-training",
        save_every=save_every,
        log_every=log_every,
        resident=resident and resident.signals,
    )
    return path


def with_precision(settings: Pretraining) -> Pretraining:
    """The settings with what `auto` means on this machine. bfloat16 is compared with float32 before it is relied on."""
    if settings.precision == "float32" or (
        settings.precision == "auto" and jax.default_backend() == "cpu"
    ):
        return dataclasses.replace(settings, precision="float32")
    try:
        deviation = bfloat16_deviation(
            ENCODERS[settings.encoder], samples=settings.preprocessing.samples
        )
    except jax.errors.JaxRuntimeError:  # no algorithm found for a convolution
        deviation = math.inf
    if deviation < LARGEST_DEVIATION:
        return dataclasses.replace(settings, precision="bfloat16")
    problem = f"bfloat16 is wrong by {deviation:.0%} on this {jax.devices()[0].device_kind}"
    if settings.precision == "bfloat16":
        raise InputError(
            f"--precision bfloat16: {problem}; give float32, or another version of JAX"
        )
    console.print(
        f"WARNING: {problem} (a bug of this JAX or driver); training in float32, which is slower"
    )
    return dataclasses.replace(settings, precision="float32")


def step_and_state(
    settings: Pretraining, *, rate_hz: float, mesh: Mesh, fetch: Callable | None = None
) -> tuple[Callable, Callable]:
    """What trains: the jitted step on recordings at `rate_hz`, in Hz, and key -> state at step 0.

    `fetch` is `make_step`'s.
    """
    tx = settings.optimizer.build(settings.num_steps)
    encoder = ENCODERS[settings.encoder].clone(dtype=settings.precision)
    loss = functools.partial(
        settings.objective.loss, encoder, preprocess=Preprocessor(settings.preprocessing, rate_hz)
    )

    def create(key: jax.Array) -> TrainState:
        return create_state(initial_variables(settings, key), tx, mesh)

    return make_step(loss, tx, mesh, num_steps=settings.num_steps, fetch=fetch), create


def initial_variables(settings: Pretraining, key: jax.Array) -> dict:
    """The objective's variables before the first step."""
    preprocessing = settings.preprocessing
    signal = jnp.zeros((2, preprocessing.samples, len(preprocessing.leads)))
    init = functools.partial(settings.objective.init, ENCODERS[settings.encoder])
    return jax.jit(init)(key, signal)


def saved_config(settings: Pretraining, records: Mixture, weights: Sequence[float] = ()) -> dict:
    """What a checkpoint says of its run; a run resumes only under an equal one."""
    described = describe(settings.encoder, ENCODERS[settings.encoder], settings.preprocessing)
    run = dataclasses.asdict(settings)
    run["objective"]["name"] = type(settings.objective).__name__
    del run["encoder"], run["preprocessing"]
    return {
        **described,
        "pretraining": json.loads(json.dumps(run)),
        "data": records.name,
        "weights": list(weights),
        "waveforms": records.fingerprint,
    }
