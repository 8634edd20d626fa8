"""Published protocols: the rows beside an encoder's, MERL's draws, and the tables."""

import csv
import itertools

import numpy as np
import pytest

from ecgjax.adapt.parts import attention_training
from ecgjax.evaluate.benchmark_predictions import load_all
from ecgjax.evaluate.low_label_table import CLEAN
from ecgjax.evaluate.metrics import macro_auroc
from ecgjax.launch import benchmark as command_module
from ecgjax.workflows.low_label import Labels
from ecgjax.workflows.protocols import PROTOCOLS, protocol, published
from ecgjax.workflows.record_draw import draw_single

TRAINING = {"superclass": 17084, "subclass": 17084, "form": 7197, "rhythm": 16832}
"""Rows of MERL's training tables for PTB-XL."""


@pytest.fixture
def on_synthetic_data(monkeypatch):
    """Takes the synthetic data set, whose labels are those of PTB-XL, for PTB-XL."""
    monkeypatch.setattr(protocol, "DATA_SET", "synthetic")
    monkeypatch.setattr(attention_training, "STEPS", (50,))


def test_published_rows_differ_from_their_reproduction_as_it_reports():
    """Its README gives the mean, median and largest difference of 78 cells from the paper."""
    rows = published.rows("iclr2026")
    differences = [abs(row.published - row.reproduced) for row in rows if row.reproduced]
    assert len(rows) == len(differences) == 78
    assert np.mean(differences) == pytest.approx(0.0084, abs=2e-4)
    assert np.median(differences) == pytest.approx(0.0019, abs=5e-4)
    assert max(differences) == pytest.approx(0.133, abs=5e-4)


def test_every_published_row_belongs_to_a_column_of_its_table():
    for name, each in PROTOCOLS.items():
        rows = published.rows(name)
        groups = {group for _, group, _ in each.readouts}
        for row in rows:
            assert row.task in each.tasks and row.labels in each.shares and row.method in groups
            assert row.encoder in published.TRAINED_ON and 0.4 < row.published < 1
        cells = [(row.method, row.encoder, row.task, row.labels) for row in rows]
        assert len(set(cells)) == len(cells)


@pytest.mark.parametrize("task", TRAINING)
def test_draws_of_recordings_are_those_of_merl(task):
    """train_test_split(rows, train_size=share, random_state=42) takes the end of a permutation."""
    rows = TRAINING[task]
    permutation = np.random.RandomState(42).permutation(rows)
    for text, share in (("1%", 0.01), ("10%", 0.1)):
        count = Labels.parse(text).number(rows, down=True)
        assert count == int(share * rows)
        np.testing.assert_array_equal(
            draw_single(rows, count, seed=0), np.sort(permutation[rows - count :])
        )
    assert len(draw_single(rows, rows, seed=0)) == rows
    assert set(draw_single(rows, 50, seed=1)) != set(draw_single(rows, 50, seed=0))


def _lines(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_merl_beside_published_rows(command, workdir, prepared, on_synthetic_data, tmp_path):
    options = ["--protocol", "merl", "--checkpoint", workdir, "--data", prepared]
    options += ["--out", tmp_path / "out", "--labels", "10%", "all"]
    options += ["--tasks", "superclass", "label:AFIB"]
    status, out, err = command(command_module, *options, "--split", "validation")
    assert status == 0, err
    text = (tmp_path / "out/protocol.md").read_text()
    assert text in out
    assert (
        "Left out: linear on mean-pooled tokens, query attention, fine-tuned, from scratch" in text
    )
    assert "this encoder's of the split validation" in text
    every = {
        each.labels: each
        for each in load_all(tmp_path / "out/predictions")
        if each.task == "superclass"
    }
    lines = _lines(tmp_path / "out/protocol.csv")
    own = [line for line in lines if line["encoder"] == "this encoder"]
    assert sum(line["task"] == "label:AFIB" for line in own) == 4  # no task of the protocol
    own = [line for line in own if line["task"] == "superclass"]
    assert [(line["labels"], line["method"]) for line in own] == list(
        itertools.product(("10%", "100%"), ("frozen", "random"))
    )
    for line in own:
        tested = every[int(line["recordings"])]
        scores = tested.scores[line["method"]][0]
        assert float(line["auroc"]) == pytest.approx(macro_auroc(tested.truth, scores), abs=1e-5)
        clean = tested.truth.sum(0) >= CLEAN
        assert int(line["clean_classes"]) == clean.sum()
        assert float(line["low"]) <= float(line["auroc"]) <= float(line["high"])
        assert float(line["recordings_low"]) <= float(line["recordings_high"])
    assert "| linear on the embedding | **this encoder** | " in text
    assert "0.611 | 0.669 | 0.714" not in text and "0.611 → 0.813" in text


def test_iclr2026_with_further_probes(command, workdir, prepared, on_synthetic_data, tmp_path):
    options = ["--protocol", "iclr2026", "--checkpoint", workdir, "--data", prepared]
    options += ["--out", tmp_path / "out", "--tasks", "superclass", "--trained", "--seeds", 1]
    options += ["--attention.queries", 2, "--attention.batch-size", 16]
    status, _, err = command(command_module, *options)
    assert status == 0, err
    text = (tmp_path / "out/protocol.md").read_text()
    assert "Left out: fine-tuned, from scratch." in text
    (tested,) = load_all(tmp_path / "out/predictions")
    assert tested.scores.keys() == {"frozen", "random", "mean_pool", "attention"}
    for stack in tested.scores.values():
        assert stack.shape[0] == 1 and 0 <= stack.min() and stack.max() <= 1
    assert "| query attention | ECG-JEPA (87 M, 180,000 public ECGs) |" in text
    assert "0.934 → 0.933" in text  # ECG-CPC, superclass, fine-tuned


def test_another_data_set_is_refused(command, workdir, prepared, tmp_path):
    options = ["--protocol", "merl", "--checkpoint", workdir, "--data", prepared]
    status, _, err = command(command_module, *options, "--out", tmp_path / "out")
    assert status == 2 and "--protocol merl: " in err and "not PTB-XL" in err
    assert len(err.strip().splitlines()) <= 2
