"""Time of a training step, to give runs an equal time of training."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecgjax.data.mixture import Mixture
from ecgjax.train.sharding import data_mesh, place
from ecgjax.workflows.pretrain import Pretraining, step_and_state

MEASURED_STEPS = 3
"""Steps whose time is measured, after a first one that compiles."""


def step_cost_s(settings: Pretraining, records: Mixture, file: Path) -> float:
    """Returns the seconds of a training step; measured once and kept in a file."""
    key = digest([dataclasses.asdict(settings), type(settings.objective).__name__])
    return kept(file, key, lambda: _measure_step_s(settings, records))


def kept(file: Path, key: str, compute: Callable[[], float]) -> float:
    """Returns a number that is computed once and kept in a JSON file."""
    numbers = json.loads(file.read_text()) if file.exists() else {}
    if key not in numbers:
        numbers[key] = compute()
        file.write_text(json.dumps(numbers, indent=1))
    return numbers[key]


def _measure_step_s(settings: Pretraining, records: Mixture) -> float:
    mesh = data_mesh()
    step, create = step_and_state(settings, rate_hz=records.rate_hz, mesh=mesh)
    pairs = () if settings.objective.examples == "single" else (2,)
    shape = (1, settings.batch_size, *pairs, records.samples, 12)
    rng = np.random.default_rng(0)
    stack = {
        "signal": rng.normal(0, 300, shape).astype(np.int16),
        "patient": np.arange(settings.batch_size, dtype=np.int32)[None],
    }
    placed = place(stack, mesh)
    key = jax.random.key(0)
    state, _ = jax.block_until_ready(step(create(key), placed, key, None))
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    start = clock()
    for _ in range(MEASURED_STEPS):
        state, _ = step(state, placed, key, None)
    jax.block_until_ready(state)
    return (clock() - start) / MEASURED_STEPS


def digest(value: Any) -> str:
    """Returns a short hash of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
