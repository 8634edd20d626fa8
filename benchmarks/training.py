"""Training speed: recordings per second of ecgjax and of a PyTorch twin.

The twin has the same architecture, loss and optimizer. A step is forward pass, backward pass,
gradient clipping and AdamW, on a batch in device memory. Each round runs every contender once, so
other work on the machine slows all of them. `python -m benchmarks.training` has options.
"""

import dataclasses
import functools
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import Inputs, report
from ecgjax.encoders import ENCODERS
from ecgjax.launch.command import keep_compiled_programs, log_devices, parse, run
from ecgjax.objectives.parts.nt_xent import nt_xent
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state, make_step

FIGURE = "times_torch"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures the training speed of ecgjax and of its PyTorch twin."""

    encoders: tuple[Literal["xresnet1d50", "pclr_resnet"], ...] = ("xresnet1d50", "pclr_resnet")
    """Encoders to time."""
    samples: tuple[int, ...] = (1000, 2500)
    """Lengths of a recording, in samples."""
    batch_size: int | None = None
    """Batch size. Default: 64 on a CPU, 2048 elsewhere."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Precision of convolutions and activations. Default: float32 on a CPU, bfloat16 elsewhere."""
    rounds: int = 7
    """Timed steps of each contender."""
    compile: bool | None = None
    """Also time the twin with torch.compile; its fastest form counts. Default: not on a CPU."""
    out: Path = Path("benchmarks/results")
    """Folder of training.json and training.png."""


def measure(inputs: Inputs, settings: Settings = Settings()) -> list[dict]:  # noqa: B008 (frozen)
    """Measures recordings per second for each encoder and length.

    Args:
      inputs: not used.
      settings: what to time.

    Returns:
      Rows; "times_torch" is the speed relative to the fastest twin, from the best rounds of each.
    """
    cases = [(name, samples) for name in settings.encoders for samples in settings.samples]
    if not importlib.util.find_spec("torch"):
        skipped = {"skipped": "needs pip install torch"}
        return [{"what": name, "samples": samples, **skipped} for name, samples in cases]
    return [_row(settings, name, samples) for name, samples in cases]


def _row(settings: Settings, name: str, samples: int) -> dict:
    on_cpu = jax.default_backend() == "cpu"
    batch_size = settings.batch_size or (64 if on_cpu else 2048)
    precision = settings.precision or ("float32" if on_cpu else "bfloat16")
    compiled = not on_cpu if settings.compile is None else settings.compile
    signal = np.random.default_rng(0).normal(size=(batch_size, samples, 12)).astype(np.float32)
    contenders = {"ecgjax": jax_step(name, signal, precision)}
    contenders |= torch_steps(name, signal, precision, compiled)
    seconds = race(contenders, settings.rounds)
    best = {contender: min(times) for contender, times in seconds.items()}
    median = {contender: statistics.median(times) for contender, times in seconds.items()}
    twin = min((contender for contender in best if contender != "ecgjax"), key=best.__getitem__)
    return {
        "what": name,
        "samples": samples,
        "precision": precision,
        "ecg_per_s": batch_size / best["ecgjax"],
        "torch_ecg_per_s": batch_size / best[twin],
        "fastest_twin": twin,
        "times_torch": best[twin] / best["ecgjax"],
        "times_torch_median": median[twin] / median["ecgjax"],
    }


def jax_step(name: str, signal: np.ndarray, precision: str) -> Callable[[], None]:
    """Returns a function that runs one training step of ecgjax and waits for its end."""
    network = PatientContrast().network(ENCODERS[name].clone(dtype=precision))
    variables = jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), signal[:2])
    mesh = data_mesh(jax.devices()[:1])
    tx = Optimizer(schedule="constant").build(1000)

    def loss(variables: dict, batch: dict, key: jax.Array) -> tuple[jax.Array, tuple[dict, Any]]:
        (_, projections), updates = network.apply(
            variables, batch["signal"], train=True, mutable=["batch_stats"]
        )
        pairs = projections.reshape(len(signal) // 2, 2, -1)
        return nt_xent(pairs, jnp.arange(len(pairs)), temperature=0.1)[0], ({}, updates)

    step = make_step(loss, tx, mesh, num_steps=1)
    state = create_state(dict(variables), tx, mesh)
    stack = jax.device_put({"signal": signal[None]}, jax.devices()[0])
    key = jax.random.key(0)

    def run_step() -> None:
        nonlocal state
        state, metrics = step(state, stack, key, None)
        jax.block_until_ready(metrics)

    return run_step


def torch_steps(
    name: str, signal: np.ndarray, precision: str, compiled: bool
) -> dict[str, Callable[[], None]]:
    """Returns, by layout, a function that runs one training step of the twin and waits for its end.

    Args:
      name: the encoder.
      signal: the batch, [recording, time, lead].
      precision: "float32" or "bfloat16".
      compiled: also with torch.compile.
    """
    import torch

    from benchmarks import torch_twin

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return {
        f"torch {layout}{' compiled' * wrap}": _torch_step(name, layout, signal, precision, wrap)
        for layout in torch_twin.LAYOUTS
        for wrap in ((False, True) if compiled else (False,))
    }


def _torch_step(
    name: str, layout: str, signal: np.ndarray, precision: str, compiled: bool
) -> Callable[[], None]:
    import torch

    from benchmarks import torch_twin

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    network = torch_twin.Projected(name, layout)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    network.to(device).train()
    parameters = list(network.parameters())
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    batch = torch_twin.as_input(signal, layout).to(device)
    patients = torch.arange(len(signal) // 2, device=device)

    def loss() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            projections = network(batch)
        return torch_twin.nt_xent(projections, patients)

    loss = torch.compile(loss) if compiled else loss

    def run_step() -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run_step


def race(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each contender in each round; two rounds of warm-up do not count."""
    seconds = {name: [] for name in contenders}
    for number in range(-2, rounds):
        for name, step in contenders.items():
            start = time.perf_counter()
            step()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Entry point."""
    settings = parse(Settings)
    keep_compiled_programs()
    log_devices()
    rows = measure(Inputs(Path(tempfile.gettempdir())), settings)
    report.write("training", rows, figure=FIGURE, out=settings.out)


if __name__ == "__main__":
    run(main)
