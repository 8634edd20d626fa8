"""Faults of training in this process: nothing is lost, nothing not finite is saved, none hangs."""

import csv
import errno
import fcntl
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import added_losses

from ecgjax.data.batches import Batches
from ecgjax.errors import InputError, Interrupted
from ecgjax.train import interrupts, lock, saving
from ecgjax.train.checkpoint import Checkpoints, find_checkpoint
from ecgjax.train.manifest import CheckpointDamaged, check_finite
from ecgjax.train.metrics_file import read_lines
from ecgjax.train.runlog import TIMING, UNMEASURED, RunLog, read_metrics
from ecgjax.train.watch import Watch
from ecgjax.whole_files import replaced

LOSSES = [3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.25]


@pytest.fixture
def run(records, tmp_path):
    """Runs the loop with given losses: (losses, workdir, hooks, gradients, settings)."""

    def start(losses=LOSSES, workdir=tmp_path / "run", hooks=None, **settings):
        return added_losses.run(records, losses, workdir, hooks, **settings)

    return start


def _lines(workdir):
    return [
        {name: value for name, value in line.items() if name not in TIMING}
        for line in read_metrics(workdir)
    ]


def _hashes(workdir):
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def _terminate():
    signal.raise_signal(signal.SIGTERM)


def test_a_signal_ends_the_waiting_for_data(run, tmp_path, monkeypatch):
    """The step before is saved; the same command goes on and ends like an unbroken run."""
    real = Batches.between
    released = threading.Event()

    def hanging(batches, first, last, **settings):
        for number, batch in enumerate(real(batches, first, last, **settings)):
            if number == 3:
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
                released.wait(60)
            yield batch

    monkeypatch.setattr(Batches, "between", hanging)
    start = time.monotonic()
    with pytest.raises(Interrupted, match="stopped at step 3; checkpoint .*/3; the same"):
        run(save_every=7)
    assert time.monotonic() - start < 30
    monkeypatch.setattr(Batches, "between", real)
    run(save_every=7)
    run(workdir=tmp_path / "whole", save_every=7)
    assert _hashes(tmp_path / "run") == _hashes(tmp_path / "whole")
    assert _lines(tmp_path / "run") == _lines(tmp_path / "whole")


def test_a_signal_ends_a_measurement_which_the_next_process_takes(run, tmp_path):
    def watch(signals):
        def measure(state):
            if signals and int(state.step) == 4:
                _terminate()
                raise AssertionError("goes on after the signal")
            return {"probe/step": int(state.step)}

        return Watch(2, measure)

    with pytest.raises(Interrupted, match="stopped at step 4; checkpoint"):
        run(watch=watch(signals=True), save_every=7)
    assert read_metrics(tmp_path / "run")[-1][UNMEASURED] == 1
    run(watch=watch(signals=False), save_every=7)
    run(watch=watch(signals=False), save_every=7, workdir=tmp_path / "whole")
    assert _lines(tmp_path / "run") == _lines(tmp_path / "whole")


def test_an_unreadable_recording_saves_the_steps_before(run, tmp_path, monkeypatch):
    real = Batches.between

    def damaged(batches, first, last, **settings):
        for number, batch in enumerate(real(batches, first, last, **settings)):
            if number == 3:
                raise InputError("shard 2, recording 7: damaged")
            yield batch

    monkeypatch.setattr(Batches, "between", damaged)
    with pytest.raises(InputError, match="shard 2, recording 7"):
        run(save_every=7)
    assert find_checkpoint(tmp_path / "run").name == "3"


def test_checkpoints_are_saved_by_the_clock(run, tmp_path, monkeypatch):
    saved = []
    save = Checkpoints.save
    monkeypatch.setattr(
        Checkpoints, "save", lambda *words: saved.append(int(words[1].step)) or save(*words)
    )
    run(save_every=None, save_every_s=0.3, hooks={4: lambda: time.sleep(0.35)})
    assert 4 in saved and saved[-1] == 7 and len(saved) < 7
    assert [line["step"] for line in _lines(tmp_path / "run")] == [3, 6, 7]


def test_a_gradient_that_is_not_finite_is_never_saved_and_its_recordings_are_named(
    run, records, tmp_path
):
    """The losses are finite; only the step that would be saved has a bad gradient."""
    with pytest.raises(InputError) as error:
        run(gradients={4: np.nan})
    message = str(error.value)
    assert message.startswith("step 4: the gradient is not finite; lower --optimizer.learning-rate")
    assert "\n" not in message and "batch 3: " in message
    assert find_checkpoint(tmp_path / "run").name == "2"
    with (tmp_path / "run" / "not_finite.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 4 < len(rows) <= 8 and {row["batch"] for row in rows} == {"3"}  # an epoch ends in it
    peaks = [int(row["peak_uv"]) for row in rows]
    assert peaks == sorted(peaks, reverse=True)
    for row in rows:
        index = int(row["index"])
        assert row["record_id"] == str(records.column("record_id")[index])
        assert np.abs(records.read([index]).astype(int)).max() == int(row["peak_uv"])
    state, _ = run()  # the cause is gone
    assert np.isfinite(np.asarray(state.params["encoder"]["w"])).all()


def test_a_state_that_is_not_finite_is_refused_and_a_saved_one_counts_as_damaged(
    run, tmp_path, monkeypatch
):
    """Here the step itself reports a finite gradient, as one that overflows the optimizer."""
    with pytest.raises(InputError, match=r"step 4: encoder.params.w is not finite .* checkpoint 2"):
        run(gradients={4: 3e38, 3: 3e38})
    monkeypatch.setattr("ecgjax.train.checkpoint.first_not_finite", lambda arrays: "")
    run(gradients={6: 3e38, 5: 3e38}, num_steps=6)
    with pytest.warns(UserWarning, match=r"checkpoints/6: encoder.params.w is not finite"):
        state, _ = run(num_steps=6)
    np.testing.assert_allclose(state.params["encoder"]["w"], 1 + sum(LOSSES[:6]))


def test_weights_that_are_not_finite_count_as_damaged(tmp_path):
    good = {"encoder": {"w": np.ones(3, np.float32), "n": np.ones(2, np.int32)}}
    check_finite(good, tmp_path)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(CheckpointDamaged, match=r"encoder.w is not finite"):
            check_finite({"encoder": {"w": np.array([1, bad], np.float32)}}, tmp_path)
    with pytest.raises(CheckpointDamaged, match=r"encoder.w is not finite"):
        check_finite({"encoder": {"w": jnp.full(2, jnp.nan, jnp.bfloat16)}}, tmp_path)


@pytest.fixture
def full_disk(monkeypatch):
    """Makes every write to a log fail while it is set, after a part of the content."""
    is_full = threading.Event()

    class Disk(io.FileIO):
        room = 7  # bytes that are left when the disk becomes full

        def write(self, content):
            if not is_full.is_set():
                return super().write(content)
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = super().write(content[: self.room])
            self.room -= written
            return written

    monkeypatch.setattr("ecgjax.train.log_files.io.FileIO", Disk)
    return is_full


@pytest.mark.parametrize("until", [5, 8])
def test_a_full_disk_delays_the_log_and_tears_no_line(run, tmp_path, full_disk, capsys, until):
    hooks = {3: full_disk.set, until: full_disk.clear}
    run(hooks=hooks, log_every=1, save_every=7)
    full_disk.clear()
    warnings = capsys.readouterr().err.count("the log cannot be written (No space left on device)")
    assert warnings == 2  # metrics.jsonl, TensorBoard
    lines, damaged = read_lines(tmp_path / "run")
    assert not damaged
    steps = [line["step"] for line in lines]
    assert steps == (list(range(1, 8)) if until == 5 else [1])
    assert find_checkpoint(tmp_path / "run").name == "7"


@pytest.mark.parametrize("hangs", [True, False])
def test_a_full_disk_ends_a_save_with_one_line(run, tmp_path, monkeypatch, hangs):
    """Also if Orbax waits for ever, as it does after an error in one of its threads."""
    monkeypatch.setattr(saving, "PROBE_EVERY_S", 0.05)
    problem = saving._problem
    is_full = []

    def probe(folder, needed):
        return "No space left on device" if is_full and not needed else problem(folder, needed)

    def save(orbax, step, parts, **_):
        is_full.append(True)
        if hangs:
            time.sleep(60)
        raise RuntimeError("tensorstore") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "_problem", probe)
    hook = {
        3: lambda: monkeypatch.setattr(
            "orbax.checkpoint.v1.training.Checkpointer.save_checkpointables", save
        )
    }
    start = time.monotonic()
    with pytest.raises(saving.SaveFailed) as error:
        run(hooks=hook)
    assert time.monotonic() - start < 30
    expected = r"cannot be saved: No space left on device \(\d+ kB needed, [\d,.]+ MB free\); "
    expected += "checkpoint 2 is intact; make room and give the same command again"
    assert error.match(expected) and "\n" not in str(error.value)
    assert find_checkpoint(tmp_path / "run").name == "2"


def test_too_little_room_is_noticed_before_the_save(tmp_path):
    with pytest.raises(saving.SaveFailed, match=r"No space left .*\(1,000,000,000.0 MB needed"):
        saving.save_or_fail(lambda: None, tmp_path, 10**15, "nothing is lost")


def test_a_second_run_is_refused_with_the_process_of_the_first(run, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with (workdir / lock.FILE).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("process 1 on another node")
        held.flush()
        with pytest.raises(InputError, match="in use by process 1 on another node; wait until"):
            run()
    run()  # nobody holds it
    assert (workdir / lock.FILE).read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"


def test_a_command_and_its_training_lock_one_folder(tmp_path):
    with lock.locked(tmp_path, "--workdir"), lock.locked(tmp_path, "--workdir"):
        pass
    with lock.locked(tmp_path, "--workdir"):
        code = "from ecgjax.train.lock import locked; from pathlib import Path\n"
        code += f"with locked(Path({str(tmp_path)!r}), '--workdir'): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert b"in use by process" in done.stderr


LINE = {"step": 3, "loss": 0.5, "time": "x", "elapsed_s": 1.0, "useful_s": 1.0}


@pytest.mark.parametrize(
    "damage",
    [
        {"elapsed_s": "x"},
        {"elapsed_s": None},
        {"useful_s": 10**400},
        {"useful_s": math.nan},
        {"loss": "x"},
        {"loss": math.inf},
        {"validation/auroc": 10**400},
        {"step": 10**400},
        {"step": -1},
        {"time": 5},
    ],
)
def test_a_log_line_with_odd_values_is_a_damaged_one(tmp_path, damage):
    lines = [LINE | {"step": 2}, LINE | damage]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    assert read_lines(tmp_path) == (lines[:1], [2])


@pytest.mark.parametrize("entry", [{}, {"loss": None}, {"loss": 1.0, "grad": None}])
def test_measurements_are_taken_after_a_line_without_finite_figures(tmp_path, entry):
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps({"step": 2, "unmeasured": 1, **entry}) + "\n"
    )
    with RunLog(tmp_path, title="run", num_steps=4, recordings=2, first_step=2) as log:
        log.complete(2, lambda: {"auroc": 0.5})
    assert read_lines(tmp_path)[0][-1].get("auroc") == (0.5 if entry else None)


def test_a_log_that_is_none_is_refused(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.mkdir()
    with pytest.raises(InputError, match="is not the log of a run"):
        read_lines(tmp_path)
    file.rmdir()
    with file.open("wb") as stream:
        stream.truncate(600_000_000)
    with pytest.raises(InputError, match="is not the log of a run"):
        read_lines(tmp_path)


def test_a_compilation_is_left_after_the_time_of_a_scheduler(monkeypatch):
    """The handler in Python never runs, because the main thread is in C."""
    ended = []
    monkeypatch.setattr(interrupts, "COMPILING_S", 0.2)
    monkeypatch.setattr(interrupts.os, "_exit", ended.append)
    with interrupts.Interrupts() as own:
        assert own._sockets
        own._sockets[1].send(bytes([signal.SIGTERM]))
        time.sleep(0.6)
        assert ended == [128 + signal.SIGTERM]
    with interrupts.Interrupts() as own:
        own.reached()
        assert own._sockets
        own._sockets[1].send(bytes([signal.SIGTERM]))
        time.sleep(0.6)
    assert len(ended) == 1


def test_a_signal_in_a_finalizer_breaks_work_off_as_well(capfd):
    """Python prints and drops what a finalizer raises."""

    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def work():
        Finalized()
        time.sleep(20)
        return "finished"

    earlier = signal.getsignal(signal.SIGALRM)
    start = time.monotonic()
    with interrupts.Interrupts() as own:
        assert own.breakable(work, "broken off") == "broken off"
        assert own.signal == signal.SIGTERM
    assert time.monotonic() - start < 10
    assert signal.getsignal(signal.SIGALRM) is earlier
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert "ignored" not in capfd.readouterr().err


def test_goodput_counts_restarts_and_lost_steps(run, tmp_path):
    workdir = tmp_path / "run"
    hook = {5: _terminate}
    with pytest.raises(Interrupted):
        run(log_every=1, hooks=hook)
    first = read_metrics(workdir)[-1]
    about = json.loads((workdir / "run.json").read_text())
    about["first_start_s"] -= 1000.0  # as if it had been stopped for that long
    (workdir / "run.json").write_text(json.dumps(about))
    run(log_every=1, hooks={6: lambda: time.sleep(0.3), 7: lambda: time.sleep(0.3)})
    last = read_metrics(workdir)[-1]
    assert 0 < first["useful_s"] <= last["useful_s"] - 0.25
    assert last["goodput"] == pytest.approx(last["useful_s"] / 1000, rel=0.05, abs=2e-4)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replaced(file) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
    with replaced(file) as unfinished:
        unfinished.write_text("new")
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]
