"""Every faulty record is rejected for the right reason, and every correct one is read.

There is no traceback, no other file is opened, and memory stays small.
"""

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
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, (make, _) in CASES.items():
        record = folder / "records" / name.replace(" ", "_")
        record.mkdir(parents=True)
        make(record)
    tests = Path(__file__).parent
    paths = [str(tests.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    result = subprocess.run(
        [sys.executable, tests / "read_corpus.py", folder / "records"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_record_has_the_expected_outcome(outcomes, name):
    outcome = outcomes["records"][name.replace(" ", "_")]
    assert outcome["reason"] == CASES[name][1]
    assert not outcome["outside"]
    assert outcome["seconds"] < 2


def test_many_records_need_little_memory(outcomes):
    assert len(CASES) >= 60
    assert outcomes["peak_bytes"] < 1e9
