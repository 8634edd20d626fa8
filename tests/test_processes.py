"""Real processes on this machine: two train like one, and signals stop them with a checkpoint."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import OPTIONS, SETTINGS

import ecgjax
from ecgjax.errors import InputError
from ecgjax.train.checkpoint import find_checkpoint, load_encoder
from ecgjax.train.processes import Processes
from ecgjax.train.runlog import read_metrics
from ecgjax.workflows.pretrain import pretrain

COMMAND = Path(__file__).with_name("helpers") / "tiny_command.py"
LONG = ("--num-steps", 5000, "--save-every", 5000, "--no-first-look")
"""Options of a run that is still training when a signal arrives."""


@pytest.fixture
def start(prepared, tmp_path):
    """Starts a pre-training command with `count` processes on eight devices in all.

    Returns the processes and the files with what they print.
    """
    processes = []

    def start(workdir, count, *options):
        words = [sys.executable, COMMAND, "pretrain", "--data", prepared, "--workdir", workdir]
        words += [*OPTIONS, "--save-every", 2, "--log-every", 1, *options]
        if count > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
            words += ["--distributed", "--coordinator", address, "--num-processes", count]
        root = str(Path(ecgjax.__file__).parents[1])
        devices = str(8 // count)
        environment = {**os.environ, "PYTHONPATH": root, "JAX_NUM_CPU_DEVICES": devices}
        logs = [tmp_path / f"{workdir.name}-{number}.txt" for number in range(count)]
        for number, log in enumerate(logs):
            own = ["--process-id", number] if count > 1 else []
            with log.open("w") as file:
                process = subprocess.Popen(
                    list(map(str, [*words, *own])),
                    env=environment,
                    stdout=file,
                    stderr=file,
                    cwd=tmp_path,
                )
            processes.append(process)
        return processes[-count:], logs

    yield start
    for process in processes:
        process.kill()


def _finish(processes, logs, status=0) -> list[str]:
    """Waits for the processes, checks their exit status, and returns what they printed."""
    for process in processes:
        process.wait(timeout=300)
    texts = [log.read_text() for log in logs]
    assert {process.returncode for process in processes} == {status}, "\n".join(texts)
    return texts


def _wait_for_training(workdir, processes) -> None:
    while not read_metrics(workdir) and all(process.poll() is None for process in processes):
        time.sleep(0.05)


def _copy_without_the_last_checkpoint(workdir, copy):
    shutil.copytree(workdir, copy)
    shutil.rmtree(copy / "checkpoints" / "4")
    return copy


def test_two_processes_train_like_one_and_each_resumes_from_the_other(
    start, workdir, mixture, tmp_path, tiny_encoders, capsys
):
    two = tmp_path / "two"
    _finish(*start(two, 2, "--no-first-look"))
    two_after_one = _copy_without_the_last_checkpoint(workdir, tmp_path / "two_after_one")
    texts = _finish(*start(two_after_one, 2))
    assert all("resumes at step 2 of 4" in text for text in texts)
    # Only one of several processes shows the first results.
    assert sum("loss curve" in text for text in texts) == 1
    one_after_two = _copy_without_the_last_checkpoint(two, tmp_path / "one_after_two")
    pretrain(SETTINGS, mixture, one_after_two, save_every=2, log_every=1)
    assert "resumes at step 2 of 4" in capsys.readouterr().err
    expected = load_encoder(workdir).variables
    losses = [line["loss"] for line in read_metrics(workdir)]
    for run in (two, two_after_one, one_after_two):
        assert [line["step"] for line in read_metrics(run)] == [1, 2, 3, 4]
        np.testing.assert_allclose([line["loss"] for line in read_metrics(run)], losses, rtol=2e-5)
        variables = load_encoder(run).variables
        for (path, leaf), other in zip(
            jax.tree.leaves_with_path(expected), jax.tree.leaves(variables), strict=True
        ):
            np.testing.assert_allclose(other, leaf, rtol=1e-3, atol=2e-5, err_msg=f"{run} {path}")


def test_sigterm_stops_a_command_with_a_checkpoint_and_its_exit_status(start, tmp_path):
    workdir = tmp_path / "run"
    processes, logs = start(workdir, 1, *LONG)
    _wait_for_training(workdir, processes)
    processes[0].send_signal(signal.SIGTERM)
    text = _finish(processes, logs, status=128 + signal.SIGTERM)[0]
    checkpoint = find_checkpoint(workdir)
    last = f"stopped at step {checkpoint.name}; checkpoint {checkpoint}; the same command continues"
    assert text.splitlines()[-1].startswith(last)


def test_ctrl_c_in_one_of_two_processes_stops_both_at_the_same_step(start, tmp_path):
    """JAX passes SIGTERM on to the other process, and this package SIGINT as SIGTERM."""
    workdir = tmp_path / "run"
    processes, logs = start(workdir, 2, *LONG)
    _wait_for_training(workdir, processes)
    processes[1].send_signal(signal.SIGINT)
    for process in processes:
        process.wait(timeout=300)
    texts = [log.read_text() for log in logs]
    statuses = [process.returncode for process in processes]
    assert statuses == [128 + signal.SIGTERM, 128 + signal.SIGINT], "\n".join(texts)
    step = find_checkpoint(workdir).name
    assert all(f"stopped at step {step}; checkpoint" in text for text in texts)
    assert load_encoder(workdir).seen.waveforms.size  # all of it was saved


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"coordinator": "127.0.0.1:1"}, "need --distributed"),
        ({"distributed": True, "coordinator": "127.0.0.1:1"}, "together, or none of them"),
    ],
)
def test_incomplete_options_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Processes(**wrong).join()
