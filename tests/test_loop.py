"""The loop: an interrupted run ends as an uninterrupted one, its log included; divergence stops it."""

import dataclasses
import functools
import json
import shutil

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SETTINGS

from ecgjax.data.batches import pretraining_batches
from ecgjax.data.seen import Seen
from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.checkpoint import find_checkpoint, load_encoder, read_config
from ecgjax.train.loop import train
from ecgjax.train.optimizer import Optimizer, _decayed
from ecgjax.train.runlog import SPEED, RunLog, read_metrics
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import TrainState
from ecgjax.workflows import pretrain as pretraining
from ecgjax.workflows.pretrain import Pretraining, pretrain


def manifest(workdir) -> dict:
    """SHA-256 of everything in the newest checkpoint."""
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def _lines(workdir):
    return [
        {name: value for name, value in line.items() if name not in SPEED}
        for line in read_metrics(workdir)
    ]


def test_resumed_run_ends_bit_for_bit_like_the_uninterrupted_one(
    workdir, mixture, tmp_path, tiny_encoders
):
    copy = shutil.copytree(workdir, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "4")
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss"')  # cut short by a kill
    assert (
        pretrain(SETTINGS, mixture, copy, save_every=2, log_every=1) == copy / "checkpoints" / "4"
    )
    assert manifest(copy) == manifest(workdir)
    assert _lines(copy) == _lines(workdir)
    assert [line["step"] for line in _lines(workdir)] == [1, 2, 3, 4]


def test_recordings_in_device_memory_train_alike(workdir, mixture, tmp_path, tiny_encoders):
    """Same batches, three steps a dispatch, so that the last dispatch is a shorter one."""
    pretrain(SETTINGS, mixture, tmp_path, save_every=3, log_every=3, cache="device")
    assert [line["step"] for line in read_metrics(tmp_path)] == [3, 4]
    streamed, cached = _lines(workdir)[-1], _lines(tmp_path)[-1]
    assert streamed.keys() == cached.keys()
    for name, value in streamed.items():
        np.testing.assert_allclose(cached[name], value, rtol=2e-5, err_msg=name)


def test_recordings_of_another_length_are_refused(mixture, tmp_path):
    settings = dataclasses.replace(SETTINGS, preprocessing=Preprocessing(seconds=5.0))
    with pytest.raises(
        InputError,
        match="--preprocessing.seconds 5: the recordings of .* are 10 s long; give 10, or",
    ):
        pretrain(settings, mixture, tmp_path, save_every=2, log_every=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1},
        {"warmup": 3},
        {"weight_decay": float("nan")},
        {"clip_norm": 0},
        {"betas": (0.9, 1.0)},
    ],
)
def test_impossible_optimizers_are_refused(wrong):
    with pytest.raises(InputError, match="give a learning_rate and a clip_norm above 0"):
        Optimizer(**wrong)


def test_a_workdir_that_is_a_file_is_refused(mixture, tmp_path, tiny_encoders):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: not a folder; give another --workdir"):
        pretrain(SETTINGS, mixture, tmp_path / "file", save_every=2, log_every=1)


def test_changed_recordings_are_another_run(workdir, mixture, tiny_encoders, monkeypatch):
    monkeypatch.setitem(vars(mixture), "fingerprint", "0" * 32)
    with pytest.raises(InputError, match="waveforms was .{32}, now 0{32}"):
        pretrain(SETTINGS, mixture, workdir, save_every=2, log_every=1)


def test_precision_is_chosen_by_the_machine_and_checked(monkeypatch, capsys):
    settings = Pretraining()
    assert pretraining.with_precision(settings).precision == "float32"  # on a CPU
    monkeypatch.setattr(pretraining.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(pretraining, "bfloat16_deviation", lambda encoder, samples: 0.02)
    assert pretraining.with_precision(settings).precision == "bfloat16"
    assert pretraining.with_precision(Pretraining(precision="float32")).precision == "float32"
    for wrong in (0.7, float("nan")):
        monkeypatch.setattr(
            pretraining, "bfloat16_deviation", lambda encoder, samples, wrong=wrong: wrong
        )
        assert pretraining.with_precision(settings).precision == "float32"
        assert "WARNING: bfloat16 is wrong" in capsys.readouterr().err
        with pytest.raises(InputError, match="--precision bfloat16: bfloat16 is wrong by"):
            pretraining.with_precision(Pretraining(precision="bfloat16"))


def test_bfloat16_run_leaves_a_float32_encoder(
    workdir, mixture, tmp_path, tiny_encoders, monkeypatch
):
    monkeypatch.setattr(
        pretraining, "bfloat16_deviation", lambda encoder, samples: 0.0
    )  # tested by test_layers.py
    settings = dataclasses.replace(SETTINGS, precision="bfloat16")
    pretrain(settings, mixture, tmp_path, save_every=4, log_every=1)
    _, variables, _, config, _ = load_encoder(tmp_path)
    assert config["pretraining"]["precision"] == "bfloat16" and "dtype" not in config["encoder"]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    full, half = ([line["loss"] for line in read_metrics(run)] for run in (workdir, tmp_path))
    assert full != half
    np.testing.assert_allclose(half[0], full[0], rtol=0.05)


def test_finished_run_is_left_as_it_is(workdir, mixture, tiny_encoders):
    newest = find_checkpoint(workdir)
    before = {path: path.stat().st_mtime_ns for path in newest.rglob("*")}
    assert pretrain(SETTINGS, mixture, workdir, save_every=2, log_every=1) == newest
    assert {path: path.stat().st_mtime_ns for path in newest.rglob("*")} == before


def test_config_says_everything_about_the_run(workdir, records):
    config = read_config(find_checkpoint(workdir))
    assert config["data"] == records.name and config["encoder"]["widths"] == [8]
    assert (
        config["preprocessing"]["leads"][0] == "I"
        and config["pretraining"]["optimizer"]["warmup"] == 0.05
    )


@pytest.fixture
def run(records, tmp_path):
    """The loop around a step that only counts, with the given losses."""

    def start(losses, **settings):
        def step_fn(state, stack, key, resident):
            return state.replace(step=state.step + 1), {
                "loss": jnp.asarray(losses[int(state.step)])
            }

        state = TrainState(jnp.zeros((), jnp.int32), {"encoder": {"w": jnp.ones(3)}}, {}, ())
        batches = pretraining_batches(
            records, records.split("validation"), examples="single", batch_size=8, seed=0
        )
        settings = {"num_steps": len(losses), "save_every": 2, "log_every": 3, **settings}
        return train(
            step_fn, state, batches,
            key=jax.random.key(0), mesh=data_mesh(), workdir=tmp_path, config={"format": 1},
            seen=Seen(np.ones(1, np.uint64), np.ones(1, np.uint64)), title="test", **settings,
        )  # fmt: skip

    return start


def test_log_and_checkpoints_come_when_asked_for(run, tmp_path):
    state, path = run([3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.25])
    assert int(state.step) == 7 and path == tmp_path / "checkpoints" / "7"
    assert _lines(tmp_path) == [
        {"step": s, "loss": v} for s, v in ((2, 2.5), (3, 2.0), (4, 1.5), (6, 0.5), (7, 0.25))
    ]
    assert any((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_stops_the_run_before_it_is_saved(run, tmp_path, bad):
    with pytest.raises(
        InputError, match=f"step 3: the loss is {bad}; lower --optimizer.learning-rate"
    ):
        run([3.0, 2.0, bad, 1.0])
    assert find_checkpoint(tmp_path).name == "2"


@pytest.mark.parametrize("settings", [{"num_steps": 0}, {"save_every": 0}, {"log_every": -1}])
def test_numbers_below_one_are_refused(run, settings):
    with pytest.raises(InputError, match="give positive numbers"):
        run([1.0], **settings)


def test_log_of_a_resumed_run_drops_what_is_done_again(tmp_path):
    for first_step, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with RunLog(
            tmp_path, title="test", num_steps=4, recordings=8, first_step=first_step
        ) as log:
            for step in steps:
                log.write(step, {"loss": jnp.asarray(step + first_step / 10)})
    assert [(line["step"], line["loss"]) for line in read_metrics(tmp_path)] == [
        (1, 1),
        (2, 2),
        (3, 3.2),
        (4, 4.2),
    ]
    assert read_metrics(tmp_path / "absent") == []


PARAMS = {"encoder": {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}}
PARAMS["head"] = PARAMS["encoder"]


def test_learning_rate_rises_and_falls():
    rate = Optimizer(learning_rate=0.1, warmup=0.1).learning_rate_at(100)
    found = [float(rate(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    constant = Optimizer(learning_rate=0.1, warmup=0.0, schedule="constant").learning_rate_at(100)
    np.testing.assert_allclose([float(constant(step)) for step in (0, 50, 100)], 0.1)


def test_kernels_alone_decay_and_the_encoder_is_slower():
    tx = Optimizer(learning_rate=0.1, weight_decay=0.5, warmup=0.0, schedule="constant").build(
        10, encoder_rate=0.1
    )
    zero, state = jax.tree.map(np.zeros_like, PARAMS), tx.init(PARAMS)
    changes, state = tx.update(zero, state, PARAMS)
    np.testing.assert_allclose(changes["head"]["kernel"], -0.05, rtol=1e-5)
    np.testing.assert_allclose(changes["encoder"]["kernel"], -0.005, rtol=1e-5)
    assert not np.any(changes["head"]["bias"]) and not np.any(changes["encoder"]["bias"])


def test_no_normalisation_decays_though_branches_have_theirs_in_one_array():
    params = jax.eval_shape(
        functools.partial(LeadBranches(widths=(4,)).init, train=False),
        jax.random.key(0),
        jnp.zeros((1, 64, 12)),
    )["params"]
    decayed = flax.traverse_util.flatten_dict(_decayed(params))
    assert {path[-1] for path, decays in decayed.items() if decays} == {"kernel"}
    assert {path[-1] for path, decays in decayed.items() if not decays} == {"scale", "bias"}


def test_betas_are_what_the_means_keep():
    tx = Optimizer(betas=(0.5, 0.75), clip_norm=1e9).build(10)
    ones = jax.tree.map(np.ones_like, PARAMS)
    _, state = tx.update(ones, tx.init(PARAMS), PARAMS)
    adam = optax.tree.get(state, "mu"), optax.tree.get(state, "nu")
    np.testing.assert_allclose([tree["head"]["bias"][0] for tree in adam], (0.5, 0.25))


def test_large_gradients_are_scaled_down():
    """Beside a huge one, another entry's share of the norm vanishes; Adam would otherwise not notice the scale."""
    tx = Optimizer(clip_norm=1.0, warmup=0.0).build(10)
    _, state = tx.update(jax.tree.map(lambda leaf: 1e6 * leaf, PARAMS), tx.init(PARAMS), PARAMS)
    moments = [leaf for leaf in jax.tree.leaves(state) if getattr(leaf, "ndim", 0)]
    assert 0 < max(np.abs(leaf).max() for leaf in moments) < 1
