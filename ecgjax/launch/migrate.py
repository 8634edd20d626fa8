"""Verifies a prepared data set and binds an old one: `python -m ecgjax.launch.migrate`."""

import dataclasses
from pathlib import Path

from ecgjax.errors import counted
from ecgjax.launch import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Reads every recording and compares its hash; brings a data set of format 1 to format 2.

    The samples stay as they are. A data set of format 2 is verified and not changed.
    """

    data: Path
    """Folder of the prepared data set."""


def main() -> None:
    """Parses the options, verifies, and prints what was done."""
    arguments = command.parse(Arguments)
    from ecgjax.data.migration import migrate, verify
    from ecgjax.data.records import Records

    records = Records(arguments.data, accept_unbound=True)
    with command.CountedProgress("recordings") as progress:
        if records.is_bound:
            verify(records, progress)
        else:
            command.writable_folder(records.path, "--data")
            migrate(records, progress)
    done = "verified" if records.is_bound else "verified and bound by hashes"
    print(f"{records.path}: {counted(len(records), 'recording')} {done}")


if __name__ == "__main__":
    command.run(main)
