"""Setup of all tests: eight CPU devices, one small data set and one small pre-training run."""

import dataclasses
import importlib.metadata
import os
import signal
import sys
import tempfile

os.environ["MPLBACKEND"] = "Agg"
# A job in the background ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# All processes of a test run share this cache, pytest's workers too: a program is compiled once.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# The tests mostly compile programs that run for milliseconds. LLVM's level 0 instead of 3 halves
# their time, also in the commands that tests start. XLA_FLAGS= (empty) tests the programs that
# users run.
FLAGS = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # others may not know this flag
    FLAGS += " --xla_cpu_use_fusion_emitters=false"  # saves a quarter
os.environ.setdefault("XLA_FLAGS", FLAGS)

import jax
import pytest
from absl import flags

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # Grain reads an absl flag, and pytest has parsed none

from ecgjax import encoders
from ecgjax.augment import OFF
from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.launch.command import run
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.workflows.pretrain import Pretraining, pretrain
from tfds_builders.prepare import prepare

TINY = CompactResnet(widths=(8,))
"""An encoder that compiles in a second or two. `tiny_encoders` replaces compact_resnet by it."""
CROPS = dataclasses.replace(OFF, crop_s=2.5, lead_mask=0.5)
"""Random crops with random leads masked. All augmentations together take longer to compile than the
rest of a step; test_patient_contrast uses all on eight devices, test_augment each by itself."""
SETTINGS = Pretraining(
    objective=PatientContrast(projection=(16, 8), augmentation=CROPS), batch_size=16, num_steps=4
)
OPTIONS = ["--batch-size", 16, "--num-steps", 4, "--projection", 16, 8]
OPTIONS += ["--augmentation.lead-mask", 0.5, "--augmentation.gain", 0]
for name in ("noise-mv", "wander-mv", "time-out"):
    OPTIONS += [f"--augmentation.{name}", 0]
"""The run in `workdir`, as settings and as options."""
SLOW_FILES = ("objectives", "end_to_end", "processes", "consistency", "encoders", "local_contrast")
SLOW_FILES += ("loop", "compile", "synthetic")
"""Files that start first, so that no worker ends with a long one while the others wait."""


def pytest_collection_modifyitems(items):
    """Moves the slow files to the front."""
    names = {f"test_{name}": place for place, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: names.get(item.path.stem, len(names)))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Folder of a prepared data set: 36 synthetic patients, about 110 recordings."""
    return prepare("synthetic/100hz", tmp_path_factory.mktemp("data"), patients=36)


@pytest.fixture(scope="session")
def records(prepared):
    return Records(prepared)


@pytest.fixture(scope="session")
def mixture(prepared):
    """The same data set in the form that pre-training takes."""
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
    """Replaces compact_resnet by the tiny encoder."""
    monkeypatch.setitem(encoders.ENCODERS, "compact_resnet", TINY)


@pytest.fixture
def command(monkeypatch, tmp_path, capfd, tiny_encoders):
    """Runs a command in this process and an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        status = 0
        try:
            run(module.main)
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    return command
