"""Data sets in object stores; fsspec's in-memory store stands in for one."""

import fsspec
import pytest

from ecgjax import remote
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.launch import prepare


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def store():
    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def test_a_local_folder_is_returned_unchanged(tmp_path):
    assert remote.local(str(tmp_path)) == tmp_path


def test_a_data_set_is_published_and_copied_back(prepared, store):
    order = []
    put = store.put_file
    store.put_file = lambda source, target: order.append(target) or put(source, target)
    remote.publish(prepared, "memory://bucket/ptb/2.0.0/")
    del store.put_file
    assert order[-1].endswith("records.parquet") and len(order) == len(list(prepared.iterdir()))
    copy = remote.local("memory://bucket/ptb/2.0.0")
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == {
        file.name: file.read_bytes() for file in prepared.iterdir()
    }
    assert Records(copy).fingerprint == Records(prepared).fingerprint
    store.rm("/bucket/ptb/2.0.0/report.html")
    again = remote.local("memory://bucket/ptb/2.0.0")
    assert again != copy and not (again / "report.html").exists()


def test_a_remote_folder_is_copied_only_once(store, monkeypatch):
    store.pipe("/bucket/raw/a/b.txt", b"text")
    copy = remote.local("memory://bucket/raw")
    assert copy.name == "raw" and (copy / "a/b.txt").read_bytes() == b"text"
    monkeypatch.setattr(store, "get_file", None)
    assert remote.local("memory://bucket/raw") == copy


def test_prepare_writes_to_a_store_and_prints_the_next_command(store, monkeypatch, capsys):
    out = "memory://bucket/out"
    words = ["prepare", "--dataset", "synthetic/100hz", "--out", out, "--limit", "4"]
    monkeypatch.setattr("sys.argv", words)
    prepare.main()
    url = f"{out}/synthetic/100hz-limit4/2.0.0"
    assert f"python -m ecgjax.launch.pretrain --data {url}" in capsys.readouterr().out
    assert len(Records(remote.local(url))) == 12


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://bucket/absent", "memory://bucket/absent: no such folder, or an empty one"),
        ("nosuchstore://bucket/x", "nosuchstore://bucket/x: .*not known"),
    ],
)
def test_absent_folders_and_unknown_stores_are_refused(store, url, message):
    with pytest.raises(InputError, match=message):
        remote.local(url)
