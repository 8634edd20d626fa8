"""The table that compares methods says what the benchmarks of its runs say, and every method has its place in it."""

import csv
import json

import test_benchmarks  # noqa: F401, which makes benchmarks/ importable

from benchmarks import methods
from ecgjax.objectives import OBJECTIVES
from ecgjax.train.presets import PRESETS

COLUMNS = ("task", "labels", "way", "auroc", "low", "high", "gain", "gain_low", "gain_high")


def _finished(out, run, rows):
    folder = out / run / "benchmark"
    folder.mkdir(parents=True)
    with (folder / "benchmark.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS, *rows])
    (folder / "done.json").write_text(json.dumps("done"))


def _rows(task, labels, auroc, low):
    gain = auroc - 0.6
    return [
        (task, labels, "frozen", auroc, 0, 1, gain, low, gain + 0.1),
        (task, labels, "random", 0.6, 0, 1, "", "", ""),
    ]


def test_gains_are_averaged_over_tasks_and_counted_where_they_are_certain(tmp_path, capsys):
    few = [*_rows("af", 100, 0.9, 0.2), *_rows("mi", 100, 0.7, -0.1)]
    every = [*_rows("af", 5000, 0.95, 0.2), *_rows("mi", 4000, 0.7, 0.05)]
    _finished(tmp_path, "simclr-compact_resnet", [*few, *every])
    _finished(tmp_path, "jepa-compact_resnet", few[:2])  # its second task is still being probed
    _finished(tmp_path, "simclr-xresnet1d50", _rows("af", 100, 0.5, -0.2))
    methods._collect(tmp_path)
    table = (tmp_path / "methods.md").read_text()
    assert table.strip() == capsys.readouterr().out.strip()
    first, second, third = table.split("\n\n| ")[0], *table.split("labels:")[2:]
    assert first == "compact_resnet, 100 labels:"
    assert "compact_resnet, 4,000 to 5,000 labels:" in table and "xresnet1d50, 100 labels:" in table
    line = "| `simclr` | +0.200, 1 of 2 | 0.900 (+0.300, +0.200 to +0.400) | 0.700 (+0.100, -0.100 to +0.200) | 0.883"
    assert line in table
    assert "+0.225, 2 of 2" in second and "-0.100, 0 of 1" in third
    assert "`jepa`" not in table  # not half a mean
    with (tmp_path / "methods.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12


def test_every_method_has_an_encoder_of_its_own():
    assert methods.OWN.keys() == OBJECTIVES.keys() and set(methods.OWN.values()) <= PRESETS.keys()
    assert methods.REPORTED.keys() <= OBJECTIVES.keys()
    for method, preset in methods.OWN.items():
        assert isinstance(PRESETS[preset].objective, OBJECTIVES[method])
