"""Pre-training without labels, from prepared data sets to a checkpoint: `pretrain`."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import flax.linen as nn
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
from ecgjax.objectives.parts.ema import WeightEma
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.preprocessing import Preprocessing, Preprocessor, absent_leads_note
from ecgjax.train.device_cache import DeviceCache
from ecgjax.train.loop import Run, train
from ecgjax.train.manifest import encoder_config
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.runlog import console
from ecgjax.train.sharding import check_batch_size, data_mesh, rows_here
from ecgjax.train.state import TrainState, create_state, make_step
from ecgjax.train.watch import Watch
from ecgjax.workflows.encoder_settings import check_encoder, configured_encoder
from ecgjax.workflows.precision import bfloat16_deviation
from ecgjax.workflows.start_weights import Start, begun, find_start, with_encoder

EMA_SHARE = 0.05
"""Longest memory of an EMA of the weights, 1 / (1 - decay) steps, as a share of the run."""
LARGEST_DEVIATION = 0.5
"""Relative error up to which bfloat16 counts as correct. Rounding alone causes 0.16 (gradient of
compact_resnet on noise, on a CPU); a broken convolution is off by 1 or more, or gives NaN."""


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Settings of a pre-training run."""

    objective: Annotated[
        tyro.conf.AvoidSubcommands[Objective],  # pyright: ignore[reportInvalidTypeForm]
        tyro.conf.arg(name=""),
    ] = PatientContrast()
    """Pre-training method with its settings."""
    encoder: Literal[tuple(ENCODERS)] = "compact_resnet"  # type: ignore[valid-type]
    """Architecture of the encoder."""
    encoder_settings: tuple[str, ...] = ()
    """Settings of the encoder that differ from its own: KEY=VALUE with JSON values, such as
    widths=[16,32] shared=true. An unknown KEY lists them all."""
    preprocessing: Preprocessing = Preprocessing()
    """Input of the encoder."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder's computations; parameters, batch statistics, embeddings and
    loss are always float32. auto: bfloat16 on a GPU or TPU if a check at the start finds it
    accurate there, otherwise float32; a run that is resumed keeps its own."""
    optimizer: Optimizer = Optimizer()
    """AdamW and its learning-rate schedule."""
    batch_size: int = 256
    """Pairs (or recordings) per step, over all devices. Default: 256, without --data 128."""
    num_steps: int = 2200
    """Steps of the run and of its learning-rate schedule. Default: 2200, without --data 220."""
    ema_decay: float = 0.0
    """Decay of an EMA of the encoder's weights, such as 0.99. The EMA is then the encoder that is
    saved; batch statistics stay those of the trained encoder. At most 1 - 20 / steps, so that the
    average reaches back over a twentieth of the run. 0: the trained weights are saved."""
    seed: int = 0
    """Random seed of initial weights, order of recordings and augmentation."""
    init: Annotated[str | None, tyro.conf.Suppress] = None
    """Checkpoint whose encoder the run starts from; encoder and preprocessing must be its own."""

    def __post_init__(self):
        if self.num_steps < 1:
            raise InputError(f"{self.num_steps} steps: give 1 or more")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"--ema-decay {self.ema_decay}: give 0, or a decay below 1")
        highest = 1 - 1 / max(EMA_SHARE * self.num_steps, 1)
        if self.ema_decay > highest:
            raise InputError(
                f"--ema-decay {self.ema_decay}: with {self.num_steps} steps give "
                f"{math.floor(1e4 * highest) / 1e4:g} at most, or take more steps: the average "
                f"would hold too much of the first weights"
            )
        if self.encoder_settings:
            module = configured_encoder(self.encoder, self.encoder_settings)
            check_encoder(module, self.encoder_settings, self.preprocessing)

    @property
    def method(self) -> Any:
        """Objective of the training loop: `objective`, with an EMA as the result if wanted."""
        return WeightEma(self.objective, self.ema_decay) if self.ema_decay else self.objective


def pretrain(
    settings: Pretraining,
    records: Mixture,
    workdir: Path,
    *,
    save_every: int,
    log_every: int,
    probe_every: int | None = 0,
    cache: Literal["none", "device"] = "none",
    weights: Sequence[float] = (),
) -> Path:
    """Pre-trains on the training split; resumes from the newest checkpoint in `workdir`.

    Args:
      settings: settings of the run.
      records: the prepared data sets.
      workdir: folder for checkpoints and logs.
      save_every: steps between checkpoints.
      log_every: steps between log lines.
      probe_every: steps between probes of the embeddings, see `ecgjax.workflows.frozen_probe`; 0:
        no probe; None: up to ten in a run that is long enough.
      cache: "none" reads each batch from the shards, "device" keeps all recordings in device
        memory. The batches are equal.
      weights: share of a batch for each data set; by default every recording counts the same.

    Returns:
      The folder of the last checkpoint.

    Raises:
      InputError: the recordings have another length than the encoder's input, the batch cannot be
        split over the devices, or there is nothing to probe.
    """
    recording_s = records.samples / records.rate_hz
    if abs(recording_s - settings.preprocessing.seconds) > 0.5 / records.rate_hz:
        raise InputError(
            f"--preprocessing.seconds {settings.preprocessing.seconds:g}: the recordings of "
            f"{records.path} are {recording_s:g} s long; give {recording_s:g}, or prepare them at "
            f"another length"
        )
    if note := absent_leads_note(settings.preprocessing, records.leads, records.name):
        console.print(note)
    start = None
    if settings.init:
        if settings.encoder_settings:
            given = f"--encoder-settings {' '.join(settings.encoder_settings)}"
            raise InputError(f"{given}: --init brings an encoder with its own; leave one out")
        start = find_start(settings.init, workdir, settings.encoder, settings.preprocessing)
    resumed = None
    so_far = begun(workdir)
    if so_far is not None and settings.precision == "auto":
        # A run keeps its precision, also where `auto` would choose another one for a new run.
        precision = so_far.get("pretraining", {}).get("precision", "auto")
        settings = dataclasses.replace(settings, precision=precision)
        resumed = workdir
    settings = with_precision(settings, start, resumed=resumed)
    mesh = data_mesh()
    parts = records.parts("train")
    check_batch_size(settings.batch_size, mesh)
    device_cache = DeviceCache(records, np.concatenate(parts), mesh) if cache == "device" else None
    batches = pretraining_batches(
        records,
        parts,
        examples=settings.objective.examples,
        batch_size=settings.batch_size,
        seed=settings.seed,
        weights=weights,
        rows=rows_here(settings.batch_size, mesh),
        cache=device_cache,
    )
    init_key, key = jax.random.split(jax.random.key(settings.seed))
    step, create = step_and_state(
        settings, rate_hz=records.rate_hz, mesh=mesh, cache=device_cache, start=start
    )
    seen = records.seen("train")
    run = Run(
        workdir,
        config=saved_config(settings, records, weights, start),
        title="pre-training",
        seen=seen | start.seen if start else seen,
        save_every=save_every,
        log_every=log_every,
        watch=_probe(settings, records, probe_every, batches.recordings, log_every, start),
    )
    _, path = train(
        step,
        create(init_key),
        batches,
        num_steps=settings.num_steps,
        run=run,
        key=key,
        mesh=mesh,
        cache=device_cache,
    )
    return path


def _architecture(settings: Pretraining, start: Start | None) -> nn.Module:
    if start:
        return start.module
    return configured_encoder(settings.encoder, settings.encoder_settings)


def _probe(
    settings: Pretraining,
    records: Mixture,
    every: int | None,
    recordings: int,
    log_every: int,
    start: Start | None,
) -> Watch | None:
    """Returns the probe of a run, None if there is none.

    Raises:
      InputError: a probe was asked for and cannot be made.
    """
    if every == 0:
        return None
    # Imported late: scikit-learn and matplotlib are slow to import.
    from ecgjax.workflows.frozen_probe import default_interval, frozen_probe

    interval = every or default_interval(settings.num_steps, recordings, log_every)
    if interval is None:
        return None
    module = _architecture(settings, start)
    probe = frozen_probe(records, module, settings.preprocessing, every=interval)
    if every and not probe:
        raise InputError(
            f"--probe-every {every}: {records.path} holds no validation recordings; give 0"
        )
    return probe


def with_precision(
    settings: Pretraining, start: Start | None = None, *, resumed: Path | None = None
) -> Pretraining:
    """Returns the settings with float32 or bfloat16 in place of `auto`.

    bfloat16 is compared with float32 on this machine before it is used.

    Args:
      settings: settings of the run.
      start: the weights that it starts from.
      resumed: workdir of the run that the precision is taken from, if it is resumed.

    Raises:
      InputError: bfloat16 was asked for, or the run began with it, and is wrong on this machine.
    """
    if settings.precision == "float32" or (
        settings.precision == "auto" and jax.default_backend() == "cpu"
    ):
        return dataclasses.replace(settings, precision="float32")
    try:
        deviation = bfloat16_deviation(
            _architecture(settings, start), samples=settings.preprocessing.samples
        )
    except jax.errors.JaxRuntimeError:  # no algorithm found for a convolution
        deviation = math.inf
    if deviation < LARGEST_DEVIATION:
        return dataclasses.replace(settings, precision="bfloat16")
    problem = f"bfloat16 is wrong by {deviation:.0%} on this {jax.devices()[0].device_kind}"
    if resumed and settings.precision == "bfloat16":
        remedy = "resume it on another machine, or give another --workdir"
        raise InputError(f"{resumed}: the run began in bfloat16, and {problem}; {remedy}")
    if settings.precision == "bfloat16":
        raise InputError(
            f"--precision bfloat16: {problem}; give float32, or another version of JAX"
        )
    console.print(
        f"WARNING: {problem} (a bug of this JAX or driver); training in float32, which is slower"
    )
    return dataclasses.replace(settings, precision="float32")


def step_and_state(
    settings: Pretraining,
    *,
    rate_hz: float,
    mesh: Mesh,
    cache: DeviceCache | None = None,
    start: Start | None = None,
) -> tuple[Callable, Callable]:
    """Returns the jitted training step, and the function that makes the state at step 0 from a key.

    Args:
      settings: settings of the run.
      rate_hz: sampling rate of the stored recordings, in Hz.
      mesh: the devices.
      cache: recordings in device memory, as `make_step` takes them.
      start: the encoder that the run starts from; None for random weights.
    """
    tx = settings.optimizer.build(settings.num_steps)
    encoder = _architecture(settings, start).clone(dtype=settings.precision)
    loss = functools.partial(
        settings.method.loss, encoder, preprocess=Preprocessor(settings.preprocessing, rate_hz)
    )

    def create(key: jax.Array) -> TrainState:
        return create_state(initial_variables(settings, key, start), tx, mesh)

    schedule = settings.optimizer.learning_rate_at(settings.num_steps)
    step = make_step(loss, tx, mesh, num_steps=settings.num_steps, schedule=schedule, cache=cache)
    return step, create


def initial_variables(settings: Pretraining, key: jax.Array, start: Start | None = None) -> dict:
    """Returns the variables of the objective at step 0."""
    preprocessing = settings.preprocessing
    signal = jnp.zeros((2, preprocessing.samples, len(preprocessing.leads)))
    init = functools.partial(settings.method.init, _architecture(settings, start))
    variables = jax.jit(init)(key, signal)
    return with_encoder(variables, start.variables) if start else variables


def saved_config(
    settings: Pretraining,
    records: Mixture,
    weights: Sequence[float] = (),
    start: Start | None = None,
) -> dict:
    """Returns the config of a run's checkpoints. A run resumes only with an equal config."""
    module = _architecture(settings, start)
    encoder = encoder_config(settings.encoder, module, settings.preprocessing)
    run = dataclasses.asdict(settings)
    run["objective"]["name"] = type(settings.objective).__name__
    del run["encoder"]
    del run["encoder_settings"]  # the encoder's entry has all of its settings
    del run["preprocessing"]
    del run["init"]
    return {
        **encoder,
        "pretraining": json.loads(json.dumps(run)),
        "data": records.name,
        "weights": list(weights),
        "waveforms": records.fingerprint,
        **({"init": start.origin} if start else {}),
    }
