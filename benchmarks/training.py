"""Training: recordings a second of ecgjax's step and of its PyTorch twin's, of equal architecture, loss and optimizer.

A step is forward, backward, clipping and AdamW on a batch that lies on the device. Each round runs every contender
once, so that a machine busy with other things slows all of them. `python -m benchmarks.training` has options.
"""

import dataclasses
import functools
import importlib.util
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import Given, report
from ecgjax.encoders import ENCODERS
from ecgjax.launch.command import parse, run, say_where
from ecgjax.objectives.parts.nt_xent import nt_xent
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state, make_step

FIGURE = "times_torch"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Training speed of ecgjax against its PyTorch twin."""

    encoders: tuple[Literal["xresnet1d50", "pclr_resnet"], ...] = ("xresnet1d50", "pclr_resnet")
    """Encoders to time."""
    samples: tuple[int, ...] = (1000, 2500)
    """Lengths of a recording, in samples."""
    batch_size: int | None = None
    """Recordings a step. Default: 64 on a CPU, 2048 elsewhere."""
    precision: Literal["float32", "bfloat16"] | None = None
    """What convolutions and activations are computed in, in both. Default: float32 on a CPU, bfloat16 elsewhere."""
    rounds: int = 7
    """Steps timed of each contender."""
    compile: bool | None = None
    """Also time the twin under torch.compile; its fastest form counts. Default: not on a CPU."""
    out: Path = Path("benchmarks/results")
    """Folder of training.json and training.png."""


def measure(given: Given, settings: Settings = Settings()) -> list[dict]:  # noqa: B008 (frozen)
    """A row for each encoder and length; `times_torch` is the ratio of the best rounds to the fastest twin's."""
    cases = [(name, samples) for name in settings.encoders for samples in settings.samples]
    if not importlib.util.find_spec("torch"):
        return [
            {"what": name, "samples": samples, "skipped": "needs pip install torch"}
            for name, samples in cases
        ]
    return [_row(settings, name, samples) for name, samples in cases]


def _row(settings: Settings, name: str, samples: int) -> dict:
    on_cpu = jax.default_backend() == "cpu"
    batch_size = settings.batch_size or (64 if on_cpu else 2048)
    precision = settings.precision or ("float32" if on_cpu else "bfloat16")
    signal = np.random.default_rng(0).normal(size=(batch_size, samples, 12)).astype(np.float32)
    contenders = {"ecgjax": jax_step(name, signal, precision)}
    contenders |= torch_steps(
        name, signal, precision, not on_cpu if settings.compile is None else settings.compile
    )
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


def jax_step(name: str, signal: np.ndarray, precision: str):
    """() -> None: one training step of ecgjax, finished when it returns."""
    network = PatientContrast()._network(ENCODERS[name].clone(dtype=precision))
    variables = jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), signal[:2])
    mesh, tx = data_mesh(jax.devices()[:1]), Optimizer(schedule="constant").build(1000)

    def loss(variables, batch, key):
        (_, projections), updates = network.apply(
            variables, batch["signal"], train=True, mutable=["batch_stats"]
        )
        pairs = projections.reshape(len(signal) // 2, 2, -1)
        return nt_xent(pairs, jnp.arange(len(pairs)), temperature=0.1)[0], ({}, updates)

    step, state = make_step(loss, tx, mesh, num_steps=1), create_state(dict(variables), tx, mesh)
    stack, key = jax.device_put({"signal": signal[None]}, jax.devices()[0]), jax.random.key(0)

    def run():
        nonlocal state
        state, metrics = step(state, stack, key, None)
        jax.block_until_ready(metrics)

    return run


def torch_steps(name: str, signal: np.ndarray, precision: str, compiled: bool) -> dict:
    """Layout -> () -> None: one training step of the twin, finished when it returns."""
    import torch

    from benchmarks import torch_twin

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return {
        f"torch {layout}{' compiled' * wrap}": _torch_step(
            torch, torch_twin, name, signal, precision, layout, wrap, device
        )
        for layout in torch_twin.LAYOUTS
        for wrap in ((False, True) if compiled else (False,))
    }


def _torch_step(torch, twin, name, signal, precision, layout, compiled, device):
    network = twin.Projected(name, layout)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    network.to(device).train()
    parameters = list(network.parameters())
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.ndim > 1],
            "weight_decay": 1e-2,
        },
        {
            "params": [parameter for parameter in parameters if parameter.ndim == 1],
            "weight_decay": 0.0,
        },
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    batch = twin.as_input(signal, layout).to(device)
    patients = torch.arange(len(signal) // 2, device=device)

    def loss():
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            projections = network(batch)
        return twin.nt_xent(projections, patients)

    loss = torch.compile(loss) if compiled else loss

    def run():
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def race(contenders: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, one after the other, after two rounds that do not count."""
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
    say_where()
    rows = measure(Given(Path(tempfile.gettempdir())), settings)
    report.write("training", rows, figure=FIGURE, out=settings.out)


if __name__ == "__main__":
    run(main)
