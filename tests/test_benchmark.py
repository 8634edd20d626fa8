"""The low-label benchmark against the probes it is made of."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
from scipy.special import expit

from ecgjax.adapt import linear_probe
from ecgjax.adapt.finetune import FineTuning
from ecgjax.classifier import load
from ecgjax.errors import InputError
from ecgjax.evaluate import benchmark_predictions
from ecgjax.evaluate.benchmark_predictions import BenchmarkPredictions
from ecgjax.evaluate.low_label_table import Result, Row, markdown
from ecgjax.evaluate.metrics import auroc
from ecgjax.evaluate.tasks import TASKS, NamedTask
from ecgjax.pretrained import untrained_twin
from ecgjax.workflows import low_label_methods
from ecgjax.workflows.benchmark import Benchmark, benchmark
from ecgjax.workflows.low_label import draw_labelled, task_recordings
from ecgjax.workflows.probing import Draw, Embeddings, embed, probe


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
    _check_predictions(tmp_path / "out", records, tested, scores)
    np.testing.assert_allclose(scores, probe.scores(twin.embed_records(records, tested)), rtol=1e-4)
    with (tmp_path / "out/per_seed.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["way"] == "random"]
    numbers = [(int(row["labels"]), int(row["seed"])) for row in rows]
    assert numbers == [(16, 0), (16, 1), (16, 2), (every, 0), (every, 1)]


def _check_predictions(out, records, tested, scores):
    """Checks the saved predictions against the scores of the third draw by a random encoder."""
    many, few = benchmark_predictions.load_all(out / "predictions")[::-1]
    assert (few.task, few.test, few.labels, few.kind) == ("af", "test", 16, "labels")
    assert many.is_complete and not few.is_complete
    np.testing.assert_array_equal(few.recordings, tested)
    np.testing.assert_array_equal(few.patients, records.patients[tested])
    np.testing.assert_allclose(few.scores["random"][2], expit(scores), rtol=1e-6)
    assert few.scores["frozen"].shape == (3, len(tested), 1)
    assert [len(stack) for stack in many.scores.values()] == [1, 2]
    with (out / "benchmark.csv").open() as file:
        row = next(csv.DictReader(file))
    each = [auroc(few.truth, one)[0] for one in few.scores["frozen"]]
    assert float(row["auroc"]) == pytest.approx(np.mean(each))
    assert (row["draws"], row["classes"]) == ("3", "1")


def test_few_labels_embed_only_the_recordings_that_are_drawn(
    workdir, records, tmp_path, monkeypatch
):
    embedded = []

    def keep(encoder, records, indices):
        embedded.append(indices)
        return embed(encoder, records, indices)

    monkeypatch.setattr(low_label_methods, "embed", keep)
    settings = Benchmark(labels=("16", "999999"), seeds=2, random_encoders=1, trained=())
    benchmark(settings, load(workdir), records, [TASKS["af"]], tmp_path)
    train = task_recordings(records, TASKS["af"], records.split("train"))
    drawn = set()
    for seed in (0, 1):
        parts = (train.targets, records.patients[train.indices], 16)
        drawn |= {*train.indices[draw_labelled(*parts, seed=seed, balanced=True)].tolist()}
    wanted = sorted(drawn | {*records.split("test").tolist()})
    assert [each.tolist() for each in embedded] == [wanted, wanted]
    assert len(wanted) < len(train.indices) + len(records.split("test"))


@dataclasses.dataclass(frozen=True)
class _Shuffled(NamedTask):
    """Random targets, the same for all recordings of a patient."""

    seed: int = 0

    def targets(self, records, indices):
        drawn = np.random.default_rng(self.seed).integers(2, size=(records.patients.max() + 1, 1))
        patients = records.patients[indices]
        return drawn[patients].astype(np.float32), np.ones(len(indices), bool)


def _identities(encoder, records, indices):
    """Embeddings that say who a patient is, and nothing else."""
    indices = np.unique(indices)
    vectors = np.random.default_rng(0).normal(size=(records.patients.max() + 1, 16))
    return Embeddings(indices, vectors[records.patients[indices]].astype(np.float32))


def test_shuffled_labels_give_one_half(workdir, records, tmp_path, monkeypatch):
    """If a patient were on both sides, these embeddings would find every label."""
    monkeypatch.setattr(low_label_methods, "embed", _identities)
    encoder = load(workdir)
    settings = Benchmark(labels=("all",), seeds=1, trained=(), split="validation")
    tested = records.split("validation")
    tasks = [
        _Shuffled(**{**vars(TASKS["af"]), "name": f"shuffled {seed}", "seed": seed})
        for seed in range(60)
    ]
    tasks = [task for task in tasks if np.ptp(task.targets(records, tested)[0])]  # both classes
    rows = [benchmark(settings, encoder, records, [each], tmp_path / each.name) for each in tasks]
    values = [frozen.auroc for frozen, _ in rows]
    assert len(values) > 40 and abs(np.mean(values) - 0.5) < 0.15
    targets = tasks[0].targets(records, tested)[0]
    leak = Draw(tested, targets, records.patients[tested], 0)
    scores = probe(leak, _identities(encoder, records, tested), tested)
    assert auroc(targets, scores)[0] > 0.9


def test_the_same_command_gives_the_same_table(workdir, records, tmp_path):
    settings = Benchmark(
        labels=("40",),
        train_at=("40",),
        seeds=1,
        trained=("scratch", "finetuned"),
        random_encoders=1,
        finetuning=FineTuning(epochs=0, min_steps=2, batch_size=8),
    )
    encoder = load(workdir)
    rows = benchmark(settings, encoder, records, [TASKS["af"]], tmp_path / "first")
    assert [row.way for row in rows] == ["frozen", "random", "scratch", "finetuned"]
    again = benchmark(settings, encoder, records, [TASKS["af"]], tmp_path / "second")
    assert again == rows and markdown(again) == markdown(rows)
    with (tmp_path / "first/per_class.csv").open() as file:
        single = {row["way"]: row for row in csv.DictReader(file)}
    for row in rows:  # the only class is the mean
        columns = ("auroc", "low", "high", "gain", "gain_low", "over_scratch", "over_scratch_high")
        expected = [
            "" if getattr(row, name) is None else str(getattr(row, name)) for name in columns
        ]
        assert [single[row.way][name] for name in columns] == expected
    for name in ("benchmark.csv", "per_class.csv", "per_seed.csv"):
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "second" / name).read_bytes()


def test_predictions_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match="no predictions; give the folder of a finished benchmark"):
        benchmark_predictions.load_all(tmp_path)
    numbers = np.arange(2)
    truth = np.zeros((2, 1), np.float32)
    parts = ("a/b", "test", 5, "labels", ("x",), False, numbers, numbers, truth)
    predicted = BenchmarkPredictions(*parts, {"frozen": truth[None]})
    file = benchmark_predictions.save(tmp_path, predicted)
    assert file.name == "a_b-test-5.npz" and len(list(tmp_path.iterdir())) == 1
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"a_b-test-5\.npz: damaged.*run the benchmark again"):
        benchmark_predictions.load_all(tmp_path)
    with pytest.raises(InputError, match="give one of each"):
        dataclasses.replace(predicted, truth=truth[:1])


def test_table_shows_the_mean_without_rare_classes():
    row = Row("all", 100, "frozen", 0.8, 0.7, 0.9, 0.1, 0.0, 0.2, draws=5, classes=71)
    plain = markdown([row])
    assert "| all | 100 | 5 | 0.800 | +0.100 (+0.000 to +0.200) |" in plain
    both = markdown([dataclasses.replace(row, clean=0.85, clean_classes=53)])
    assert "| all | 100 | 5 | 71 (53) | 0.800 (0.850) |" in both
    assert "classes with at least 10 cases" in both and "cases" not in plain


def test_table_compares_fine_tuned_with_scratch():
    """The difference is paired by draw, and its interval narrower than one of unpaired methods."""
    rng = np.random.default_rng(8)
    truth = rng.integers(2, size=(300, 1)).astype(np.float32)
    shared = rng.normal(size=(5, 300, 1))
    scores = {
        "frozen": truth + shared,
        "random": rng.normal(size=(1, 300, 1)),
        "scratch": 0.8 * truth + shared,
        "finetuned": 1.2 * truth + shared,
    }
    result = Result.measure(TASKS["af"], 50, "test", truth, np.arange(300), scores)
    rows = {row.way: row for row in result.rows()}
    assert rows["scratch"].over_scratch is None and rows["random"].over_scratch is None
    for way in ("frozen", "finetuned"):
        row = rows[way]
        assert row.over_scratch == pytest.approx(row.auroc - rows["scratch"].auroc)
        assert 0 < row.over_scratch_low < row.over_scratch < row.over_scratch_high
        assert row.over_scratch_high - row.over_scratch_low < row.high - row.low
        assert str(row).endswith(f"{row.over_scratch_interval()} over scratch")
    table = markdown(list(rows.values()))
    assert table.splitlines()[0].endswith("| frozen - random | finetuned - scratch |")
    assert table.splitlines()[2].endswith(f"| {rows['finetuned'].over_scratch_interval()} |")
    others = [row for row in rows.values() if row.way in ("frozen", "random")]
    assert "scratch" not in markdown(others)


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
