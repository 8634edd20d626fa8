"""The recordings that the rows of a table name, although people write the names in several ways."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}(\.gz)?$")
ARRAYS = "|".join(rf"(?<=\.{ending})" for ending in ("npz", "mat", "h5", "hdf", "hdf5", "zarr"))
RECORDING = re.compile(rf"#\d+$|(?:{ARRAYS})#.+$", re.IGNORECASE)
"""Part of a name after the file: a number, or the name of an array or group in the file."""


def clean(text: str, roots: Sequence[str]) -> str:
    r"""Returns a path in the folder with / between its parts.

    Args:
      text: the cell; it may have backslashes, begin with ./ or be absolute.
      roots: paths of the folder, with and without links.

    Raises:
      ValueError: it is empty, or leads out of the folder.
    """
    name = text.replace("\\", "/")
    for root in roots:
        name = name.removeprefix(f"{root}/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    windows_drive = re.match(r"[A-Za-z]:", name)
    if not parts or ".." in parts or windows_drive or name.startswith("/"):
        raise ValueError(text)
    return "/".join(parts)


def match(listed: Iterable[str], names: Iterable[str]) -> dict[str, list[str]]:
    """Returns the recordings that each listed name means, by the name.

    In this order, a name means the recording of exactly this name; all recordings FILE#0, FILE#1
    and so on if it is FILE; the recording without its ending, as in r0.hea for the record r0; the
    one with any ending; and the same with upper and lower case confused.

    Args:
      listed: names as `clean` returns them.
      names: names of the recordings: FILE, or FILE#0, FILE#1 and so on.

    Returns:
      One recording or all of one file; none if there is none; several of several files if the name
      is ambiguous.
    """
    names = list(names)
    found: dict[str, list[str]] = {name: [] for name in listed}
    missing = list(found)
    forms = [(spell, write, read) for spell in (str, _fold) for write, read in FORMS]
    for spell, write, read in forms:
        if not missing:
            break
        index = defaultdict(list)
        for name in names:
            index[write(spell(name))].append(name)
        found |= {name: index.get(read(spell(name)), []) for name in missing}
        missing = [name for name in missing if not found[name]]
    return found


def files(names: Iterable[str]) -> set[str]:
    """Returns the files that hold recordings."""
    return {_file(name) for name in names}


def _file(name: str) -> str:
    return RECORDING.sub("", name)


def _stem(name: str) -> str:
    file = _file(name)
    return ENDING.sub("", file) + name[len(file) :]


def _file_stem(name: str) -> str:
    return ENDING.sub("", _file(name))


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


Form = Callable[[str], str]
FORMS: tuple[tuple[Form, Form], ...] = (
    (str, str),
    (_file, str),
    (str, _stem),
    (_file, _stem),
    (_stem, str),
    (_file_stem, str),
)
"""(form of a recording's name, form of the listed name) that are compared, in this order."""
