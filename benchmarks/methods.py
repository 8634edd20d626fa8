"""Every pre-training method on equal terms: `python -m benchmarks.methods --data DIR --out DIR`.

The same recordings, as many of them, the same optimizer and the same evaluation; one encoder for all, or each method's
own with `--encoder own`. What is done is not done twice, and the table is of all that is in the folder, so that it
grows from call to call. Takes hours on a CPU.
"""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import tyro

from ecgjax.objectives import OBJECTIVES
from ecgjax.train.presets import PRESETS

OWN = {
    "patient_contrast": "liu_2025",
    "simclr": "mehari_simclr",
    "byol": "mehari_byol",
    "swav": "mehari_swav",
    "cpc": "mehari_cpc",
    "clocs": "clocs_cmsc",
    "lead_bootstrap": "bell_2024",
    "adversarial": "astcl_2024",
    "masked_autoencoder": "sawano_2024",
    "jepa": "weimann_jepa",
    "temporal_spatial": "tssl_2025",
    "wav2vec_cmsc": "deepecg_2025",
}
"""The preset from which a method's own encoder and its input rate come."""


@dataclasses.dataclass(frozen=True)
class Methods:
    """Pre-trains with every method and probes what it learned."""

    data: Path
    """A prepared data set."""
    out: Path
    """Runs, their results and methods.csv go here."""
    encoder: str = "compact_resnet"
    """The encoder that all methods share, at 100 Hz; "own" for each method's own, at its paper's rate."""
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
    for method in settings.methods:
        own = PRESETS[OWN[method]]
        encoder, rate_hz = (settings.encoder, 100.0)
        if encoder == "own":
            encoder, rate_hz = own.encoder, own.preprocessing.rate_hz
        run = settings.out / f"{method}-{encoder}"
        _pretrain(settings, method, encoder, rate_hz, run)
        _probe(settings, run)
        _collect(settings.out)


def _pretrain(settings: Methods, method: str, encoder: str, rate_hz: float, run: Path) -> None:
    pairs = 1 if OBJECTIVES[method]().examples == "single" else 2
    batch = settings.batch_recordings // pairs
    steps = settings.recordings // settings.batch_recordings
    _command(
        "pretrain", "--data", settings.data, "--objective", method, "--encoder", encoder, "--batch-size", batch,
        "--num-steps", steps, "--seed", settings.seed, "--workdir", run, "--no-first-look",
        "--preprocessing.rate-hz", rate_hz,
    )  # fmt: skip


def _probe(settings: Methods, run: Path) -> None:
    wanted = json.dumps([settings.tasks, settings.labels, settings.seeds])
    done = run / "benchmark/done.json"
    if not done.exists() or done.read_text() != wanted:
        _command(
            "benchmark", "--checkpoint", run, "--data", settings.data, "--out", done.parent,
            "--tasks", *settings.tasks, "--labels", *settings.labels, "--seeds", settings.seeds, "--train-at", 1,
            "--random-scores", settings.out / "random",
        )  # fmt: skip
        done.write_text(wanted)


def _collect(out: Path) -> None:
    """Writes methods.csv and methods.md of all finished runs."""
    rows = []
    for done in sorted(out.glob("*/benchmark/done.json")):
        method, encoder = done.parents[1].name.split("-", 1)
        with done.with_name("benchmark.csv").open() as file:
            rows += [{"method": method, "encoder": encoder} | row for row in csv.DictReader(file)]
    with (out / "methods.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = _wide(rows)
    table = ["| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *map(dict.values, lines))]
    (out / "methods.md").write_text("\n".join(table) + "\n")
    print("\n".join(table))


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
