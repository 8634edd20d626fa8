"""Saved predictions: what is written is read back, and damaged files are named."""

import json

import numpy as np
import pytest

from ecgjax.adapt.finetune import FineTuning
from ecgjax.errors import InputError
from ecgjax.evaluate.predictions import (
    FILE,
    TESTED_SPLITS,
    Predictions,
    RunDescription,
    describe_run,
    load,
    save,
)

SETTINGS = describe_run(FineTuning(), encoder="vit1d", start="random weights", labelled=10)
DESCRIPTION = RunDescription("af", ("af",), "AUROC", "ptb_xl", None, SETTINGS)


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    splits = {
        split: Predictions(
            np.arange(9), np.arange(9) // 2, np.eye(9, 1, dtype=np.float32), rng.random((9, 1))
        )
        for split in TESTED_SPLITS
    }
    save(tmp_path, DESCRIPTION, splits)
    return splits


def test_run_is_described_by_a_flat_dict_without_its_seed():
    assert list(SETTINGS)[:4] == ["method", "labelled", "encoder", "start"]
    assert SETTINGS["method"] == "FineTuning"
    assert SETTINGS["optimizer.warmup"] == 0.2
    assert SETTINGS["augmentation.crop_s"] == 5.0
    assert "seed" not in SETTINGS


def test_what_is_saved_is_loaded(tmp_path, saved):
    description, splits = load(tmp_path)
    assert description == DESCRIPTION
    assert splits.keys() == saved.keys()
    for split, predictions in splits.items():
        for name, array in vars(predictions).items():
            np.testing.assert_array_equal(array, getattr(saved[split], name))


def test_keys_of_the_file_are_those_of_earlier_versions(tmp_path, saved):
    with np.load(tmp_path / FILE) as arrays:
        about = json.loads(str(arrays["about"]))
        keys = set(arrays)
    assert list(about) == ["task", "classes", "metric", "data", "rate_hz", "by", "kind"]
    names = ("recordings", "patients", "truth", "found")
    assert keys == {"about"} | {f"{split}/{name}" for split in TESTED_SPLITS for name in names}


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_damaged_predictions_are_named(tmp_path, saved, damage):
    file = tmp_path / FILE
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    file.write_bytes({"cut": whole[:300], "empty": b"", "flipped": flipped}[damage])
    with pytest.raises(
        InputError, match=r"predictions\.npz: damaged.* run ecgjax.launch.finetune in this workdir"
    ):
        load(tmp_path)
