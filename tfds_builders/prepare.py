"""Preparing a data set by its name: what `ecgjax.launch.prepare` does."""

import contextlib
import dataclasses
import fcntl
import functools
import importlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from tfds_builders.conversion import report, shards, table
from tfds_builders.conversion.builder import Progress, RecordingsBuilder, Run
from tfds_builders.recording.recording import RecordingsConfig


def prepare(
    dataset: str,
    out: Path | str,
    *,
    source: Path | str | None = None,
    workers: int = 1,
    beam: Sequence[str] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    patient_key: Path | str | None = None,
    **options: Any,
) -> Path:
    """Converts a data set, unless that has been done, and returns the folder of the prepared one.

    Args:
      dataset: "name" or "name/config"; the names are the folders of tfds_builders.
      out: where prepared data sets go; this one to out/name/config/version.
      source: folder with the raw files as their publisher lays them out; without it they are downloaded.
      workers: processes that write shards; the bytes written do not depend on it.
      beam: options of an Apache Beam pipeline that writes the shards in place of workers, as "runner=FlinkRunner".
      limit: keep the first so many recordings of each split. Such a part has a folder of its own.
      progress: called with the recordings done and the recordings in all.
      patient_key: file with the secret under which patients of one's own files are hashed; made if there is none.
      options: fields of the data set's config to change; they too give a folder of its own.

    Raises:
      InputError: the data set, an option or the source cannot be honoured, or all was rejected.
    """
    for name, value in (("workers", workers), ("limit", limit)):
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: give a number of at least 1")
    builder_class, config = _find_config(dataset, options | {"limit": limit})
    out = Path(out).expanduser().resolve()
    builder = builder_class(
        config=config,
        data_dir=out,
        source=None if source is None else Path(source).expanduser().resolve(),
        run=_runner(workers, beam),
        progress=progress,
        key_file=None if patient_key is None else Path(patient_key).expanduser().resolve(),
    )
    prepared = Path(builder.data_dir)
    if not prepared.exists():
        with _alone_in(prepared.parent):
            # Does nothing if another process was first.
            builder.download_and_prepare(download_dir=out / "downloads")
        for unused in (out / "downloads/extracted", out / "downloads"):
            with contextlib.suppress(OSError):  # holds a download
                unused.rmdir()
    if absent := [name for name in (table.FILE, report.JSON) if not (prepared / name).is_file()]:
        raise InputError(
            f"{prepared}: lacks {' and '.join(absent)}; delete the folder and prepare it again"
        )
    return prepared


def _runner(workers: int, beam: Sequence[str] | None) -> Run:
    if beam is None:
        return functools.partial(shards.write_all, workers=workers)
    from tfds_builders.conversion import on_beam  # an extra; takes seconds to import

    return functools.partial(on_beam.write_all, options=beam)


def _find_config(
    dataset: str, options: dict[str, Any]
) -> tuple[type[RecordingsBuilder], RecordingsConfig]:
    name, _, config_name = dataset.partition("/")
    folders = sorted(
        path.parent.name for path in Path(__file__).parent.glob("*/*_dataset_builder.py")
    )
    if name not in folders:
        raise InputError(f"data set {name!r} is unknown; choose from {', '.join(folders)}")
    builder_class = importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder
    configs = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    config_name = config_name or builder_class.default_builder_config.name
    if config_name not in configs:
        raise InputError(
            f"data set {name} has no config {config_name!r}; choose from {', '.join(configs)}"
        )
    config = configs[config_name]
    known = {field.name for field in dataclasses.fields(config)}
    known -= {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
    if unknown := sorted(set(options) - known):
        choice = ", ".join(sorted(known))
        raise InputError(f"data set {name} has no option {unknown[0]!r}; choose from {choice}")
    changed = {key: value for key, value in options.items() if value != getattr(config, key)}
    suffix = "".join(
        f"-{key}{re.sub('[^A-Za-z0-9.]', '_', str(value))}"
        for key, value in sorted(changed.items())
    )
    return builder_class, dataclasses.replace(config, name=config_name + suffix, **changed)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits for any other process that prepares into `folder`, and removes what a killed one left there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror}; choose another folder for the output"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.glob("incomplete.*"):
            shutil.rmtree(stale)
        yield
