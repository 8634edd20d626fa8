"""Two real processes on this machine train as one does, and each goes on from the other's checkpoint."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import ecgjax
from ecgjax.signals import InputError
from ecgjax.train.checkpoint import load_encoder
from ecgjax.train.processes import Processes
from ecgjax.train.runlog import read_metrics

SETTINGS = ["--batch-size", 16, "--num-steps", 4, "--save-every", 2, "--log-every", 1]
SETTINGS += ["--augmentation.crop-s", 0.64, "--projection", 16, 8]


@pytest.fixture
def start(prepared, tmp_path):
    """Starts pre-training into a workdir, four devices in all; what it says goes to a file."""

    def start(workdir, processes):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        words = [sys.executable, "-m", "ecgjax.launch.pretrain", "--data", prepared, "--workdir", workdir, *SETTINGS]
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(ecgjax.__file__).parents[1]),
            "JAX_NUM_CPU_DEVICES": str(4 // processes),
        }
        started = []
        for number in range(processes):
            joined = ["--distributed", "--coordinator", address, "--num-processes", processes, "--process-id", number]
            log = tmp_path / f"{workdir.name}-{processes}-{number}.txt"
            command = list(map(str, [*words, *(joined if processes > 1 else [])]))
            with log.open("w") as said:
                process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, cwd=tmp_path)
            started.append((process, log))
        return started

    return start


def _finish(started) -> list[str]:
    for process, _ in started:
        process.wait(timeout=300)
    texts = [log.read_text() for _, log in started]
    assert [process.returncode for process, _ in started] == [0] * len(started), "\n".join(texts)
    return texts


def _without_the_last(workdir, copy):
    shutil.copytree(workdir, copy)
    shutil.rmtree(copy / "checkpoints" / "4")
    return copy


def test_two_processes_train_as_one_and_go_on_from_each_other(start, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    runs = start(one, 1), start(two, 2)
    for run in runs:
        _finish(run)
    copies = _without_the_last(one, tmp_path / "two_after_one"), _without_the_last(two, tmp_path / "one_after_two")
    runs = start(copies[0], 2), start(copies[1], 1)
    for run in runs:
        said = _finish(run)
        assert all("resumes at step 2 of 4" in text for text in said)
    assert sum("loss curve" in text for text in said) == 1  # one process of several shows what was learned
    expected, losses = load_encoder(one)[1], [line["loss"] for line in read_metrics(one)]
    for workdir in (two, *copies):
        assert [line["step"] for line in read_metrics(workdir)] == [1, 2, 3, 4]
        np.testing.assert_allclose([line["loss"] for line in read_metrics(workdir)], losses, rtol=2e-5)
        found = load_encoder(workdir)[1]
        for (path, leaf), other in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(other, leaf, rtol=1e-3, atol=2e-5, err_msg=f"{workdir} {path}")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"coordinator": "127.0.0.1:1"}, "need --distributed"),
        ({"distributed": True, "coordinator": "127.0.0.1:1"}, "together, or none of them"),
    ],
)
def test_half_a_description_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Processes(**wrong).join()
