"""Fine-tuning on splits of a user's own, in cross-validation, and tested on other data sets."""

import csv
import json
import re

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import ecgjax
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.predictions import load
from ecgjax.launch import benchmark, compare, finetune
from ecgjax.workflows.predict import require_head
from ecgjax.workflows.site_table import cell
from tfds_builders.prepare import prepare


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Another cohort at another rate, with one case of atrial fibrillation."""
    return prepare("synthetic/500hz", tmp_path_factory.mktemp("other"), patients=18, seed=7)


@pytest.fixture(scope="module")
def subset(tmp_path_factory):
    """Half of the patients of `prepared`."""
    return prepare("synthetic/100hz", tmp_path_factory.mktemp("subset"), patients=18)


def _figures(folder):
    return json.loads((folder / "metrics.json").read_text())


def _rows(folder):
    return list(csv.DictReader((folder / "benchmark.csv").read_text().splitlines()))


def test_interval_below_zero_is_not_written_with_a_hyphen():
    assert cell([-0.079, -0.415, 0.006]) == "-0.079 (-0.415 to 0.006)"
    assert cell([0.9, 0.85, 0.95]) == "0.900 (0.850-0.950)"


PROBE = ["--task", "af", "--method", "linear_probe"]


def test_another_hospital_is_tested_and_compared(command, prepared, hospital, tmp_path):
    options = ["--data", prepared, *PROBE, "--test-data", hospital, "--workdir", tmp_path / "ft"]
    status, out, err = command(finetune, *options)
    assert status == 0, err
    site = Records(hospital)
    figures = _figures(tmp_path / "ft")["sites"][site.name]
    assert figures["recordings"] == len(site) and figures["patients"] == 18
    cases = [("AFIB" in labels) for labels in site.column("labels").to_pylist()]
    assert figures["cases"] == {"af": sum(cases)}
    predicted = load(tmp_path / "ft")[1][site.name]
    value = roc_auc_score(cases, predicted.predicted[:, 0])
    assert figures["auroc"]["af"][0] == pytest.approx(value, abs=1e-4)
    line = next(line for line in out.splitlines() if line.startswith(site.name))
    assert line.split()[1:5] == [str(len(site)), "18", "af", str(sum(cases))]
    assert f"{value:.3f}" in line
    assert "predict --checkpoint" in out.splitlines()[-1]
    assert f"classifier: {tmp_path / 'ft' / 'model'}" in out
    with pytest.raises(
        InputError, match="checkpoints: a checkpoint of training with labels.*folder model"
    ):
        require_head(ecgjax.load(tmp_path / "ft" / "checkpoints"), tmp_path / "ft" / "checkpoints")
    other = [*options[:-1], tmp_path / "again"]
    assert command(finetune, *other)[0] == 0
    both = [tmp_path / "ft", "--against", tmp_path / "again", "--split"]
    status, out, err = command(compare, *both, site.name)
    assert status == 0, err
    assert f"tested on {site.name}" in out and "+0.000 (+0.000 to +0.000)" in out
    status, _, err = command(compare, *both, "nowhere")
    assert status == 2 and f"give --split validation or test or {site.name}" in err


def test_patients_of_the_training_set_are_refused_or_left_out(
    command, prepared, records, subset, tmp_path
):
    options = ["--data", prepared, *PROBE, "--test-data", subset, "--workdir", tmp_path / "ft"]
    status, _, err = command(finetune, *options)
    assert status == 2 and "the model was trained on" in err and "--exclude-seen" in err
    assert not (tmp_path / "ft" / "model").exists()
    status, _, err = command(finetune, *options, "--exclude-seen")
    assert status == 0, err
    tested = set(records.column("record_id").take(records.split("test")).to_pylist())
    ids = Records(subset).column("record_id").to_pylist()
    figures = _figures(tmp_path / "ft")["sites"][Records(subset).name]
    assert figures["recordings"] == len(tested.intersection(ids))
    assert figures["excluded"] == len(ids) - figures["recordings"]


def test_a_site_without_the_condition_is_reported(command, prepared, hospital, tmp_path):
    """The synthetic patients of this site have no non-diagnostic T abnormality."""
    options = ["--data", prepared, *PROBE, "--task", "label:NDT", "--test-data", hospital]
    status, out, err = command(finetune, *options, "--workdir", tmp_path / "ft")
    assert status == 0, err
    name = Records(hospital).name
    assert f"{name}: no recording with (or none without) NDT; not tested" in err
    assert next(line for line in out.splitlines() if line.startswith(name)).split()[-1] == "-"
    assert _figures(tmp_path / "ft")["sites"][name]["auroc"]["NDT"][0] is None


def test_the_data_set_itself_is_no_other_hospital(command, prepared, tmp_path):
    options = ["--data", prepared, *PROBE, "--test-data", prepared, "--workdir", tmp_path / "ft"]
    status, _, err = command(finetune, *options)
    assert status == 2 and "is the data set of --data" in err


def test_folds_are_pooled_and_finished_folds_are_kept(
    command, prepared, records, hospital, tmp_path
):
    folder = tmp_path / "ft"
    options = ["--data", prepared, *PROBE, "--folds", 3, "--workdir", folder]
    status, out, err = command(finetune, *options)
    assert status == 0, err
    figures = _figures(folder)
    pooled = load(folder)[1]["test"]
    assert pooled.recordings.tolist() == list(range(len(records)))
    value = roc_auc_score(pooled.truth[:, 0], pooled.predicted[:, 0])
    assert figures["test"]["auroc"]["af"][0] == pytest.approx(value, abs=1e-4)
    assert f"{value:.3f} (" in out and len(figures["folds"]) == 3
    for number, fold in enumerate(figures["folds"], 1):
        own = load(folder / f"fold-{number}")[1]["test"]
        assert fold["recordings"] == len(own.recordings)
        np.testing.assert_array_equal(
            own.predicted, pooled.predicted[np.isin(pooled.recordings, own.recordings)]
        )
        assert ecgjax.load(folder / f"fold-{number}").outputs.names == ("af",)
    assert not (folder / "model").exists() and "--refit" in out.splitlines()[-1]
    with pytest.raises(InputError, match="models of folds only; run finetune again with --refit"):
        ecgjax.load(folder)
    written = (folder / "fold-2" / "metrics.json").stat().st_mtime_ns
    (folder / "fold-3" / "finished.json").unlink()
    status, out, err = command(finetune, *options, "--refit", "--test-data", hospital)
    assert status == 0, err
    assert err.count("was finished before") == 2
    assert (folder / "fold-2" / "metrics.json").stat().st_mtime_ns == written
    again = _figures(folder)
    assert again["folds"] == figures["folds"] and len(again["sites"]) == 1
    # The predictions of the folds choose the threshold, so that they do not test it.
    assert again["thresholds"]["af"].keys() == {"threshold", *again["sites"]}
    assert len(ecgjax.load(folder).encoder.seen.waveforms) == len(records)


def test_folds_that_have_nothing_to_learn_are_refused_before_the_first_one(
    command, prepared, records, tmp_path
):
    """One patient is a case: without this patient nothing is left to learn."""
    patients = records.column("patient_id").to_pylist()
    with (tmp_path / "rare.csv").open("w", newline="") as file:
        rows = [(patient, int(patient == patients[0])) for patient in dict.fromkeys(patients)]
        csv.writer(file).writerows([("patient_id", "rare"), *rows])
    options = ["--data", prepared, "--method", "linear_probe", "--folds", 3]
    options += [
        "--targets",
        tmp_path / "rare.csv",
        "--target",
        "rare",
        "--workdir",
        tmp_path / "ft",
    ]
    status, _, err = command(finetune, *options)
    assert status == 2 and not (tmp_path / "ft" / "fold-1").exists()
    last = err.splitlines()[-1]
    assert re.search(r"error: fold \d of 3: .*none with .*rare; .*; if .* give fewer folds", last)
    assert re.search(r"fold \d, test: no recording with .*rare; not in its own figures", err)


def test_splits_without_anything_to_train_on_are_refused(command, prepared, records, tmp_path):
    with (tmp_path / "splits.csv").open("w", newline="") as file:
        rows = [(patient, "test") for patient in set(records.column("patient_id").to_pylist())]
        csv.writer(file).writerows([("patient_id", "split"), *rows])
    options = ["--data", prepared, *PROBE, "--splits", tmp_path / "splits.csv"]
    status, _, err = command(finetune, *options, "--workdir", tmp_path / "ft")
    assert status == 2 and "splits.csv: no recording in split 'train'; give it some" in err


def test_own_splits_without_validation_are_used(command, prepared, records, tmp_path):
    patients = records.column("patient_id").to_pylist()
    chosen = sorted(set(patients))[:12]
    with (tmp_path / "splits.csv").open("w", newline="") as file:
        rows = [(patient, "test" if patient in chosen else "train") for patient in set(patients)]
        csv.writer(file).writerows([("patient_id", "split"), *rows])
    options = ["--data", prepared, *PROBE, "--splits", tmp_path / "splits.csv"]
    status, _, err = command(finetune, *options, "--workdir", tmp_path / "ft")
    assert status == 0, err
    tested = load(tmp_path / "ft")[1]
    assert list(tested) == ["test"]
    assert {patients[row] for row in tested["test"].recordings} == set(chosen)


def test_the_benchmark_tests_other_hospitals_too(command, prepared, hospital, workdir, tmp_path):
    options = ["--checkpoint", workdir, "--data", prepared, "--tasks", "af", "--labels", 16]
    options += ["--seeds", 1, "--trained", "--out", tmp_path / "out"]
    options += ["--random-scores", tmp_path / "random"]
    status, out, err = command(benchmark, *options, "--test-data", hospital, "--report")
    assert status == 0, err
    rows = _rows(tmp_path / "out")
    name = Records(hospital).name
    assert f"report:  {tmp_path / 'out' / 'report.html'}" in out
    assert f"af, tested on {name}" in (tmp_path / "out" / "report.html").read_text()
    assert [row["test"] for row in rows] == ["test", "test", name, name]
    assert f"| af | 16 | 1 | {name} |" in out
    # Alone, the own test has the same scores, also those that were stored.
    status, _, err = command(benchmark, *options)
    assert status == 0, err
    assert _rows(tmp_path / "out") == rows[:2]
    status, _, err = command(benchmark, *options, "--folds", 3)
    assert status == 2 and "give --splits FILE, or use finetune --folds" in err
