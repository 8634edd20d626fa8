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
from helpers import scheduler

import ecgjax
from ecgjax.errors import InputError
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.model import load_model
from ecgjax.train.processes import Processes
from ecgjax.train.runlog import read_metrics
from ecgjax.workflows.pretrain import pretrain

COMMAND = Path(__file__).with_name("helpers") / "tiny_command.py"
ROOT = Path(ecgjax.__file__).parents[1]
PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m ecgjax.launch.pretrain" ] || exit 9
shift 2
exec {sys.executable} {COMMAND} pretrain "$@"
"""
"""Python of a SLURM job, which pre-trains the tiny encoder."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "4"}
LONG = ("--num-steps", 5000, "--save-every", 5000, "--no-first-look")
"""Options of a run that is still training when a signal arrives."""


@pytest.fixture
def start(prepared, tmp_path):
    """Starts two processes of a pre-training command on eight devices in all.

    Returns the processes and the files with what they print.
    """
    processes = []

    def start(workdir, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        words = [sys.executable, COMMAND, "pretrain", *_options(prepared, workdir), *options]
        words += ["--distributed", "--coordinator", address, "--num-processes", 2, "--process-id"]
        logs = [tmp_path / f"{number}.txt" for number in range(2)]
        for number, log in enumerate(logs):
            command = list(map(str, [*words, number]))
            with log.open("w") as file:
                process = subprocess.Popen(
                    command, env=ENVIRONMENT, stdout=file, stderr=file, cwd=tmp_path
                )
            processes.append(process)
        return processes, logs

    yield start
    for process in processes:
        process.kill()


def _options(prepared, workdir) -> list:
    options = ["--data", prepared, "--workdir", workdir, *OPTIONS]
    return [*options, "--save-every", 2, "--log-every", 1]


def _submit(prepared, workdir, folder, *options) -> str:
    """Runs SLURM's recipe with two processes under the fake scheduler; returns what they print."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").write_text(f"PATH={folder}:$PATH\n")
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    scheduler.install(folder)
    recipe = [ROOT / "launch/slurm/pretrain.sbatch", *_options(prepared, workdir), *options]
    done = subprocess.run(
        [folder / "sbatch", "--nodes=1", "--ntasks-per-node=2", *map(str, recipe)],
        env={
            **ENVIRONMENT,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SLURM_FAKE": str(folder),
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _wait_for_training(workdir, processes) -> None:
    while not read_metrics(workdir) and all(process.poll() is None for process in processes):
        time.sleep(0.05)


def _copy_without_the_last_checkpoint(workdir, copy):
    shutil.copytree(workdir, copy)
    shutil.rmtree(copy / "checkpoints" / "4")
    return copy


def test_two_processes_train_like_one_and_each_resumes_from_the_other(
    workdir, prepared, mixture, tmp_path, tiny_encoders, capsys
):
    """The two are a SLURM job."""
    two = _copy_without_the_last_checkpoint(workdir, tmp_path / "two_after_one")
    text = _submit(prepared, two, tmp_path / "job", "--save-every", 1, "--probe-every", 2)
    assert [line["step"] for line in read_metrics(two) if "probe/rank" in line] == [4]
    assert text.count("process 0 of 2") == text.count("process 1 of 2") == 1
    assert text.count("resumes at step 2 of 4") == 2
    # Only one of several processes shows the first results.
    assert text.count("loss curve") == 1
    one = _copy_without_the_last_checkpoint(two, tmp_path / "one_after_two")
    pretrain(SETTINGS, mixture, one, save_every=2, log_every=1)
    assert "resumes at step 3 of 4" in capsys.readouterr().err
    expected = load_model(workdir).variables
    losses = [line["loss"] for line in read_metrics(workdir)]
    for run in (two, one):
        assert [line["step"] for line in read_metrics(run)] == [1, 2, 3, 4]
        np.testing.assert_allclose([line["loss"] for line in read_metrics(run)], losses, rtol=2e-5)
        variables = load_model(run).variables
        for (path, leaf), other in zip(
            jax.tree.leaves_with_path(expected), jax.tree.leaves(variables), strict=True
        ):
            np.testing.assert_allclose(other, leaf, rtol=1e-3, atol=2e-5, err_msg=f"{run} {path}")


def test_ctrl_c_in_one_of_two_processes_stops_both_at_the_same_step(start, workdir, tmp_path):
    """JAX passes SIGTERM on to the other process, and this package SIGINT as SIGTERM."""
    run = tmp_path / "run"
    processes, logs = start(run, *LONG)
    _wait_for_training(run, processes)
    processes[1].send_signal(signal.SIGINT)
    for process in processes:
        process.wait(timeout=300)
    texts = [log.read_text() for log in logs]
    statuses = [process.returncode for process in processes]
    assert statuses == [128 + signal.SIGTERM, 128 + signal.SIGINT], "\n".join(texts)
    step = find_checkpoint(run).name
    assert all(f"stopped at step {step}; checkpoint" in text for text in texts)
    assert load_model(run).seen.waveforms.size  # all of it was saved
    first = read_metrics(run)[0]
    alone = read_metrics(workdir)[0]
    assert first["step"] == 1 and np.isclose(first["loss"], alone["loss"], rtol=2e-5)


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
