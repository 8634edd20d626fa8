"""Eight CPU devices stand in for a machine with eight accelerators; one small data set and one run serve all tests."""

import functools
import os
import tempfile

os.environ["MPLBACKEND"] = "Agg"
# Shared by this process and those that it starts, pytest's own workers too: each program is compiled once.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import flags

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # Grain reads a flag of its own, and pytest has parsed none

from ecgjax import encoders
from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.pretraining import Pretraining, pretrain
from ecgjax.train.sharding import data_mesh, place, replicated
from ecgjax.train.state import create_state, make_step
from tfds_builders.prepare import prepare

TINY = CompactResnet(widths=(8,))
"""An encoder that compiles in a second or two. `tiny_encoders` puts it in the place of compact_resnet."""


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Folder of a prepared data set: 36 synthetic patients, about 110 recordings."""
    return prepare("synthetic/100hz", tmp_path_factory.mktemp("data"), patients=36)


@pytest.fixture(scope="session")
def records(prepared):
    return Records(prepared)


@pytest.fixture(scope="session")
def mixture(prepared):
    """The same as pre-training takes it."""
    return Mixture([prepared])


@pytest.fixture(scope="session")
def workdir(tmp_path_factory, mixture):
    """Folder of a pre-training run of four steps, with checkpoints after two and four."""
    workdir = tmp_path_factory.mktemp("run")
    settings = Pretraining(objective=PatientContrast(projection=(16, 8)), batch_size=16, num_steps=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(encoders.ENCODERS, "compact_resnet", TINY)
        pretrain(settings, mixture, workdir, save_every=2, log_every=1)
    return workdir


@pytest.fixture
def tiny_encoders(monkeypatch):
    """compact_resnet means the tiny one."""
    monkeypatch.setitem(encoders.ENCODERS, "compact_resnet", TINY)


TWO_SECONDS = Preprocessing(seconds=2.0)
"""Input of the steps that tests of objectives take."""


def noise_batch(rows: int, *, views: tuple[int, ...] = (), patients: int = 10) -> dict[str, np.ndarray]:
    """A batch of two-second recordings of noise: signal int16 [row, *views, 200, 12], patient int32 [row]."""
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 500, size=(rows, *views, 200, 12)).astype(np.int16)
    return {"signal": signal, "patient": rng.integers(patients, size=rows).astype(np.int32)}


def initial(objective, encoder=TINY) -> dict:
    """An objective's variables for two-second recordings."""
    return jax.jit(functools.partial(objective.init, encoder))(jax.random.key(0), jnp.zeros((2, 200, 12)))


def first_step(objective, batch: dict, *, devices: int, encoder=TINY) -> tuple[dict, dict, dict]:
    """The first step of a run, as the loop takes it on so many devices: metrics, gradient, collections after it."""
    loss = functools.partial(objective.loss, encoder, preprocessing=TWO_SECONDS, rate_hz=100.0)
    tx, mesh = optax.trace(decay=0.0), data_mesh(jax.devices()[:devices])  # its state is the last gradient
    key = jax.device_put(jax.random.key(2), replicated(mesh))
    state = create_state(initial(objective, encoder), tx, mesh)
    stack = place(jax.tree.map(lambda part: part[None], batch), mesh)
    state, metrics = make_step(loss, tx, mesh, num_steps=3)(state, stack, key, None)
    return jax.tree.map(np.asarray, (metrics, state.opt_state.trace, state.collections))


def distance(a, b) -> float:
    """Of two trees of arrays, relative to the second."""
    difference = jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), a, b)
    return float(optax.tree.norm(difference) / optax.tree.norm(jax.tree.map(np.asarray, b)))


def check_steps(one: tuple[dict, dict, dict], eight: tuple[dict, dict, dict]) -> None:
    """The first step on eight devices is that on one, and its gradient reaches every parameter of the encoder."""
    for name, value in one[0].items():
        np.testing.assert_allclose(eight[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert {"loss", "embedding_std", "embedding_rank"} <= one[0].keys()
    assert distance(eight[1], one[1]) < 1e-4 and distance(eight[2], one[2]) < 1e-4
    for path, leaf in jax.tree.leaves_with_path(one[1]["encoder"]):
        assert np.abs(leaf).max() > 1e-7, jax.tree_util.keystr(path)
