"""Every wrong record is rejected for its reason, every right one read: no traceback, no other file, little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from corpus import CASES

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, (make, _) in CASES.items():
        record = folder / "records" / name.replace(" ", "_")
        record.mkdir(parents=True)
        make(record)
    here = Path(__file__).parent
    paths = os.pathsep.join(
        [str(here.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    run = [sys.executable, here / "read_corpus.py", folder / "records"]
    done = subprocess.run(
        run, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_record(outcome, name):
    found = outcome["records"][name.replace(" ", "_")]
    assert found["reason"] == CASES[name][1]
    assert not found["outside"]
    assert found["seconds"] < 2


def test_there_are_many_and_they_take_little_memory(outcome):
    assert len(CASES) >= 60
    assert outcome["peak_bytes"] < 1e9
