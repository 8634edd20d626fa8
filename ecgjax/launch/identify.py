"""Identifies patients by frozen embeddings: `python -m ecgjax.launch.identify`."""

import dataclasses
import shlex
from pathlib import Path
from typing import Literal

from ecgjax.launch import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measures how often a recording's nearest neighbour is of the same patient, without labels.

    Each recording of a patient with several is searched among all other recordings of the split.
    """

    checkpoint: str
    """A pre-trained encoder: a checkpoint, the workdir of a run, or ptb-xl, which is shipped."""
    data: str
    """A prepared data set with patients who have several recordings, folder or URL."""
    split: Literal["train", "validation", "test"] = "test"
    """Split to search. Choose on validation, report on test. The encoder must not have seen it."""
    exclude_seen: bool = False
    """Leave out the recordings that the encoder was trained on, instead of stopping."""
    out: Path = Path("runs/identify")
    """Folder for identify.json."""
    seed: int = 0
    """Random seed of the random encoder, the baseline."""


def main() -> None:
    """Parses the options, identifies and prints the figures."""
    arguments = command.parse(Arguments)
    # Imported late: --help need not wait for JAX.
    from ecgjax.data.records import Records
    from ecgjax.pretrained import load_encoder
    from ecgjax.remote import local
    from ecgjax.workflows.identify import identify, save, table

    out = command.writable_folder(arguments.out, "--out")
    command.keep_compiled_programs()
    command.log_devices()
    encoder = load_encoder(arguments.checkpoint)
    records = Records(local(arguments.data))
    found = identify(
        encoder,
        records,
        arguments.split,
        exclude_seen=arguments.exclude_seen,
        seed=arguments.seed,
    )
    print(f"\n{table(found)}\n\nfigures: {save(found, out)}")
    checkpoint = shlex.quote(arguments.checkpoint)
    options = f"--checkpoint {checkpoint} --data {shlex.quote(str(records.path))}"
    print(f"next:    ecgjax benchmark {options}")


if __name__ == "__main__":
    command.run(main)
