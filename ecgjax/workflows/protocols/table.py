"""The table of a protocol: results of an encoder beside published ones, protocol.md and .csv."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ecgjax.evaluate.benchmark_predictions import BenchmarkPredictions, load_all
from ecgjax.evaluate.low_label_table import CLEAN, Result, Row, write_csv
from ecgjax.evaluate.tasks import Task
from ecgjax.whole_files import replace_text
from ecgjax.workflows.protocols import published
from ecgjax.workflows.protocols.protocol import Protocol
from ecgjax.workflows.protocols.published import PublishedRow

OWN = "this encoder"
"""Name of the encoder that was tested."""
PUBLISHED_SPLIT = "test"
"""Split that published figures are of."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of protocol.csv: a result of this encoder, or a published one."""

    protocol: str
    task: str
    labels: str
    """Share of the training recordings, or their number."""
    method: str
    encoder: str
    auroc: float
    """Macro AUROC: of this encoder as measured, of others as published."""
    low: float | None = None
    """95 % interval over the patients of the test."""
    high: float | None = None
    recordings_low: float | None = None
    """95 % interval over its recordings, as the publications give it."""
    recordings_high: float | None = None
    clean: float | None = None
    """Mean over the classes with at least `CLEAN` cases in the test."""
    classes: int | None = None
    clean_classes: int | None = None
    recordings: int | None = None
    """Number of labelled recordings."""
    test: str = PUBLISHED_SPLIT
    reproduced: float | None = None
    """Macro AUROC of a published encoder in an independent repetition."""


def write_table(
    protocol: Protocol, rows: Sequence[Row], tasks: Sequence[Task], split: str, out: Path
) -> str:
    """Writes OUT/protocol.md and OUT/protocol.csv from the predictions of a finished benchmark.

    Args:
      protocol: the protocol.
      rows: the rows that the benchmark returned; other predictions in the folder do not count.
      tasks: the tasks that it was given.
      split: the tested split.
      out: folder of the benchmark.

    Returns:
      The table as Markdown.
    """
    finished = {(row.task, row.test, row.labels) for row in rows}
    every = [
        each
        for each in load_all(out / "predictions")
        if (each.task, each.test, each.labels) in finished and each.test == split
    ]
    by_name = {task.name: task for task in tasks}
    own = [
        line
        for each in every
        for line in _own_lines(protocol, by_name[each.task], each, _all_labels(every, each))
    ]
    others = [_published_line(row) for row in published.rows(protocol.name)]
    write_csv(out / "protocol.csv", [dataclasses.asdict(line) for line in (*own, *others)])
    text = "\n".join(_markdown(protocol, own, others, split))
    replace_text(out / "protocol.md", text)
    return text


def _all_labels(every: Sequence[BenchmarkPredictions], one: BenchmarkPredictions) -> int | None:
    """Returns the number of all training recordings of a task, if the task was tested with them."""
    complete = [each.labels for each in every if each.task == one.task and each.is_complete]
    return complete[0] if complete else None


def _own_lines(
    protocol: Protocol, task: Task, tested: BenchmarkPredictions, available: int | None
) -> Iterator[Line]:
    arrays = {"truth": tested.truth, "scores": tested.scores}
    about = (task, tested.labels, tested.test)
    every_recording = np.arange(len(tested.recordings))
    by_patient = Result.measure(*about, patients=tested.patients, **arrays)
    by_recording = Result.measure(*about, patients=every_recording, **arrays)
    for row, other in zip(by_patient.rows(), by_recording.rows(), strict=True):
        yield Line(
            protocol.name,
            row.task,
            _share(protocol, row.labels, available),
            row.way,
            OWN,
            row.auroc,
            row.low,
            row.high,
            other.low,
            other.high,
            row.clean,
            row.classes,
            row.clean_classes,
            row.labels,
            row.test,
        )


def _share(protocol: Protocol, labels: int, available: int | None) -> str:
    """Returns the share of a protocol that a number of recordings is, or the number."""
    if available is None:
        return f"{labels:,}"
    for share in protocol.shares:
        if labels == int(float(share.rstrip("%")) / 100 * available):
            return share
    return f"{labels:,}"


def _published_line(row: PublishedRow) -> Line:
    encoder = f"{row.encoder} ({published.TRAINED_ON[row.encoder]})".removesuffix(" ()")
    method = row.method
    parts = (row.protocol, row.task, row.labels, method, encoder, row.published)
    return Line(*parts, reproduced=row.reproduced)


def _markdown(
    protocol: Protocol, own: Sequence[Line], others: Sequence[Line], split: str
) -> Iterator[str]:
    yield f"# Protocol {protocol.name}: {protocol.title}\n"
    yield f"Macro AUROC on the split {split}; docs/protocols.md says where it differs from the"
    yield "published protocol."
    if split != PUBLISHED_SPLIT:
        yield f"Published figures are of fold 10, this encoder's of the split {split}."
    if left_out := protocol.left_out({line.method for line in own}):
        yield f"Left out: {', '.join(left_out)}."
    yield "\n## This encoder\n"
    yield from _own_table(protocol, own)
    yield "\n## Beside published encoders\n"
    yield from _comparison(protocol, own, others)
    yield "\nPublished → reproduced, where somebody has repeated it. Sources:"
    yield "`ecgjax/workflows/protocols/published.py`.\n"


def _own_table(protocol: Protocol, own: Sequence[Line]) -> Iterator[str]:
    header = ["task", "labels", "read-out", "AUROC", "95 % over patients", "95 % over recordings"]
    header.append(f"at least {CLEAN} cases (classes)")
    yield _table_row(header)
    yield "| --- " * len(header) + "|"
    words = {method: text for method, _, text in protocol.readouts}
    order = [method for method, _, _ in protocol.readouts]
    for line in sorted(own, key=lambda line: _place(protocol, order, line)):
        clean = "" if line.clean is None else f"{line.clean:.3f} ({line.clean_classes})"
        patients = _range(line.low, line.high)
        recordings = _range(line.recordings_low, line.recordings_high)
        name = words.get(line.method, line.method)
        number = f"{line.recordings:,}" if line.labels.endswith("%") else ""
        labels = f"{line.labels} ({number})" if number else line.labels
        cells = [line.task, labels, name, f"{line.auroc:.3f}", patients, recordings, clean]
        yield _table_row(cells)


def _place(protocol: Protocol, order: Sequence[str], line: Line) -> tuple[int, int, int]:
    task = protocol.tasks.index(line.task) if line.task in protocol.tasks else len(protocol.tasks)
    method = order.index(line.method) if line.method in order else len(order)
    return task, line.recordings or 0, method


def _range(low: float | None, high: float | None) -> str:
    """Returns an interval as text, without its value."""
    if low is None or high is None or math.isnan(low):
        return "no interval: too few patients"
    return f"{low:.3f}-{high:.3f}"


def _comparison(protocol: Protocol, own: Sequence[Line], others: Sequence[Line]) -> Iterator[str]:
    """Yields a line for each read-out and encoder, and a column for each task and share."""
    columns = [(task, share) for task in protocol.tasks for share in protocol.shares]
    several = len(protocol.shares) > 1
    header = [f"{task} {share}" if several else task for task, share in columns]
    yield _table_row(["read-out", "encoder", *header])
    yield "| --- " * (len(header) + 2) + "|"
    for group in dict.fromkeys(kind for _, kind, _ in protocol.readouts):
        for method, kind, words in protocol.readouts:
            mine = [line for line in own if line.method == method]
            if kind == group and mine:
                yield _table_row([words, f"**{OWN}**", *_cells(columns, mine)])
        references = [line for line in others if line.method == group]
        title = next(words for _, kind, words in protocol.readouts if kind == group)
        for encoder in dict.fromkeys(line.encoder for line in references):
            cells = _cells(columns, [line for line in references if line.encoder == encoder])
            yield _table_row([title, encoder, *cells])


def _cells(columns: Sequence[tuple[str, str]], lines: Sequence[Line]) -> Iterator[str]:
    values = {(line.task, line.labels): line for line in lines}
    for column in columns:
        line = values.get(column)
        if line is None:
            yield ""
        elif line.reproduced is None:
            yield f"{line.auroc:.3f}"
        else:
            yield f"{line.auroc:.3f} → {line.reproduced:.3f}"


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
