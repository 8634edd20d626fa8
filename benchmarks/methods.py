"""Every pre-training method on equal terms: `python -m benchmarks.methods --data DIR --out DIR`.

The same recordings, as many of them, the same optimizer and the same evaluation; one encoder for all, or each method's
own with `--encoder own`. What is done is not done twice, and the table is of all that is in the folder, so that it
grows from call to call. The defaults are a CPU's: two hours on two cores; on a GPU give twenty times the recordings.
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

REPORTED = {
    "simclr": "0.883 all, xresnet1d50 [1]; 0.634, 0.698, 0.735 superclass [2]",
    "byol": "0.878 all, xresnet1d50 [1]; 0.717, 0.738, 0.765 superclass [2]",
    "cpc": "0.927 all, conv_lstm [1]",
    "clocs": "0.689, 0.734, 0.763 superclass [2]",
    "adversarial": "0.725, 0.773, 0.810 superclass [2]",
    "masked_autoencoder": "0.611, 0.669, 0.714 superclass, ST-MEM [2]",
    "jepa": "0.931 all, ViT-XS, attentive pooling [3]",
}
"""AUROC of a frozen encoder on PTB-XL, where one was reported; superclass at 1, 10 and 100 % of the labels. None is of
these recordings, or of this many: [1] hhi-aml/ecg-selfsupervised: pre-trained on CinC 2020, Chapman and Ribeiro's
recordings for 1,000 to 2,000 epochs; [2] the baselines of cheliu-computation/MERL-ICML2024, on MIMIC-IV-ECG; [3]
kweimann/ECG-JEPA, on PTB-XL."""


@dataclasses.dataclass(frozen=True)
class Methods:
    """Pre-trains with every method and probes what it learned."""

    data: Path
    """A prepared data set."""
    out: Path
    """Runs, their results and methods.csv go here."""
    encoder: str = "compact_resnet"
    """The encoder that all methods share; "own" for each method's own."""
    rate_hz: float = 100.0
    """The encoders' input; 0: the rate of each method's paper."""
    recordings: int = 70_400
    """Recordings that a run sees."""
    batch_recordings: int = 64
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
        encoder = own.encoder if settings.encoder == "own" else settings.encoder
        rate_hz = settings.rate_hz or own.preprocessing.rate_hz
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
            rows += [{"encoder": encoder, "method": method} | row for row in csv.DictReader(file)]
    with (out / "methods.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = markdown(rows)
    (out / "methods.md").write_text(table)
    print(table)


def _command(name: str, *words: object) -> None:
    subprocess.run([sys.executable, "-m", f"ecgjax.launch.{name}", *map(str, words)], check=True)


def markdown(rows: list[dict]) -> str:
    """A table for each encoder and number of labels: AUROC by method and task, gain over the random encoder, intervals.

    All labels are a number that differs from task to task; the tables are of the first, the second, ... number.
    """
    parts = []
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        of_encoder = [row for row in rows if row["encoder"] == encoder]
        ranks = _ranks(of_encoder)
        for rank in sorted(set(ranks.values())):
            chosen = [row for row in of_encoder if ranks[row["task"], row["labels"]] == rank]
            numbers = {int(row["labels"]) for row in chosen}
            labels = " to ".join(f"{number:,}" for number in sorted({min(numbers), max(numbers)}))
            parts.append(f"{encoder}, {labels} labels:\n\n{_table(chosen)}")
    return "\n".join(parts)


def _ranks(rows: list[dict]) -> dict[tuple[str, str], int]:
    """(task, labels) -> whether it is the task's smallest number of labels (0), the next (1), ..."""
    numbers: dict[str, set[str]] = {}
    for row in rows:
        numbers.setdefault(row["task"], set()).add(row["labels"])
    return {(task, n): rank for task, of_task in numbers.items() for rank, n in enumerate(sorted(of_task, key=int))}


def _table(rows: list[dict]) -> str:
    frozen = [row for row in rows if row["way"] == "frozen"]
    tasks = list(dict.fromkeys(row["task"] for row in frozen))
    random = {row["task"]: f"{float(row['auroc']):.3f}" for row in rows if row["way"] == "random"}
    lines = [["method", "mean gain", *tasks, "reported"], ["---"] * (len(tasks) + 3)]
    lines.append(["random encoder", "", *(random[task] for task in tasks), ""])
    for method in dict.fromkeys(row["method"] for row in frozen):
        of = {row["task"]: row for row in frozen if row["method"] == method}
        if of.keys() != set(tasks):
            continue  # not finished
        mean = sum(float(row["gain"]) for row in of.values()) / len(of)
        above = sum(float(row["gain_low"]) > 0 for row in of.values())
        cells = (f"{float(row['auroc']):.3f} ({_interval(row)})" for row in (of[task] for task in tasks))
        lines.append([f"`{method}`", f"{mean:+.3f}, {above} of {len(of)}", *cells, REPORTED.get(method, "")])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _interval(row: dict) -> str:
    gain, low, high = (float(row[name]) for name in ("gain", "gain_low", "gain_high"))
    return f"{gain:+.3f}, {low:+.3f} to {high:+.3f}"


if __name__ == "__main__":
    main()
