"""Checkpoints: exact round trips; damaged ones and those of another run are refused."""

import json
import shutil
import warnings

import jax
import numpy as np
import pytest
from conftest import TINY

from ecgjax.data.seen import Seen, seen_in
from ecgjax.encoders import ENCODERS
from ecgjax.errors import InputError
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.checkpoint import Checkpoints, find_checkpoint
from ecgjax.train.manifest import encoder_config
from ecgjax.train.model import load_model
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state
from ecgjax.workflows.pretrain import Pretraining, initial_variables

CONFIG = {
    **encoder_config("compact_resnet", ENCODERS["compact_resnet"], Preprocessing()),
    "pretraining": {"seed": 0, "optimizer": {"learning_rate": 0.001}},
}
PLACES = 16
SEEN = Seen(np.array([3, 2**63 + 5], np.uint64), np.array([7], np.uint64))

# Orbax abandons the other reads when one of them fails, and asyncio warns about each of them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def fresh():
    """A state at step 0, on eight devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "compact_resnet", TINY)
        settings = Pretraining(objective=PatientContrast(projection=(16, 8)))
        variables = initial_variables(settings, jax.random.key(0))
    return create_state(variables, Optimizer().build(100), data_mesh())


def _after(state, steps):
    """A state as after some steps of training: every number has changed."""
    rng = np.random.default_rng(steps)

    def moved(leaf):
        noise = rng.normal(size=leaf.shape) if leaf.dtype.kind == "f" else steps
        return jax.device_put((np.asarray(leaf) + noise).astype(leaf.dtype), leaf.sharding)

    return jax.tree.map(moved, state)


def _assert_same(state, expected):
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    for (path, leaf), other in zip(
        jax.tree.leaves_with_path(state), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert leaf.dtype == other.dtype and leaf.sharding == other.sharding, name
        np.testing.assert_array_equal(leaf, other, err_msg=name)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, fresh):
    """The folder of a run with checkpoints after 2 and 4 steps."""
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir) as checkpoints:
        for step in (1, 2, 4):
            checkpoints.save(_after(fresh, step), CONFIG, SEEN)
    return workdir


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def _resume(workdir, fresh, config=CONFIG):
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.resume(fresh, config)


def test_a_saved_state_is_resumed_bit_for_bit(saved, fresh):
    _assert_same(_resume(saved, fresh), _after(fresh, 4))


def test_the_newest_two_checkpoints_stay_and_the_newest_is_found(saved):
    folder = saved / "checkpoints"
    assert sorted(path.name for path in folder.iterdir() if path.name.isdigit()) == ["2", "4"]
    for path in (saved, folder, folder / "4"):
        assert find_checkpoint(path) == folder / "4"


def test_nothing_is_resumed_from_an_empty_folder(tmp_path, fresh):
    assert _resume(tmp_path, fresh) is None


def test_one_device_resumes_from_a_checkpoint_of_eight(saved, fresh):
    one = jax.device_put(fresh, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    state = _resume(saved, one)
    assert all(leaf.sharding.device_set == {jax.devices()[0]} for leaf in jax.tree.leaves(state))
    jax.tree.map(np.testing.assert_array_equal, state, _after(fresh, 4))


def _places(checkpoint):
    """Bits to flip, (file, byte, bit): random ones in the large files, one in every small file."""
    rng = np.random.default_rng()
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.stat().st_size)
    large = [file for file in files if file.stat().st_size > 3000]
    small = [file for file in files if file.stat().st_size <= 3000]
    assert len(large) >= 2 and small
    chosen = [*rng.choice(np.array(large, object), PLACES), *small]
    return [(file, int(rng.integers(file.stat().st_size)), int(rng.integers(8))) for file in chosen]


def test_one_flipped_bit_is_never_restored(copy, fresh):
    """Resuming falls back to the checkpoint before with a warning, or restores this one exactly."""
    states = {step: _after(fresh, step) for step in (2, 4)}
    fallbacks = 0
    for file, byte, bit in _places(copy / "checkpoints" / "4"):
        place = f"{file.relative_to(copy)} byte {byte} bit {bit}"
        content = file.read_bytes()
        file.write_bytes(content[:byte] + bytes([content[byte] ^ 1 << bit]) + content[byte + 1 :])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state = _resume(copy, fresh)
        file.write_bytes(content)
        step = int(state.step)
        _assert_same(state, states[step])
        messages = [str(warning.message) for warning in caught]
        fallback = [text for text in messages if "checkpoints/4: " in text and "trying" in text]
        assert len(fallback) == (step == 2), (place, messages)
        fallbacks += step == 2
    assert fallbacks > PLACES / 4


def test_a_folder_with_damaged_checkpoints_only_is_refused(copy, fresh):
    for folder in (copy / "checkpoints").iterdir():
        shutil.rmtree(folder / "encoder")
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(InputError) as error:
        _resume(copy, fresh)
    assert str(copy / "checkpoints") in str(error.value)
    assert "no undamaged checkpoint" in str(error.value)


def test_other_settings_are_refused_by_name(saved, fresh):
    other = json.loads(json.dumps(CONFIG))
    other["pretraining"]["optimizer"]["learning_rate"] = 0.1
    with pytest.raises(
        InputError, match=r"pretraining.optimizer.learning_rate was 0.001, now 0.1"
    ) as error:
        _resume(saved, fresh, other)
    assert str(saved) in str(error.value)


def test_an_encoder_is_loaded_with_its_config_and_seen_recordings(workdir, records):
    saved = load_model(workdir)
    assert saved.module.widths == (8,) and saved.preprocessing == Preprocessing()
    assert saved.config["pretraining"]["num_steps"] == 4
    assert saved.config["pretraining"]["objective"]["name"] == "PatientContrast"
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(saved.variables))
    expected = seen_in(records, records.split("train"))
    np.testing.assert_array_equal(saved.seen.waveforms, expected.waveforms)
    np.testing.assert_array_equal(saved.seen.patients, expected.patients)
    earlier = load_model(workdir / "checkpoints" / "2").variables
    assert jax.tree.structure(earlier) == jax.tree.structure(saved.variables)
    assert not any(map(np.array_equal, *map(jax.tree.leaves, (earlier, saved.variables))))


def _save_as(workdir, fresh, config):
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(_after(fresh, 1), config, SEEN)
    return workdir


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            {"name": "pclr_resnet", "stem": 64, "widths": [128], "kernel": 16, "downsample": 4},
            "cannot be read as pclr",
        ),
        (
            {"name": "compact_resnet", "widths": [8, 16], "kernel": 5},
            "cannot be read as compact_resnet",
        ),
        (
            {"name": "compact_resnet", "widths": [8, 8], "kernel": 5},
            "cannot be read as compact_resnet",
        ),
        ({"name": "vit", "width": 8}, "encoder 'vit' is unknown"),
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path, fresh, architecture, message):
    workdir = _save_as(tmp_path, fresh, {**CONFIG, "encoder": architecture})
    with pytest.raises(InputError, match=message) as error:
        load_model(workdir)
    assert "\n" not in str(error.value)


def test_checkpoint_of_another_format_is_refused(tmp_path, fresh):
    with pytest.raises(InputError, match="checkpoint format 99, this ecgjax reads 2"):
        load_model(_save_as(tmp_path, fresh, {**CONFIG, "format": 99}))


def test_a_run_of_an_earlier_version_is_loaded_and_resumed(tmp_path, fresh):
    """Its config lacks baseline and window_s: offsets stay, whole recordings are embedded."""
    config = json.loads(json.dumps(CONFIG))
    config["encoder"]["widths"] = [8]
    del config["preprocessing"]["baseline"], config["preprocessing"]["window_s"]
    workdir = _save_as(tmp_path, fresh, config)
    preprocessing = load_model(workdir).preprocessing
    assert preprocessing == Preprocessing(baseline="none", window_s=None)
    same = {**config, **encoder_config("compact_resnet", TINY, preprocessing)}
    _assert_same(_resume(workdir, fresh, same), _after(fresh, 1))
    with pytest.raises(InputError, match=r"preprocessing.baseline was none, now high_pass"):
        _resume(workdir, fresh, {**same, **encoder_config("compact_resnet", TINY, Preprocessing())})


def test_edited_config_is_refused(workdir, tmp_path):
    """Another rate or order of leads would silently change every embedding."""
    copy = shutil.copytree(workdir, tmp_path / "copy")
    file = next(
        file
        for file in (copy / "checkpoints" / "4" / "config").rglob("*")
        if b"rate_hz" in file.read_bytes()
    )
    file.write_text(file.read_text().replace('"rate_hz": 100.0', '"rate_hz": 500.0'))
    with pytest.raises(InputError, match="config is not what was saved"):
        load_model(copy)


@pytest.mark.parametrize(
    ("folder", "message"), [("", "no ecgjax checkpoint in it"), ("absent", "no such folder")]
)
def test_folder_without_a_checkpoint_is_refused(tmp_path, folder, message):
    with pytest.raises(InputError, match=message) as error:
        load_model(tmp_path / folder)
    assert str(tmp_path / folder) in str(error.value)


def test_a_checkpoint_holds_the_result_in_place_of_the_trained_encoder(fresh, tmp_path):
    other = jax.tree.map(lambda leaf: leaf + 1, fresh.params["encoder"])
    state = fresh.replace(
        collections={**fresh.collections, "result": {"params": {"encoder": other}}}
    )
    config = {**CONFIG, **encoder_config("compact_resnet", TINY, Preprocessing())}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config, SEEN)
        _assert_same(checkpoints.resume(_after(state, 3), config), state)
    variables = load_model(tmp_path).variables
    assert set(variables) == {"params", "batch_stats"}
    jax.tree.map(np.testing.assert_array_equal, variables["params"], other)
