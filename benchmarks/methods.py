"""Compares all pre-training methods: `python -m benchmarks.methods --data DIR --out DIR`.

All methods see the same recordings, and equally many of them, with the same optimizer and the same
evaluation. They share one encoder, or each has its own with `--encoder own`. Finished runs are not
repeated, and the table shows all runs in the folder, so it grows from call to call. The defaults
are for a CPU: two hours on two cores. Minutes: `--recordings 8800 --seeds 1 --labels 100 1000`. On
a GPU, give twenty times as many recordings.
"""

import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from benchmarks.architecture import check_architecture, file_name, split_architecture
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import MAIN_TASKS, TASKS
from ecgjax.launch.command import parse, run
from ecgjax.objectives import OBJECTIVES
from ecgjax.workflows.benchmark import Benchmark
from ecgjax.workflows.presets import PRESETS

OWN_PRESETS = {
    "patient_contrast": "liu_2025",
    "simclr": "mehari_simclr",
    "byol": "mehari_byol",
    "swav": "mehari_swav",
    "cpc": "mehari_cpc",
    "clocs": "clocs_cmsc",
    "lead_bootstrap": "bell_2024",
    "adversarial": "astcl_2024",
    "lejepa": "lejepa_2025",
    "masked_autoencoder": "sawano_2024",
    "jepa": "weimann_jepa",
    "temporal_spatial": "tssl_2025",
    "visreg": "visreg_2026",
    "wav2vec_cmsc": "deepecg_2025",
}
"""Presets that define each method's own encoder and its input rate."""

REPORTED = {
    "simclr": "0.883 all, xresnet1d50 [1]; 0.634, 0.698, 0.735 superclass [2]",
    "byol": "0.878 all, xresnet1d50 [1]; 0.717, 0.738, 0.765 superclass [2]",
    "cpc": "0.927 all, conv_lstm [1]",
    "clocs": "0.689, 0.734, 0.763 superclass [2]",
    "adversarial": "0.725, 0.773, 0.810 superclass [2]",
    "masked_autoencoder": "0.611, 0.669, 0.714 superclass, ST-MEM [2]; "
    "0.813, 0.875, 0.900 repeated [4]",
    "jepa": "0.931 all, ViT-XS, attentive pooling [3]",
}
"""Published AUROC of a frozen encoder on PTB-XL; superclass with 1, 10 and 100 % of the labels."""
SOURCES = """\
Published figures come from other and larger pre-training data: [1] hhi-aml/ecg-selfsupervised, on
CinC 2020, Chapman and Ribeiro's recordings for 1,000 to 2,000 epochs; [2] the baselines of
cheliu-computation/MERL-ICML2024, on MIMIC-IV-ECG, which are too low: see [4]; [3]
kweimann/ECG-JEPA, on PTB-XL; [4] an independent repetition with the same weights,
MengKaiTao88/CLEAR-HUG (docs/protocols.md).
"""


@dataclasses.dataclass(frozen=True)
class Methods:
    """Pre-trains with every method and evaluates each frozen encoder by linear probes."""

    data: Path
    """Prepared data set."""
    out: Path
    """Folder for runs, results and the table; all runs in it have the same settings."""
    methods: tuple[str, ...] = tuple(OBJECTIVES)
    """Methods to run."""
    encoder: str = "compact_resnet"
    """Encoder of all methods, with settings after a colon, NAME:KEY=VALUE/KEY=VALUE in JSON; or
    "own" for each method's own."""
    rate_hz: float | None = 100.0
    """Sampling rate of the encoders' input, in Hz; None: the rate of each method's paper."""
    recordings: int = 70_400
    """Recordings that a run sees in total."""
    batch_recordings: int = 64
    """Batch size in recordings; a method of pairs takes half as many pairs."""
    tasks: tuple[str, ...] = (*MAIN_TASKS, "all")
    """Tasks of the linear probes."""
    labels: tuple[int | Literal["all"], ...] = (100, 1000, "all")
    """Numbers of labelled recordings; "all" for all of them."""
    seeds: int = 3
    """Number of draws of labelled recordings."""
    random_encoders: int | None = None
    """Number of random encoders, which the draws share in turn. Default: one for each draw."""
    split: Literal["validation", "test"] | None = None
    """Split to test on. Default: test; a choice is made on validation."""
    crop_s: float | None = None
    """Seconds of a recording that a method sees (random crop); None: each method's own."""
    seed: int = 0
    """Seed of pre-training."""


def main() -> None:
    """Entry point."""
    settings = parse(Methods)
    _check(settings)
    _check_folder(settings)
    for method in settings.methods:
        own = PRESETS[OWN_PRESETS[method]]
        encoder = own.encoder if settings.encoder == "own" else settings.encoder
        workdir = settings.out / file_name(method, encoder)
        if not (workdir / DONE).exists():
            rate_hz = settings.rate_hz or own.preprocessing.rate_hz
            _pretrain(settings, method, encoder, rate_hz, workdir)
            _probe(settings, workdir)
        collect(settings.out)


def _check(settings: Methods) -> None:
    """Checks the settings before hours of work, and before the folder stores them."""
    Records(settings.data)
    _check_names("methods", settings.methods, OBJECTIVES)
    check_architecture("encoder", settings.encoder, "own")
    _check_names("tasks", settings.tasks, TASKS)
    if not 2 <= settings.batch_recordings <= settings.recordings:
        raise InputError(
            f"--recordings {settings.recordings}, --batch-recordings {settings.batch_recordings}: "
            f"give two or more to a batch, and one batch or more"
        )
    Benchmark(
        labels=tuple(map(str, settings.labels)),
        seeds=settings.seeds,
        random_encoders=settings.random_encoders,
    )
    if settings.crop_s is not None:
        _check_crops(settings.crop_s, settings.methods)


def _check_names(option: str, names: Collection[str], known: Collection[str]) -> None:
    if not names or set(names) - set(known):
        raise InputError(f"--{option} {' '.join(names)}: give one or more of {' '.join(known)}")


def _check_crops(crop_s: float, methods: Sequence[str]) -> None:
    uncropped = [method for method in methods if not hasattr(OBJECTIVES[method](), "augmentation")]
    if uncropped:
        names = " ".join(uncropped)
        raise InputError(f"--crop-s {crop_s:g}: {names} cannot crop recordings; leave them out")


def _check_folder(settings: Methods) -> None:
    """Checks that all runs of a folder have the same settings, and stores those of the first."""
    shared = {
        name: value
        for name, value in vars(settings).items()
        if name not in ("out", "methods", "encoder")
    }
    shared["data"] = str(settings.data.resolve())
    # 0 stands for all labels, as in the folders of earlier versions.
    shared["labels"] = [0 if amount == "all" else amount for amount in settings.labels]
    shared = json.loads(json.dumps(shared))
    file = settings.out / "settings.json"
    if not file.exists():
        settings.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(shared, indent=1))
    stored = json.loads(file.read_text())
    for name, value in shared.items():
        earlier = stored.get(name)  # None if the folder is older than the setting
        if earlier != value:
            raise InputError(
                f"{file}: {name} is {earlier} there, but {value} here; give another --out"
            )


def _pretrain(settings: Methods, method: str, encoder: str, rate_hz: float, workdir: Path) -> None:
    recordings_per_example = 1 if OBJECTIVES[method]().examples == "single" else 2
    batch_size = settings.batch_recordings // recordings_per_example
    steps = settings.recordings // settings.batch_recordings
    crop = () if settings.crop_s is None else ("--augmentation.crop-s", settings.crop_s)
    name, words = split_architecture(encoder)
    chosen = ("--encoder", name, *(("--encoder-settings", *words) if words else ()))
    _run_command(
        "pretrain", "--data", settings.data, "--objective", method, *chosen,
        "--batch-size", batch_size, "--num-steps", steps, "--seed", settings.seed,
        "--workdir", workdir, "--no-first-look", "--preprocessing.rate-hz", rate_hz, *crop,
    )  # fmt: skip


def _probe(settings: Methods, workdir: Path) -> None:
    done = workdir / DONE
    _run_command(
        "benchmark", "--checkpoint", workdir, "--data", settings.data, "--out", done.parent,
        "--tasks", *settings.tasks, "--labels", *settings.labels, "--seeds", settings.seeds,
        "--trained", "--random-scores", settings.out / "random",
        "--random-encoders", settings.random_encoders, "--split", settings.split or "test",
    )  # fmt: skip
    done.touch()


DONE = "benchmark/done"
"""File in a run's folder that exists when its benchmark.csv is complete."""


def _run_command(name: str, *arguments: object) -> None:
    command = [sys.executable, "-m", f"ecgjax.launch.{name}", *map(str, arguments)]
    finished = subprocess.run(command)
    if finished.returncode:
        sys.exit(finished.returncode)  # the command has printed the reason


def collect(out: Path) -> None:
    """Writes methods.csv and methods.md of all finished runs in a folder."""
    rows = []
    for done in sorted(out.glob(f"*/{DONE}")):
        method, encoder = done.parents[1].name.split("-", 1)
        with done.with_name("benchmark.csv").open() as file:
            rows += [{"encoder": encoder, "method": method} | row for row in csv.DictReader(file)]
    with (out / "methods.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    labels = json.loads((out / "settings.json").read_text())["labels"]
    table = markdown(rows, [number for number in labels if number])
    (out / "methods.md").write_text(table)
    print(table)


def markdown(rows: list[dict], numbers: list[int]) -> str:
    """Returns a table for each encoder and number of labels, and for all labels.

    Lines are methods, best first: AUROC by task, with the gain over the random encoder and its 95 %
    interval.

    Args:
      rows: rows of methods.csv.
      numbers: numbers of labels; other numbers in the rows are those of all labels of a task.
    """
    parts = []
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        own = [row for row in rows if row["encoder"] == encoder]
        for number in numbers:
            chosen = [row for row in own if int(row["labels"]) == number]
            parts += _section(f"{encoder}, {number:,} labels", chosen)
        chosen = [row for row in own if int(row["labels"]) not in numbers]
        parts += _section(f"{encoder}, all labels", chosen)
    return "\n".join([*parts, SOURCES])


def _section(title: str, rows: list[dict]) -> list[str]:
    return [f"{title}:\n\n{_table(rows)}"] if rows else []


def _table(rows: list[dict]) -> str:
    frozen = [row for row in rows if row["way"] == "frozen"]
    tasks = list(dict.fromkeys(row["task"] for row in frozen))
    random = {row["task"]: f"{float(row['auroc']):.3f}" for row in rows if row["way"] == "random"}
    lines = []
    for method in dict.fromkeys(row["method"] for row in frozen):
        own = [row for row in frozen if row["method"] == method]
        mean = sum(float(row["gain"]) for row in own) / len(own)
        above = sum(float(row["gain_low"]) > 0 for row in own)
        cells = [f"{float(row['auroc']):.3f} ({_interval(row)})" for row in own]
        summary = f"{mean:+.3f} ({above} of {len(own)})"
        lines.append((mean, [f"`{method}`", summary, *cells, REPORTED.get(method, "")]))
    head = ["method", "mean gain (tasks above 0)", *tasks, "reported"]
    rule = ["---"] * len(head)
    baseline = ["random encoder", "", *(random[task] for task in tasks), ""]
    best_first = [line for _, line in sorted(lines, key=lambda pair: -pair[0])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *best_first, baseline))


def _interval(row: dict) -> str:
    gain, low, high = (float(row[name]) for name in ("gain", "gain_low", "gain_high"))
    return f"{gain:+.3f}, {low:+.3f} to {high:+.3f}"


if __name__ == "__main__":
    run(main)
