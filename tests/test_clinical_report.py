"""The clinical report from made-up predictions of synthetic recordings."""

import csv
import dataclasses
import math
import re

import matplotlib.image
import numpy as np
import pandas
import pytest
from model_auditor import Auditor
from model_auditor import metrics as auditor_metrics
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from test_html_page import assert_selfcontained

from ecgjax.classifier import load
from ecgjax.errors import InputError
from ecgjax.evaluate import benchmark_predictions
from ecgjax.evaluate.benchmark_predictions import BenchmarkPredictions
from ecgjax.evaluate.subgroups import by_age, by_sex, is_reportable
from ecgjax.evaluate.tasks import TASKS
from ecgjax.outputs import Outputs
from ecgjax.workflows.clinical_report import cases, page, report
from ecgjax.workflows.clinical_report.cases import choose_cases
from ecgjax.workflows.clinical_report.collect import Collector
from ecgjax.workflows.clinical_report.options import Reporting
from ecgjax.workflows.clinical_report.study import Condition, People, Study, Training
from ecgjax.workflows.cohort import PUBLISHED
from ecgjax.workflows.low_label import task_recordings
from ecgjax.workflows.low_label_methods import Benchmark

# The training split has enough cases; what is tested does not matter to the report.
SETTINGS = Benchmark(labels=("16", "32", "all"), split="train")
GAINS = {"frozen": 1.5, "random": 0.3, "scratch": 0.8, "finetuned": 1.6}


def _predictions(records, name, labels, *, seed=0):
    """Returns predictions by four methods, the better the more labels."""
    task = TASKS[name]
    indices = records.split("train")
    targets, belongs = task.targets(records, indices)
    indices = indices[belongs]
    targets = targets[belongs]
    rng = np.random.default_rng(seed)
    number = len(indices) if labels == "all" else labels
    scores = {}
    for method, gain in GAINS.items():
        draws = 1 if (method, labels) == ("frozen", "all") else 3
        noise = rng.normal(size=(draws, *targets.shape))
        odds = 0.5 * gain * np.log(number) * (targets - 0.5) + noise
        scores[method] = expit(odds).astype(np.float32)
    return BenchmarkPredictions(
        name,
        "train",
        number,
        "labels",
        task.outputs.names,
        labels == "all",
        indices,
        records.patients[indices].astype(np.int64),
        targets,
        scores,
    )


@pytest.fixture(scope="module")
def folder(records, workdir, tmp_path_factory):
    """Folder of a report of superclass and mi."""
    out = tmp_path_factory.mktemp("report")
    for name in ("superclass", "mi"):
        for labels in (16, 32, "all"):
            predicted = _predictions(records, name, labels)
            benchmark_predictions.save(out / "predictions", predicted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "RESAMPLES", 40)
        patch.setattr(page, "MOST_PICTURED", 1)
        patch.setattr(cases, "_LEAST_CERTAIN", 1)
        tasks = [TASKS["superclass"], TASKS["mi"]]
        written = report.write_report(SETTINGS, load(workdir), records, tasks, out)
    assert written == out / "report.html"
    return out


@pytest.fixture(scope="module")
def lines(folder):
    return list(csv.DictReader((folder / "report.csv").read_text().splitlines()))


def _find(lines, **wanted):
    return [line for line in lines if all(line[key] == str(wanted[key]) for key in wanted)]


def test_the_page_is_one_file_that_loads_nothing(folder):
    text = (folder / "report.html").read_text()
    reader = assert_selfcontained(text)
    pictures = list((folder / "report").glob("*.png"))
    assert reader.tags.count("img") == len(pictures)
    kinds = ("labels", "calibration", "net-benefit", "risks")
    expected = {f"mi-train-{kind}.png" for kind in kinds}
    expected |= {"superclass-train-labels.png", "superclass-train-MI-calibration.png"}
    assert expected <= {picture.name for picture in pictures}
    assert "superclass-train-NORM-calibration.png" not in {picture.name for picture in pictures}
    assert reader.tags.count("details") > 15
    for words in ("Pictures and ECGs are of the 1 most common of 4", "treat none", "weights "):
        assert words in reader.text


def test_no_identifier_is_in_the_report(folder, records):
    names = [path.name for path in (folder / "report").iterdir()]
    text = re.sub(r"base64,[^\"]+", "", (folder / "report.html").read_text())
    everything = "\n".join([text, (folder / "report.csv").read_text(), *names])
    for name in ("record_id", "patient_id", "waveform_hash"):
        assert not [each for each in records.column(name).to_pylist() if each in everything]
    assert str(folder) not in everything and str(records.path) not in everything
    assert re.search(r"row \d+   risk \d+\.\d % \(certain, right\)   labelled mi ", text)


def test_figures_are_those_of_scikit_learn(lines, records):
    predicted = _predictions(records, "mi", "all")
    target = predicted.truth[:, 0]
    for method, stack in predicted.scores.items():
        reference = {
            "AUROC": roc_auc_score,
            "AUPRC": average_precision_score,
            "Brier score": brier_score_loss,
        }
        for metric, function in reference.items():
            key = {"task": "mi", "method": method, "group": "all", "metric": metric}
            (line,) = _find(lines, labels=len(target), **key)
            value = np.mean([function(target, draw[:, 0]) for draw in stack])
            assert float(line["value"]) == pytest.approx(value, rel=1e-4)
            assert float(line["low"]) <= value <= float(line["high"])
            assert (int(line["recordings"]), int(line["positives"])) == (len(target), target.sum())
    (line,) = _find(lines, task="mi", method="treat all", metric="net benefit at 0.2")
    prevalence = target.mean()
    assert float(line["value"]) == pytest.approx(prevalence - (1 - prevalence) / 4, rel=1e-4)


def test_figures_of_groups_are_those_of_model_auditor(lines, records):
    predicted = _predictions(records, "mi", "all")
    people = People.read(records, predicted.recordings)
    groups = by_sex(people.sex) | by_age(people.age_years)
    checked = 0
    for name, members in groups.items():
        found = _find(lines, task="mi", group=name)
        target = predicted.truth[members, 0]
        if not is_reportable(target):
            (line,) = found
            assert (line["metric"], line["positives"], line["value"]) == ("", "", "")
            assert int(line["recordings"]) == members.sum()
            continue
        checked += 1
        # The fine-tuned encoder was trained with this amount, so it is shown, as the mean of draws.
        draws = [_audit(target, draw[members, 0]) for draw in predicted.scores["finetuned"]]
        for line in found:
            value = np.mean([draw[line["metric"]] for draw in draws])
            assert line["method"] == "finetuned"
            if line["value"] or not np.isnan(value):  # risks that separate have no slope
                found_value = float(line["value"])
                assert found_value == pytest.approx(value, rel=1e-3, abs=1e-4), line["metric"]
    assert checked


def _audit(target, risk):
    """Returns the figures that model-auditor computes for a group of recordings."""
    metrics = {
        "AUROC": auditor_metrics.AUROC(),
        "AUPRC": auditor_metrics.AUPRC(),
        "calibration slope": auditor_metrics.CalibrationSlope(),
        "calibration intercept": auditor_metrics.CalibrationIntercept(),
        "Brier score": auditor_metrics.BrierScore(),
    }
    auditor = Auditor(data=pandas.DataFrame({"target": target, "risk": risk.astype(float)}))
    auditor.add_score(name="risk", threshold=0.5)
    auditor.add_outcome(name="target")
    auditor.set_metrics(list(metrics.values()))
    table = auditor.evaluate_metrics("risk", n_bootstraps=None).to_numeric_dataframe()
    return dict(zip(metrics, table["estimate"], strict=True))


def test_classes_with_few_cases_have_nothing_but_their_size(lines, folder):
    (line,) = _find(lines, condition="HYP")
    assert line["recordings"] and not line["positives"] and not line["value"]
    sentence = f"HYP: {line['recordings']} recordings in the test, fewer than 10 cases"
    assert sentence in (folder / "report.html").read_text()


def test_labels_saved_are_reported(lines):
    saved = _find(lines, task="mi", metric="labels that scratch needs, ratio", method="frozen")
    assert [line["labels"] for line in saved] == ["16", "32", "72"]
    ratios = [float(line["value"]) for line in saved]
    assert ratios[0] > 1 and all(ratio > 0 for ratio in ratios)
    assert float(saved[0]["low"]) <= ratios[0] <= float(saved[0]["high"])


@pytest.mark.parametrize("name", ["labels", "calibration", "calibration-by-sex", "net-benefit"])
def test_pictures_show_their_curves(folder, name):
    path = folder / "report" / f"mi-train-{name}.png"
    image = matplotlib.image.imread(path)[..., :3]
    by_sex = name == "calibration-by-sex"
    colours = ("#CC79A7", "#56B4E9") if by_sex else ("#0072B2", "#D55E00", "#009E73", "#777777")
    shown = 0
    for code in colours:
        colour = [int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        shown += (np.abs(image - colour).max(axis=-1) < 0.01).sum() > 60
    assert shown >= (1 if by_sex else 4)


def test_scores_of_balanced_draws_are_moved_to_the_prevalence(records):
    """Half of 16 labels are cases; the odds then are too high by the odds of the prevalence."""
    predicted = _predictions(records, "mi", 16)
    training = Training(1000, 900, np.array([50]), np.array([1000]), is_balanced=True)
    people = People.read(records, predicted.recordings)
    study = Study("infarction", (predicted,), training, records, people)
    condition = Condition.make(study, 0, study.resamples(2))
    assert condition.is_shifted
    raw = predicted.scores["frozen"][..., 0].astype(float)
    expected = raw / (1 - raw) * (0.05 / 0.95)
    moved = condition.risks["frozen"]
    np.testing.assert_allclose(moved / (1 - moved), expected, rtol=1e-5)
    complete = dataclasses.replace(training, recordings=16)
    same = Condition.make(dataclasses.replace(study, training=complete), 0, study.resamples(2))
    assert not same.is_shifted
    np.testing.assert_allclose(same.risks["frozen"], raw)
    # Fewer cases than half of the labels: all are drawn.
    assert training.share(0, 400) == 50 / 400


def test_cases_are_the_most_certain_right_and_wrong_and_the_least_certain():
    target = np.array([1, 1, 1, 0, 0, 0, 0])
    risk = np.array([0.9, 0.2, 0.6, 0.01, 0.7, 0.45, 0.3])
    chosen = choose_cases(target, risk)
    assert [case.position for case in chosen] == [0, 1, 4, 5, 2]
    kinds = ["certain, right", "certain, wrong", "certain, wrong", "uncertain", "uncertain"]
    assert [case.kind for case in chosen] == kinds
    perfect = choose_cases(target, target * 0.8 + 0.1)
    assert "certain, wrong" not in {case.kind for case in perfect}
    assert len({case.position for case in perfect}) == len(perfect) == 3


def test_groups_cover_everybody_once():
    sex = np.array(["female", "male", None, "female"], object)
    age_years = np.array([39.9, 40.0, 65.5, math.nan])
    assert {name: list(np.flatnonzero(each)) for name, each in by_sex(sex).items()} == {
        "female": [0, 3],
        "male": [1],
        "sex not recorded": [2],
    }
    by_band = {name: list(np.flatnonzero(each)) for name, each in by_age(age_years).items()}
    assert list(by_band.values()) == [[0], [1, 2], [], [3]]
    assert list(np.flatnonzero(by_age(np.array([66.0, 300.0]))["over 65 years"])) == [0, 1]
    assert is_reportable(np.repeat([0, 1], 10)) and not is_reportable(np.repeat([0, 1], [90, 9]))


def test_draws_of_single_recordings_are_not_balanced_and_round_down(records, workdir, tmp_path):
    task = TASKS["mi"]
    available = len(task_recordings(records, task, records.split("train")).indices)
    for labels in (24, 25):
        predicted = _predictions(records, "mi", labels)
        benchmark_predictions.save(tmp_path / "predictions", predicted)
    settings = dataclasses.replace(SETTINGS, labels=(f"{100 * 24.6 / available}%",))
    for draw, number in (("recordings", 24), ("patients", 25)):
        chosen = dataclasses.replace(settings, draw=draw)
        collector = Collector(chosen, load(workdir), records, PUBLISHED, tmp_path)
        (study,) = collector.studies([task])
        assert [each.labels for each in study.amounts] == [number]
        assert study.training.is_balanced == (draw == "patients")


def test_predictions_of_other_recordings_are_refused(records, workdir, tmp_path):
    parts = (SETTINGS, load(workdir), records, [TASKS["mi"]], tmp_path)
    with pytest.raises(InputError, match="no predictions"):
        report.write_report(*parts)
    predicted = _predictions(records, "mi", 16)
    other = dataclasses.replace(predicted, patients=predicted.patients[::-1].copy())
    benchmark_predictions.save(tmp_path / "predictions", other)
    with pytest.raises(InputError, match="are not of the recordings of train; delete it"):
        report.write_report(*parts)


def test_numbers_are_left_out_with_a_line(records, workdir, tmp_path, capsys):
    @dataclasses.dataclass(frozen=True)
    class Age:
        name = "age"
        outputs = Outputs("age", "numbers", ("age",))

    benchmark_predictions.save(tmp_path / "predictions", _predictions(records, "mi", 16))
    with pytest.raises(InputError, match="no predictions of labels or classes among age"):
        report.write_report(SETTINGS, load(workdir), records, [Age()], tmp_path)
    assert "age: a number, which the clinical report leaves out" in capsys.readouterr().err


@pytest.mark.parametrize("thresholds", [(), (0.1, 1.0), (0.0,)])
def test_thresholds_that_are_no_risks_are_refused(thresholds):
    with pytest.raises(InputError, match="--report-thresholds .*give some such as 0.05 0.1 0.2"):
        Reporting(report=True, report_thresholds=thresholds)
