"""Preparation of a data set by its name, for the command `ecgjax.launch.prepare`."""

import contextlib
import fcntl
import functools
import importlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from tfds_builders.conversion import report, shards, table
from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.conversion.plan import Progress, Run
from tfds_builders.conversion.verify import verify_records
from tfds_builders.recording.options import change
from tfds_builders.recording.recording import RecordingsConfig


def prepare(
    dataset: str,
    out: Path | str,
    *,
    source: Path | str | None = None,
    workers: int = 1,
    beam: Sequence[str] | None = None,
    progress: Progress | None = None,
    patient_key: Path | str | None = None,
    verify: int = 0,
    **options: Any,
) -> Path:
    """Converts a data set unless it is prepared already, and returns the folder of the result.

    Args:
      dataset: "name" or "name/config"; the names are the folders of tfds_builders.
      out: folder of all prepared data sets; this one is written to out/name/config/version.
      source: folder of the raw files, laid out as their publisher does; None downloads them.
      workers: number of processes that write shards; the bytes do not depend on it.
      beam: options of an Apache Beam pipeline that writes the shards instead of the workers, such
        as "runner=FlinkRunner".
      progress: called with the numbers of recordings done and in total.
      patient_key: file of the secret that the patients of your own files are hashed with; created
        if it is absent.
      verify: number of stored recordings to compare afterwards with another reader of the source.
      options: changes of the data set's config, see `recording.options`, such as limit=100 to keep
        the first 100 recordings of each split. The result has its own folder.

    Raises:
      InputError: the data set, an option or the source is not valid, or every recording was
        rejected.
    """
    least = {"workers": (workers, 1), "limit": (options.get("limit"), 1), "verify": (verify, 0)}
    for name, (value, minimum) in least.items():
        if value is not None and value < minimum:
            raise InputError(f"--{name} {value}: give a number of at least {minimum}")
    builder_class, config = find_config(dataset, options)
    if verify and builder_class.read_again is RecordingsBuilder.read_again:
        raise InputError(f"--verify {verify}: {dataset} has no second reader; leave --verify out")
    if config.columns and builder_class.patient_key is not None:
        problem = f"--columns {config.columns[0]}: {dataset} has no recordings.csv"
        raise InputError(f"{problem}; leave --columns out, its builder keeps what is known")
    out = Path(out).expanduser().resolve()
    if source is not None:
        source = Path(source).expanduser().resolve()
        require_apart(out, source)
    builder = builder_class(
        config=config,
        data_dir=out,
        source=source,
        run=_runner(workers, beam),
        workers=workers,
        progress=progress,
        key_file=None if patient_key is None else Path(patient_key).expanduser().resolve(),
    )
    prepared = Path(builder.data_dir)
    if source and source.is_relative_to(prepared.parent):
        problem = f"--source {source}: is a prepared data set below --out"
        raise InputError(f"{problem}; give the folder of the raw files")
    if not prepared.exists():
        with _exclusive(prepared.parent):
            # Does nothing if another process has prepared it in the meantime.
            builder.download_and_prepare(download_dir=out / "downloads")
        for unused in (out / "downloads/extracted", out / "downloads"):
            with contextlib.suppress(OSError):  # not empty: it holds a download
                unused.rmdir()
    if absent := [name for name in (table.FILE, report.JSON) if not (prepared / name).is_file()]:
        problem = f"{prepared}: lacks {' and '.join(absent)}"
        raise InputError(f"{problem}; delete the folder and prepare it again")
    if verify:
        print(verify_records(builder, verify))
    return prepared


def _runner(workers: int, beam: Sequence[str] | None) -> Run:
    if beam is None:
        return functools.partial(shards.write_all, workers=workers)
    from tfds_builders.conversion import on_beam  # here: Beam is an extra and slow to import

    return functools.partial(on_beam.write_all, options=beam)


def find_builder(name: str) -> type[RecordingsBuilder]:
    """Returns the builder of a data set.

    Raises:
      InputError: the name is unknown.
    """
    builder_files = Path(__file__).parent.glob("*/*_dataset_builder.py")
    names = sorted(path.parent.name for path in builder_files)
    if name not in names:
        raise InputError(f"data set {name!r} is unknown; choose from {', '.join(names)}")
    return importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder


def find_config(
    dataset: str, options: dict[str, Any]
) -> tuple[type[RecordingsBuilder], RecordingsConfig]:
    """Returns the builder of "name/config", and its config with the options changed.

    Raises:
      InputError: the name, the config or an option is unknown.
    """
    name, _, config_name = dataset.partition("/")
    builder_class = find_builder(name)
    configs = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    config_name = config_name or next(iter(configs))  # the first one is the default
    if config_name not in configs:
        problem = f"data set {name} has no config {config_name!r}"
        raise InputError(f"{problem}; choose from {', '.join(configs)}")
    return builder_class, change(configs[config_name], options)


def require_apart(out: Path, source: Path) -> None:
    """Checks that data sets are not written into the folder of the raw files.

    Raises:
      InputError: they would be.
    """
    if out.resolve().is_relative_to(source.resolve()):
        problem = f"--out {out}: is inside --source {source}"
        raise InputError(f"{problem}; give a folder outside, since all files in it are read")


def first_changed(source: Path, since: Path) -> Path | None:
    """Returns a file or folder of the raw files that is newer than the file `since`, if any.

    A folder is newer if a file in it was added, renamed or deleted. The time of the last change of
    an entry counts as well as that of its content: a copied file keeps the latter.
    """
    time_ns = since.stat().st_mtime_ns
    for folder, _, names in os.walk(source):
        for path in (Path(folder), *(Path(folder, name) for name in sorted(names))):
            with contextlib.suppress(OSError):  # a link to nothing, which is no recording
                state = path.stat()
                if max(state.st_mtime_ns, state.st_ctime_ns) > time_ns:
                    return path
    return None


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Waits until no other process writes into `folder`, and removes remains of a killed one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        problem = f"{folder}: {error.strerror}"
        raise InputError(f"{problem}; choose another folder for the output") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.glob("incomplete.*"):
            shutil.rmtree(stale)
        yield
