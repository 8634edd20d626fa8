"""The runs below a folder: their state, their settings, and their best and last figures.

A run is a folder that pretrain, finetune or benchmark wrote. It is read from its text files; only
runs of earlier versions, which have no run.json, are read from their newest checkpoint.
"""

import csv
import dataclasses
import datetime
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError, first_line
from ecgjax.train.manifest import check_config
from ecgjax.train.metrics_file import METRICS, RUN, read_lines

INNER = {"checkpoints", "tensorboard", "model", "best"}
"""Folders within a run."""
METHODS = {"finetuning", "consistency", "localcontrast", "linear_probing", "attention_probe"}
"""Entries of a config that hold the settings of a method that uses labels: the `CONFIG_KEY` of each
method in `ecgjax.adapt`, which takes too long to import for a list."""
UNLISTED = {"format", "classes"}
"""Entries of a config that are no settings."""
LOWER_IS_BETTER = ("loss", "mae")
"""Last words of the names of figures that are better if they are lower."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a run. The step is None for a figure that was taken once, at the end."""

    last: float
    best: float
    step: int | None = None
    """Number of steps after which it was best."""


@dataclasses.dataclass
class RunRow:
    """A run as it is listed."""

    path: Path
    kind: str = "?"
    """pretrain, finetune or benchmark; ? if that cannot be read."""
    step: int | None = None
    """Number of steps done."""
    num_steps: int | None = None
    """Number of steps of the whole run."""
    is_finished: bool = False
    updated: float | None = None
    """Time of the last log line, in seconds since 1970."""
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)
    checkpoint: Path | None = None
    """The newest checkpoint."""
    problems: list[str] = dataclasses.field(default_factory=list)
    """Parts that cannot be read, with the reasons."""


def lower_is_better(name: str) -> bool:
    """Tells whether a figure of this name is better if it is lower."""
    return name.rpartition("/")[2] in LOWER_IS_BETTER


def list_runs(folders: Sequence[Path]) -> list[RunRow]:
    """Reads all runs below folders, in the order of their names.

    The encoders that a benchmark trained and the folds of a cross-validation are listed only if
    their folder is given itself.

    Raises:
      InputError: a folder does not exist, or there is no run in any of them.
    """
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give a folder of runs, such as runs")
    paths = {path.resolve(): path for folder in folders for path in _find(folder)}
    if not paths:
        names = " ".join(map(str, folders))
        raise InputError(
            f"{names}: no run of pretrain, finetune or benchmark in it; give the folder given as "
            f"--workdir, or one above it"
        )
    return [_read(path) for path in sorted(paths.values())]


def _find(folder: Path) -> Iterator[Path]:
    """Yields the folders of runs in and below a folder; follows links, each once."""
    visited: set[Path] = set()
    for name, inner, files in os.walk(folder, followlinks=True):
        path = Path(name)
        real = path.resolve()
        if real in visited or "manifest" in inner:  # a checkpoint
            inner.clear()
            continue
        visited.add(real)
        is_run = {METRICS, RUN, "benchmark.csv"} & {*files} or "checkpoints" in inner
        if is_run or not os.access(path, os.R_OK | os.X_OK):
            yield path
        has_parts = "benchmark.csv" in files or ("fold-1" in inner and "metrics.json" in files)
        if has_parts and path != folder:
            inner.clear()
        if has_parts and not is_run:
            yield path
        inner[:] = sorted(each for each in inner if each not in INNER and each[0] != ".")


def _read(path: Path) -> RunRow:
    """Reads a run. A part that cannot be read becomes a problem of the row."""
    row = RunRow(path)
    parts = [_read_benchmark] if (path / "benchmark.csv").exists() else [_read_log, _read_results]
    for read in (_read_settings, *parts):
        try:
            read(path, row)
        except InputError as error:
            row.problems.append(str(error).partition("; ")[0].replace(f"{path}/", ""))
        except Exception as error:  # a damaged file raises anything
            row.problems.append(f"{read.__name__[6:]}: {first_line(error)}")
    if not os.access(path, os.R_OK | os.X_OK):
        row.problems = ["may not be read"]
    return row


def _read_settings(path: Path, row: RunRow) -> None:
    """Reads kind, steps and settings from run.json, settings.json or the newest checkpoint."""
    row.checkpoint = _newest_checkpoint(path)
    if (path / "benchmark.csv").exists():
        row.kind = "benchmark"
        if (path / "settings.json").exists():  # written at the end
            row.is_finished = True
            row.settings = _flatten(_read_json(path / "settings.json"))
        return
    run = _read_json(path / RUN) if (path / RUN).exists() else {}
    config = run.get("config") or (_read_config(row.checkpoint) if row.checkpoint else {})
    if config:
        row.kind = "finetune" if "task" in config else "pretrain"
    row.num_steps = run.get("num_steps") or config.get("pretraining", {}).get("num_steps")
    row.settings = _flatten({k: v for k, v in config.items() if k not in UNLISTED})
    for method in METHODS & config.keys():
        row.settings["method"] = method
    if row.checkpoint:
        row.is_finished = int(row.checkpoint.name) == row.num_steps


def _read_config(checkpoint: Path) -> dict:
    """Reads the config of a checkpoint as text: Orbax takes seconds to be imported."""
    parts = {}
    for name in ("config", "manifest"):
        file = next((checkpoint / name).glob("*.json"), None)
        if file is None:
            raise InputError(f"{checkpoint}: its {name} is missing")
        parts[name] = _read_json(file)
    return check_config(parts["config"], parts["manifest"], checkpoint)


def _newest_checkpoint(path: Path) -> Path | None:
    steps = [
        step
        for step in (path / "checkpoints").glob("[0-9]*")
        if step.name.isdigit() and (step / "manifest").is_dir()
    ]
    return max(steps, key=lambda step: int(step.name), default=None)


def _read_log(path: Path, row: RunRow) -> None:
    """Reads the step, the time of the last line, and the figures of the log."""
    lines, damaged = read_lines(path)
    if damaged:
        row.problems.append(f"{METRICS}: damaged lines: {len(damaged)}")
    if not lines:
        row.step = int(row.checkpoint.name) if row.checkpoint else None
        return
    row.step = lines[-1]["step"]
    row.updated = _time(lines[-1]) or (path / METRICS).stat().st_mtime
    names = dict.fromkeys(name for line in lines for name in line if name == "loss" or "/" in name)
    for name in names:
        logged = [(line[name], line["step"]) for line in lines if line.get(name) is not None]
        if logged:
            choose = min if lower_is_better(name) else max
            best, step = choose(logged, key=lambda pair: pair[0])
            row.figures[name] = Figure(logged[-1][0], best, step)
    if (goodput := lines[-1].get("goodput")) is not None:
        row.figures["goodput"] = Figure(goodput, goodput)


def _time(line: Mapping) -> float | None:
    """Returns the time of a log line; those of earlier versions have none."""
    if "time" not in line:
        return None
    return datetime.datetime.fromisoformat(line["time"]).timestamp()


def _read_results(path: Path, row: RunRow) -> None:
    """Reads the test figures of metrics.json, which finetune writes at the end."""
    file = path / "metrics.json"
    if not file.exists():
        return
    results = _read_json(file)
    row.kind = "finetune"
    row.is_finished = True
    row.updated = row.updated or file.stat().st_mtime
    tests = {"test": results.get("test", {}), **results.get("sites", {})}
    for test, values in tests.items():
        for name, value in _main_figures(values).items():
            row.figures[f"{test}/{name}"] = Figure(value, value)


def _main_figures(values: Mapping[str, Any]) -> dict[str, float]:
    """Returns the figures of a test that one number stands for."""
    single = {"auroc": values.get("macro_auroc"), "dice": values.get("dice", {}).get("mean")}
    if len(values.get("mae", {})) == 1:
        single["mae"] = next(iter(values["mae"].values()))
    return {name: part[0] for name, part in single.items() if part and part[0] is not None}


def _read_benchmark(path: Path, row: RunRow) -> None:
    """Reads the mean AUROC over tasks, for each method with the most labels of each task."""
    file = path / "benchmark.csv"
    row.updated = file.stat().st_mtime
    with file.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    most: dict[tuple[str, str], tuple[int, float]] = {}
    for line in lines:
        if line.get("test", "test") in ("test", "validation"):
            key = (line["way"], line["task"])
            most[key] = max(most.get(key, (0, 0.0)), (int(line["labels"]), float(line["auroc"])))
    for method in dict.fromkeys(method for method, _ in most):
        values = [auroc for (own, _), (_, auroc) in most.items() if own == method]
        mean = sum(values) / len(values)
        row.figures[f"{method}/auroc"] = Figure(mean, mean)


def _read_json(file: Path) -> dict:
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file}: damaged, no JSON") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: damaged, no JSON object")
    return content


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns nested settings by dotted names, as text."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            parts = value if isinstance(value, list) else [value]
            flat[prefix + name] = " ".join(map(str, parts))
    return flat
