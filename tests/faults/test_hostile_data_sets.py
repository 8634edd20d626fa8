"""Opening a data set that somebody else made imports and runs nothing, and stays in its folder.

Each of the hostile data sets is refused with one line that names the file, or read as if nothing
hostile were in it. An attacker can write hashes as well as anybody: every second one is bound.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import format_1
from hostile import CASES, HARMLESS

from ecgjax.data import binding


def _link_shards(source, target):
    link = os.link if "array_record" in source else shutil.copy
    link(source, target)


@pytest.fixture(scope="module")
def outcomes(prepared, tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    shutil.copytree(prepared, root / "good")
    shutil.copytree(prepared, root / "outside")
    shutil.copy(next(prepared.glob("*-train.array*")), root / "outside/shard")
    for number, (name, change) in enumerate(CASES.items()):
        folder = root / "sets" / name.replace(" ", "_")
        ignored = shutil.ignore_patterns("report.*")
        shutil.copytree(prepared, folder, ignore=ignored, copy_function=_link_shards)
        is_bound = number % 2 == 0 or "binding" in name
        if not is_bound:
            format_1.unbind(folder)
        change(folder)
        if is_bound and not set(name.split()) & {"binding", "pipe", "device", "sparse"}:
            with contextlib.suppress(OSError):
                binding.write(folder)
    # From root/sets a module of a data set could be imported.
    paths = [str(Path(__file__).parents[2]), str(root / "sets")]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    result = subprocess.run(
        [sys.executable, Path(__file__).parent / "hostile.py", root],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=root / "sets",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert result.returncode == 0, result.stderr
    assert not (root / "sets/PWNED").exists()
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_data_set_does_no_harm(outcomes, name):
    case = outcomes["sets"][name.replace(" ", "_")]
    assert not case["outside"] and not case["ran"] and not case["imported"]
    assert case["seconds"] < 5
    if name in HARMLESS:
        assert case["outcome"] == "read"
    else:
        path, _, problem = case["outcome"].partition(": ")
        assert f"/sets/{name.replace(' ', '_')}" in path and ";" in problem
        assert "\n" not in problem and len(case["outcome"]) < 800


def test_hostile_data_sets_need_little_memory(outcomes):
    assert len(CASES) >= 50 and outcomes["peak_bytes"] < 1e9
