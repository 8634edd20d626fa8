"""Detection of the builder for each file of a user's input, by names; content decides later.

A folder in the layout of a public data set belongs to the builder of that data set. Any other
folder may hold files of several formats: WFDB records, arrays below an arrays.json, and vendors'
files. Files that are no recordings by their names, such as README or a PDF, are left out by name.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ecgjax.errors import InputError, counted
from tfds_builders.arrays import containers, description, files
from tfds_builders.formats import (
    own_files,
    source_folder,
    table_names,
    vendor_readers,
    wfdb,
    wfdb_header,
)
from tfds_builders.formats.source_folder import SourceFile, has_ending
from tfds_builders.prepare import find_builder

WFDB = "wfdb_folder"
ARRAYS = "arrays"
VENDOR = "vendor_folder"
OWN = (WFDB, ARRAYS, VENDOR)
"""Builders of a user's own files, in the order in which they are read."""
LAYOUTS = {
    "ptb_xl": ("ptbxl_database.csv", "records*"),
    "ludb": ("ludb.csv", "data/1.hea"),
    "code15": ("exams.csv", "exams_part*.hdf5"),
    "sph": ("metadata.csv", "records/A*.h5"),
    "mimic_iv_ecg": ("record_list.csv", "files/p1*"),
    "ptb_diagnostic": ("patient001/*.hea",),
}
"""Files by which the layout of a public data set is known. Others are read by their own names
only: cinc2021 has no file of its own, and leaves out the records of PTB-XL."""
SIGNALS = ".dat"
RECORD_ENDINGS = (SIGNALS, ".mat")
"""Endings of the signals of a WFDB record."""
VENDOR_ENDINGS = (".xml", ".scp", ".dcm", ".edf", ".bdf", ".ecg", ".mwf")
NO_RECORDING = re.compile(
    r"(readme|licen[cs]e|changelog|records|annotators|makefile|sha256sums|md5sums)\b.*", re.I
)
"""Names of files that people put beside their recordings."""
OTHER_ENDINGS = (".md", ".rst", ".pdf", ".html", ".htm", ".doc", ".docx", ".pptx", ".log")
OTHER_ENDINGS += (".png", ".jpg", ".jpeg", ".gif", ".svg", ".py", ".ipynb", ".m", ".r", ".sh")
OTHER_ENDINGS += (".yaml", ".yml", ".toml", ".ini", ".bib", ".sha256", ".md5", ".json", ".jsonl")
OTHER_ENDINGS += table_names.SPREADSHEETS
TABLE_ENDINGS = (*table_names.ENDINGS, ".csv.gz", ".tsv.gz", ".txt.gz", *files.PARQUET)
"""Text and Parquet files are recordings only below an arrays.json."""
SNIFFED_BYTES = 1 << 16


class Part(NamedTuple):
    """Files of one folder that one builder reads."""

    dataset: str
    """Name of the builder; the user may have added the config."""
    source: Path
    files: tuple[SourceFile, ...] | None = None
    """The files; None: all of the folder, as `prepare` reads them."""

    def __str__(self) -> str:
        if self.files is None:
            return f"{self.dataset}: {self.source}"
        count = sum(not file.problem for file in self.files)
        return f"{self.dataset}: {counted(count, 'file')} in {self.source}"


class Detected(NamedTuple):
    """The files of a user's input."""

    parts: list[Part]
    left_out: list[str]
    """Files that are no recordings by their names."""


def detect(
    paths: Sequence[Path], dataset: str | None = None, *, leave: Path | None = None
) -> Detected:
    """Finds the builder of each file.

    Args:
      paths: files, and folders that are searched with their subfolders. A WFDB record may be named
        by any of its files, or without an ending.
      dataset: "name" or "name/config", the builder of all paths; None: by the names of the files.
      leave: a file that is no recording, the output of the command.

    Raises:
      InputError: a path does not exist, or there is no recording.
    """
    if dataset:
        find_builder(dataset.partition("/")[0])  # refuses an unknown name
    parts: list[Part] = []
    chosen: defaultdict[Path, dict[str, SourceFile]] = defaultdict(dict)
    for path in paths:
        if not path.is_dir() or has_ending(path, files.STORES):
            folder, file = _locate(path)
            chosen[folder][file.path] = file
            if dataset and dataset.partition("/")[0] not in OWN:
                problem = f"--dataset {dataset}: {path} is a file"
                raise InputError(f"{problem}; give the folder of the data set as --input")
            continue
        folder = path.resolve()
        known = dataset or _layout(folder)
        if known and known.partition("/")[0] not in OWN:
            parts.append(Part(known, folder))
            continue
        if known and known.partition("/")[0] != VENDOR:
            parts.append(Part(known, folder))
            if table_names.find(folder):  # without a table, only the builder lists the files
                absent = own_files.absent(folder, source_folder.find(folder, stores=files.STORES))
                parts += [Part(VENDOR, folder, absent)] if absent else []
            continue
        found = source_folder.find(folder, stores=files.STORES)
        found += own_files.absent(folder, found)
        chosen[folder] |= {file.path: file for file in found if folder / file.path != leave}
    left_out: list[str] = []
    for folder, found in chosen.items():
        if dataset:
            parts.append(Part(dataset, folder, tuple(found.values())))
        else:
            parts += _Assignment(folder, found.values()).parts(left_out)
    if not parts:
        raise _nothing(paths, left_out)
    return Detected(parts, left_out)


def _nothing(paths: Sequence[Path], left_out: list[str]) -> InputError:
    names = ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
    others = f" (but {_some(left_out)})" if left_out else ""
    remedy = "give WFDB records, vendors' files, or arrays with an arrays.json beside them, such as"
    return InputError(f"{names}: no ECG file{others}; {remedy} {description.EXAMPLE}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def left_out_note(left_out: Sequence[str]) -> str:
    """Returns a line on the files that were left out."""
    tables = any(has_ending(Path(name), files.ENDINGS) for name in left_out)
    reason = "no ECG, or without an arrays.json" if tables else "no ECG"
    return f"{counted(len(left_out), 'file')} left out ({reason}): {_some(left_out)}"


def _layout(folder: Path) -> str | None:
    """Returns the public data set whose layout a folder has."""
    for dataset, patterns in LAYOUTS.items():
        if all(any(folder.glob(pattern)) for pattern in patterns):
            return dataset
    return None


def _locate(path: Path) -> tuple[Path, SourceFile]:
    """Returns the folder of a file, without links, and the file.

    Raises:
      InputError: there is no such file.
    """
    name = path.stem if has_ending(path, RECORD_ENDINGS) else path.name
    header = path.with_name(f"{name}{wfdb.ENDING}")
    if header.is_file() and (name != path.name or not path.exists()):
        path = header
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; correct --input")
    if _is_table_of_recordings(path.name):
        problem = f"{path}: a table of recordings, not a recording"
        raise InputError(f"{problem}; give its folder, or the files that it names")
    real = path.resolve()
    problem = None
    if not real.is_file() and not has_ending(real, files.STORES):
        problem = ("file_name", f"{path}: no plain file; put one there")
    elif has_ending(real, source_folder.ARCHIVES):
        problem = ("packed", f"{path}: an archive, whose files are not looked at; unpack it")
    return real.parent, SourceFile(real.name, problem)


class _Assignment:
    """The files of one folder, assigned to builders."""

    def __init__(self, folder: Path, found: Iterable[SourceFile]):
        self.folder = folder
        self.files = list(found)
        headers = [file.path for file in self.files if has_ending(file.path, [wfdb.ENDING])]
        self.records = {header[: -len(wfdb.ENDING)].casefold() for header in headers}
        self.headers = headers
        self.arrays_folder = functools.cache(_arrays_folder)  # not longer than for one call

    def parts(self, left_out: list[str]) -> list[Part]:
        """Returns the parts, and adds the names of other files to `left_out`."""
        assigned: defaultdict[tuple[str, Path], list[SourceFile]] = defaultdict(list)
        for file in self.files:
            if file.problem:
                assigned[VENDOR, self.folder].append(file)
            elif place := self._place(file, left_out):
                dataset, source, problem = place
                path = (self.folder / file.path).relative_to(source).as_posix()
                assigned[dataset, source].append(SourceFile(path, problem))
        order = sorted(assigned, key=lambda key: (OWN.index(key[0]), key[1]))
        return [Part(*key, tuple(assigned[key])) for key in order]

    def _place(
        self, file: SourceFile, left_out: list[str]
    ) -> tuple[str, Path, tuple[str, str] | None] | None:
        """Returns builder, folder and problem of a file; None if it is no recording of its own."""
        path = self.folder / file.path
        if path.name == description.FILE or _is_table_of_recordings(path.name):
            return None
        if has_ending(path, [wfdb.ENDING]):
            return WFDB, self.folder, None
        if has_ending(path, VENDOR_ENDINGS):
            return VENDOR, self.folder, None
        if self._is_part_of_record(file.path):
            return None
        if NO_RECORDING.fullmatch(path.name):
            left_out.append(file.path)
            return None
        if has_ending(path, files.ENDINGS) and (source := self.arrays_folder(path.parent)):
            return ARRAYS, source, None
        if has_ending(path, tuple(containers.KINDS)):
            problem = f"{path}: has no {description.FILE} in its folder or above; write one, such"
            return VENDOR, self.folder, ("format", f"{problem} as {description.EXAMPLE}")
        if has_ending(path, [SIGNALS]):
            problem = f"{path}: a signal file that no header names; add its header, or leave it out"
            return VENDOR, self.folder, ("header", problem)
        if has_ending(path, (*OTHER_ENDINGS, *TABLE_ENDINGS)) and not _is_kardia(path):
            left_out.append(file.path)
            return None
        return VENDOR, self.folder, None

    def _is_part_of_record(self, path: str) -> bool:
        """Tells whether a file belongs to a header, by its name or because the header names it."""
        if str(PurePosixPath(path).with_suffix("")).casefold() in self.records:
            return True
        return has_ending(path, RECORD_ENDINGS) and path.casefold() in self._signal_files

    @functools.cached_property
    def _signal_files(self) -> set[str]:
        """Paths in lower case of all files that headers name."""
        return {
            str(PurePosixPath(header).with_name(name)).casefold()
            for header in self.headers
            for name in wfdb_header.signal_files(self.folder / header, self.folder)
            if name and "/" not in name and name != "."
        }


def _is_table_of_recordings(name: str) -> bool:
    endings = (*table_names.ENDINGS, *table_names.SPREADSHEETS)
    return name.casefold().startswith(tuple(f"{table_names.NAME}{end}" for end in endings))


def _arrays_folder(folder: Path) -> Path | None:
    """Returns the nearest folder, this one or one above it, with a description of arrays."""
    folders = (folder, *folder.parents)
    return next((each for each in folders if (each / description.FILE).is_file()), None)


def _is_kardia(path: Path) -> bool:
    """Tells whether a JSON file is a recording of AliveCor's Kardia."""
    if path.suffix.casefold() != ".json":
        return False
    with path.open("rb") as file:
        return bool(vendor_readers.KARDIA.search(file.read(SNIFFED_BYTES).decode("latin-1")))
