"""The tasks that a command was asked for: named ones, stored labels, and columns of one's own."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import LABEL, TASKS, Task, label_task
from ecgjax.workflows.own_targets.task import OwnTargets, OwnTask
from ecgjax.workflows.targets import Conditions, Target, Waves

MOST_FREQUENT = 10
"""Number of labels that a message lists."""


def choose_target(
    task: str | None, own: OwnTargets, records: Records, key: Path | None = None
) -> Target:
    """Returns the one target that was asked for; see `choose_tasks`.

    Raises:
      InputError: there is none, or more than one.
    """
    if (task is None) == (not own.target):
        given = f"--task {task} and --target" if task else "no --task and no --target"
        raise InputError(f"{given}: give one of them, such as --task af or --target age")
    if task == Waves.name:
        return Waves()
    return Conditions(choose_tasks([task] if task else [], own, records, key)[0])


def choose_tasks(
    names: Sequence[str], own: OwnTargets, records: Records, key: Path | None = None
) -> list[Task]:
    """Returns tasks by their names, and the task of the user's own columns last.

    Args:
      names: names in `TASKS`, or label:NAME for a label that the data set holds.
      own: the user's own targets.
      records: the data set to train on.
      key: the key file of own files.

    Raises:
      InputError: a name is not known, or the targets cannot be read.
    """
    tasks = [_choose(name, records) for name in names]
    return [*tasks, OwnTask(own, records, key)] if own.target else tasks


def _choose(name: str, records: Records) -> Task:
    if name in TASKS:
        return TASKS[name]
    label = name.removeprefix(LABEL)
    count = _count_labels(records)
    if name != label and label in count:
        return label_task(label)
    if name == label:
        problem = f"--task {name}: no task of this name; known: {', '.join(TASKS)}, waves"
        if label in count:
            raise InputError(f"{problem}; give --task {LABEL}{label} for the stored label")
        if label in records.table.column_names:
            raise InputError(f"{problem}; give --target {label} for the column of the data set")
        raise InputError(f"{problem}, {LABEL}NAME for a label of the data set; or --target COLUMN")
    if not count:
        remedy = "give your labels as --targets FILE --target COLUMN"
        raise InputError(f"{records.path}: holds no label; {remedy}")
    folded = {known.casefold(): known for known in count}
    close = difflib.get_close_matches(label.casefold(), folded, n=3, cutoff=0.6)
    similar = f"; similar: {', '.join(folded[each] for each in close)}" if close else ""
    frequent = ", ".join(f"{known} ({n:,})" for known, n in count.most_common(MOST_FREQUENT))
    raise InputError(
        f"--task {name}: no recording of {records.path} has this label{similar}; most frequent: "
        f"{frequent}"
    )


def _count_labels(records: Records) -> Counter[str]:
    """Returns the number of recordings with each label."""
    counted = records.column("labels").combine_chunks().flatten().value_counts()
    return Counter({row["values"]: row["counts"] for row in counted.to_pylist()})
