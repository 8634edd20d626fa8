"""Every pre-training method on equal terms: `python -m benchmarks.methods --data DIR --out DIR`.

The same recordings, as many of them, the same optimizer and the same evaluation; one encoder for all, and each method's
own. Runs that are done are not done twice, so that the table grows from run to run. Takes hours on a CPU.
"""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import tyro

from ecgjax.objectives import OBJECTIVES

OWN_ENCODER = {
    "patient_contrast": "pclr_resnet",
    "simclr": "xresnet1d50",
    "byol": "xresnet1d50",
    "swav": "xresnet1d50",
    "cpc": "conv_lstm",
    "clocs": "compact_resnet",
    "lead_bootstrap": "lead_branches",
    "adversarial": "xresnet1d50",
    "masked_autoencoder": "vit1d_leads",
    "jepa": "vit1d",
    "temporal_spatial": "lead_branches",
    "wav2vec_cmsc": "wav2vec_transformer",
}
"""What its paper used, or the nearest here (CLOCS: three convolutions; open: ASTCL, temporal and spatial)."""


@dataclasses.dataclass(frozen=True)
class Methods:
    """Pre-trains with every method and probes what it learned."""

    data: Path
    """A prepared data set."""
    out: Path
    """Runs, their results and methods.csv go here."""
    encoder: str = "compact_resnet"
    """The encoder that all methods share; "own" for each method's own."""
    recordings: int = 281_600
    """Recordings that a run sees."""
    batch_recordings: int = 256
    """Recordings of a batch; a method of pairs takes half as many pairs."""
    methods: tuple[str, ...] = tuple(OBJECTIVES)
    """Which methods."""
    tasks: tuple[str, ...] = ("superclass", "af", "flutter", "premature", "av_block_1", "mi", "all")
    """What the frozen encoder is probed with."""
    labels: tuple[int, ...] = (100, 1000, 0)
    """Numbers of labelled recordings; 0: all."""
    seeds: int = 3
    """Draws of labelled recordings."""
    seed: int = 0
    """Of pre-training."""


def main() -> None:
    """Entry point."""
    settings = tyro.cli(Methods)
    rows = []
    for method in settings.methods:
        encoder = OWN_ENCODER[method] if settings.encoder == "own" else settings.encoder
        run = settings.out / f"{method}-{encoder}"
        _pretrain(settings, method, encoder, run)
        rows += [{"method": method, "encoder": encoder} | row for row in _probe(settings, run)]
        with (settings.out / "methods.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    lines = _wide(rows)
    table = ["| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *map(dict.values, lines))]
    (settings.out / "methods.md").write_text("\n".join(table) + "\n")
    print("\n".join(table))


def _pretrain(settings: Methods, method: str, encoder: str, run: Path) -> None:
    pairs = 1 if OBJECTIVES[method]().examples == "single" else 2
    batch = settings.batch_recordings // pairs
    steps = settings.recordings // settings.batch_recordings
    _command(
        "pretrain", "--data", settings.data, "--objective", method, "--encoder", encoder, "--batch-size", batch,
        "--num-steps", steps, "--seed", settings.seed, "--workdir", run, "--no-first-look",
    )  # fmt: skip


def _probe(settings: Methods, run: Path) -> list[dict]:
    found = run / "benchmark/benchmark.csv"
    if not found.exists():
        _command(
            "benchmark", "--checkpoint", run, "--data", settings.data, "--out", found.parent,
            "--tasks", *settings.tasks, "--labels", *settings.labels, "--seeds", settings.seeds, "--train-at", 1,
        )  # fmt: skip
    with found.open() as file:
        return list(csv.DictReader(file))


def _command(name: str, *words: object) -> None:
    subprocess.run([sys.executable, "-m", f"ecgjax.launch.{name}", *map(str, words)], check=True)


def _wide(rows: list[dict]) -> list[dict]:
    """A line for each method and number of labels, a column for each task: AUROC and gain over the random encoder."""
    lines: dict[tuple, dict] = {}
    for row in rows:
        if row["way"] == "frozen":
            key = row["method"], row["encoder"], row["labels"]
            line = lines.setdefault(key, dict(zip(("method", "encoder", "labels"), key, strict=True)))
            line[row["task"]] = f"{float(row['auroc']):.3f} ({float(row['gain']):+.3f})"
    return list(lines.values())


if __name__ == "__main__":
    main()
