"""A compiled step as tables on the screen and as JSON."""

import rich.console
import rich.table

from ecgjax.tpu.ahead_of_time import Step
from ecgjax.tpu.scaling import Estimate, estimate
from ecgjax.workflows.pretrain import Pretraining

MIB, MS = 2**20, 1e-3


def describe(settings: Pretraining, step: Step, scaling: list[Estimate]) -> dict:
    """The report as JSON; bytes, seconds and FLOPs are one device's, ECGs all devices'.

    Args:
      settings: those that the step was compiled with.
      step: the compiled step.
      scaling: as `ecgjax.tpu.scaling.weak_scaling` gives it, or empty.
    """
    return {
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
        **_row(estimate(step)),
        "weak_scaling": [
            _row(at)
            | dict(
                zip(
                    ("efficiency_roofline", "efficiency_cycles"),
                    at.efficiency(scaling[0]),
                    strict=True,
                )
            )
            for at in scaling
        ],
    }


def _row(at: Estimate) -> dict:
    return {
        "topology": at.slice.name,
        "chips": at.slice.chips,
        "recordings": at.recordings,
        "collectives": {
            kind: {"count": count, "bytes": size} for kind, (count, size) in at.collectives.items()
        },
        "collectives_s": at.exchange_s,
        "flops_s": at.flops_s,
        "traffic_s": at.traffic_s,
        "cycles_s": at.cycles_s,
        "step_s_roofline": at.step_s[0],
        "step_s_cycles": at.step_s[1],
    }


def largest_batch_size(settings: Pretraining, step: Step) -> int:
    """The global batch that would just fill HBM if a device's intermediates grew in proportion to it."""
    free = step.slice.chip.hbm_bytes - (step.hbm_bytes - step.temp_bytes)
    return int(settings.batch_size / step.slice.chips * free / step.temp_bytes) * step.slice.chips


def show(settings: Pretraining, step: Step, scaling: list[Estimate]) -> None:
    """Prints the report."""
    console = rich.console.Console(highlight=False)
    console.width = max(console.width, 110)  # a narrower table would lose its digits
    at, needed, there = estimate(step), step.hbm_bytes, step.slice.chip.hbm_bytes
    console.print(
        f"{settings.encoder}, {settings.batch_size:,} a step on {step.slice.chips} chips ({step.slice.name}), "
        f"compiled in {step.compile_s:.0f} s\n"
        f"fits: {needed / MIB:,.0f} MiB of a chip's {there / MIB:,.0f} MiB ({needed / there:.0%}); "
        f"if intermediates grow with the batch, --batch-size up to {largest_batch_size(settings, step):,}\n"
    )
    console.print(_of_collectives(at), _of_times(step, at), sep="\n")
    if step.program.endless:
        console.print(
            f"WARNING: {step.program.endless} loops of unknown length are counted as running once"
        )
    if scaling:
        console.print(_of_scaling(scaling))


def _of_collectives(at: Estimate) -> rich.table.Table:
    table = _table("collectives of a step on one chip", "", "count", "MB", "ms")
    for kind, (count, size) in at.collectives.items():
        table.add_row(
            kind, f"{count:.0f}", f"{size / 1e6:.2f}", _ms(at.slice.seconds(kind, count, size))
        )
    return table


def _of_times(step: Step, at: Estimate) -> rich.table.Table:
    table = _table("a step, estimated", "", "ms", "")
    table.add_row(
        "convolutions, products", _ms(at.flops_s), f"{step.flops / 1e9:,.1f} GFLOP a chip at peak"
    )
    table.add_row(
        "HBM traffic", _ms(at.traffic_s), f"{step.program.traffic_bytes / 1e9:,.2f} GB a chip"
    )
    table.add_row(
        "compiler's cycles", _ms(at.cycles_s), f"{step.program.cycles / 1e6:,.1f} million"
    )
    table.add_row("collectives", _ms(at.exchange_s), "none hidden")
    for name, seconds, speed in zip(
        ("step, roofline", "step, cycles"), at.step_s, at.ecg_per_s, strict=True
    ):
        table.add_row(name, _ms(seconds), f"{speed:,.0f} ECG/s")
    return table


def _of_scaling(scaling: list[Estimate]) -> rich.table.Table:
    """One row a slice; the last columns twice, at the roofline and by the compiler's cycles."""
    columns = ["ECG\na step", "exchanged\nMB", "collectives\nms"]
    columns += [
        f"{name}\n{what}"
        for name in ("roofline", "cycles")
        for what in ("step ms", "ECG/s", "efficiency")
    ]
    table = _table(
        "weak scaling, estimated: 8 and 256 chips compiled, linear between", "", *columns
    )
    for at in scaling:
        exchanged = sum(size for _, size in at.collectives.values())
        row = [f"{at.recordings:,}", f"{exchanged / 1e6:.1f}", _ms(at.exchange_s)]
        for seconds, speed, share in zip(
            at.step_s, at.ecg_per_s, at.efficiency(scaling[0]), strict=True
        ):
            row += [_ms(seconds), f"{speed:,.0f}", f"{share:.0%}"]
        table.add_row(at.slice.name, *row)
    return table


def _ms(seconds: float) -> str:
    return f"{seconds / MS:.2f}"


def _table(title: str, first: str, *columns: str) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
