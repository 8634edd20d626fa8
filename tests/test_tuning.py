"""Tuning of the methods that train: a search that is made once, on no test recording."""

import dataclasses

import numpy as np
import pytest

import ecgjax
from ecgjax.adapt.finetune import FineTuning
from ecgjax.errors import InputError
from ecgjax.evaluate.low_label_table import read_csv
from ecgjax.evaluate.tasks import TASKS
from ecgjax.workflows.benchmark import Benchmark, benchmark
from ecgjax.workflows.cohort import HeldOut
from ecgjax.workflows.low_label import task_recordings
from ecgjax.workflows.probing import draw_recordings
from ecgjax.workflows.task_data import TaskData
from ecgjax.workflows.trained_methods import TrainedMethods
from ecgjax.workflows.tuning import FILE, Setting, Tuning, mean_score, measurements

ABOUT = {"task": "af", "labels": 100, "method": "scratch"}
DEFAULT = FineTuning()
RATE = DEFAULT.optimizer.learning_rate


class _Measure:
    """Prefers crops of 5 s and a quarter of the learning rate; keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, settings):
        setting = (
            settings.augmentation.crop_s,
            settings.optimizer.learning_rate / RATE,
            settings.min_steps / DEFAULT.min_steps,
        )
        self.asked.append(setting)
        assert settings.epochs / DEFAULT.epochs == setting[2]
        return 0.8 - 0.01 * abs(setting[0] - 5) - 0.01 * abs(setting[1] - 0.25) - 0.01 * setting[2]


def _choose(out, measure, *, key=("a",), longest_s=10.0):
    return Tuning(out).choose(ABOUT, key, DEFAULT, longest_s, measure)


def test_six_settings_are_compared_and_the_choice_is_kept(tmp_path):
    measure = _Measure()
    chosen = _choose(tmp_path, measure)
    assert chosen == Setting(5.0, 0.25, 0.25).apply_to(DEFAULT)
    first = [(2.5, 1, 1), (5, 1, 1), (10, 1, 1)]
    assert measure.asked == [*first, (5, 0.25, 1), (5, 1, 0.25), (5, 0.25, 0.25)]
    rows = read_csv(tmp_path / FILE)
    assert len(rows) == 6 and rows[-1]["crop_s"] == "5.0" and float(rows[0]["score"]) < 0.8
    again = _Measure()
    assert _choose(tmp_path, again) == chosen and not again.asked
    assert len(read_csv(tmp_path / FILE)) == 6
    assert _choose(tmp_path, again, key=("b",)) == chosen and len(again.asked) == 6


def test_search_that_was_stopped_goes_on_where_it_was(tmp_path):
    def stop_at_third(settings):
        if settings.augmentation.crop_s == 10:
            raise KeyboardInterrupt
        return _Measure()(settings)

    with pytest.raises(KeyboardInterrupt):
        _choose(tmp_path, stop_at_third)
    measure = _Measure()
    _choose(tmp_path, measure)
    assert len(measure.asked) == 4 and measure.asked[0] == (10, 1, 1)


def test_crops_are_no_longer_than_the_input(tmp_path):
    measure = _Measure()
    _choose(tmp_path, measure, longest_s=5.0)
    assert {crop_s for crop_s, _, _ in measure.asked} == {2.5, 5}
    _choose(tmp_path, measure := _Measure(), key=("short",), longest_s=2.0)
    assert {crop_s for crop_s, _, _ in measure.asked} == {2}


@pytest.fixture
def drawn(records):
    task = TASKS["superclass"]
    train = task_recordings(records, task, records.split("train"))
    parts = (train.records, train.indices, train.targets, 30)
    draw = draw_recordings(*parts, seed=0, balanced=False, outputs=task.outputs)
    validation = task_recordings(records, task, records.split("validation"))
    return draw, train, validation


def test_few_labels_are_cross_validated_by_patients(records, drawn):
    draw, train, validation = drawn
    parts = list(measurements(draw, train, validation))
    assert len(parts) == 3
    tested = np.concatenate([held_out.indices for _, held_out in parts])
    np.testing.assert_array_equal(np.sort(tested), draw.indices)
    for fitted, held_out in parts:
        assert not set(fitted.patients) & set(held_out.patients)
        both = np.concatenate([fitted.indices, held_out.indices])
        np.testing.assert_array_equal(np.sort(both), draw.indices)
        places = np.searchsorted(draw.indices, held_out.indices)
        np.testing.assert_array_equal(held_out.targets, draw.targets[places])


def test_many_labels_are_measured_on_the_validation_split_unless_it_is_tested(drawn):
    draw, train, validation = drawn
    for validated_from in (0, 30):
        ((fitted, held_out),) = measurements(draw, train, validation, validated_from)
        assert fitted is draw and held_out is validation
    assert len(list(measurements(draw, train, validation, 31))) == 3
    assert len(list(measurements(draw, train, None, 0))) == 3


def test_score_is_the_mean_over_classes_and_folds_without_absent_classes(drawn):
    """Predictions that are the targets in one fold and their opposite in the others."""
    draw, train, validation = drawn
    parts = list(measurements(draw, train, validation))
    absent = parts[1][1].targets.copy()
    absent[:, 1:] = 0
    parts[1] = (parts[1][0], dataclasses.replace(parts[1][1], targets=absent))

    def fit(settings, part, tested):
        assert settings is DEFAULT
        return tested.targets if part is parts[0][0] else -tested.targets

    assert mean_score(fit, DEFAULT, "labels", parts) == pytest.approx(1 / 3)


class _Noisy:
    """A model that tells the truth with noise: less of it with crops of 5 s."""

    def __init__(self, task, settings):
        self._task = task
        self._noise = 0.1 if settings.augmentation.crop_s == 5 else 3.0

    def predict_records(self, records, indices):
        truth, _ = self._task.targets(records, indices)
        noise = np.random.default_rng(0).normal(size=truth.shape)
        return (truth + self._noise * noise).astype(np.float32)


def test_every_method_that_trains_is_tuned_once_for_all_draws(
    workdir, records, drawn, monkeypatch, tmp_path
):
    first, train, validation = drawn
    task = TASKS["superclass"]
    parts = (records, train.indices, train.targets, 30)
    second = draw_recordings(*parts, seed=1, balanced=False, outputs=task.outputs)
    data = TaskData(task, train, [HeldOut("test", validation)], is_published=True)
    used = []

    def fake(self, method, data, settings, draw, folder):
        used.append((method, settings.augmentation.crop_s, len(draw.indices), folder))
        # Folds have the learning rates of all 30 recordings, and those of 30 are the defaults.
        own = (settings.encoder_rate, settings.fitted_rate)
        assert own == ((None, None) if len(draw.indices) == 30 else (0.1, 0.05))
        return _Noisy(data.task, settings)

    monkeypatch.setattr(TrainedMethods, "_train", fake)
    for _ in range(2):  # the second time, the choices are read
        methods = TrainedMethods(ecgjax.load(workdir), {}, DEFAULT, tmp_path, tune=True)
        for method in ("scratch", "finetuned"):
            scores = methods.scores(method, data, [first, second], first)
            assert [one[0].shape for one in scores] == [validation.targets.shape] * 2
    rows = read_csv(tmp_path / FILE)
    assert [row["method"] for row in rows] == ["scratch"] * 6 + ["finetuned"] * 6
    whole = [each for each in used if each[2] == 30]
    assert len(used) - len(whole) == 2 * 6 * 3
    assert {crop_s for _, crop_s, _, _ in whole} == {5.0} and len(whole) == 8
    assert whole[0][3] == tmp_path / "scratch-superclass-30-0"
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_few_labels_choose_on_the_validation_split_if_that_is_asked_for(
    workdir, drawn, monkeypatch, tmp_path
):
    draw, train, validation = drawn
    held_out = [HeldOut("test", validation)]
    data = TaskData(TASKS["superclass"], train, held_out, True, validation=validation)
    trained = []

    def fake(self, method, data, settings, draw, folder):
        trained.append(len(draw.indices))
        return _Noisy(data.task, settings)

    monkeypatch.setattr(TrainedMethods, "_train", fake)
    encoder = ecgjax.load(workdir)
    TrainedMethods(encoder, {}, DEFAULT, tmp_path, tune=True, validated_from=30).scores(
        "scratch", data, [draw], draw
    )
    assert trained == [30] * 7


def test_other_amounts_take_the_choice_of_the_nearest_amount_below(
    workdir, records, monkeypatch, tmp_path
):
    asked = []

    def fake(self, method, data, draws, tuning_draw):
        asked.append((len(draws[0].indices), len(tuning_draw.indices), tuning_draw.seed))
        return [[np.zeros_like(data.tests[0].labelled.targets)] for _ in draws]

    monkeypatch.setattr(TrainedMethods, "scores", fake)
    amounts = ("16", "20", "24", "30")
    settings = Benchmark(
        labels=amounts, train_at=amounts, seeds=2, random_encoders=1, tune=True,
        tune_at=("20", "30"),
    )  # fmt: skip
    encoder = ecgjax.load(workdir)
    benchmark(settings, encoder, records, [TASKS["superclass"]], tmp_path / "shared")
    # Less than the lowest is no choice of more labels.
    assert asked == [(16, 16, 0), (20, 20, 0), (24, 20, 0), (30, 30, 0)]
    asked.clear()
    each = dataclasses.replace(settings, tune_at=())
    benchmark(each, encoder, records, [TASKS["superclass"]], tmp_path / "own")
    assert [(drawn, chosen) for drawn, chosen, _ in asked] == [(n, n) for n in (16, 20, 24, 30)]


def test_amount_of_tuning_that_a_task_does_not_have_is_refused(workdir, records, tmp_path):
    settings = Benchmark(labels=("16",), tune=True, tune_at=("99%", "99999"), trained=())
    problem = r"--tune-at 99999: superclass has \d+ labelled recordings; lower it"
    with pytest.raises(InputError, match=problem):
        benchmark(settings, ecgjax.load(workdir), records, [TASKS["superclass"]], tmp_path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Settings of scratch: as given, not chosen by --tune."),
        (
            {"tune": True, "trained": ("scratch", "finetuned")},
            "Settings of scratch and finetuned: each the best of up to six (by cross-validation "
            "within the first draw; from 2,000 labels on, if there is one, on all labels of the "
            "validation split, which are not counted as labels here).",
        ),
        (
            {"tune": True, "validated_from": 0},
            "Settings of scratch: each the best of up to six (if there is one, on all labels of "
            "the validation split, which are not counted as labels here, otherwise by "
            "cross-validation within the first draw).",
        ),
        (
            {"tune": True, "tune_at": ("50", "1000"), "split": "validation"},
            "Settings of scratch: each the best of up to six with 50, 1000 labels (by "
            "cross-validation within the first draw).",
        ),
    ],
)
def test_the_table_says_how_settings_were_chosen(given, sentence):
    assert Benchmark(**given).tuning == sentence


def test_amounts_of_tuning_need_tuning():
    with pytest.raises(InputError, match="--tune-at 100: add --tune"):
        Benchmark(tune_at=("100",))
    with pytest.raises(InputError, match="few"):
        Benchmark(tune=True, tune_at=("few",))
