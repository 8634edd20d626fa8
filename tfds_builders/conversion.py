"""From recordings to a prepared data set: ArrayRecord shards, records.parquet and a report.

A data set's builder derives from `RecordingsBuilder` and says two things: where its recordings are
(`find_recordings`, metadata only) and how one is read (`read_recording`). Worker processes write the shards,
the same bytes whatever their number. TFDS writes dataset_info.json and features.json, and puts the finished
folder in place in one rename, so that a prepared data set is complete or absent.
"""

import abc
import contextlib
import dataclasses
import datetime
import fcntl
import importlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder, splits

from ecgjax.signals import LEADS, InputError
from tfds_builders import privacy, report, shards, table

SPLITS = ("train", "validation", "test")

Progress = Callable[[int, int], None]
"""Called as progress(recordings done, recordings in all) after each shard."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording of a source, before its signal is read."""

    record_id: str
    source_patient_id: str
    """The patient's identifier in the source; it goes into the keyed hash and nowhere else."""
    split: str
    """One of `SPLITS`; all recordings of a patient are in the same."""
    location: Any
    """What `read_recording` needs to find it; picklable."""
    recorded_at: datetime.datetime | None = None
    age: float | None = None
    """In years."""
    sex: str | None = None
    """"female" or "male"."""
    site: str | None = None
    device: str | None = None
    fold: int | None = None
    """The source's own fold for cross-validation."""
    labels: tuple[str, ...] = ()
    """SCP-ECG statement codes as PTB-XL writes them."""


@dataclasses.dataclass(eq=False, kw_only=True)
class RecordingsConfig(tfds.core.BuilderConfig):
    """A variant of a data set. A field that `prepare` changes shows in the name, and so in the folder."""

    rate_hz: float
    """Sampling rate of the stored recordings, in Hz."""
    samples: int
    """Samples of a stored recording."""
    limit: int | None = None
    """Keep only the first so many recordings of each split."""


def rates(*rates_hz: int) -> list[RecordingsConfig]:
    """A config for each rate, of recordings of 10 s."""
    return [
        RecordingsConfig(name=f"{rate}hz", rate_hz=rate, samples=10 * rate, description=f"10 s at {rate} Hz.")
        for rate in rates_hz
    ]


class RecordingsBuilder(dataset_builder.FileReaderBuilder):
    """What a data set's builder derives from; its BUILDER_CONFIGS are `RecordingsConfig`s."""

    patient_key: bytes | None
    """Key of the patient hash. A constant for public data sets, whose patient ids are pseudonyms already, so
    that the tables of two people can be compared; None for a user's own files, whose key is a secret file."""
    recordings_per_shard = 1024
    """Fixed, so that the shards do not depend on the number of workers."""

    def __init__(
        self,
        *,
        source: Path | None = None,
        workers: int = 1,
        progress: Progress | None = None,
        key_file: Path | None = None,
        **tfds_arguments,
    ):
        self.source = source
        self.workers = workers
        self.progress = progress or (lambda done, total: None)
        self.key_file = key_file
        super().__init__(file_format="array_record", **tfds_arguments)

    @abc.abstractmethod
    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        """All recordings of the source, in the order in which a split is to hold them."""

    @abc.abstractmethod
    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        """The example: "signal", int16 [samples, 12] at 1 uV per LSB, leads as in LEADS; and extra features.

        Runs in a worker process, on a copy of the builder that has `builder_config` and `source` only.

        Raises:
          InputError: the recording is rejected; a `quality.RecordingError` says by which reason to count it.
        """

    def source_folder(self, url: str) -> Path:
        """The folder of the raw files, for a data set that is not downloaded.

        Raises:
          InputError: it was not given, or is none.
        """
        if self.source is None:
            raise InputError(f"{self.name}: give the folder of its files as --source; they are at {url}")
        if not self.source.is_dir():
            raise InputError(f"{self.source}: no such folder; give the one that holds {self.name} as --source")
        return self.source

    def secret(self) -> bytes:
        """The key of the patient hash, from the user's file where it is not public.

        Raises:
          InputError: no file was given, or it will not do.
        """
        if self.patient_key is not None:
            return self.patient_key
        if self.key_file is None:
            problem = f"{self.name}: patients of one's own files are named by a hash under a secret"
            raise InputError(f"{problem}; add --patient-key FILE, a file outside the data, made if there is none")
        return privacy.read_key(self.key_file, apart_from=(self.source, Path(self.data_dir_root)))

    def extra_features(self) -> dict[str, tfds.features.FeatureConnector]:
        """Features of an example beside record_id and signal."""
        return {}

    def features(self) -> tfds.features.FeaturesDict:
        """The features of an example."""
        shape = (self.builder_config.samples, len(LEADS))
        signal = tfds.features.Tensor(shape=shape, dtype=np.int16, encoding=tfds.features.Encoding.BYTES)
        return tfds.features.FeaturesDict(
            {"record_id": tfds.features.Text(), "signal": signal, **self.extra_features()}
        )

    def __getstate__(self) -> dict[str, Any]:
        # What a worker needs. TFDS's own would construct a whole builder anew, reading what is prepared.
        return {"_builder_config": self._builder_config, "source": self.source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    @property
    def builder_config(self) -> RecordingsConfig:
        return cast(RecordingsConfig, self._builder_config)

    def _create_builder_config(self, builder_config, version):
        # TFDS warns at length of a config outside BUILDER_CONFIGS, as `prepare` makes for a changed option.
        if isinstance(builder_config, RecordingsConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=self.features())

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        config = self.builder_config
        recordings = _select(self.find_recordings(dl_manager), config.limit)
        self._check_space(len(recordings))
        done, written, rejections = 0, [], []
        for shard in shards.write_all(self, self._plan(recordings), self.workers):
            rejections += shard.rejections
            written.append(privacy.veil(shard) if self.patient_key is None else shard)
            done += len(shard.kept) + len(shard.rejections)
            self.progress(done, len(recordings))
        written = shards.without_duplicates(written)
        rejections += [r for shard in written for r in shard.rejections if r.reason == "duplicate"]
        if self.patient_key is None:
            privacy.tell_keeper(cast(Path, self.key_file), self.name, recordings, rejections)
        shards.verify(written, found=len(recordings))
        self._name_shards(written)

        about = {"dataset": f"{self.name}/{config.name}:{self.version}", "rate_hz": config.rate_hz}
        about |= {"samples": config.samples, "leads": LEADS, "limit": config.limit}
        kept = [recording for shard in written for recording in shard.kept]
        records = table.make(kept, patient_key=self.secret(), about=about)
        pyarrow.parquet.write_table(records, Path(self.data_dir) / table.FILE)
        rejected = [rejection for shard in written for rejection in shard.rejections]
        report.write(
            Path(self.data_dir), about, records, rejected, drawn=[row for row in kept if row.small is not None]
        )

    def _check_space(self, recordings: int) -> None:
        needed = recordings * self.builder_config.samples * len(LEADS) * 2  # bytes of an int16
        if needed > (free := shutil.disk_usage(self.data_dir).free):
            problem = f"{self.data_dir}: needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
            raise InputError(f"{problem}; choose another folder for the output, or --limit")

    def _plan(self, recordings: Sequence[Recording]) -> list[shards.Plan]:
        plans, size = [], self.recordings_per_shard
        for split in SPLITS:
            mine = [recording for recording in recordings if recording.split == split]
            for start in range(0, len(mine), size):
                path = Path(self.data_dir) / f"{split}-{start}.part"
                plans.append(shards.Plan(path, split, mine[start : start + size]))
        return plans

    def _name_shards(self, written: Sequence[shards.Shard]) -> None:
        """Gives the shards their final names, and TFDS their lengths. A shard without recordings goes."""
        infos = []
        for split in dict.fromkeys(shard.split for shard in written if shard.kept):
            mine = [shard for shard in written if shard.split == split and shard.kept]
            template = self._get_filename_template(split)
            names = [template.sharded_filepath(shard_index=i, num_shards=len(mine)) for i in range(len(mine))]
            files = [shard.path.rename(name) for shard, name in zip(mine, names, strict=True)]
            lengths, size_bytes = (
                [len(shard.kept) for shard in mine],
                sum(file.stat().st_size for file in files),
            )
            infos.append(tfds.core.SplitInfo(split, lengths, size_bytes, filename_template=template))
        for empty in Path(self.data_dir).glob("*.part"):
            empty.unlink()
        self.info.set_splits(splits.SplitDict(infos))

    def _log_download_bytes(self) -> None:
        """Nothing, since `prepare` reports through `progress`."""

    def _log_download_done(self) -> None:
        """Nothing, as above."""


def _select(recordings: list[Recording], limit: int | None) -> list[Recording]:
    """The recordings to convert, once what must hold of them as a whole is checked."""
    if not recordings:
        raise InputError("no recordings found; give the folder that holds them as --source")
    if unknown := {recording.split for recording in recordings} - set(SPLITS):
        raise ValueError(f"split {', '.join(unknown)}: not one of {', '.join(SPLITS)}")
    ids = Counter(recording.record_id for recording in recordings)
    if twice := [record_id for record_id, count in ids.items() if count > 1]:
        raise InputError(f"record id {twice[0]} occurs twice ({len(twice)} such); make record ids unique")
    first_of_patient: dict[str, Recording] = {}
    for recording in recordings:
        first = first_of_patient.setdefault(recording.source_patient_id, recording)
        if first.split != recording.split:
            problem = f"recording {recording.record_id} is in {recording.split}"
            problem += f", its patient's recording {first.record_id} in {first.split}"
            raise InputError(f"{problem}; give all recordings of a patient the same split")
    by_split = {split: [r for r in recordings if r.split == split] for split in SPLITS}
    return [recording for mine in by_split.values() for recording in mine[:limit]]


def prepare(
    dataset: str,
    out: Path | str,
    *,
    source: Path | str | None = None,
    workers: int = 1,
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
        workers=workers,
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
        raise InputError(f"{prepared}: lacks {' and '.join(absent)}; delete the folder and prepare it again")
    return prepared


def _find_config(dataset: str, options: dict[str, Any]) -> tuple[type[RecordingsBuilder], RecordingsConfig]:
    name, _, config_name = dataset.partition("/")
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/*_dataset_builder.py"))
    if name not in folders:
        raise InputError(f"data set {name!r} is unknown; choose from {', '.join(folders)}")
    builder_class = importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder
    configs = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    config_name = config_name or builder_class.default_builder_config.name
    if config_name not in configs:
        raise InputError(f"data set {name} has no config {config_name!r}; choose from {', '.join(configs)}")
    config = configs[config_name]
    known = {field.name for field in dataclasses.fields(config)}
    known -= {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
    if unknown := sorted(set(options) - known):
        choice = ", ".join(sorted(known))
        raise InputError(f"data set {name} has no option {unknown[0]!r}; choose from {choice}")
    changed = {key: value for key, value in options.items() if value != getattr(config, key)}
    suffix = "".join(f"-{key}{re.sub('[^A-Za-z0-9.]', '_', str(value))}" for key, value in sorted(changed.items()))
    return builder_class, dataclasses.replace(config, name=config_name + suffix, **changed)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits for any other process that prepares into `folder`, and removes what a killed one left there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another folder for the output") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.glob("incomplete.*"):
            shutil.rmtree(stale)
        yield
