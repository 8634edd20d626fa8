"""`runs` lists runs of all kinds and states, and says what it cannot read."""

import csv
import io
import json
import os
import shutil
import time

import pytest
import rich.console

from ecgjax import adapt
from ecgjax.errors import InputError
from ecgjax.workflows import runs, runs_table
from ecgjax.workflows.runs import list_runs

CONFIG = {
    "format": 2,
    "encoder": {"name": "compact_resnet", "widths": [32, 64]},
    "pretraining": {"num_steps": 100, "optimizer": {"learning_rate": 0.001}, "seed": 0},
}


def _run(folder, lines, **changes):
    """Writes the text files of a pre-training run."""
    folder.mkdir(parents=True)
    config = {**CONFIG, "pretraining": {**CONFIG["pretraining"], **changes}}
    run = {"title": "pre-training", "num_steps": 100, "config": config}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _checkpoint(folder, step):
    (folder / "checkpoints" / str(step) / "manifest").mkdir(parents=True)


def _line(step, loss, **figures):
    return {"step": step, "time": "2026-11-30T00:00:00+00:00", "loss": loss, **figures}


@pytest.fixture
def many(tmp_path):
    """Folder with runs of every kind and state."""
    lines = [_line(50, 2.0, **{"probe/af": 0.9}), _line(100, 1.5, **{"probe/af": 0.8})]
    _checkpoint(_run(tmp_path / "a", lines), 100)
    _run(tmp_path / "deep" / "b", [_line(40, 3.0)], seed=1)
    empty = _run(tmp_path / "c", [], optimizer={"learning_rate": 0.01})
    (empty / "metrics.jsonl").unlink()
    tuned = _run(tmp_path / "d", [_line(40, 0.5, **{"validation/auroc": 0.7})])
    config = {"encoder": {"name": "x"}, "task": "af", "finetuning": {"epochs": 20.0}}
    (tuned / "run.json").write_text(json.dumps({"num_steps": 40, "config": config}))
    results = {"test": {"macro_auroc": [0.91, 0.9, 0.92]}, "sites": {"b": {"mae": {"age": [5.0]}}}}
    (tuned / "metrics.json").write_text(json.dumps(results))
    benchmark = tmp_path / "e"
    _run(benchmark / "scratch-af-100-0", [_line(40, 0.5)])
    text = "task,labels,way,auroc\naf,50,frozen,0.6\naf,100,frozen,0.8\nmi,100,frozen,0.9\n"
    (benchmark / "benchmark.csv").write_text(text)
    return tmp_path


def _by_name(rows) -> dict:
    return {row.path.name: row for row in rows}


def test_runs_of_all_kinds_and_states(many):
    rows = _by_name(list_runs([many]))
    assert list(rows) == ["a", "c", "d", "b", "e"]  # by path
    assert not any(row.problems for row in rows.values())
    kinds = {name: row.kind for name, row in rows.items()}
    assert kinds == dict(a="pretrain", b="pretrain", c="pretrain", d="finetune", e="benchmark")
    cells = {row["run"].rpartition("/")[2]: row for row in runs_table.table([*rows.values()])}
    states = {name: row["state"] for name, row in cells.items()}
    assert states["a"] == states["d"] == "finished"
    assert states["b"] == "step 40 of 100" and states["c"] == "no step yet"
    assert cells["a"]["probe/af"] == "0.800 (0.900 @50)" and cells["a"]["loss"] == "1.500"
    assert cells["a"]["checkpoint"] == "100" and cells["d"]["validation/auroc"] == "0.700"
    assert cells["d"]["test/auroc"] == "0.910" and cells["d"]["b/mae"] == "5.000"
    assert cells["e"]["frozen/auroc"] == "0.850"
    days = (time.time() - 1795996800) / 86400
    if days > 2:
        assert cells["a"]["age"] == f"{days:.0f} d"


def test_only_settings_that_differ_within_a_kind_are_columns(many):
    rows = list_runs([many])
    assert runs_table.differing_settings(rows) == {
        "pretraining.optimizer.learning_rate": "learning_rate",
        "pretraining.seed": "seed",
    }
    for row in rows:
        row.settings["start.seed"] = row.path.name
    assert "pretraining.seed" in runs_table.differing_settings(rows).values()


def test_parts_of_a_benchmark_are_listed_if_it_is_given_itself(many):
    names = [*_by_name(list_runs([many / "e"]))]
    assert names == ["e", "scratch-af-100-0"]


def test_sorting(many):
    rows = list_runs([many])

    def names(column, *, reverse=False):
        return [row.path.name for row in runs_table.sort_rows(rows, column, reverse=reverse)]

    assert names("loss")[:3] == ["d", "a", "b"]  # the rest has none
    assert names("loss", reverse=True)[:3] == ["b", "a", "d"]
    assert names("learning_rate")[2] == "c"
    assert names("probe/af")[0] == "a"
    with pytest.raises(InputError, match="--sort los: no such column; give one of run, kind"):
        names("los")


def test_damaged_runs_have_a_row_with_the_reason(many, workdir):
    with (many / "a" / "metrics.jsonl").open("a") as log:
        log.write("broken\n")
    (many / "deep" / "b" / "run.json").write_text("{")
    (many / "d" / "metrics.json").write_text("[]")
    shutil.copytree(workdir, many / "f")
    (many / "f" / "run.json").unlink()  # as in a run of an earlier version
    for file in (many / "f" / "checkpoints" / "4" / "config").iterdir():
        file.write_text("damaged")
    rows = _by_name(list_runs([many]))
    assert rows["a"].problems == ["metrics.jsonl: damaged lines: 1"]
    assert rows["a"].figures["loss"].last == 1.5
    assert rows["b"].problems == ["run.json: damaged, no JSON"] and rows["b"].step == 40
    assert rows["d"].problems == ["metrics.json: damaged, no JSON object"]
    (problem,) = rows["f"].problems
    assert problem.startswith("checkpoints/4/config/") and problem.endswith("damaged, no JSON")
    assert rows["f"].kind == "?" and rows["f"].step == 4
    text = runs_table.as_text(runs_table.table([*rows.values()]))
    assert "damaged, no JSON object" in text


def test_a_run_of_an_earlier_version_is_read_from_its_checkpoint(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "old")
    (copy / "run.json").unlink()
    (old,) = list_runs([copy])
    (new,) = list_runs([workdir])
    assert old.kind == new.kind == "pretrain" and old.is_finished and new.is_finished
    assert old.settings == new.settings and old.num_steps == 4


def test_loops_of_links_end(many):
    os.symlink(many, many / "deep" / "loop")
    os.symlink(many / "a", many / "link")
    assert len(list_runs([many])) == 5


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_table_fits_the_terminal(many, width):
    rows = list_runs([many])
    for row in rows:
        row.path = row.path.relative_to(many)
    console = rich.console.Console(width=width, record=True, file=io.StringIO())
    runs_table.print_on_terminal(runs_table.table(rows), console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert all(str(row.path) in text for row in rows)
    assert ("more columns" in text) == (width < 200)


def test_csv_has_all_columns(many, tmp_path):
    file = tmp_path / "runs.csv"
    rows = list_runs([many])
    runs_table.write_csv(rows, file)
    with file.open(newline="") as stream:
        lines = {line["run"].rpartition("/")[2]: line for line in csv.DictReader(stream)}
    assert len(lines) == 5
    a = lines["a"]
    assert (a["probe/af"], a["probe/af best"], a["probe/af best step"]) == ("0.8", "0.9", "50")
    assert a["learning_rate"] == "0.001" and a["checkpoint"].endswith("checkpoints/100")


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match="absent: no such folder; give a folder of runs"):
        list_runs([tmp_path / "absent"])
    with pytest.raises(InputError, match="no run of pretrain, finetune or benchmark in it"):
        list_runs([tmp_path])


def test_the_settings_of_every_method_are_found_in_a_config():
    assert {method.CONFIG_KEY for method in adapt.METHODS.values()} == runs.METHODS
