"""Plots: the scale of the ECG sheet is measured in pixels, the others by what they must show."""

from typing import get_args

import matplotlib.image
import numpy as np
import PIL.Image
import pytest

from ecgjax.errors import InputError
from ecgjax.evaluate import ecg_sheet, plots
from ecgjax.evaluate.low_label_table import Row
from ecgjax.signals import LEADS, MISSING
from ecgjax.workflows.clinical_report import wording
from ecgjax.workflows.further_probes import FurtherProbe
from ecgjax.workflows.trained_methods import TrainedMethod


def _dark(path):
    """Returns the mask [row, column] of dark ink (not the grid), and the pixels per millimetre."""
    ink = matplotlib.image.imread(path)[..., :3].max(axis=-1) < 0.35
    with PIL.Image.open(path) as image:
        return ink, image.info["dpi"][0] / 25.4


def _sheet(tmp_path, signal, rate_hz=100.0):
    ecg_sheet.draw([signal], tmp_path / "sheet.png", rate_hz=rate_hz, titles=[""])
    return _dark(tmp_path / "sheet.png")


@pytest.mark.parametrize("rate_hz", [100.0, 500.0])
def test_one_millivolt_is_10_mm_and_one_second_25_mm(tmp_path, rate_hz):
    """A pulse of 1 mV from 4 s to 5 s in lead II, measured on the rhythm strip at the bottom."""
    signal = np.zeros((round(10 * rate_hz), 12), np.int16)
    signal[round(4 * rate_hz) : round(5 * rate_hz), LEADS.index("II")] = 1000
    ink, per_mm = _sheet(tmp_path, signal, rate_hz)
    assert ink.shape == (round(145 * per_mm), round(270 * per_mm))
    strip = ink[round(105 * per_mm) : round(135 * per_mm)]
    rows = np.flatnonzero(strip[:, round(117.5 * per_mm) : round(138 * per_mm)].mean(axis=1) > 0.9)
    baseline = np.flatnonzero(
        strip[:, round(150 * per_mm) : round(250 * per_mm)].mean(axis=1) > 0.9
    )
    assert (baseline.mean() - rows.mean()) / per_mm == pytest.approx(10, abs=0.1)
    halfway = strip[round((baseline.mean() + rows.mean()) / 2)]
    edges_mm = np.flatnonzero(halfway) / per_mm
    edges_mm = edges_mm[edges_mm > 30]  # beyond the calibration pulse
    assert edges_mm.min() == pytest.approx(15 + 4 * 25, abs=0.5)
    assert np.ptp(edges_mm) == pytest.approx(25, abs=0.5)
    calibration = np.flatnonzero(halfway[: round(14 * per_mm)]) / per_mm
    assert np.ptp(calibration) == pytest.approx(5, abs=0.4)


def test_every_lead_is_drawn_in_its_cell(tmp_path):
    """A wave in one lead changes its cell (lead II: the rhythm strip, too) and nothing else."""
    flat, per_mm = _sheet(tmp_path, np.zeros((1000, 12), np.int16))
    for index, lead in enumerate(LEADS):
        signal = np.zeros((1000, 12), np.int16)
        signal[:, index] = 400 * np.sin(np.arange(1000) / 5)
        moved = np.argwhere(_sheet(tmp_path, signal)[0] != flat) / per_mm
        # A trace is drawn to the edge of its column: leave out 1 mm on each side.
        inside = moved[(moved[:, 1] - 15 + 1) % 62.5 > 2]
        cells = {(int((y - 15) // 30), int((x - 15) // 62.5)) for y, x in inside}
        column, row = divmod(index, 3)
        assert cells == {(row, column)} | ({(3, k) for k in range(4)} if lead == "II" else set())


def test_missing_samples_are_a_gap_and_short_recordings_end_early(tmp_path):
    signal = np.zeros((800, 12), np.int16)
    signal[200:400] = MISSING
    signal[:, LEADS.index("V6")] = MISSING
    ink, per_mm = _sheet(tmp_path, signal)
    strip = ink[round(119 * per_mm) : round(121 * per_mm)].any(axis=0)
    drawn_s = np.flatnonzero(strip[round(15.5 * per_mm) :]) / per_mm / 25 + 0.5 / 25
    assert drawn_s.max() == pytest.approx(8, abs=0.05)
    assert not ((drawn_s > 2.05) & (drawn_s < 3.95)).any()
    assert ((drawn_s > 4.05) & (drawn_s < 7.9)).any()


def test_two_recordings_are_two_sheets_of_the_same_scale(tmp_path):
    signal = (300 * np.random.default_rng(0).normal(size=(1000, 12))).astype(np.int16)
    ecg_sheet.draw([signal], tmp_path / "one.png", rate_hz=100, titles=["a"])
    ecg_sheet.draw([signal, signal], tmp_path / "two.png", rate_hz=100, titles=["a", "a"])
    one, _ = _dark(tmp_path / "one.png")
    two, _ = _dark(tmp_path / "two.png")
    assert two.shape == (2 * one.shape[0], one.shape[1])
    assert (two[: len(one)] == one).mean() > 0.99 and (two[len(one) :] == one).mean() > 0.99


def test_sheet_refuses_other_shapes(tmp_path):
    with pytest.raises(InputError, match=r"patient 7: signal has shape \(12, 1000\)"):
        ecg_sheet.draw(
            [np.zeros((12, 1000))], tmp_path / "x.png", rate_hz=100, titles=["patient 7"]
        )


def test_running_mean_is_flat_on_a_constant_and_keeps_a_slope():
    np.testing.assert_allclose(plots._running_mean(np.full(500, 3.0)), 3)
    smooth = plots._running_mean(np.arange(500.0))
    np.testing.assert_allclose(smooth[50:450], np.arange(50, 450), atol=1)
    noise = np.random.default_rng(0).normal(size=1000)
    assert plots._running_mean(noise).std() < 0.2


@pytest.mark.parametrize("accuracy", [None, [0.1, 0.5, 0.9]])
def test_loss_curve(tmp_path, accuracy):
    plots.loss_curve([1, 2, 3], [3.0, 2.0, 1.0], tmp_path / "loss.png", accuracy=accuracy)
    height = matplotlib.image.imread(tmp_path / "loss.png").shape[0]
    assert height == (1 + 3 * (1 + (accuracy is not None))) * 130
    with pytest.raises(InputError, match="no step was logged"):
        plots.loss_curve([], [], tmp_path / "loss.png")


def test_map_keeps_groups_apart_and_is_reproducible():
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    embeddings = rng.normal(size=(90, 64)) + 8 * rng.normal(size=(3, 64))[group]
    shown, points = plots.reduce_to_2d(embeddings, limit=60)
    assert len(shown) == 60 and (np.diff(shown) > 0).all() and points.shape == (60, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(60)
    assert (group[shown][distance.argmin(axis=1)] == group[shown]).all()
    np.testing.assert_array_equal(points, plots.reduce_to_2d(embeddings, limit=60)[1])
    with pytest.raises(InputError, match="3 embeddings"):
        plots.reduce_to_2d(embeddings[:3])


def test_embedding_map_shows_rare_conditions_on_top(tmp_path):
    """All points have the same position: only the colour of the rarest condition is visible."""
    points = np.zeros((100, 2))
    conditions = ["other"] * 90 + ["MI"] * 8 + ["AFLT"] * 2
    plots.embedding_map(points, conditions[::-1], tmp_path / "map.png")
    image = (matplotlib.image.imread(tmp_path / "map.png")[..., :3] * 255).round().astype(int)
    codes = (plots._GREY, plots.OKABE_ITO["blue"], plots.OKABE_ITO["vermilion"])
    colours = [tuple(int(code[k : k + 2], 16) for k in (1, 3, 5)) for code in codes]
    inside = image[100:-100, 100 : round(0.7 * image.shape[1])]  # without frame and legend
    pixels = [int((inside == colour).all(axis=-1).sum()) for colour in colours]
    assert pixels[0] == pixels[1] == 0 < pixels[2]


def test_embedding_map_joins_patients_and_refuses_too_many_conditions(tmp_path):
    points = np.random.default_rng(0).normal(size=(20, 2))
    patients = np.repeat(np.arange(10), 2)
    assert plots._visits([3, 1, 3, 2, 1, 1], 9) == [[0, 2], [1, 4, 5]]
    plots.embedding_map(points, ["a"] * 20, tmp_path / "plain.png")
    plots.embedding_map(points, ["a"] * 20, tmp_path / "joined.png", patients=patients)
    assert _dark(tmp_path / "joined.png")[0].sum() > _dark(tmp_path / "plain.png")[0].sum() + 500
    with pytest.raises(InputError, match="20 conditions for 8 colours"):
        plots.embedding_map(points, list(map(str, range(20))), tmp_path / "x.png")


def test_every_method_of_a_benchmark_has_a_name_a_colour_and_a_meaning():
    methods = {"frozen", "random", *get_args(TrainedMethod), *get_args(FurtherProbe)}
    styles = [plots.method_style(method) for method in methods]
    assert len(set(styles)) == len({colour for _, colour in styles}) == len(methods)
    assert wording.METHODS.keys() == methods


def test_low_label_curves_show_every_method_and_grow_with_tasks(tmp_path):
    labels = {"frozen": (50, 100, 17000), "random": (50, 100, 17000), "scratch": (100,)}
    rows = [
        Row(task, n, method, auroc=0.8, low=0.7, high=0.9, gain=None, gain_low=None, gain_high=None)
        for task in ("af", "mi", "flutter", "premature")
        for method, numbers in labels.items()
        for n in numbers
    ]
    plots.low_label_curves(rows, tmp_path / "four.png")
    plots.low_label_curves([row for row in rows if row.task == "af"], tmp_path / "one.png")
    four = matplotlib.image.imread(tmp_path / "four.png")
    one = matplotlib.image.imread(tmp_path / "one.png")
    assert four.shape[0] > 1.7 * one.shape[0]
    assert four.shape[1] > 2.5 * one.shape[1]

    def pixels(method):
        _, code = plots._METHODS[method]
        colour = [int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        return (np.abs(one[..., :3] - colour).max(axis=-1) < 0.01).sum()

    for method in labels:
        assert pixels(method) > 50, method
    assert pixels("finetuned") == 0
