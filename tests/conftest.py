"""Eight CPU devices stand in for a machine with eight accelerators; one small data set and one run serve all tests."""

import importlib.metadata
import os
import tempfile

os.environ["MPLBACKEND"] = "Agg"
# Shared by this process and those that it starts, pytest's own workers too: each program is compiled once.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
# Most of the suite's time is spent compiling programs that run for milliseconds: LLVM's level 1 instead of 3 takes a
# third off, in the commands that tests start too. Not 0. XLA_FLAGS= (empty) tests what users run.
FLAGS = "--xla_backend_optimization_level=1"
if importlib.metadata.version("jaxlib").startswith(
    "0.10."
):  # another one may not know this flag, and would abort
    FLAGS += " --xla_cpu_use_fusion_emitters=false"  # a quarter less
os.environ.setdefault("XLA_FLAGS", FLAGS)

import jax
import pytest
from absl import flags

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # Grain reads a flag of its own, and pytest has parsed none

from ecgjax import encoders
from ecgjax.augment import Augmentation
from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.workflows.pretrain import Pretraining, pretrain
from tfds_builders.prepare import prepare

TINY = CompactResnet(widths=(8,))
"""An encoder that compiles in a second or two. `tiny_encoders` puts it in the place of compact_resnet."""
CROPS = Augmentation(gain=0.0, noise_mv=0.0, wander_mv=0.0, time_out=0.0)
"""A random piece with random leads silent. All augmentations take longer to compile than the rest of a step; on eight
devices test_patient_contrast has them all, and test_augment each by itself."""
SETTINGS = Pretraining(
    objective=PatientContrast(projection=(16, 8), augmentation=CROPS), batch_size=16, num_steps=4
)
OPTIONS = ["--batch-size", 16, "--num-steps", 4, "--projection", 16, 8, "--augmentation.gain", 0]
OPTIONS += [
    "--augmentation.noise-mv",
    0,
    "--augmentation.wander-mv",
    0,
    "--augmentation.time-out",
    0,
]
"""The run in `workdir`, and the same on the command line."""


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(encoders.ENCODERS, "compact_resnet", TINY)
        pretrain(SETTINGS, mixture, workdir, save_every=2, log_every=1)
    return workdir


@pytest.fixture
def tiny_encoders(monkeypatch):
    """compact_resnet means the tiny one."""
    monkeypatch.setitem(encoders.ENCODERS, "compact_resnet", TINY)
