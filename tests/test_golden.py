"""Checkpoints of each format are resumed and embedded by the present code as by the code of then.

tests/golden/README.md explains how one is added for a later format.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import golden

from ecgjax.pretrained import load_encoder
from ecgjax.train.manifest import FORMAT

FOLDERS = sorted(Path(__file__).parent.glob("golden/format-*"))


def test_there_is_one_of_the_present_format():
    assert f"format-{FORMAT}" in {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_golden_checkpoint_means_what_it_meant(folder, tmp_path, tiny_encoders):
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 100_000
    workdir = shutil.copytree(folder, tmp_path / "run")
    expected = json.loads((folder / golden.EXPECTED).read_text())
    found = golden.embeddings(workdir)
    np.testing.assert_allclose(found, expected["embeddings"], rtol=1e-6, atol=1e-6)
    assert golden.loss_of_next_step(workdir) == pytest.approx(expected["loss"], rel=1e-6)
    seen = load_encoder(workdir).seen
    sizes = [len(seen.waveforms), len(seen.patients), len(seen.sketches), seen.unsketched]
    assert sizes == expected["seen"]
