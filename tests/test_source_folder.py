"""The walk over a user's folder: everything below it is found once or has a problem."""

import os
from pathlib import Path

import pytest

from tfds_builders.formats import source_folder
from tfds_builders.prepare import first_changed


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _names(files: list[source_folder.SourceFile]) -> list[str]:
    return [file.path for file in files if not file.problem]


def _problems(files: list[source_folder.SourceFile]) -> dict[str, str]:
    return {file.path: file.problem[1] for file in files if file.problem}


def test_every_visible_file_is_found_in_order_of_its_path(tmp_path):
    _touch(tmp_path, "b/c/x.hea", "a.HEA", "z.Hea", "b/y.dat", "b/noending")
    _touch(tmp_path, ".hidden.hea", ".git/x.hea", "b/._x.hea", "__MACOSX/a.hea")
    assert _names(source_folder.find(tmp_path)) == [
        "a.HEA",
        "b/c/x.hea",
        "b/noending",
        "b/y.dat",
        "z.Hea",
    ]
    assert _names(source_folder.find(tmp_path, [".hea"])) == ["a.HEA", "b/c/x.hea", "z.Hea"]


def test_links_inside_the_source_are_followed_and_no_file_is_found_twice(tmp_path):
    source = tmp_path / "src"
    _touch(source, "a/x.hea", "b/y.hea", ".store/1.hea", ".store/2.hea", ".other/3")
    (source / "a/loop").symlink_to(source)  # also a loop
    (source / "a/again.hea").symlink_to("x.hea")
    (source / "0").symlink_to("b")
    (source / "visible").symlink_to(".store")
    (source / ".store/back").symlink_to("../b")
    (source / "three.hea").symlink_to(".other/3")  # as git-annex stores files
    files = source_folder.find(source, [".hea"])
    expected = ["a/x.hea", "b/y.hea", "three.hea", "visible/1.hea", "visible/2.hea"]
    assert [file.path for file in files] == expected and not _problems(files)
    (tmp_path / "link").symlink_to("src")
    assert source_folder.find(tmp_path / "link", [".hea"]) == files


def test_links_that_leave_the_source_or_lead_nowhere_are_rejected_by_name(tmp_path):
    source = tmp_path / "src"
    _touch(source, "a.hea")
    _touch(tmp_path, "elsewhere/b.hea", "elsewhere/notes.txt")
    (source / "folder").symlink_to("../elsewhere")
    (source / "parent").symlink_to("..")
    (source / "b.hea").symlink_to(tmp_path / "elsewhere/b.hea")
    (source / "notes.txt").symlink_to(tmp_path / "elsewhere/notes.txt")
    (source / "gone.HEA").symlink_to("nothing")
    (source / "disk").symlink_to("/mnt/not mounted")
    (source / "self.hea").symlink_to("self.hea")
    files = source_folder.find(source, [".hea"])
    problems = _problems(files)
    assert _names(files) == ["a.hea"]
    assert [name for name in problems if "leaves the source" in problems[name]] == [
        "b.hea",
        "folder",
        "parent",
    ]
    assert [name for name in problems if "a link to nothing" in problems[name]] == [
        "disk",
        "gone.HEA",
        "self.hea",
    ]
    assert "notes.txt" in _problems(source_folder.find(source))
    for name, message in problems.items():
        assert message.startswith(f"{source / name}: ") and "; " in message


@pytest.mark.parametrize("name", ["d.zip", "d.ZIP", "d.tar", "d.tar.gz", "d.tgz", "d.7z", "d.rar"])
def test_an_archive_must_be_unpacked(tmp_path, name):
    _touch(tmp_path, f"in/{name}")
    for files in (source_folder.find(tmp_path), source_folder.find(tmp_path, [".hea"])):
        assert [file.problem and file.problem[0] for file in files] == ["packed"]
        assert "unpack" in _problems(files)[f"in/{name}"]


def test_a_compressed_file_is_a_problem_unless_it_is_wanted(tmp_path):
    _touch(tmp_path, "a.csv.gz", "b.csv", "c.txt.gz")
    assert "unpack" in _problems(source_folder.find(tmp_path, [".csv"]))["a.csv.gz"]
    files = source_folder.find(tmp_path, [".csv", ".csv.gz"])
    assert _names(files) == ["a.csv.gz", "b.csv"] and not _problems(files)


def test_a_store_is_one_file(tmp_path):
    _touch(tmp_path, "a.zarr/.zgroup", "a.zarr/signals/0.0", "b.npy")
    (tmp_path / "c.zarr").symlink_to("a.zarr")
    files = source_folder.find(tmp_path, [".zarr", ".npy"], stores=[".zarr"])
    assert files == [source_folder.SourceFile("a.zarr"), source_folder.SourceFile("b.npy")]


def test_what_cannot_be_opened_is_rejected_by_name(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.hea")
    (tmp_path / os.fsdecode(b"M\xfcller.hea")).touch()
    _touch(tmp_path, "locked/a.hea")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(source_folder.os, "scandir", refuse)  # root may read any folder
    problems = _problems(source_folder.find(tmp_path, [".hea"]))
    assert "no plain file" in problems["pipe.hea"]
    assert "Permission denied" in problems["locked"]
    assert "not UTF-8" in problems["M\\xfcller.hea"]


def test_a_path_is_judged_by_where_its_links_lead(tmp_path):
    _touch(tmp_path, "src/a", "out/b")
    (tmp_path / "src/in").symlink_to("a")
    (tmp_path / "src/out").symlink_to("../out/b")
    (tmp_path / "src/self").symlink_to("self")
    assert source_folder.is_inside(tmp_path / "src/in", tmp_path / "src")
    assert source_folder.is_inside(tmp_path / "src/absent", tmp_path / "src")
    assert not source_folder.is_inside(tmp_path / "src/out", tmp_path / "src")
    assert not source_folder.is_inside(tmp_path / "src/../out/b", tmp_path / "src")


def test_a_change_of_the_source_is_noticed(tmp_path):
    """Not only a new time of the content, which a copied file keeps."""
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner/a").touch()
    since = tmp_path / "report"
    since.touch()
    later_ns = since.stat().st_mtime_ns + 10**9
    os.utime(since, ns=(later_ns, later_ns))
    assert first_changed(source, since) is None
    os.utime(source / "inner/a", ns=(later_ns + 1, later_ns + 1))
    assert first_changed(source, since) == source / "inner/a"
    os.utime(source / "inner/a", ns=(0, 0))
    os.utime(source / "inner", ns=(later_ns + 1, later_ns + 1))  # a file was deleted
    assert first_changed(source, since) == source / "inner"
    os.utime(since, ns=(0, 0))
    assert first_changed(source, since) == source
