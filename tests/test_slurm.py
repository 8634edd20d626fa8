"""Recipes for SLURM under a fake scheduler that knows SLURM's options and no others."""

import os
import subprocess
from pathlib import Path

import pytest
from helpers import scheduler

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "launch/slurm").glob("*.sbatch"))
PYTHON = """#!/bin/sh
echo "$SLURM_PROCID of $SLURM_NTASKS: $*" >>"$SLURM_FAKE/calls"
exit "${STATUS:-0}"
"""
"""Stands for Python: writes its arguments down and ends with a given status."""


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Submits a recipe with options; returns the finished process, and what Python was told."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text(f"PATH={tmp_path}:$PATH\n")
    scheduler.install(tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def submit(recipe, *words, options=(), **variables):
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        environment |= {"SLURM_FAKE": str(tmp_path), **variables}
        command = [tmp_path / "sbatch", *options, ROOT / "launch/slurm" / recipe, *words]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        calls = tmp_path / "calls"
        return done, calls.read_text().splitlines() if calls.exists() else []

    return submit


@pytest.mark.parametrize(("status", "is_queued"), [(143, True), (1, False)])
def test_one_gpu_is_one_process_that_is_queued_again_after_sigterm(
    sbatch, tmp_path, status, is_queued
):
    words = ["--workdir", "runs/a folder"]
    done, calls = sbatch("pretrain-one-gpu.sbatch", *words, STATUS=str(status))
    assert done.returncode == status, done.stderr
    assert calls == ["0 of 1: -m ecgjax.launch.pretrain --workdir runs/a folder"]
    assert (tmp_path / "requeued").exists() == is_queued


def test_many_gpus_are_a_process_each(sbatch, tmp_path):
    done, calls = sbatch("pretrain.sbatch", "--workdir", "runs/x", STATUS="143")
    assert done.returncode == 143, done.stderr
    assert {call.split(":")[0] for call in calls} == {f"{number} of 16" for number in range(16)}
    command = "-m ecgjax.launch.pretrain --distributed --workdir runs/x"
    assert {call.split(": ")[1] for call in calls} == {command}
    assert (tmp_path / "requeued").read_text() == f"requeue {scheduler.JOB}"


def test_the_command_comes_first(sbatch):
    done, calls = sbatch("finetune.sbatch", "benchmark", "--data", "d")
    assert done.returncode == 0 and calls == ["0 of 1: -m ecgjax.launch.benchmark --data d"]
    assert sbatch("finetune.sbatch")[0].returncode


def test_each_job_of_an_array_has_its_shard(sbatch):
    options = ["--array=0-2"]
    done, calls = sbatch("embed-array.sbatch", "embed", "--input", "d", options=options)
    assert done.returncode == 0, done.stderr
    command = "0 of 1: -m ecgjax.launch.embed --workers 4 --input d --shard"
    assert calls == [f"{command} {number}/3" for number in range(3)]
    done, calls = sbatch("embed-array.sbatch", "predict", options=["--array=7"], SHARDS="16")
    assert calls[-1].endswith("ecgjax.launch.predict --workers 4 --shard 7/16")


@pytest.mark.parametrize("word", ["--gpu=1", "--time=1 day", "--requeue=yes", "--gres"])
def test_the_fake_scheduler_refuses_what_slurm_refuses(word):
    with pytest.raises(SystemExit, match="option|value"):
        scheduler.parse([word], scheduler.SBATCH)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_job_starts_again_with_its_output_kept(recipe):
    assert {"--requeue", "--open-mode=append"} <= {*scheduler.directives(recipe)}
