"""ECGs a second in training, of ecgjax and its PyTorch twin: `python -m benchmarks.training`.

A step is forward, backward, clipping and AdamW on a batch that lies on the device. Each round runs every contender
once, so that a machine busy with other things slows all of them; the table shows the best round and the median one.
"""

import dataclasses
import functools
import json
import os
import statistics
import time
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import tyro
from rich.table import Table

from ecgjax.encoders import ENCODERS
from ecgjax.objectives.nt_xent import nt_xent
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.runlog import console
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import create_state, make_step

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Training speed of ecgjax against its PyTorch twin."""

    encoders: tuple[Literal["xresnet1d50", "pclr_resnet"], ...] = ("xresnet1d50", "pclr_resnet")
    """Encoders to time."""
    samples: tuple[int, ...] = (1000, 2500)
    """Lengths of an ECG, in samples."""
    batch_size: int = 64
    """Views a step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What convolutions and activations are computed in, in both."""
    rounds: int = 7
    """Steps timed of each contender."""
    compile: bool = jax.default_backend() != "cpu"
    """Also time the twin under torch.compile."""
    out: Path = RESULTS
    """Folder of training-PLATFORM.json and .png."""


def jax_step(name: str, signal: np.ndarray, precision: str):
    """() -> None: one training step of ecgjax, finished when it returns."""
    network = PatientContrast()._network(ENCODERS[name].clone(dtype=precision))
    variables = jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), signal[:2])
    mesh, tx = data_mesh(jax.devices()[:1]), Optimizer(schedule="constant").build(1000)

    def loss(variables, batch, key):
        projections, updates = network.apply(variables, batch["signal"], train=True, mutable=["batch_stats"])
        pairs = projections.reshape(len(signal) // 2, 2, -1)
        return nt_xent(pairs, jnp.arange(len(pairs)), temperature=0.1)[0], ({}, updates)

    step, state = make_step(loss, tx, mesh), create_state(dict(variables), tx, mesh)
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
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": 1e-2},
        {"params": [parameter for parameter in parameters if parameter.ndim == 1], "weight_decay": 0.0},
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
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(arguments: Arguments, name: str, samples: int) -> dict:
    """One row: ECGs a second of ecgjax and of the fastest twin, best and median round, and their ratios."""
    signal = np.random.default_rng(0).normal(size=(arguments.batch_size, samples, 12)).astype(np.float32)
    contenders = {"ecgjax": jax_step(name, signal, arguments.precision)}
    contenders |= torch_steps(name, signal, arguments.precision, arguments.compile)
    seconds = race(contenders, arguments.rounds)
    best = {contender: arguments.batch_size / min(times) for contender, times in seconds.items()}
    median = {contender: arguments.batch_size / statistics.median(times) for contender, times in seconds.items()}
    twin = max((contender for contender in best if contender != "ecgjax"), key=best.__getitem__)
    row = {"encoder": name, "samples": samples, "twin": twin, "seconds": seconds}
    for label, speed in (("best", best), ("median", median)):
        row[label] = {"ecgjax": speed["ecgjax"], "torch": speed[twin], "ratio": speed["ecgjax"] / speed[twin]}
    return row


def report(rows: list[dict], arguments: Arguments) -> None:
    """The table on the screen, training-PLATFORM.json and .png."""
    table = Table("encoder", "samples", "fastest twin", "ecgjax ECG/s", "torch ECG/s", "ratio (best)", "ratio (median)")
    for row in rows:
        best, median = row["best"], row["median"]
        speeds = (f"{best['ecgjax']:,.1f}", f"{best['torch']:,.1f}", f"{best['ratio']:.2f}", f"{median['ratio']:.2f}")
        table.add_row(row["encoder"], str(row["samples"]), row["twin"], *speeds)
    console.print(table)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"training-{jax.default_backend()}.json"
    settings = {"batch_size": arguments.batch_size, "precision": arguments.precision, "rounds": arguments.rounds}
    path.write_text(json.dumps({**settings, "device": jax.devices()[0].device_kind, "rows": rows}, indent=1))
    plot(rows, path.with_suffix(".png"))
    console.print(f"wrote {path} and {path.with_suffix('.png')}")


def plot(rows: list[dict], path: Path) -> None:
    """Bars: ECGs a second of both, for each encoder and length."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    place = np.arange(len(rows))
    for shift, contender in ((-0.2, "ecgjax"), (0.2, "torch")):
        axes.bar(place + shift, [row["best"][contender] for row in rows], 0.4, label=contender)
    axes.set_xticks(place, [f"{row['encoder']}\n{row['samples']} samples" for row in rows])
    axes.set_ylabel("training, ECG/s (best round)")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Entry point."""
    arguments = tyro.cli(Arguments)
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise SystemExit("the twin needs PyTorch: pip install torch==2.13.0 (CPU build or your CUDA's)") from None
    rows = [measure(arguments, name, samples) for name in arguments.encoders for samples in arguments.samples]
    report(rows, arguments)


if __name__ == "__main__":
    main()
