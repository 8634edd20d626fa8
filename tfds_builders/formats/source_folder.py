"""The files below a user's folder: each one is listed once, or listed with its problem.

Links are followed as long as they stay inside the folder. Hidden files and folders are skipped.
"""

import dataclasses
import functools
import os
import stat
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath

from tfds_builders.recording.quality import RecordingError

ARCHIVES = (".zip", ".tar", ".7z", ".rar", ".tgz", ".tbz2", ".txz")
"""Endings of archives, whose content nobody sees before it is unpacked."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".z")
"""Endings of a compressed file, which a tar archive or a wanted file may have in addition."""
SKIPPED = ("__MACOSX",)
"""Folders that macOS adds to a zip archive: its files look like recordings and are none."""


@dataclasses.dataclass(frozen=True, order=True)
class SourceFile:
    """A file below the folder of a user's own files."""

    path: str
    """Path in the folder, with / between its parts. A file that links lead to has the path without
    links, or the first link if that path is hidden."""
    problem: tuple[str, str] | None = None
    """(reason, message) if it is known to be rejected; a folder that cannot be listed, or a link
    that leaves the source, stands for all files behind it."""


def find(
    source: Path, endings: Collection[str] | None = None, *, stores: Collection[str] = ()
) -> list[SourceFile]:
    """Returns the files of a folder and its subfolders, ordered by path.

    Args:
      source: the folder.
      endings: the wanted files, by endings in lower case such as ".hea"; case does not matter. None
        returns all files. Whatever may hide wanted files is returned with its problem: archives,
        links that leave the source, folders that cannot be listed.
      stores: endings of folders that count as one file, such as ".zarr".
    """
    walk = _Walk(source, endings, tuple(stores))
    walk.add_folder(walk.root, "")
    while walk.links:
        links = sorted(walk.links)
        walk.links.clear()
        for link in links:
            walk.follow(link)
    return sorted(walk.files.values())


def is_inside(path: Path, source: Path) -> bool:
    """Tells whether a path is in a folder when all links are followed."""
    try:
        return path.resolve().is_relative_to(source.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False


def has_ending(path: str | PurePath, endings: Collection[str]) -> bool:
    """Tells whether a file name has one of the endings, given in lower case."""
    return PurePath(path).name.casefold().endswith(tuple(endings))


def locate(path: Path, source: Path | None = None) -> Path:
    """Returns the file that has the name of `path` but for upper and lower case.

    Headers that were written on Windows or macOS often name their files in another case, or with
    accents in another Unicode form.

    Args:
      path: the file.
      source: folder that a link may not leave; the file's own folder if None.

    Returns:
      The path of a regular file, or `path` itself if there is no such file: opening it will raise
      an error.

    Raises:
      RecordingError: it is something else, such as a pipe, which would block the reader, or a link
        that leaves the folder; or several files have such a name.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        path = _in_any_case(path)
        if not os.path.lexists(path):
            return path
        mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        if not path.exists():  # a link to nothing or to itself
            return path
        if not is_inside(path, source or path.parent):
            problem = f"{path}: a link that leaves {'the source' if source else 'its folder'}"
            raise RecordingError("file_name", f"{problem}; put the file there")
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise RecordingError("file_name", f"{path}: no plain file; put one there")
    return path


def _in_any_case(path: Path) -> Path:
    try:
        folder = str(path.parent)
        names = _names_by_plain_name(folder, os.stat(folder).st_mtime_ns)
    except (OSError, ValueError):  # ValueError: a null in the name
        return path
    same = names.get(_plain_name(path.name), ())
    if len(same) > 1:
        problem = f"{path}: several files have this name in other cases"
        raise RecordingError("file_name", f"{problem}; rename one of them")
    return path.with_name(same[0]) if same else path


@functools.lru_cache(maxsize=2)
def _names_by_plain_name(folder: str, changed_ns: int) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for name in os.listdir(folder):
        plain = _plain_name(name)
        names[plain] = (*names.get(plain, ()), name)
    return names


def _plain_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


class _Walk:
    """The files found so far, by their paths without links, and the links still to be followed."""

    def __init__(self, source: Path, endings: Collection[str] | None, stores: tuple[str, ...]):
        self.source = source
        self.root = source.resolve()
        self.endings = endings
        self.stores = stores
        self.files: dict[str, SourceFile] = {}
        self.folders: set[str] = set()
        self.links: list[str] = []

    def add_folder(self, folder: Path, name: str) -> None:
        """Adds the files of a folder and its subfolders.

        Args:
          folder: the folder, without links in its path.
          name: its path in the source, by which its files are named.
        """
        pending = [(str(folder), name)]
        while pending:
            real, name = pending.pop()
            if real in self.folders:
                continue
            self.folders.add(real)
            try:
                entries = list(_visible(real))
            except OSError as error:
                problem = f"{error.strerror}; make the folder readable"
                self._reject(real, name, "unreadable", problem)
                continue
            for entry in entries:
                entry_name = f"{name}/{entry.name}" if name else entry.name
                if entry.is_symlink():
                    self.links.append(entry_name)
                elif entry.is_dir() and not has_ending(entry.name, self.stores):
                    pending.append((entry.path, entry_name))
                else:
                    self._add_file(entry.path, entry_name)

    def follow(self, name: str) -> None:
        """Adds what a link leads to, unless it was found before."""
        try:
            target = (self.root / name).resolve(strict=True)
        except (OSError, RuntimeError):  # absent, not allowed, or a link to itself
            self._reject_link(name, "a link to nothing; restore what it leads to, or delete it")
            return
        if not target.is_relative_to(self.root):
            remedy = "put the files themselves there"
            self._reject_link(name, f"a link that leaves the source; {remedy}")
        elif target.is_dir() and not has_ending(target.name, self.stores):
            self.add_folder(target, name)
        else:
            self._add_file(str(target), name)

    def _add_file(self, real: str, name: str) -> None:
        if real in self.files:
            return
        if problem := _packed(name, self.endings):
            self._reject(real, name, "packed", problem)
        elif self._is_wanted(name):
            if not has_ending(real, self.stores) and not stat.S_ISREG(os.lstat(real).st_mode):
                self._reject(real, name, "file_name", "no plain file; put one there")
            elif _printable(name) != name:
                self._reject(real, name, "file_name", "a name that is not UTF-8; rename it")
            else:
                self.files[real] = SourceFile(name)

    def _is_wanted(self, name: str) -> bool:
        return self.endings is None or has_ending(name, self.endings)

    def _reject_link(self, name: str, problem: str) -> None:
        path = str(self.root / name)
        # A link of another ending may lead to a folder of wanted files.
        if self._is_wanted(name) or os.path.isdir(path) or not PurePath(name).suffix:
            self._reject(path, name, "file_name", problem)

    def _reject(self, real: str, name: str, reason: str, problem: str) -> None:
        message = f"{_printable(str(self.source / name))}: {problem}"
        self.files[real] = SourceFile(_printable(name) or ".", (reason, message))


def _visible(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in SKIPPED:
                yield entry


def _packed(name: str, endings: Collection[str] | None) -> str | None:
    """Returns the problem of a file that must be unpacked before its recordings can be found."""
    if endings and has_ending(name, endings):
        return None
    plain, ending = os.path.splitext(name.casefold())
    if has_ending(name, ARCHIVES) or (ending in COMPRESSED and plain.endswith(".tar")):
        return "an archive, whose files are not looked at; unpack it here and delete it"
    if ending in COMPRESSED and endings and has_ending(plain, endings):
        return "a compressed file; unpack it"
    return None


def _printable(name: str) -> str:
    """Returns a name with the bytes that are not UTF-8 written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
