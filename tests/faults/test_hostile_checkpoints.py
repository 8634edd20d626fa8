"""A checkpoint of somebody else ends in one line, whatever its config and its arrays claim."""

import json
import os
import resource
import shutil
import time
from pathlib import Path

import pytest

from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.train import config_bounds
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.config_bounds import MOST_NUMBERS
from ecgjax.train.manifest import check_config, encoder_from_config, json_hash
from ecgjax.train.model import load_model

GOLDEN = Path(__file__).parents[1] / "golden/format-2/checkpoints/2"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "2")


def _set(config: dict, path: str, value: object) -> None:
    *holders, name = path.split(".")
    for holder in holders:
        config = config.setdefault(holder, {})
    config[name] = value


CONFIGS = {
    "widths": ([-8], ["x"], 8, None, [8] * 3000, [10**9], [True], [], [[8]], "8"),
    "kernel": ("5", 0.5, None, [5], 10**7),
    "name": ("../x", ["compact_resnet"], None, "resnet" * 1000),
    "extra": (1,),
}
PREPROCESSING = {
    "seconds": (1e12, -1, None, "10", float("inf"), float("nan"), [10]),
    "rate_hz": (0, 1e9, "x", None),
    "window_s": ("5", 1e-9, 1e12),
    "clip_mv": (None, 0),
    "units": ("../x", None),
    "normalisation": ("exec", None, ["none"]),
    "baseline": ("this",),
    "filters": ({},),
    "leads": ([], ["I", "I"], ["../x"], "I", None, [1]),
    "extra": (1,),
}
OTHERS = {
    "encoder": (None, [], "x"),
    "preprocessing": (None, [], 1),
    "outputs": ([], {}, {"target": "a", "kind": "x", "names": ["a"]}, 5),
    "queries": (-1, "x", 10**9),
    "data": (5, None),
    "start_data": ([5], 3),
    "init": (5, {"init": None}, {"data": []}),
    "published": ([], {}),
    "format": (99, None, [2]),
}
CASES = [
    (f"{prefix}{name}", value)
    for prefix, group in (("encoder.", CONFIGS), ("preprocessing.", PREPROCESSING), ("", OTHERS))
    for name, values in group.items()
    for value in values
]


def _changed(path: str, value: object) -> dict:
    config = json.loads((GOLDEN / "config/data.json").read_text())
    _set(config, path, value)
    return json.loads(json.dumps(config))


@pytest.mark.parametrize(("path", "value"), CASES, ids=lambda part: str(part)[:30])
def test_a_config_out_of_bounds_ends_in_one_line(path, value):
    config = _changed(path, value)
    with pytest.raises(InputError) as error:
        encoder_from_config(check_config(config, {"config": json_hash(config)}, GOLDEN))
    message = str(error.value)
    assert "\n" not in message and len(message) < 1000


@pytest.mark.parametrize(("path", "value"), CASES[:: len(CASES) // 4])
def test_a_checkpoint_with_such_a_config_does_not_load(folder, path, value):
    """The manifest agrees with the config: somebody wrote both."""
    config = _changed(path, value)
    (folder / "config/data.json").write_text(json.dumps(config))
    manifest = json.loads((folder / "manifest/data.json").read_text())
    manifest["config"] = json_hash(config)
    (folder / "manifest/data.json").write_text(json.dumps(manifest))
    _refuse(folder)


def _refuse(folder: Path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    with pytest.raises(InputError) as error:
        load_model(folder)
    message = str(error.value)
    assert "\n" not in message and str(folder) in message and len(message) < 1000
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6  # KB
    return message


@pytest.mark.parametrize("name", ["config/data.json", "encoder/manifest.ocdbt"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_files_that_are_no_files_end_in_one_line(folder, name, kind):
    file = folder / name
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero" if kind == "device" else "/etc/passwd")
    assert f"{file}: is not a regular file" in _refuse(folder)


@pytest.mark.parametrize("content", [b"null", b"{", b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("name", ["config", "manifest"])
def test_json_that_is_none_ends_in_one_line(folder, name, content):
    (folder / name / "data.json").write_bytes(content)
    _refuse(folder)


def test_folders_in_folders_without_end_are_refused(folder):
    deep = folder.joinpath(*["x"] * 40)
    deep.mkdir(parents=True)
    assert "levels of folders" in _refuse(folder)
    shutil.rmtree(folder / "x")


def test_a_config_of_a_gigabyte_is_refused_unread(folder):
    with (folder / "config/data.json").open("wb") as file:
        file.truncate(1_500_000_000)
    assert "1,500,000,000 bytes, too large for its purpose" in _refuse(folder)


def test_a_newest_checkpoint_that_is_not_whole_is_named(folder, tmp_path):
    steps = tmp_path / "run/checkpoints"
    for name in ("10", "20", "2²"):
        shutil.copytree(folder, steps / name)
    assert find_checkpoint(tmp_path / "run").name == "20"
    shutil.rmtree(steps / "20/manifest")
    with pytest.warns(UserWarning, match="20: has no manifest, so it is not whole; taking 10"):
        assert find_checkpoint(tmp_path / "run").name == "10"


class _Array:
    def __init__(self, shape, dtype="uint32", chunk=None):
        self.shape = shape
        self.dtype = dtype
        self.storage_metadata = type("Storage", (), {"chunk_shape": chunk or shape})


def test_a_set_of_recordings_that_claims_to_be_enormous_is_not_read(folder, monkeypatch):
    good = {name: _Array(half.shape) for name, half in Seen.none().to_uint32().items()}
    config_bounds.check_seen(good)
    config_bounds.check_chunks(good)
    for wrong in (_Array((MOST_NUMBERS + 1,)), _Array((4, 4)), _Array((4,), "float32")):
        with pytest.raises(ValueError, match="data"):
            config_bounds.check_seen(good | {"waveforms": wrong})
    with pytest.raises(ValueError, match="lacks waveforms"):
        config_bounds.check_seen({"patients": good["patients"]})
    with pytest.raises(ValueError, match=r"waveforms is stored in pieces of \[100000000000\]"):
        config_bounds.check_chunks(good | {"waveforms": _Array((4,), chunk=(10**11,))})
    monkeypatch.setattr(config_bounds, "MOST_NUMBERS", 10)
    assert "more than 10" in _refuse(folder)
