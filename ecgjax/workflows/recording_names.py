"""The recordings of a prepared data set by the names that people give them.

A name is a record id, a file, or a patient. Prepared data sets of own files hold keyed hashes of
files and patients; the key of `prepare --patient-key`, with the table beside it, tells which
recording a file is and which hash a patient has.
"""

import csv
import functools
import glob
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from tfds_builders.conversion.table import patient_hash
from tfds_builders.formats import listed_files

_WINDOW = re.compile(r"-w\d+$")
"""End of the record ids of windows of one recording, see tfds_builders/README.md."""
_HASH = re.compile(r"[0-9a-f]{24}")
"""Record id of an own file, see `privacy.hash_file_name`."""
_RATE = re.compile(r"_[lh]r$", re.IGNORECASE)
"""End of PTB-XL's names of files, which stands for their sampling rate."""
_POINT_ZERO = re.compile(r"\.0+$")
"""End of a whole number as pandas writes a column with gaps."""


class RecordingNames:
    """Finds recordings by record id, file or patient.

    A name of a file may differ from the one that is known in these ways: folders are added in front
    or left out; the ending is added or left out; upper and lower case; leading zeros.

    Args:
      records: the data set.
      key: the key file of own files.

    Raises:
      InputError: the key cannot be read.
    """

    def __init__(self, records: Records, key: Path | None):
        self.family = records.name.partition("/")[0]
        self._records = records
        self._ids: list[str] = records.column("record_id").to_pylist()
        self._key = key and key.expanduser()
        self._secrets = [f"ecgjax/{self.family}".encode()]  # as all builders of public data sets
        try:
            self._secrets += [self._key.read_bytes()] if self._key else []
        except OSError as error:
            remedy = "give the key file of prepare --patient-key"
            raise InputError(f"{key}: {error.strerror}; {remedy}") from error

    def find(self, names: Sequence[str]) -> list[list[int]]:
        """Returns the recordings of each record id or file, [name][recording].

        A file may hold several recordings. A name that several files have is not found.
        """
        found: dict[str, list[int]] = {"": []}
        for shorten in (str, _stem, _folded, _unpadded):
            missing = [name for name in dict.fromkeys(names) if name not in found]
            if not missing:
                break
            index = self._index(shorten)
            for name in missing:
                if numbers := index.find(shorten(_clean(name))):
                    # One file: more are several of this name in different folders.
                    files = {self._files[number] for number in numbers}
                    found[name] = sorted(numbers) if len(files) == 1 else []
        return [found.get(name, []) for name in names]

    def find_patients(self, names: Sequence[str]) -> list[list[int]]:
        """Returns the recordings of each patient, [name][recording]."""
        numbers: dict[str, list[int]] = {}
        for number, patient in enumerate(self._records.column("patient_id").to_pylist()):
            numbers.setdefault(patient, []).append(number)
        found: dict[str, list[int]] = {"": []}
        for name in dict.fromkeys(names):
            forms = (name, _POINT_ZERO.sub("", name), _unpadded(name))
            hashes = [name, *(patient_hash(form, key) for key in self._secrets for form in forms)]
            found.setdefault(name, next((numbers[text] for text in hashes if text in numbers), []))
        return [found[name] for name in names]

    @functools.cached_property
    def example(self) -> str:
        """A name of a recording that would be found."""
        return min(self._names, key=lambda name: (name in self._ids, name)) if self._ids else ""

    @property
    def is_own(self) -> bool:
        """True if the record ids are hashes of own files."""
        return bool(self._ids) and all(_HASH.fullmatch(_whole(name)) for name in self._ids[:100])

    @functools.cached_property
    def has_files(self) -> bool:
        """True if a table beside the key names the files."""
        return len(self._names) > len(set(self._ids) | set(map(_whole, self._ids)))

    @functools.cached_property
    def _names(self) -> dict[str, set[int]]:
        """Numbers of the recordings by every name."""
        names: dict[str, set[int]] = {}
        numbers: dict[str, int] = {}
        for number, record_id in enumerate(self._ids):
            numbers[record_id] = number
            for name in (record_id, _whole(record_id)):
                names.setdefault(name, set()).add(number)
        for record_id, file in self._key_rows():
            if record_id in numbers:
                for name in (file, *listed_files.files([file])):
                    names.setdefault(name, set()).add(numbers[record_id])
        return names

    @functools.cached_property
    def _files(self) -> list[str]:
        """Identity of the file of each recording, [recording]."""
        files = [_whole(record_id) for record_id in self._ids]
        numbers = {record_id: number for number, record_id in enumerate(self._ids)}
        for record_id, file in self._key_rows():
            if record_id in numbers:
                (files[numbers[record_id]],) = listed_files.files([file])
        return files

    def _index(self, shorten: Callable[[str], str]) -> "_Index":
        index = _Index()
        for name, numbers in self._names.items():
            if shorten is not str and _HASH.fullmatch(name):
                continue  # a hash has no zeros or ending to leave out
            index.add(shorten(_clean(name)), numbers)
        return index

    def _key_rows(self) -> Iterator[tuple[str, str]]:
        """Yields record id and file from the tables beside the key that are of this data set."""
        if not self._key:
            return
        tables = self._key.parent.glob(f"{glob.escape(self._key.name)}.{self.family}*.csv")
        for path in sorted(tables):
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                for row in csv.DictReader(file):
                    if row.get("record_id") and row.get("file"):
                        yield row["record_id"], row["file"]


class _Index:
    """Recordings by path: a path is found if it ends like one of the index, or the reverse."""

    def __init__(self):
        self._whole: dict[str, set[int]] = {}
        self._ends: dict[str, set[int]] = {}

    def add(self, path: str, numbers: set[int]) -> None:
        """Adds recordings under a path and its ends."""
        self._whole.setdefault(path, set()).update(numbers)
        for end in _ends(path):
            self._ends.setdefault(end, set()).update(numbers)

    def find(self, path: str) -> set[int]:
        """Returns the recordings of the path; an equal path comes first, then the longest end."""
        for text in (path, *_ends(path)):
            if text in self._whole:
                return self._whole[text]
        return self._ends.get(path, set())


def _ends(path: str) -> list[str]:
    """Returns the path without one or more folders in front, the longest first."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def _clean(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./").removeprefix("/")


def _whole(record_id: str) -> str:
    return _WINDOW.sub("", record_id)


def _stem(name: str) -> str:
    return listed_files.ENDING.sub("", name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", _stem(name)).casefold()


def _unpadded(name: str) -> str:
    """Returns a name without leading zeros, an ending .0, and PTB-XL's ends of names."""
    folder, slash, last = _folded(name).rpartition("/")
    last = _RATE.sub("", _POINT_ZERO.sub("", last))
    return folder + slash + (last.lstrip("0") or "0" if last.isdecimal() else last)
