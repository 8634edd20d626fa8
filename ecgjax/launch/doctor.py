"""Examines an installation, data sets and checkpoints: `python -m ecgjax.launch.doctor`."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import tyro

from ecgjax.errors import counted
from ecgjax.launch import command
from ecgjax.workflows.doctor import examine_installation, examine_path
from ecgjax.workflows.doctor.findings import Finding, without_home
from ecgjax.workflows.doctor.installation import header

BEFORE_PASTING = {
    False: "(paste all of this into a bug report; ~ is your home folder)",
    True: "(look for names of people in the paths before you paste this into a bug report)",
}
"""Second line, without paths and with them."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Examines this installation or, if given, files: one line for each finding, with a remedy.

    Ends with status 1 if there is a PROBLEM, else 0.
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Prepared data sets, runs, checkpoints, models or folders of raw files. Default: examine the
    installation and this machine."""
    json: bool = False
    """Print the findings as JSON, one object in all."""


def main() -> None:
    """Parses the options, examines, and prints the findings."""
    arguments = command.parse(Arguments)
    findings = []
    if not arguments.json:
        print(header(), BEFORE_PASTING[bool(arguments.paths)], sep="\n")
    for finding in _findings(arguments.paths):
        findings.append(finding)
        if not arguments.json:
            print(finding.line(), flush=True)
    problems = sum(finding.level == "PROBLEM" for finding in findings)
    if arguments.json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        print(without_home(json.dumps({"about": header(), "findings": listed}, indent=1)))
    else:
        print(f"{counted(len(findings), 'finding')}, {counted(problems, 'problem')}")
    sys.exit(1 if problems else 0)


def _findings(paths: tuple[str, ...]) -> Iterator[Finding]:
    if not paths:
        yield from examine_installation()
        return
    # Files are examined on the CPU: a GPU may be in use by a run.
    os.environ["JAX_PLATFORMS"] = "cpu"
    for path in paths:
        with command.CountedProgress("recordings") as progress:
            yield from examine_path(path, progress)


if __name__ == "__main__":
    command.run(main)
