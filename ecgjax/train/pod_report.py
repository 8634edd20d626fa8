"""A compiled step as tables on the screen and as JSON."""

import rich.console
import rich.table

from ecgjax.train.ahead_of_time import Step
from ecgjax.train.hlo import COLLECTIVES
from ecgjax.train.pod import Estimate, estimate, roofs
from ecgjax.train.pretraining import Pretraining

MIB, MS = 2**20, 1e-3


def describe(settings: Pretraining, step: Step, scaling: list[Estimate]) -> dict:
    """The report as JSON; bytes, seconds and FLOPs are one device's, ECGs all devices'.

    Args:
      settings: those that the step was compiled with.
      step: the compiled step.
      scaling: as `ecgjax.train.pod.weak_scaling` gives it, or empty.
    """
    return {
        "topology": step.slice.name,
        "chips": step.slice.chips,
        "encoder": settings.encoder,
        "batch_size": settings.batch_size,
        "compile_s": step.compile_s,
        "hbm_bytes": step.hbm_bytes,
        "hbm_bytes_of_chip": step.slice.chip.hbm_bytes,
        "largest_batch_size": largest_batch_size(settings, step),
        "flops": step.flops,
        "hbm_traffic_bytes": step.program.traffic_bytes,
        "compiler_cycles": step.program.cycles,
        "loops_of_unknown_length": step.program.endless,
        "roofs_s": roofs(step),
        "estimate": _row(estimate(step)),
        "weak_scaling": [
            _row(at) | {"efficiency": efficiency, "ecg_per_s": at.ecg_per_s}
            for at, efficiency in zip(scaling, efficiencies(scaling), strict=True)
        ],
    }


def efficiencies(scaling: list[Estimate]) -> list[float]:
    """ECGs a second and chip, relative to the first row's."""
    return [scaling[0].step_s / at.step_s for at in scaling]


def largest_batch_size(settings: Pretraining, step: Step) -> int:
    """The global batch that would just fill HBM if a device's intermediates grew in proportion to it."""
    free = step.slice.chip.hbm_bytes - (step.hbm_bytes - step.temp_bytes)
    return int(settings.batch_size / step.slice.chips * free / step.temp_bytes) * step.slice.chips


def _row(at: Estimate) -> dict:
    collectives = {kind: {"count": count, "bytes": size} for kind, (count, size) in at.collectives.items()}
    seconds = {"busy_s": at.busy_s, "collectives_s": at.exchange_s, "step_s": at.step_s}
    return {"topology": at.slice.name, "chips": at.slice.chips, **seconds, "collectives": collectives}


def show(settings: Pretraining, step: Step, scaling: list[Estimate]) -> None:
    """Prints the report."""
    console = rich.console.Console(highlight=False, width=None)
    at, share = estimate(step), step.hbm_bytes / step.slice.chip.hbm_bytes
    console.print(
        f"{settings.encoder}, {settings.batch_size:,} a step on {step.slice.chips} chips "
        f"({step.slice.name}): compiled in {step.compile_s:.0f} s\n"
        f"fits: {step.hbm_bytes / MIB:,.0f} MiB of a chip's {step.slice.chip.hbm_bytes / MIB:,.0f} MiB ({share:.0%}); "
        f"--batch-size up to about {largest_batch_size(settings, step):,}\n"
    )
    console.print(_of_collectives(at))
    for bound, seconds in roofs(step).items():
        console.print(f"{bound:18} {seconds / MS:8.2f} ms")
    console.print(f"{'collectives':18} {at.exchange_s / MS:8.2f} ms")
    console.print(f"{'step, estimated':18} {at.step_s / MS:8.2f} ms: {at.ecg_per_s:,.0f} ECG/s")
    if step.program.endless:
        console.print(f"WARNING: {step.program.endless} loops of unknown length are counted as running once")
    if scaling:
        console.print(_of_scaling(scaling))


def _of_collectives(at: Estimate) -> rich.table.Table:
    table = _table("collectives of a step", "each device", "count", "MB", "ms")
    for kind, (count, size) in at.collectives.items():
        table.add_row(kind, f"{count:.0f}", f"{size / 1e6:.2f}", f"{at.slice.seconds(kind, count, size) / MS:.2f}")
    return table


def _of_scaling(scaling: list[Estimate]) -> rich.table.Table:
    columns = ("topology", "ECG a step", "exchanged MB", "busy ms", "collectives ms", "step ms", "ECG/s", "efficiency")
    table = _table("weak scaling, estimated", *columns)
    for at, efficiency in zip(scaling, efficiencies(scaling), strict=True):
        exchanged = sum(at.collectives[kind][1] for kind in COLLECTIVES if kind in at.collectives)
        table.add_row(
            at.slice.name,
            f"{at.recordings:,}",
            f"{exchanged / 1e6:.1f}",
            *(f"{seconds / MS:.2f}" for seconds in (at.busy_s, at.exchange_s, at.step_s)),
            f"{at.ecg_per_s:,.0f}",
            f"{efficiency:.0%}",
        )
    return table


def _table(title: str, first: str, *columns: str) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
