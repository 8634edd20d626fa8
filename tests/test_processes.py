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
from conftest import OPTIONS, SETTINGS

import ecgjax
from ecgjax.errors import InputError
from ecgjax.train.checkpoint import load_encoder
from ecgjax.train.processes import Processes
from ecgjax.train.runlog import read_metrics
from ecgjax.workflows.pretrain import pretrain


@pytest.fixture
def two_processes(prepared, tmp_path):
    """Pre-training into a workdir by two processes of four devices each, as many in all as here: what each says."""

    def two_processes(workdir, *options) -> list[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        words = [
            sys.executable,
            Path(__file__).with_name("helpers") / "tiny_command.py",
            "pretrain",
            "--data",
            prepared,
        ]
        words += ["--workdir", workdir, *OPTIONS, "--save-every", 2, "--log-every", 1, *options]
        words += ["--distributed", "--coordinator", address, "--num-processes", 2]
        here = str(Path(ecgjax.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": here, "JAX_NUM_CPU_DEVICES": "4"}
        logs = [tmp_path / f"{workdir.name}-{number}.txt" for number in range(2)]
        started = []
        for number, log in enumerate(logs):
            command = list(map(str, [*words, "--process-id", number]))
            with log.open("w") as said:
                started.append(
                    subprocess.Popen(
                        command, env=environment, stdout=said, stderr=said, cwd=tmp_path
                    )
                )
        for process in started:
            process.wait(timeout=300)
        texts = [log.read_text() for log in logs]
        assert [process.returncode for process in started] == [0, 0], "\n".join(texts)
        return texts

    return two_processes


def _without_the_last(workdir, copy):
    shutil.copytree(workdir, copy)
    shutil.rmtree(copy / "checkpoints" / "4")
    return copy


def test_two_processes_train_as_one_and_go_on_from_each_other(
    two_processes, workdir, mixture, tmp_path, tiny_encoders, capsys
):
    two = tmp_path / "two"
    two_processes(two, "--no-first-look")
    two_after_one = _without_the_last(workdir, tmp_path / "two_after_one")
    said = two_processes(two_after_one)
    assert all("resumes at step 2 of 4" in text for text in said)
    assert (
        sum("loss curve" in text for text in said) == 1
    )  # one process of several shows what was learned
    one_after_two = _without_the_last(two, tmp_path / "one_after_two")
    pretrain(SETTINGS, mixture, one_after_two, save_every=2, log_every=1)
    assert "resumes at step 2 of 4" in capsys.readouterr().err
    expected, losses = load_encoder(workdir)[1], [line["loss"] for line in read_metrics(workdir)]
    for run in (two, two_after_one, one_after_two):
        assert [line["step"] for line in read_metrics(run)] == [1, 2, 3, 4]
        np.testing.assert_allclose([line["loss"] for line in read_metrics(run)], losses, rtol=2e-5)
        found = load_encoder(run)[1]
        for (path, leaf), other in zip(
            jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True
        ):
            np.testing.assert_allclose(other, leaf, rtol=1e-3, atol=2e-5, err_msg=f"{run} {path}")


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
