"""Findings of `doctor`: one line each, with a level and a remedy."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from ecgjax.errors import InputError, first_line

Level = Literal["OK", "NOTE", "PROBLEM"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result of an examination."""

    level: Level
    """OK, NOTE (works, but slower or not as you may expect) or PROBLEM."""
    subject: str
    """Examined thing: a package, a device, a file."""
    message: str
    """State of the subject."""
    remedy: str = ""
    """Action that the user can take; empty for OK."""

    def line(self) -> str:
        """Returns the finding as one line, with ~ for the home folder."""
        words = f"{self.subject}: {self.message}{self.remedy and '; '}{self.remedy}".split()
        return without_home(f"{self.level:8}{' '.join(words)}")


Examination = Callable[[], Iterator[Finding]]


def examined(subject: str, examination: Examination) -> Iterator[Finding]:
    """Yields the findings of an examination; one that fails is a finding, too."""
    try:
        yield from examination()
    except InputError as error:
        yield problem(subject, error)
    except Exception as error:  # a doctor examines what is broken, in ways nobody listed
        remedy = "report it with this whole output"
        yield Finding("PROBLEM", subject, f"cannot be examined ({first_line(error)})", remedy)


def problem(subject: str, error: InputError) -> Finding:
    """Returns an error of wrong input, "PATH: problem; remedy", as a finding.

    Args:
      subject: what was examined; a path of the error that is inside it takes its place.
      error: the error.
    """
    message, _, remedy = str(error).partition("; ")
    path, colon, rest = message.partition(": ")
    if colon and path.startswith(subject):
        return Finding("PROBLEM", path, rest, remedy)
    return Finding("PROBLEM", subject, message, remedy)


def without_home(text: str) -> str:
    """Returns a text with ~ in place of the user's home folder, whose name is mostly a person's."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
