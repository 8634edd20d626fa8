"""The training loop: an interrupted run ends like an uninterrupted one, and divergence stops it."""

import dataclasses
import functools
import json
import shutil
import signal
import threading

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SETTINGS
from helpers import added_losses

from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.errors import InputError, Interrupted
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.checkpoint import Checkpoints, find_checkpoint, read_config
from ecgjax.train.model import load_model
from ecgjax.train.optimizer import Optimizer, _decayed
from ecgjax.train.runlog import TIMING, RunLog, console, on_terminal, read_metrics
from ecgjax.workflows import pretrain as pretraining
from ecgjax.workflows.pretrain import Pretraining, pretrain


def manifest(workdir) -> dict:
    """SHA-256 of every part of the newest checkpoint."""
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def _lines(workdir):
    """Log lines without the speed, which differs between runs."""
    return [
        {name: value for name, value in line.items() if name not in TIMING}
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


def test_recordings_in_device_memory_train_like_those_read_from_shards(
    workdir, mixture, tmp_path, tiny_encoders
):
    """Three steps a dispatch, so that the last of four steps is a shorter dispatch."""
    pretrain(SETTINGS, mixture, tmp_path, save_every=3, log_every=3, cache="device")
    assert [line["step"] for line in read_metrics(tmp_path)] == [3, 4]
    streamed = _lines(workdir)[-1]
    cached = _lines(tmp_path)[-1]
    assert streamed.keys() == cached.keys()
    for name, value in streamed.items():
        np.testing.assert_allclose(cached[name], value, rtol=2e-5, err_msg=name)


def test_a_run_that_resumes_with_a_cache_saves_and_logs_at_the_same_steps(
    workdir, mixture, tmp_path, tiny_encoders
):
    """It resumes at step 2, in the middle of what would be a dispatch of three steps."""
    copy = shutil.copytree(workdir, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "4")
    pretrain(SETTINGS, mixture, copy, save_every=3, log_every=3, cache="device")
    assert [line["step"] for line in read_metrics(copy)] == [1, 2, 3, 4]
    assert (copy / "checkpoints" / "3").is_dir()


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
def test_impossible_optimizer_settings_are_refused(wrong):
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


def test_precision_depends_on_the_backend_and_a_check(monkeypatch, capsys):
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


def test_a_resumed_run_keeps_its_precision(workdir, mixture, tmp_path, tiny_encoders, monkeypatch):
    """A run begun in float32 goes on where `auto` would take bfloat16."""
    copy = shutil.copytree(workdir, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "4")
    monkeypatch.setattr(pretraining.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(pretraining, "bfloat16_deviation", lambda encoder, samples: 0.02)
    pretrain(SETTINGS, mixture, copy, save_every=2, log_every=1)
    assert manifest(copy) == manifest(workdir)


def test_bfloat16_run_saves_a_float32_encoder(
    workdir, mixture, tmp_path, tiny_encoders, monkeypatch
):
    monkeypatch.setattr(
        pretraining, "bfloat16_deviation", lambda encoder, samples: 0.0
    )  # tested by test_layers.py
    settings = dataclasses.replace(SETTINGS, precision="bfloat16")
    pretrain(settings, mixture, tmp_path, save_every=4, log_every=1)
    saved = load_model(tmp_path)
    assert saved.config["pretraining"]["precision"] == "bfloat16"
    assert "dtype" not in saved.config["encoder"]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(saved.variables)} == {"float32"}
    full = [line["loss"] for line in read_metrics(workdir)]
    half = [line["loss"] for line in read_metrics(tmp_path)]
    assert full != half
    np.testing.assert_allclose(half[0], full[0], rtol=0.05)


def test_finished_run_is_not_changed(workdir, mixture, tiny_encoders):
    newest = find_checkpoint(workdir)
    before = {path: path.stat().st_mtime_ns for path in newest.rglob("*")}
    assert pretrain(SETTINGS, mixture, workdir, save_every=2, log_every=1) == newest
    assert {path: path.stat().st_mtime_ns for path in newest.rglob("*")} == before


def test_config_holds_data_encoder_preprocessing_and_settings(workdir, records):
    config = read_config(find_checkpoint(workdir))
    assert config["data"] == records.name and config["encoder"]["widths"] == [8]
    assert (
        config["preprocessing"]["leads"][0] == "I"
        and config["pretraining"]["optimizer"]["warmup"] == 0.05
    )


@pytest.fixture
def run(records, tmp_path):
    """Runs the loop with a step that adds the given losses to one parameter."""

    def start(losses, hooks=None, workdir=tmp_path, **settings):
        return added_losses.run(records, losses, workdir, hooks, **settings)

    return start


def test_log_lines_and_checkpoints_are_written_at_their_steps(run, tmp_path):
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


LOSSES = [3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.25]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_a_signal_saves_a_checkpoint_and_the_same_command_continues_there(run, tmp_path, number):
    before = signal.getsignal(number)
    hook = {5: lambda: signal.raise_signal(number)}
    with pytest.raises(Interrupted) as stopped:
        run(LOSSES, hook, save_every=7)
    checkpoint = tmp_path / "checkpoints" / "5"
    expected = f"stopped at step 5; checkpoint {checkpoint}; the same command continues there"
    assert str(stopped.value) == expected and stopped.value.signal == number
    assert signal.getsignal(number) == before and find_checkpoint(tmp_path) == checkpoint
    resumed, _ = run(LOSSES, save_every=7)
    whole, _ = run(LOSSES, save_every=7, workdir=tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert manifest(tmp_path) == manifest(tmp_path / "whole")


@SIGNALS
def test_an_interrupted_pretraining_ends_bit_for_bit_like_the_uninterrupted_one(
    workdir, mixture, tmp_path, tiny_encoders, monkeypatch, number
):
    write = RunLog.write

    def interrupt(log, step, metrics, measure=None):
        write(log, step, metrics, measure)
        if step == 1:  # logged after the second dispatch
            signal.raise_signal(number)

    monkeypatch.setattr(RunLog, "write", interrupt)
    with pytest.raises(Interrupted, match="stopped at step 2; checkpoint .*/2; the same command"):
        pretrain(SETTINGS, mixture, tmp_path, save_every=4, log_every=1)
    monkeypatch.setattr(RunLog, "write", write)
    pretrain(SETTINGS, mixture, tmp_path, save_every=4, log_every=1)
    assert manifest(tmp_path) == manifest(workdir)
    assert _lines(tmp_path) == _lines(workdir)


def test_a_signal_before_the_first_step_saves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "resume", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match="^stopped before the first step; nothing to save$"):
        run(LOSSES)
    with pytest.raises(InputError, match="no ecgjax checkpoint"):
        find_checkpoint(tmp_path)


def test_a_second_signal_stops_at_once(run, tmp_path, capfd):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        run(LOSSES, {5: twice})
    assert stopped.type is KeyboardInterrupt and find_checkpoint(tmp_path).name == "4"
    assert "a second signal stops at once" in capfd.readouterr().err


def test_an_ignored_signal_stays_ignored(run):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and shell scripts do
    try:
        state, _ = run(LOSSES, {5: lambda: signal.raise_signal(signal.SIGINT)})
    finally:
        signal.signal(signal.SIGINT, before)
    assert int(state.step) == 7


def test_training_in_another_thread_leaves_signals_alone(run):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(LOSSES)))
    thread.start()
    thread.join()
    assert int(results[0][0].step) == 7


def test_divergence_wins_over_a_signal(run, tmp_path):
    """A state that is not finite is never saved."""
    losses = [3.0, 2.0, float("nan"), 1.0]
    with pytest.raises(InputError, match="step 3: the loss is nan"):
        run(losses, {3: lambda: signal.raise_signal(signal.SIGTERM)})
    assert find_checkpoint(tmp_path).name == "2"


def test_no_progress_bar_is_drawn_into_a_file_even_with_forced_colors(
    tmp_path, monkeypatch, capsys
):
    """Jupyter sets FORCE_COLOR, by which rich takes any stream for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console.is_terminal and not on_terminal()
    with RunLog(tmp_path, title="test", num_steps=4, recordings=8) as log:
        log.write(1, {"loss": jnp.asarray(0.5)})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("test: step 1/4  loss 0.500")


@pytest.mark.parametrize("settings", [{"num_steps": 0}, {"save_every": 0}, {"log_every": -1}])
def test_numbers_below_one_are_refused(run, settings):
    with pytest.raises(InputError, match="give positive numbers"):
        run([1.0], **settings)


def test_log_of_a_resumed_run_drops_steps_that_are_done_again(tmp_path):
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
    rates = [float(rate(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    constant = Optimizer(learning_rate=0.1, warmup=0.0, schedule="constant").learning_rate_at(100)
    np.testing.assert_allclose([float(constant(step)) for step in (0, 50, 100)], 0.1)


def test_only_kernels_decay_and_the_encoder_learns_more_slowly():
    tx = Optimizer(learning_rate=0.1, weight_decay=0.5, warmup=0.0, schedule="constant").build(
        10, encoder_rate=0.1
    )
    zero = jax.tree.map(np.zeros_like, PARAMS)
    changes, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(changes["head"]["kernel"], -0.05, rtol=1e-5)
    np.testing.assert_allclose(changes["encoder"]["kernel"], -0.005, rtol=1e-5)
    assert not np.any(changes["head"]["bias"]) and not np.any(changes["encoder"]["bias"])


def test_no_normalisation_decays_even_with_all_branches_in_one_array():
    params = jax.eval_shape(
        functools.partial(LeadBranches(widths=(4,)).init, train=False),
        jax.random.key(0),
        jnp.zeros((1, 64, 12)),
    )["params"]
    decayed = flax.traverse_util.flatten_dict(_decayed(params))
    assert {path[-1] for path, decays in decayed.items() if decays} == {"kernel"}
    assert {path[-1] for path, decays in decayed.items() if not decays} == {"scale", "bias"}


def test_betas_are_the_decay_rates_of_the_moments():
    tx = Optimizer(betas=(0.5, 0.75), clip_norm=1e9).build(10)
    ones = jax.tree.map(np.ones_like, PARAMS)
    _, state = tx.update(ones, tx.init(PARAMS), PARAMS)
    first = optax.tree.get(state, "mu")["head"]["bias"][0]
    second = optax.tree.get(state, "nu")["head"]["bias"][0]
    np.testing.assert_allclose((first, second), (0.5, 0.25))


def test_large_gradients_are_scaled_down():
    """Adam's update does not depend on the scale of gradients, so its moments are compared."""
    tx = Optimizer(clip_norm=1.0, warmup=0.0).build(10)
    _, state = tx.update(jax.tree.map(lambda leaf: 1e6 * leaf, PARAMS), tx.init(PARAMS), PARAMS)
    moments = [leaf for leaf in jax.tree.leaves(state) if getattr(leaf, "ndim", 0)]
    assert 0 < max(np.abs(leaf).max() for leaf in moments) < 1


def test_a_signal_during_the_last_save_ends_the_command(
    mixture, tmp_path, tiny_encoders, monkeypatch
):
    save = Checkpoints.save

    def save_and_signal(self, state, config, seen):
        save(self, state, config, seen)
        if int(state.step) == SETTINGS.num_steps:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Checkpoints, "save", save_and_signal)
    with pytest.raises(Interrupted, match="stopped at step 4; checkpoint .*/checkpoints/4"):
        pretrain(SETTINGS, mixture, tmp_path, save_every=4, log_every=4)
