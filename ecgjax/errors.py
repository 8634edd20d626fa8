"""Errors that a user can fix, and words for messages."""

LONGEST_MESSAGE = 200
"""Longest part of another library's message that is shown, in characters."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: the culprit and the remedy."""


class Interrupted(KeyboardInterrupt):
    """A run that a signal stopped. The message is one line: where it stopped and what was saved.

    It is a KeyboardInterrupt so that no `except Exception` continues after it.

    Attributes:
      signal: the number of the signal.
    """

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun: "1 recording", "2,000 recordings".

    Args:
      number: the number.
      noun: the noun in the singular.
      plural: its plural, if it is not `noun` with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def first_line(error: Exception) -> str:
    """Returns the type of an error and the first line of its message."""
    # TensorStore appends the representation of a C++ object, which tells a user nothing.
    message = str(error).split(" See full TensorStore details")[0]
    lines = message.strip().splitlines()
    name = type(error).__name__
    return f"{name}: {lines[0][:LONGEST_MESSAGE]}" if lines else name
