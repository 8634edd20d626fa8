"""The low-label benchmark against the probes it is made of."""

import csv
import json
import re

import numpy as np
import pytest

from ecgjax.adapt import linear_probe
from ecgjax.classifier import load
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import TASKS
from ecgjax.pretrained import untrained_twin
from ecgjax.workflows.benchmark import Benchmark, benchmark
from ecgjax.workflows.low_label import draw_labelled, task_recordings


def test_draws_share_random_encoders_in_turn(workdir, records, tmp_path):
    encoder = load(workdir)
    task = TASKS["af"]
    folder = tmp_path / "random"
    settings = Benchmark(
        labels=("16", "all"), seeds=3, random_encoders=2, trained=(), random_scores=folder
    )
    benchmark(settings, encoder, records, [task], tmp_path / "out")
    train = task_recordings(records, task, records.split("train"))
    indices, targets = train.indices, train.targets
    tested = records.split("test")
    files = {file.name: file for file in folder.glob("*/*.npy")}
    every = len(indices)
    few = {"af-16-0.npy", "af-16-1.npy", "af-16-2-weights-0.npy"}
    # The third draw of all labels would repeat the first: same recordings, same weights.
    assert files.keys() == few | {f"af-{every}-0.npy", f"af-{every}-1.npy"}
    patients = records.patients[indices]
    drawn = draw_labelled(targets, patients, 16, seed=2, balanced=True)
    twin = untrained_twin(encoder, seed=0)
    probe = linear_probe.fit(
        twin.embed_records(records, indices[drawn]), targets[drawn], patients[drawn], seed=2
    )
    scores = np.load(files["af-16-2-weights-0.npy"])
    np.testing.assert_allclose(scores, probe.scores(twin.embed_records(records, tested)), rtol=1e-4)
    with (tmp_path / "out/per_seed.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["way"] == "random"]
    numbers = [(int(row["labels"]), int(row["seed"])) for row in rows]
    assert numbers == [(16, 0), (16, 1), (16, 2), (every, 0), (every, 1)]


def test_amounts_of_labels_become_numbers_of_recordings(workdir, records, tmp_path):
    """A share is a share of the task's training recordings; so it is in --train-at."""
    task = TASKS["af"]
    labels = ("16", "0.25", "25%", "1.0", "all")
    settings = Benchmark(labels=labels, seeds=1, trained=())
    rows = benchmark(settings, load(workdir), records, [task], tmp_path)
    every = len(task_recordings(records, task, records.split("train")).indices)
    quarter = round(every / 4)
    frozen = [row for row in rows if row.way == "frozen"]
    assert [row.labels for row in frozen] == [16, quarter, quarter, every, every]
    assert len({row.auroc for row in frozen if row.labels == every}) == 1
    assert json.loads((tmp_path / "settings.json").read_text())["labels"] == list(labels)


def test_amounts_that_are_trained_are_among_those_that_are_tested(
    workdir, records, tmp_path, capsys
):
    settings = Benchmark(labels=("16",), train_at=("0.5", "all"), seeds=1)
    benchmark(settings, load(workdir), records, [TASKS["af"]], tmp_path)
    line = "no encoder is trained: none of --train-at 0.5 all is among --labels 16"
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("option", ["labels", "train_at"])
@pytest.mark.parametrize("text", ["0", "1.5", "-3", "few"])
def test_settings_with_a_wrong_amount_are_refused(option, text):
    with pytest.raises(InputError, match=f"labels {re.escape(text)}: not an amount; give all"):
        Benchmark(**{option: ("10", text)})


@pytest.mark.parametrize("number", [0, 4])
def test_more_random_encoders_than_draws_are_refused(number):
    with pytest.raises(
        InputError, match=f"--random-encoders {number}: give 1 to 3, the number of seeds"
    ):
        Benchmark(random_encoders=number)
