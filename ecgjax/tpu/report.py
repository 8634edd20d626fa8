"""Reports a compiled step, as tables on the screen and as JSON."""

import rich.console
import rich.table

from ecgjax.tpu.ahead_of_time import CompiledStep
from ecgjax.tpu.scaling import Estimate, estimate

MIB = 2**20
MS = 1e-3


def describe(encoder: str, step: CompiledStep, scaling: list[Estimate]) -> dict:
    """Returns the report as JSON: bytes, seconds and FLOPs of one device, ECGs of all devices.

    Args:
      encoder: name of the encoder.
      step: the compiled step.
      scaling: the result of `ecgjax.tpu.scaling.weak_scaling`, or an empty list.
    """
    return {
        "encoder": encoder,
        "batch_size": step.batch_size,
        "compile_s": step.compile_s,
        "hbm_bytes": step.hbm_bytes,
        "hbm_bytes_of_chip": step.slice.chip.hbm_bytes,
        "largest_batch_size": largest_batch_size(step),
        "flops": step.flops,
        "hbm_traffic_bytes": step.program.traffic_bytes,
        "compiler_cycles": step.program.cycles,
        "loops_of_unknown_length": step.program.unbounded_loops,
        **_estimate_row(estimate(step)),
        "weak_scaling": [_scaling_row(row, scaling[0]) for row in scaling],
    }


def _estimate_row(estimated: Estimate) -> dict:
    return {
        "topology": estimated.slice.name,
        "chips": estimated.slice.chips,
        "recordings": estimated.recordings,
        "collectives": {
            kind: {"count": count, "bytes": size}
            for kind, (count, size) in estimated.collectives.items()
        },
        "collectives_s": estimated.collectives_s,
        "flops_s": estimated.flops_s,
        "traffic_s": estimated.traffic_s,
        "cycles_s": estimated.cycles_s,
        "step_s_roofline": estimated.step_s[0],
        "step_s_cycles": estimated.step_s[1],
    }


def _scaling_row(estimated: Estimate, base: Estimate) -> dict:
    roofline, cycles = estimated.efficiency(base)
    return {
        **_estimate_row(estimated),
        "efficiency_roofline": roofline,
        "efficiency_cycles": cycles,
    }


def largest_batch_size(step: CompiledStep) -> int:
    """Returns the global batch size that fills HBM if intermediates grow with the batch."""
    chips = step.slice.chips
    free = step.slice.chip.hbm_bytes - (step.hbm_bytes - step.temp_bytes)
    return int(step.batch_size / chips * free / step.temp_bytes) * chips


def show(encoder: str, step: CompiledStep, scaling: list[Estimate]) -> None:
    """Prints the report; the arguments are those of `describe`."""
    console = rich.console.Console(highlight=False)
    console.width = max(console.width, 110)  # a narrower table would lose digits
    needed = step.hbm_bytes
    available = step.slice.chip.hbm_bytes
    console.print(
        f"{encoder}, batch of {step.batch_size:,} on {step.slice.chips} chips "
        f"({step.slice.name}), compiled in {step.compile_s:.0f} s\n"
        f"memory: {needed / MIB:,.0f} MiB of a chip's {available / MIB:,.0f} MiB "
        f"({needed / available:.0%})\n"
        f"largest batch that fits, if intermediates grow with it: {largest_batch_size(step):,}\n"
    )
    estimated = estimate(step)
    console.print(_collectives_table(estimated), _times_table(step, estimated), sep="\n")
    if step.program.unbounded_loops:
        console.print(
            f"WARNING: {step.program.unbounded_loops} loops of unknown length are counted once"
        )
    if scaling:
        console.print(_scaling_table(scaling))


def _collectives_table(estimated: Estimate) -> rich.table.Table:
    table = _table("collectives of a step on one chip", "", "count", "MB", "ms")
    for kind, (count, size) in estimated.collectives.items():
        seconds = estimated.slice.seconds(kind, count, size)
        table.add_row(kind, f"{count:.0f}", f"{size / 1e6:.2f}", _ms(seconds))
    return table


def _times_table(step: CompiledStep, estimated: Estimate) -> rich.table.Table:
    gflop = f"{step.flops / 1e9:,.1f} GFLOP per chip at peak"
    traffic = f"{step.program.traffic_bytes / 1e9:,.2f} GB per chip"
    cycles = f"{step.program.cycles / 1e6:,.1f} million"
    table = _table("time of a step, estimated", "", "ms", "")
    table.add_row("convolutions, matrix products", _ms(estimated.flops_s), gflop)
    table.add_row("HBM traffic", _ms(estimated.traffic_s), traffic)
    table.add_row("compiler's cycles", _ms(estimated.cycles_s), cycles)
    table.add_row("collectives", _ms(estimated.collectives_s), "no overlap with computation")
    names = ("step, roofline", "step, cycles")
    for name, seconds, speed in zip(names, estimated.step_s, estimated.ecg_per_s, strict=True):
        table.add_row(name, _ms(seconds), f"{speed:,.0f} ECG/s")
    return table


def _scaling_table(scaling: list[Estimate]) -> rich.table.Table:
    """One row per slice; the last three columns are given for each of the two estimates."""
    columns = ["ECG\nper step", "exchanged\nMB", "collectives\nms"]
    columns += [
        f"{name}\n{figure}"
        for name in ("roofline", "cycles")
        for figure in ("step ms", "ECG/s", "efficiency")
    ]
    title = "weak scaling, estimated: 8 and 256 chips compiled, linear between them"
    table = _table(title, "", *columns)
    for row in scaling:
        exchanged = sum(size for _, size in row.collectives.values())
        cells = [f"{row.recordings:,}", f"{exchanged / 1e6:.1f}", _ms(row.collectives_s)]
        efficiencies = row.efficiency(scaling[0])
        for seconds, speed, efficiency in zip(row.step_s, row.ecg_per_s, efficiencies, strict=True):
            cells += [_ms(seconds), f"{speed:,.0f}", f"{efficiency:.0%}"]
        table.add_row(row.slice.name, *cells)
    return table


def _ms(seconds: float) -> str:
    return f"{seconds / MS:.2f}"


def _table(title: str, first: str, *columns: str) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
