"""Export of a model to a file that other tools run: StableHLO, ONNX, safetensors, a model folder.

The file is compared with `embed` and `predict` on simulated ECGs before it gets its name.
"""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjax.classifier import load
from ecgjax.errors import InputError
from ecgjax.whole_files import replace_text
from ecgjax.workflows.export import model_folder, safetensors, stablehlo
from ecgjax.workflows.export import onnx_file as onnx
from ecgjax.workflows.export.description import describe, manual
from ecgjax.workflows.export.options import Export
from ecgjax.workflows.export.program import Program
from ecgjax.workflows.export.trial import compare, trial_signals
from tfds_builders.recording.windows import RATES_HZ

LONGEST_S = 120.0
"""Longest recording that a program takes, in seconds: all its windows are computed at once."""
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


class Writer(NamedTuple):
    """A format of an exported file."""

    suffix: str
    """Suffix of the file; "" for a folder."""
    write: Callable[[Program, Path, dict], None]
    """Writes the file of a program and its description."""
    read: Callable[[Path, Program], Run]
    """Returns the function that the file holds."""
    modules: tuple[str, ...] = ()
    """Modules of the extra `export` that it needs."""


WRITERS = {
    "stablehlo": Writer(".stablehlo", stablehlo.write, stablehlo.read),
    "onnx": Writer(".onnx", onnx.write, onnx.read, ("onnx", "onnxruntime")),
    "safetensors": Writer(".safetensors", safetensors.write, safetensors.read, ("safetensors",)),
    "ecgjax": Writer("", model_folder.write, model_folder.read),
}


class Exported(NamedTuple):
    """Files of an export."""

    files: list[Path]
    program: Program
    difference: float
    """Largest difference from ecgjax; see `ecgjax.workflows.export.trial`."""
    bytes: int
    """Size of the file, or of all files of the folder."""


def export(options: Export) -> Exported:
    """Exports a model, compares the result with ecgjax, and writes a description beside it.

    Raises:
      InputError: an option or the model does not suit the format, an extra is absent, or the
        exported file gives other results than ecgjax. Then nothing is written.
    """
    writer = WRITERS[options.format]
    _require(options.format, writer.modules)
    _check_options(options)
    out = _destination(options, writer)
    program = _program(options)
    description = describe(program, options)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        part = Path(folder) / out.name
        writer.write(program, part, description)
        signals = trial_signals(program)
        difference = compare(program, _run(writer, part, program, options), signals, out)
        description["largest_difference"] = float(f"{difference:.2g}")
        files = [out, *_write_descriptions(out, description)]
        if out.is_dir():
            shutil.rmtree(out)
        part.replace(out)
    parts = out.rglob("*") if out.is_dir() else [out]
    size = sum(file.stat().st_size for file in parts if file.is_file())
    return Exported(files, program, difference, size)


def _require(name: str, modules: tuple[str, ...]) -> None:
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    if absent:
        problem = f"--format {name}: no package {' and '.join(absent)}"
        raise InputError(f"{problem}; pip install 'ecgjax[export]'")


def _check_options(options: Export) -> None:
    given = {
        "--rate-hz": options.rate_hz is not None,
        "--leads": bool(options.leads),
        "--seconds": options.seconds is not None,
        "--allow-missing-leads": options.allow_missing_leads,
        "--no-dynamic-batch": not options.dynamic_batch,
    }
    useless = [option for option, is_given in given.items() if is_given]
    if useless and options.format in ("safetensors", "ecgjax"):
        problem = f"--format {options.format} writes weights, which {' and '.join(useless)}"
        raise InputError(f"{problem} cannot change; leave it out, or give stablehlo or onnx")


def _destination(options: Export, writer: Writer) -> Path:
    """Returns the file or folder to write, whose parent exists then."""
    out = options.out
    if writer.suffix and out.is_dir():
        out = out / f"model{writer.suffix}"
    if not writer.suffix and out.exists() and not (out / "manifest").is_dir():
        if not out.is_dir() or any(out.iterdir()):
            raise InputError(f"{out}: holds something else; give a new folder as --out")
    if out.is_file() and not _is_export(out):
        raise InputError(f"{out}: was not written by this command; give another file as --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            return out
    except OSError as error:
        problem = f"{out}: cannot be written ({error.strerror})"
        raise InputError(f"{problem}; give another --out") from error


def _is_export(file: Path) -> bool:
    """Tells whether this command wrote a file: its description lies beside it."""
    try:
        return "made_by" in json.loads(_description(file).read_text())
    except (OSError, ValueError):
        return False


def _description(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def _program(options: Export) -> Program:
    model = load(options.checkpoint)
    encoder = getattr(model, "encoder", model)
    settings = encoder.preprocessing
    rate_hz = settings.rate_hz if options.rate_hz is None else options.rate_hz
    lowest_hz, highest_hz = RATES_HZ
    if not lowest_hz <= rate_hz <= highest_hz:
        problem = f"--rate-hz {rate_hz:g}: no rate of an ECG"
        raise InputError(f"{problem}; give between {lowest_hz} and {highest_hz} Hz")
    seconds = settings.seconds if options.seconds is None else options.seconds
    if not 0 < seconds <= LONGEST_S:
        remedy = f"give up to {LONGEST_S:g} s, and cut longer recordings into pieces"
        raise InputError(f"--seconds {seconds:g}: {remedy}")
    samples = round(seconds * rate_hz)
    leads = options.leads or settings.leads
    return Program(model, rate_hz, leads, samples, options.allow_missing_leads)


def _run(writer: Writer, part: Path, program: Program, options: Export) -> Run:
    """Returns the function that the file holds, for several recordings."""
    run = writer.read(part, program)
    if options.dynamic_batch:
        return run

    def one_by_one(signals: np.ndarray) -> dict[str, np.ndarray]:
        results = [run(signal[None]) for signal in signals]
        return {name: np.concatenate([each[name] for each in results]) for name in results[0]}

    return one_by_one


def _write_descriptions(out: Path, description: dict) -> list[Path]:
    """Writes the description beside the file, as JSON and as text."""
    table = _description(out)
    replace_text(table, json.dumps(description, indent=1) + "\n")
    text = out.with_name(f"{out.name}.md")
    replace_text(text, manual(description, out.name))
    return [table, text]
