"""Watching a run: measurements change nothing, the best step survives, logs and events are read."""

import dataclasses
import datetime
import errno
import io
import json
import math
import shutil
import struct

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from conftest import CROPS, SETTINGS
from tensorboardX.proto.event_pb2 import Event

import ecgjax
from ecgjax.adapt.finetune import FineTuning
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.metrics import macro_auroc
from ecgjax.evaluate.scores import youden_thresholds
from ecgjax.evaluate.tasks import TASKS
from ecgjax.outputs import Outputs
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.metrics_file import read_lines
from ecgjax.train.runlog import TIMING, RunLog, read_metrics
from ecgjax.train.watch import Watch, Watching, best_and_last
from ecgjax.workflows import frozen_probe, validation
from ecgjax.workflows.finetune import finetune
from ecgjax.workflows.frozen_probe import default_interval, effective_rank
from ecgjax.workflows.low_label import Labels
from ecgjax.workflows.pretrain import pretrain
from ecgjax.workflows.targets import Conditions


def _manifest(workdir) -> dict:
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def _lines(workdir) -> list[dict]:
    return [
        {name: value for name, value in line.items() if name not in TIMING}
        for line in read_metrics(workdir)
    ]


def _events(workdir) -> list[tuple[int, str, object]]:
    """Reads TensorBoard's files: records of length, checksum, content and checksum."""
    events = []
    for file in sorted((workdir / "tensorboard").iterdir()):
        content = file.read_bytes()
        start = 0
        while start < len(content):
            (length,) = struct.unpack_from("<Q", content, start)
            event = Event.FromString(content[start + 12 : start + 12 + length])
            start += 16 + length
            for value in event.summary.value:
                picture = value.image.encoded_image_string
                events.append((event.step, value.tag, picture or value.simple_value))
    return events


@pytest.fixture
def probed(mixture, tmp_path, tiny_encoders, monkeypatch):
    """The run of `workdir` with a probe every two steps."""
    monkeypatch.setattr(frozen_probe, "MIN_CASES", 2)

    def start(workdir=tmp_path / "run", **options):
        options = {"save_every": 2, "log_every": 1, "probe_every": 2, **options}
        pretrain(SETTINGS, mixture, workdir, **options)
        return workdir

    return start


def test_a_probe_changes_no_parameter_and_resumes_with_the_same_log(probed, workdir, tmp_path):
    run = probed()
    assert _manifest(run) == _manifest(workdir)
    lines = _lines(run)
    plain = [{name: v for name, v in line.items() if "/" not in name} for line in lines]
    assert plain == _lines(workdir)
    names = {name for name in lines[1] if name.startswith("probe/")}
    assert "probe/af" in names and "probe/rank" in names and "probe/map" not in names
    # Identification needs no labels, and stands beside the tasks.
    for name in ("probe/patient_rank1", "probe/patient_map"):
        assert 0 <= lines[1][name] <= 1
    assert [line["step"] for line in lines if "probe/af" in line] == [2, 4]
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints/4")
    probed(copy)
    assert _lines(copy) == lines and _manifest(copy) == _manifest(run)


def test_tensorboard_has_the_figures_of_the_log_and_a_picture(probed):
    run = probed()
    events = _events(run)
    for line in read_metrics(run):
        logged = {tag: value for step, tag, value in events if step == line["step"]}
        for name, value in line.items():
            if isinstance(value, float):
                assert logged[name] == pytest.approx(value, rel=1e-6), name
    pictures = [(step, value) for step, tag, value in events if tag == "probe/map"]
    assert [step for step, _ in pictures] == [2, 4]
    picture = matplotlib.image.imread(io.BytesIO(pictures[0][1]))
    assert picture.shape[:2] == (780, 1040) and picture.std() > 0.05


def test_log_lines_have_the_time_and_the_learning_rate_of_their_step(workdir):
    lines = read_metrics(workdir)
    schedule = SETTINGS.optimizer.learning_rate_at(SETTINGS.num_steps)
    for line in lines:
        # The first step is step 0 of the schedule.
        rate = float(jax.jit(schedule)(line["step"] - 1))
        assert line["learning_rate"] == pytest.approx(rate, rel=1e-6)
        time = datetime.datetime.fromisoformat(line["time"])
        assert time.utcoffset() == datetime.timedelta(0)
    elapsed = [line["elapsed_s"] for line in lines]
    assert elapsed == sorted(elapsed) and elapsed[0] > 0


def test_dispatches_from_device_memory_end_at_probes(probed):
    run = probed(save_every=4, log_every=4, cache="device", probe_every=3)
    assert [line["step"] for line in read_metrics(run) if "probe/rank" in line] == [3, 4]


def test_a_probe_without_validation_recordings_is_refused(probed, mixture, monkeypatch):
    monkeypatch.setattr(frozen_probe, "_has_validation", lambda records: False)
    with pytest.raises(InputError, match="--probe-every 2: .* no validation recordings; give 0"):
        probed()
    probed(probe_every=None)  # by default, nothing is asked for


def test_without_labels_patients_are_identified(mixture, monkeypatch, tiny_encoders):
    monkeypatch.setattr(frozen_probe, "MIN_CASES", 2)
    monkeypatch.setattr(frozen_probe, "MAIN_TASKS", ())
    sample = frozen_probe._Sample(mixture.members[0])
    assert not sample.tasks and len(sample.visits)
    _, counts = np.unique(sample.records.patients[sample.visits], return_counts=True)
    assert counts.min() > 1
    monkeypatch.setattr(frozen_probe, "MIN_CASES", 1000)
    assert not len(frozen_probe._Sample(mixture.members[0]).visits)


def test_default_interval_of_probes():
    assert default_interval(22000, 512, 10) == 2200
    assert default_interval(2200, 512, 10) == 400  # 200,000 recordings
    assert default_interval(2200, 512, 300) == 600
    assert default_interval(220, 256, 10) is None


def test_effective_rank_counts_equal_directions():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(16, 5)))[0].T
    directions = np.linalg.qr(rng.normal(size=(100, 5)))[0]
    assert effective_rank(directions @ basis) == pytest.approx(5, rel=1e-3)
    assert effective_rank(np.ones((10, 4))) == pytest.approx(1, rel=1e-3)


STATE = object()


def _watch(values, kept, **options) -> Watch:
    """A watch whose figures are the given values, one after another."""
    values = iter(values)
    return Watch(
        1,
        lambda state: {"validation/auroc": next(values)},
        "validation/auroc",
        keep=lambda state, step: kept.append(step),
        **options,
    )


@pytest.mark.parametrize(("lower", "expected"), [(False, [1, 3, 5]), (True, [1, 2])])
def test_the_best_step_is_kept(lower, expected):
    kept = []
    watching = Watching(_watch([0.5, 0.4, 0.7, 0.7, 0.8], kept, lower_is_better=lower), 5, [])
    for step in range(1, 6):
        watching.due(STATE, step)()
    assert kept == expected


def test_the_best_figure_survives_a_resume_and_damaged_figures():
    kept = []
    lines = [{"step": 1, "loss": 1.0}, {"step": 2, "validation/auroc": 0.7}, {"step": 3}]
    lines.append({"step": 4, "validation/auroc": None})
    watch = _watch([0.6, float("nan"), 0.75], kept)
    watching = Watching(watch, 7, lines)
    for step in (5, 6, 7):
        watching.due(STATE, step)()
    assert kept == [7]
    last = {"step": 7, "loss": 3.0, "validation/auroc": 0.6}
    figures = best_and_last(watch, [*lines, last])
    assert figures["best"] == {"step": 2, "validation/auroc": 0.7}
    assert figures["last"] == {"step": 7, "validation/auroc": 0.6}


def test_measurements_are_due_at_their_interval_and_at_the_end():
    watching = Watching(Watch(3, dict), 7, [])
    assert [step for step in range(1, 8) if watching.due(STATE, step)] == [3, 6, 7]


def test_a_damaged_log_is_read_with_a_warning_and_replaced_as_a_whole(tmp_path, capsys):
    good = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    texts = [json.dumps(line) for line in good]
    bad = ["\x00\x00", '{"step": 2, "lo', '{"loss": 1}', '["step"]', '{"step": "2"}', texts[2] * 2]
    content = "\n".join([texts[0], *bad, texts[1], texts[2], '{"step": 4, "loss": 0.1'])
    (tmp_path / "metrics.jsonl").write_bytes(content.encode() + b"\xff")
    assert read_lines(tmp_path) == (good, [2, 3, 4, 5, 6, 7])
    assert read_metrics(tmp_path) == good
    assert "metrics.jsonl: 6 damaged lines are left out (2, 3, 4" in capsys.readouterr().err
    with RunLog(tmp_path, title="test", num_steps=4, recordings=8, first_step=2) as log:
        assert log.lines == good[:2]
        assert read_lines(tmp_path) == (good[:2], [])
        log.write(3, {"loss": jnp.asarray(0.5)})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    assert not (tmp_path / "unfinished-metrics.jsonl").exists()


def test_a_failed_rewrite_leaves_the_log_and_steps_done_again_count_once(
    tmp_path, monkeypatch, capsys
):
    lines = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 9.0}, {"step": 3, "loss": 9.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ecgjax.whole_files.os.fsync", fail)
    with RunLog(tmp_path, title="test", num_steps=4, recordings=8, first_step=1) as log:
        assert read_metrics(tmp_path) == lines
        log.write(2, {"loss": jnp.asarray(0.5)})
    assert "metrics.jsonl: the log cannot be written (No space left" in capsys.readouterr().err
    assert [(line["step"], line["loss"]) for line in read_metrics(tmp_path)] == [(1, 1.0), (2, 0.5)]


def test_elapsed_time_goes_on_after_a_resume(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "elapsed_s": 100.0, "loss": 1.0}\n')
    with RunLog(tmp_path, title="test", num_steps=4, recordings=8, first_step=1) as log:
        log.write(2, {"loss": jnp.asarray(0.5)}, lambda: {"probe/a": math.nan, "probe/b": 0.5})
    last = read_metrics(tmp_path)[-1]
    assert 100 <= last["elapsed_s"] < 110
    assert last["probe/a"] is None and last["probe/b"] == 0.5


@pytest.fixture
def tuned(prepared, tmp_path, tiny_encoders):
    """Fine-tunes in six steps."""

    def start(name, **settings):
        settings = {"min_steps": 6, "epochs": 0, "batch_size": 16, "eval_every": 2, **settings}
        method = FineTuning(augmentation=CROPS, **settings)
        target = Conditions(TASKS["af"])
        workdir = tmp_path / name
        results = finetune(method, target, Records(prepared), workdir, labels=Labels(count=16))
        return workdir, results

    return start


def test_fine_tuning_validates_and_keeps_the_best_step(tuned, records, capsys):
    workdir, results = tuned("run")
    lines = [line for line in _lines(workdir) if "validation/auroc" in line]
    assert [line["step"] for line in lines] == [2, 4, 6]
    during = results["during_training"]
    best = max(lines, key=lambda line: line["validation/auroc"])  # the first of equal ones
    assert during["best"] == {
        name: best[name] for name in ("step", "validation/loss", "validation/auroc")
    }
    assert during["last"]["step"] == 6
    assert f"(the step that validated best, {best['step']})" in capsys.readouterr().out
    # The small data set has fewer validation recordings than the sample would hold.
    validation = records.split("validation")
    assert during["recordings"] == len(validation)
    targets, _ = TASKS["af"].targets(records, validation)
    for folder, line in (("best", best), ("model", lines[-1])):
        model = ecgjax.load(workdir / folder)
        predicted = model.predict_records(records, validation)
        value = macro_auroc(targets, predicted)
        assert value == pytest.approx(line["validation/auroc"], abs=1e-6)
        assert model.outputs.thresholds == youden_thresholds(targets, predicted)
    assert ecgjax.load(workdir / "best").encoder.config["step"] == best["step"]


def test_validation_changes_nothing_and_a_stopped_fine_tuning_goes_on_from_the_best_step(
    tuned, monkeypatch
):
    whole, results = tuned("whole", save_every=3)
    plain, _ = tuned("plain", save_every=3, eval_every=0)
    assert _manifest(whole / "checkpoints") == _manifest(plain / "checkpoints")
    assert not (plain / "best").exists()
    shutil.rmtree(whole / "checkpoints/6")
    lines = _lines(whole)
    _, again = tuned("whole", save_every=3)
    assert _lines(whole) == lines and again == results
    assert _manifest(whole / "checkpoints") == _manifest(plain / "checkpoints")


LABELS = Outputs("t", "labels", ("a", "b"))


def test_validation_figures_of_labels_leave_out_unknown_targets():
    targets = np.array([[1, 0], [0, np.nan], [1, 1], [0, 0]], np.float32)
    predicted = np.array([[0.9, 0.2], [0.3, 0.5], [0.2, 0.6], [0.1, 0.7]], np.float32)
    values = validation.figures(LABELS, targets, predicted)
    known = [0.9, 0.7, 0.2, 0.9, 0.8, 0.6, 0.3]
    assert values["validation/loss"] == pytest.approx(-np.log(known).mean(), rel=1e-5)
    assert values["validation/auroc"] == pytest.approx((0.75 + 0.5) / 2)
    assert macro_auroc(targets, predicted) == values["validation/auroc"]
    assert validation.best_figure(LABELS, targets) == "validation/auroc"
    assert validation.best_figure(LABELS, np.zeros((3, 2))) == "validation/loss"


def test_validation_figures_of_classes_and_numbers():
    classes = Outputs("t", "classes", ("a", "b"))
    targets = np.array([[1, 0], [0, 1]], np.float32)
    predicted = np.array([[0.8, 0.2], [0.4, 0.6]], np.float32)
    values = validation.figures(classes, targets, predicted)
    assert values["validation/loss"] == pytest.approx(-np.log([0.8, 0.6]).mean(), rel=1e-5)
    age = dataclasses.replace(Outputs("age", "numbers", ("age",)), means=(60.0,), scales=(10.0,))
    numbers = np.array([[60], [np.nan], [80]], np.float32)
    values = validation.figures(age, numbers, np.array([[50], [0], [85]], np.float32))
    assert values["validation/mae"] == pytest.approx(7.5)
    assert values["validation/loss"] == pytest.approx((1 + 0.25) / 2)
    assert validation.best_figure(age, numbers) == "validation/mae"
