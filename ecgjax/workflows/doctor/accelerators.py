"""Examination of GPUs and TPUs: which ones are there, and does JAX use them?"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecgjax.workflows.doctor.findings import Finding
from ecgjax.workflows.doctor.installation import installed

QUERY = "name,memory.total,memory.used,driver_version"
OLDEST_DRIVER = 525
"""Driver that CUDA 12 needs (docs.nvidia.com/deploy/cuda-compatibility)."""
FULL = 0.5
"""Share of a GPU's memory in use from which on a run is likely to fail: JAX reserves 3/4 of it."""


def hardware() -> str | None:
    """Returns "gpu" or "tpu" if this machine has one, whatever JAX says."""
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        return "gpu"
    if any(Path("/dev").glob("accel[0-9]*")) or any(Path("/dev/vfio").glob("[0-9]*")):
        return "tpu"
    return None


def examine(trial: dict[str, Any]) -> Iterator[Finding]:
    """Yields findings on the devices.

    Args:
      trial: the result of the trial's step `devices`.
    """
    kinds = [device["kind"] for device in trial["devices"]]
    for kind in dict.fromkeys(kinds):
        sizes = [each["bytes"] for each in trial["devices"] if each["kind"] == kind]
        memory = f", {sizes[0] / 1e9:.0f} GB of memory each for JAX" if sizes[0] else ""
        message = f"{kinds.count(kind)} x {kind} ({trial['backend']}){memory}"
        yield Finding("OK", "devices", message)
    present = hardware()
    if present == "gpu":
        yield from _nvidia()
    if present and trial["backend"] == "cpu":
        yield _unused(present)
    if trial["backend"] == "gpu" and "LD_LIBRARY_PATH" in os.environ:
        remedy = "if the GPU fails, unset it: it may hide the CUDA libraries that pip installed"
        yield Finding("NOTE", "LD_LIBRARY_PATH", "is set", remedy)


def _unused(present: str) -> Finding:
    """Returns why a GPU or TPU is there and JAX computes on the CPU."""
    name = present.upper()
    platforms = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME")
    if platforms and "cpu" in platforms:
        remedy = f"unset JAX_PLATFORMS to use the {name}"
        return Finding("NOTE", "devices", f"a {name} is not used: JAX_PLATFORMS is set", remedy)
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") and present == "gpu":
        message = "the GPU is hidden: CUDA_VISIBLE_DEVICES is empty"
        return Finding("NOTE", "devices", message, "unset it, or ask the scheduler for a GPU")
    extra, plugin = {"gpu": ("cuda", "jax-cuda12-plugin"), "tpu": ("tpu", "libtpu")}[present]
    if installed(plugin) or (present == "gpu" and installed("jax-cuda13-plugin")):
        remedy = "see the lines on packages; does another process hold it, is the driver loaded?"
        return Finding("PROBLEM", "devices", f"JAX cannot use the {name} of this machine", remedy)
    message = f"this machine has a {name}, but JAX has no support for it"
    return Finding("PROBLEM", "devices", message, f"pip install '.[{extra}]'")


def _nvidia() -> Iterator[Finding]:
    """Yields findings on the driver and on the memory that other processes use."""
    if not shutil.which("nvidia-smi"):
        return
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        rows = [line.split(", ") for line in done.stdout.splitlines()]
        parsed = [(name, float(total), float(used), driver) for name, total, used, driver in rows]
    except (OSError, ValueError, subprocess.SubprocessError):
        parsed = []
        done = None
    if done is None or done.returncode or not parsed:
        remedy = "load or reinstall NVIDIA's driver (does nvidia-smi work?)"
        yield Finding("PROBLEM", "driver", "nvidia-smi fails", remedy)
    for number, (name, total, used, driver) in enumerate(parsed):
        version = driver.partition(".")[0]
        if version.isdigit() and int(version) < OLDEST_DRIVER:
            remedy = f"install driver {OLDEST_DRIVER} or newer, which CUDA 12 needs"
            yield Finding("PROBLEM", "driver", f"version {driver}", remedy)
        message = f"{name}, {used:,.0f} of {total:,.0f} MB in use, driver {driver}"
        if total and used / total > FULL:
            remedy = "end the other process, or choose a GPU by CUDA_VISIBLE_DEVICES"
            yield Finding("NOTE", f"GPU {number}", message, remedy)
        else:
            yield Finding("OK", f"GPU {number}", message)


def environment() -> dict[str, str]:
    """Returns the environment of the trial: it takes the GPU memory that it needs and no more."""
    changes = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if hardware() is None and "XLA_FLAGS" not in os.environ:
        changes["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiles three times as fast
    package = str(Path(__file__).parents[3])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **changes, "PYTHONPATH": os.pathsep.join(paths)}


COMMAND = (sys.executable, "-m", "ecgjax.workflows.doctor.trial")
