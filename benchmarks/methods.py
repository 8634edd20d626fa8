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

from ecgjax.data.records import Records
from ecgjax.encoders import ENCODERS
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import TASKS
from ecgjax.launch.command import parse, run
from ecgjax.objectives import OBJECTIVES
from ecgjax.workflows.benchmark import Benchmark
from ecgjax.workflows.presets import PRESETS

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
"""AUROC of a frozen encoder on PTB-XL, where one was reported; superclass at 1, 10 and 100 % of the labels."""
SOURCES = """\
Reported figures are of other recordings and of more of them: [1] hhi-aml/ecg-selfsupervised, pre-trained on CinC 2020,
Chapman and Ribeiro's recordings for 1,000 to 2,000 epochs; [2] the baselines of cheliu-computation/MERL-ICML2024,
pre-trained on MIMIC-IV-ECG; [3] kweimann/ECG-JEPA, on PTB-XL.
"""


@dataclasses.dataclass(frozen=True)
class Methods:
    """Pre-trains with every method and probes what it learned."""

    data: Path
    """A prepared data set."""
    out: Path
    """Runs, their results and the table go here; all that is there was made with the same settings."""
    methods: tuple[str, ...] = tuple(OBJECTIVES)
    """Which methods."""
    encoder: str = "compact_resnet"
    """The encoder that all methods share; "own" for each method's own."""
    rate_hz: float | None = 100.0
    """The encoders' input; None: the rate of each method's paper."""
    recordings: int = 70_400
    """Recordings that a run sees."""
    batch_recordings: int = 64
    """Recordings of a batch; a method of pairs takes half as many pairs."""
    tasks: tuple[str, ...] = ("superclass", "af", "flutter", "premature", "av_block_1", "mi", "all")
    """What the frozen encoder is probed with."""
    labels: tuple[int, ...] = (100, 1000, 0)
    """Numbers of labelled recordings; 0: all."""
    seeds: int = 3
    """Draws of labelled recordings."""
    random_encoders: int | None = None
    """Initial weights that the draws are compared with in turn; None: new ones a draw. See `benchmark`."""
    crop_s: float | None = None
    """Of a recording, what a method sees of it; None: each method's own."""
    seed: int = 0
    """Of pre-training."""


def main() -> None:
    """Entry point."""
    settings = parse(Methods)
    _refuse_what_cannot_be(settings)
    _refuse_other_terms(settings)
    for method in settings.methods:
        own = PRESETS[OWN[method]]
        encoder = own.encoder if settings.encoder == "own" else settings.encoder
        workdir = settings.out / f"{method}-{encoder}"
        if not (workdir / DONE).exists():
            _pretrain(
                settings, method, encoder, settings.rate_hz or own.preprocessing.rate_hz, workdir
            )
            _probe(settings, workdir)
        collect(settings.out)


def _refuse_what_cannot_be(settings: Methods) -> None:
    """Before hours of work, and before the folder is given its terms."""
    Records(settings.data)
    known = {"methods": OBJECTIVES, "encoder": ("own", *ENCODERS), "tasks": TASKS}
    for name, names in known.items():
        given = (settings.encoder,) if name == "encoder" else getattr(settings, name)
        if not given or set(given) - set(names):
            raise InputError(f"--{name} {' '.join(given)}: give one or more of {' '.join(names)}")
    if not 2 <= settings.batch_recordings <= settings.recordings:
        raise InputError(
            f"--recordings {settings.recordings}, --batch-recordings {settings.batch_recordings}: give two or more to "
            f"a batch, and one batch or more"
        )
    Benchmark(
        labels=settings.labels, seeds=settings.seeds, random_encoders=settings.random_encoders
    )
    if settings.crop_s is not None:
        whole = [
            method
            for method in settings.methods
            if not hasattr(OBJECTIVES[method](), "augmentation")
        ]
        if whole:
            raise InputError(
                f"--crop-s {settings.crop_s:g}: {' '.join(whole)} take no crops of it; leave them out"
            )


def _refuse_other_terms(settings: Methods) -> None:
    """All runs of a folder see as many of the same recordings and are probed alike."""
    terms = {
        name: value
        for name, value in vars(settings).items()
        if name not in ("out", "methods", "encoder")
    }
    terms = json.loads(json.dumps(terms | {"data": str(settings.data.resolve())}))
    file = settings.out / "settings.json"
    if not file.exists():
        settings.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(terms, indent=1))
    kept = json.loads(file.read_text())
    for name, value in terms.items():
        if kept.get(name) != value:  # a term that is younger than the folder: None, as it was then
            raise InputError(
                f"{file}: {name} is {kept.get(name)} there, {value} was asked for; give another --out"
            )


def _pretrain(settings: Methods, method: str, encoder: str, rate_hz: float, workdir: Path) -> None:
    batch_size = settings.batch_recordings // (
        1 if OBJECTIVES[method]().examples == "single" else 2
    )
    steps = settings.recordings // settings.batch_recordings
    crop = () if settings.crop_s is None else ("--augmentation.crop-s", settings.crop_s)
    _command(
        "pretrain", "--data", settings.data, "--objective", method, "--encoder", encoder,
        "--batch-size", batch_size, "--num-steps", steps,
        "--seed", settings.seed, "--workdir", workdir, "--no-first-look", "--preprocessing.rate-hz", rate_hz, *crop,
    )  # fmt: skip


def _probe(settings: Methods, workdir: Path) -> None:
    done = workdir / DONE
    _command(
        "benchmark", "--checkpoint", workdir, "--data", settings.data, "--out", done.parent,
        "--tasks", *settings.tasks, "--labels", *settings.labels, "--seeds", settings.seeds, "--trained",
        "--random-scores", settings.out / "random", "--random-encoders", settings.random_encoders,
    )  # fmt: skip
    done.touch()


DONE = "benchmark/done"
"""Of a run's folder, when benchmark.csv is whole."""


def _command(name: str, *words: object) -> None:
    done = subprocess.run([sys.executable, "-m", f"ecgjax.launch.{name}", *map(str, words)])
    if done.returncode:
        sys.exit(done.returncode)  # it has said why


def collect(out: Path) -> None:
    """Writes methods.csv and methods.md of all finished runs."""
    rows = []
    for done in sorted(out.glob(f"*/{DONE}")):
        method, encoder = done.parents[1].name.split("-", 1)
        with done.with_name("benchmark.csv").open() as file:
            rows += [{"encoder": encoder, "method": method} | row for row in csv.DictReader(file)]
    with (out / "methods.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = markdown(
        rows, [n for n in json.loads((out / "settings.json").read_text())["labels"] if n]
    )
    (out / "methods.md").write_text(table)
    print(table)


def markdown(rows: list[dict], numbers: list[int]) -> str:
    """A table for each encoder and each of the `numbers` of labels, and for all labels.

    Lines are methods, best first: AUROC by task, with the gain over the random encoder and its 95 % interval.
    """
    parts = []
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        for number in (*numbers, None):  # None: all, another number for each task
            chosen = [
                row
                for row in rows
                if row["encoder"] == encoder
                and (int(row["labels"]) == number if number else int(row["labels"]) not in numbers)
            ]
            if chosen:
                labels = f"{number:,}" if number else "all"
                parts.append(f"{encoder}, {labels} labels:\n\n{_table(chosen)}")
    return "\n".join([*parts, SOURCES])


def _table(rows: list[dict]) -> str:
    frozen = [row for row in rows if row["way"] == "frozen"]
    tasks = list(dict.fromkeys(row["task"] for row in frozen))
    random = {row["task"]: f"{float(row['auroc']):.3f}" for row in rows if row["way"] == "random"}
    lines = []
    for method in dict.fromkeys(row["method"] for row in frozen):
        of = [row for row in frozen if row["method"] == method]
        mean = sum(float(row["gain"]) for row in of) / len(of)
        above = sum(float(row["gain_low"]) > 0 for row in of)
        cells = (f"{float(row['auroc']):.3f} ({_interval(row)})" for row in of)
        line = [
            f"`{method}`",
            f"{mean:+.3f}, {above} of {len(of)}",
            *cells,
            REPORTED.get(method, ""),
        ]
        lines.append((mean, line))
    head = ["method", "mean gain, tasks surely above 0", *tasks, "reported"]
    rule, floor = ["---"] * len(head), ["random encoder", "", *(random[task] for task in tasks), ""]
    best_first = (line for _, line in sorted(lines, key=lambda pair: -pair[0]))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *best_first, floor))


def _interval(row: dict) -> str:
    gain, low, high = (float(row[name]) for name in ("gain", "gain_low", "gain_high"))
    return f"{gain:+.3f}, {low:+.3f} to {high:+.3f}"


if __name__ == "__main__":
    run(main)
