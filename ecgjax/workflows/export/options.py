"""Options of the command `export`."""

import dataclasses
from pathlib import Path
from typing import Literal

Format = Literal["stablehlo", "onnx", "safetensors", "ecgjax"]


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes a model as a file that other tools run."""

    checkpoint: str
    """Checkpoint, model folder, workdir of a run, or the name of a shipped encoder."""
    format: Format
    """stablehlo: a program that JAX runs without ecgjax; onnx: a program for ONNX Runtime;
    safetensors: weights for your own code; ecgjax: a model folder without the optimizer."""
    out: Path
    """File to write; for ecgjax, the folder."""
    rate_hz: float | None = None
    """Sampling rate of the signals that the program takes, in Hz. Default: the encoder's."""
    leads: tuple[str, ...] = ()
    """Their leads, in order, as your files name them. Default: the encoder's."""
    seconds: float | None = None
    """Their length, in seconds. Default: the encoder's window."""
    allow_missing_leads: bool = False
    """Take absent leads as missing samples, for an encoder trained with lead masking."""
    dynamic_batch: bool = True
    """Let the program take any number of recordings at once, instead of one."""
