"""Brings old data sets and checkpoints up to date: `python -m ecgjax.launch.migrate`."""

import dataclasses
from pathlib import Path

from ecgjax.errors import InputError, counted
from ecgjax.launch import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Verifies a prepared data set, and adds what earlier versions did not write.

    Every recording is read and its hash compared. A data set of an earlier version gets its hashes
    (binding.json) and sketches, by which copies of its recordings are found; its samples stay as
    they are. With --checkpoint, the data set is only read, and a copy of the model is written that
    knows the sketches of the recordings it has seen.
    """

    data: Path
    """Folder of the prepared data set."""
    checkpoint: str | None = None
    """Checkpoint, model folder, workdir or shipped encoder that was trained on recordings of the
    data set."""
    out: Path | None = None
    """New model folder, for --checkpoint."""


def main() -> None:
    """Parses the options, migrates, and prints what was done."""
    arguments = command.parse(Arguments)
    if (arguments.checkpoint is None) != (arguments.out is None):
        raise InputError("--checkpoint and --out: give both, or none of them")
    if arguments.checkpoint and arguments.out:
        _migrate_checkpoint(arguments.data, arguments.checkpoint, arguments.out)
    else:
        _migrate_data(arguments.data)


def _migrate_data(data: Path) -> None:
    from ecgjax.data.migration import migrate, verify
    from ecgjax.data.records import Records

    records = Records(data, accept_unbound=True)
    is_current = records.is_bound and records.sketches.are_stored
    with command.CountedProgress("recordings") as progress:
        if is_current:
            verify(records, progress)
        else:
            command.writable_folder(records.path, "--data")
            migrate(records, progress)
    done = "verified" if is_current else "verified, completed and bound by hashes"
    print(f"{records.path}: {counted(len(records), 'recording')} {done}")


def _migrate_checkpoint(data: Path, checkpoint: str, out: Path) -> None:
    from ecgjax.data.records import Records
    from ecgjax.train.model import load_model, save_model
    from ecgjax.workflows.checkpoint_sketches import with_sketches

    if out.exists():
        raise InputError(f"{out}: exists; give a new folder as --out")
    model = with_sketches(load_model(checkpoint), Records(data))
    save_model(out, model)
    print(f"{out}: knows the sketches of {counted(len(model.seen.sketches), 'recording')}")


if __name__ == "__main__":
    command.run(main)
