"""Imports published weights from a file: `python -m ecgjax.launch.import_weights`."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ecgjax.launch import command
from ecgjax.train.origin import unknown_past
from ecgjax.workflows.import_weights import import_weights
from ecgjax.workflows.published.catalogue import PUBLISHED


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Writes a model folder from published weights that you have downloaded.

    Every command that takes --checkpoint takes the folder.
    """

    origin: Annotated[
        Literal[tuple(PUBLISHED)],  # pyright: ignore[reportInvalidTypeForm]
        tyro.conf.arg(name="from"),
    ]
    """The published encoder."""
    file: Path
    """Its file: .h5, .safetensors, .pth, .pt or .ckpt. Nothing in it is executed."""
    out: Path
    """Folder for the model."""
    lead: str | None = None
    """Lead of the input of an encoder for one lead. Default: I."""


def main() -> None:
    """Parses the options, imports, and prints what the folder holds."""
    arguments = command.parse(Arguments)
    command.writable_folder(arguments.out, "--out")
    encoder = import_weights(arguments.origin, arguments.file, arguments.out, lead=arguments.lead)
    published = encoder.config["published"]
    print(f"{arguments.out}: {encoder!r}")
    print(f"from {published['file']}, SHA-256 {published['sha256']}")
    print(f"licence {published['licence']}; cite {published['citation']}")
    print(unknown_past(encoder.config))
    checkpoint = shlex.quote(str(arguments.out))
    print(f"next: ecgjax embed --checkpoint {checkpoint} --input FILES --out embeddings.parquet")


if __name__ == "__main__":
    command.run(main)
