"""Golden checkpoints: made once by the code of each format, read by all later code.

    JAX_PLATFORMS=cpu PYTHONPATH=tests python -m helpers.golden tests/golden/format-2

trains two steps and writes the workdir with the checkpoint, and expected.json with the embeddings
of two recordings and the loss of the third step.
"""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np

from ecgjax import encoders
from ecgjax.augment import OFF
from ecgjax.data.seen import Seen
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.pretrained import load_encoder
from ecgjax.signals import LEADS
from ecgjax.train.checkpoint import Checkpoints, read_config
from ecgjax.train.sharding import data_mesh, place
from ecgjax.train.state import TrainState
from ecgjax.workflows.pretrain import Pretraining, saved_config, step_and_state

BATCH = 16
EXPECTED = "expected.json"
CROPS = dataclasses.replace(OFF, crop_s=2.5, lead_mask=0.5)
SETTINGS = Pretraining(
    objective=PatientContrast(projection=(16, 8), augmentation=CROPS),
    batch_size=BATCH,
    num_steps=4,
    precision="float32",
)


def signals(number: int) -> np.ndarray:
    """Returns int16 [BATCH, 2, 1000, 12], by a formula: no generator of random numbers changes."""
    row, view, time, lead = np.ogrid[:BATCH, :2, :1000, :12]
    phase = 2 * np.pi * (0.5 + 0.13 * (row + 3 * view + 7 * number)) * time / 100 + lead
    comb = (time * (row + 1) + 37 * lead + 11 * view + number) % 97
    return np.floor(300 * np.sin(phase) + 2 * comb).astype(np.int16)


def batch(number: int) -> dict:
    """Returns the batch of a step, placed on the devices."""
    arrays = {"signal": signals(number)[None], "patient": np.arange(BATCH, dtype=np.int32)[None]}
    return place(arrays, data_mesh())


def fresh() -> tuple[Any, TrainState, jax.Array]:
    """Returns the training step, the state at step 0 and the key of the run."""
    step, create = step_and_state(SETTINGS, rate_hz=100.0, mesh=data_mesh())
    init_key, key = jax.random.split(jax.random.key(SETTINGS.seed))
    return step, create(init_key), key


def loss_of_next_step(workdir: Path) -> float:
    """Resumes a golden run and returns the loss of its third step."""
    step, state, key = fresh()
    with Checkpoints(workdir) as checkpoints:
        state = checkpoints.resume(state, read_config(checkpoints.path(2)))
    assert state is not None
    _, metrics = step(state, batch(2), key, None)
    return float(np.asarray(metrics["loss"]).reshape(-1)[-1])


def embeddings(workdir: Path) -> np.ndarray:
    """Returns the embeddings of two recordings, float32 [2, 16]."""
    recordings = signals(5)[:2, 0]
    return load_encoder(workdir)(recordings, rate_hz=100, leads=LEADS, units="uV")


def write(workdir: Path) -> None:
    """Makes a golden checkpoint."""
    step, state, key = fresh()
    for number in range(2):
        state, _ = step(state, batch(number), key, None)
    records = cast(Any, SimpleNamespace(name="golden/100hz:2.0.0", fingerprint="0" * 32))
    numbers = np.arange(1, 9, dtype=np.uint64)
    seen = Seen(numbers, numbers[:3], numbers.reshape(4, 2))
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(state, saved_config(SETTINGS, records), seen)
    expected = {
        "embeddings": embeddings(workdir).tolist(),
        "loss": loss_of_next_step(workdir),
        "seen": [8, 3, 4, 0],
    }
    (workdir / EXPECTED).write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    encoders.ENCODERS["compact_resnet"] = CompactResnet(widths=(8,))
    write(Path(sys.argv[1]).absolute())
