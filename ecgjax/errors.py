"""Errors that a user can mend, and how an error of another library fits into one line."""

LONGEST_MESSAGE = 200
"""Characters that are kept of another library's message."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: the culprit and the remedy."""


def first_line(error: Exception) -> str:
    """Returns the type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {lines[0][:LONGEST_MESSAGE]}" if lines else name
