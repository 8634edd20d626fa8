"""First aid: findings on packages, devices, damaged data sets, checkpoints and raw files."""

import importlib.metadata
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from ecgjax.data import binding
from ecgjax.launch import doctor
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.model import load_model, save_model
from ecgjax.workflows.doctor import accelerators, examine_installation, examine_path, machine
from ecgjax.workflows.doctor import installation as packages

DEVICES = {"step": "devices", "backend": "cpu", "devices": [{"kind": "cpu", "bytes": None}]}


def _examine(path):
    return list(examine_path(str(path), lambda done, total: None))


def _problems(path) -> str:
    return "\n".join(finding.line() for finding in _examine(path) if finding.level == "PROBLEM")


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_a_data_set_and_its_run_are_sound(prepared, workdir, tiny_encoders):
    *findings, last = _examine(prepared), *_examine(workdir)
    assert {finding.level for finding in [*findings[0], last]} <= {"OK", "NOTE"}
    assert "agree with their hashes" in findings[0][0].line()
    assert "compact_resnet" in last.line() and str(find_checkpoint(workdir)) in last.line()


def test_every_damaged_shard_is_listed(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "data")
    for shard in copy.glob("*.array_record-*"):
        _flip(shard, shard.stat().st_size // 2)  # in a recording, not in the ends that are bound
    problems = _problems(copy)
    assert problems and all(line.startswith("PROBLEM") for line in problems.splitlines())
    assert "damaged" in problems or "are not those of its row" in problems


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: _flip(folder / "records.parquet", 100), "records.parquet: differs"),
        (lambda folder: (folder / "records.parquet").unlink(), "records.parquet: is missing"),
        (lambda folder: (folder / "binding.json").unlink(), "no hashes bind"),
        (lambda folder: (folder / "features.json").write_text("{"), "features.json: damaged"),
        (lambda folder: next(folder.glob("*-train*")).unlink(), "is missing"),
        (lambda folder: next(folder.glob("*-train*")).write_bytes(b""), "0 bytes instead of"),
    ],
)
def test_a_damaged_data_set_is_one_problem_with_a_remedy(prepared, tmp_path, damage, message):
    copy = shutil.copytree(prepared, tmp_path / "data")
    damage(copy)
    problems = _problems(copy)
    assert problems.count("\n") == 0 and message in problems and "; " in problems


def test_a_patient_in_two_splits_is_a_problem(prepared, tmp_path, monkeypatch):
    from ecgjax.data.records import Records

    monkeypatch.setattr(Records, "patients", np.zeros(1000, np.int32))
    assert "1 patients are in split validation and in another one" in _problems(prepared)


def test_weights_that_are_not_finite_are_a_problem(workdir, tmp_path, tiny_encoders):
    model = load_model(workdir)
    kernel = model.variables["params"]["stem"]["kernel"].copy()
    kernel[0, 0, 0] = np.nan
    model.variables["params"]["stem"]["kernel"] = kernel
    save_model(tmp_path / "model", model)
    assert "1 arrays of the encoder hold NaN or infinity (params.stem.kernel)" in _problems(
        tmp_path
    )


def test_damaged_checkpoints_are_problems(workdir, tmp_path, tiny_encoders):
    copy = shutil.copytree(find_checkpoint(workdir), tmp_path / "4")
    for file in sorted((copy / "train").rglob("*")):
        if file.is_file() and file.stat().st_size > 5000:
            _flip(file, file.stat().st_size // 2)
    assert "train" in _problems(tmp_path)  # the encoder alone would load
    shutil.rmtree(copy / "config")
    assert "config" in _problems(tmp_path)


@pytest.mark.parametrize(
    ("names", "level", "words"),
    [
        (["ptbxl_database.csv", "records500/1_hr.hea"], "OK", "--dataset ptb_xl/500hz"),
        (["g1/A0001.hea", "g1/A0001.mat"], "NOTE", "--dataset cinc2021 "),
        (["a.hea", "a.dat"], "OK", "1 recording file for wfdb_folder.* --patient-key"),
        (["a.hea", "a.dat"], "NOTE", "recordings.csv, so every file counts as a patient"),
        (["a/b.XML"], "PROBLEM", "b.XML: none of GE MUSE.*; leave it out"),
        (["a.npz", "arrays.json"], "OK", "--dataset arrays"),
        (["a.npz"], "PROBLEM", "no arrays.json"),
        (["a.hea", "b.npy"], "PROBLEM", "b.npy: has no arrays.json"),
        (["a.hea", "notes.md"], "NOTE", "1 files are no ECG"),
        (["all.zip"], "PROBLEM", "all.zip: an archive.*; unpack"),
        (["a.jpg"], "PROBLEM", "no ECG file"),
        ([], "PROBLEM", "no ECG file"),
    ],
)
def test_raw_files_have_a_builder_or_a_remedy(tmp_path, names, level, words):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    lines = [finding.line() for finding in _examine(tmp_path)]
    assert any(line.startswith(level) and re.search(words, line) for line in lines), lines


def test_vendors_files_are_known_by_their_content(tmp_path):
    (tmp_path / "a.XML").write_text("<?xml?><RestingECG/>")
    (tmp_path / "key").write_text("secret")
    problem, sound = [finding.line() for finding in _examine(tmp_path)]
    assert "key: none of GE MUSE" in problem and "1 recording file for vendor_folder" in sound


def test_a_path_that_is_not_there_is_a_problem(tmp_path):
    assert "no such file or folder" in _problems(tmp_path / "absent")
    assert "a URL" in _problems("gs://x")


def test_an_error_that_nobody_foresaw_is_a_problem(monkeypatch, tmp_path):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("ecgjax.workflows.doctor.data_sets.find", fail)
    assert "cannot be examined (PermissionError" in _problems(tmp_path)


@pytest.fixture
def installation(monkeypatch):
    """Examines the installation with a trial that a shell script plays; returns all lines."""

    def examine(script="exit 0"):
        monkeypatch.setattr(accelerators, "COMMAND", ("sh", "-c", script))
        return [finding.line() for finding in examine_installation()]

    return examine


def test_versions_are_compared(installation, monkeypatch):
    version = importlib.metadata.version
    versions = {"flax": "0.1.0", "jaxlib": "0.1.0", "numpy": "99.0"}
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: versions.get(name) or version(name)
    )
    lines = installation()
    for name in versions:
        problem = next(line for line in lines if f" {name}: " in line)
        assert problem.startswith("PROBLEM") and f"pip install '{name}" in problem
    assert any(line.startswith("OK      optax: ") for line in lines)


def test_an_absent_package_is_a_problem(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    lines = [finding.line() for finding in packages.examine()]
    assert any(line.startswith("PROBLEM tyro: is not installed; pip install") for line in lines)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", "start of JAX: crashes (SIGSEGV)"),
        ("echo no driver >&2; exit 3", "start of JAX: ends with status 3 (no driver)"),
        ('echo \'{"step": "data", "error": "OSError: full"}\'', "set: fails (OSError: full)"),
        ('echo \'{"step": "bfloat16", "deviation": 2.0, "seconds": 1}\'', "error 2.00"),
        ('echo \'{"step": "training", "begins": true}\'; kill -9 $$', "run: crashes (SIGKILL)"),
    ],
)
def test_a_trial_that_fails_is_a_problem(installation, script, message):
    assert any(line.startswith("PROBLEM") and message in line for line in installation(script))


def test_a_trial_that_hangs_is_a_problem(installation, monkeypatch):
    monkeypatch.setattr("ecgjax.workflows.doctor.LONGEST_TRIAL_S", 0.1)
    assert any("does not end within 0.1 s" in line for line in installation("sleep 9"))


@pytest.mark.parametrize(
    ("hardware", "variables", "level", "words"),
    [
        ("gpu", {}, "PROBLEM", "no support for it; pip install '.[cuda]'"),
        ("gpu", {"JAX_PLATFORMS": "cpu"}, "NOTE", "JAX_PLATFORMS is set"),
        ("gpu", {"CUDA_VISIBLE_DEVICES": ""}, "NOTE", "hidden"),
        ("tpu", {}, "PROBLEM", "'.[tpu]'"),
    ],
)
def test_a_device_that_jax_does_not_use_is_found(monkeypatch, hardware, variables, level, words):
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(accelerators, "hardware", lambda: hardware)
    monkeypatch.setattr(accelerators, "installed", lambda name: None)
    lines = [finding.line() for finding in accelerators.examine(DEVICES)]
    assert any(line.startswith(level) and words in line for line in lines)


def test_scarce_disk_and_memory_are_found(monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9, 10**8)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(machine, "memory_bytes", lambda: (10**9, 10**9))
    lines = [finding.line() for finding in machine.examine()]
    assert any(line.startswith("PROBLEM disk of this folder: 0.1 GB free") for line in lines)
    assert any(line.startswith("NOTE    memory: 1.0 GB free of 1.0 GB") for line in lines)


def test_the_command_prints_no_home_folder_and_ends_with_its_status(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # the command sets it
    monkeypatch.setattr(sys, "argv", ["doctor", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as end:
        doctor.main()
    printed = capsys.readouterr().out
    assert end.value.code == 1 and "PROBLEM ~/absent: no such" in printed
    assert str(tmp_path) not in printed and "1 finding, 1 problem" in printed
    (tmp_path / "a.xml").write_text('<AnnotatedECG xmlns="urn:hl7-org:v3"></AnnotatedECG>')
    monkeypatch.setattr(sys, "argv", ["doctor", "--json", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        doctor.main()
    printed = capsys.readouterr().out
    assert end.value.code == 0 and str(tmp_path) not in printed
    assert json.loads(printed)["findings"][0]["level"] == "OK"


def test_sketches_of_other_recordings_are_found(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "data")
    table = pyarrow.parquet.read_table(copy / "records.parquet")
    place = table.schema.get_field_index("sketch")
    texts = table["sketch"].to_pylist()
    exchanged = table.set_column(place, "sketch", pyarrow.array(texts[1:] + texts[:1]))
    pyarrow.parquet.write_table(exchanged, copy / "records.parquet")
    binding.write(copy)
    assert "sketches are not those of their recordings" in _problems(copy)
