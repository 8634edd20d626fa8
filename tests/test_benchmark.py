"""The low-label benchmark against the probes it is made of."""

import csv

import numpy as np
import pytest

from ecgjax.adapt import linear_probe
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import TASKS
from ecgjax.pretrained import load, untrained_twin
from ecgjax.workflows.benchmark import Benchmark, benchmark
from ecgjax.workflows.low_label import draw_labelled, labelled


def test_draws_share_initial_weights_where_fewer_are_asked_for(workdir, records, tmp_path):
    encoder, task, kept = load(workdir), TASKS["af"], tmp_path / "random"
    settings = Benchmark(labels=(16, 0), seeds=3, random_encoders=2, trained=(), random_scores=kept)
    benchmark(settings, encoder, records, [task], tmp_path / "out")
    (indices, targets), (tested, _) = (
        labelled(records, task, "train"),
        labelled(records, task, "test"),
    )
    files = {file.name: file for file in kept.glob("*/*.npy")}
    every = len(indices)
    assert files.keys() == {
        *("af-16-0.npy", "af-16-1.npy", "af-16-2-weights-0.npy"),
        *(
            f"af-{every}-0.npy",
            f"af-{every}-1.npy",
        ),  # all labels and the same weights: the same probe
    }
    patients = records.patients[indices]
    drawn = draw_labelled(targets, patients, 16, seed=2, balanced=True)
    twin = untrained_twin(encoder, seed=0)
    probe = linear_probe.fit(
        twin.embed(records, indices[drawn]), targets[drawn], patients[drawn], seed=2
    )
    found = np.load(files["af-16-2-weights-0.npy"])
    np.testing.assert_allclose(found, probe.scores(twin.embed(records, tested)), rtol=1e-4)
    with (tmp_path / "out/per_seed.csv").open() as file:
        random = [
            (row["labels"], row["seed"]) for row in csv.DictReader(file) if row["way"] == "random"
        ]
    assert random == [*(("16", seed) for seed in "012"), *((str(every), seed) for seed in "01")]


@pytest.mark.parametrize("number", [0, 4])
def test_more_random_encoders_than_draws_are_refused(number):
    with pytest.raises(
        InputError, match=f"--random-encoders {number}: give 1 to 3, the number of seeds"
    ):
        Benchmark(random_encoders=number)
