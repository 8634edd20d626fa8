"""Conversion of recordings to a data set: ArrayRecord shards, records.parquet and a report.

The builder of a data set derives from `RecordingsBuilder` and defines two methods:
`find_recordings` lists its recordings from metadata, `read_recording` reads one of them. Worker
processes or machines write the shards; the bytes do not depend on their number. Finished shards are
kept until all are written, so that an interrupted conversion can continue. TFDS writes
dataset_info.json and features.json and moves the finished folder into place by one rename, so that
a prepared data set is either complete or absent.
"""

import abc
import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder, splits

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.conversion import keeper, report, shards, table
from tfds_builders.conversion.plan import Plan, RecordingReader, Shard, select
from tfds_builders.recording import privacy
from tfds_builders.recording.recording import SPLITS, Recording, RecordingsConfig, rates

Progress = Callable[[int, int], None]
"""Called as progress(recordings done, recordings in total) after each shard."""
Run = Callable[[RecordingReader, Sequence[Plan]], Iterator[Shard]]
"""Yields the shards in the order of the plans: `shards.write_all`, or on other machines."""


class RecordingsBuilder(dataset_builder.FileReaderBuilder):
    """Base class of all builders, with `RecordingsConfig`s as BUILDER_CONFIGS."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = rates(100, 500)
    """The first config is the default."""
    url: str | None = None
    """Address of the raw files, for the error message when --source is absent."""
    patient_key: bytes | None = None
    """Key of the patient hash. A constant for public data sets, whose patient ids are pseudonyms
    already, so that tables prepared by different people agree. None for a user's own files, whose
    key is a secret file."""
    recordings_per_shard = 1024
    """Fixed, so that the shards do not depend on the number of workers."""

    def __init__(
        self,
        *,
        source: Path | None = None,
        run: Run | None = None,
        progress: Progress | None = None,
        key_file: Path | None = None,
        **tfds_arguments,
    ):
        self._source = source
        self.run = run or functools.partial(shards.write_all, workers=1)
        self.progress = progress or (lambda done, total: None)
        self.key_file = key_file
        super().__init__(file_format="array_record", **tfds_arguments)

    @abc.abstractmethod
    def find_recordings(self) -> list[Recording]:
        """Returns all recordings of the source, in the order of the prepared splits."""

    @abc.abstractmethod
    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        """Returns an example: "signal" and the extra features.

        Runs in a worker process, on a copy of the builder with `builder_config` and `source` only.

        Returns:
          "signal", int16 [samples, 12] at 1 uV per LSB, leads in the order of LEADS; and a value
          for each name in `extra_features`.

        Raises:
          InputError: the recording is rejected. The report counts the reason of a
            `quality.RecordingError`, and any other InputError as "unreadable".
        """

    @property
    def source(self) -> Path:
        """The folder of the raw files.

        Raises:
          InputError: no folder was given, or it does not exist.
        """
        if self._source is None:
            problem = f"{self.name}: give the folder of its files as --source"
            raise InputError(f"{problem}; they are at {self.url}" if self.url else problem)
        if not self._source.is_dir():
            problem = f"{self._source}: no such folder"
            raise InputError(f"{problem}; give the one that holds {self.name} as --source")
        return self._source

    def download(self, dl_manager: tfds.download.DownloadManager) -> Path | None:
        """Downloads the raw files and returns their folder; None if a data set has no download."""
        return None

    def secret(self) -> bytes:
        """Returns the key of the patient hash, from the user's file unless it is public.

        Raises:
          InputError: no file was given, or it cannot be used.
        """
        if self.patient_key is not None:
            return self.patient_key
        if self.key_file is None:
            problem = f"{self.name}: patients of your own files are stored as a hash with a secret"
            remedy = "add --patient-key FILE, a file outside the data, created if it is absent"
            raise InputError(f"{problem}; {remedy}")
        return privacy.read_key(self.key_file, apart_from=(self._source, Path(self.data_dir_root)))

    def extra_features(self) -> dict[str, tfds.features.FeatureConnector]:
        """Returns the features of an example in addition to record_id and signal."""
        return {}

    def features(self) -> tfds.features.FeaturesDict:
        """Returns the features of an example."""
        shape = (self.builder_config.samples, len(LEADS))
        signal = tfds.features.Tensor(
            shape=shape, dtype=np.int16, encoding=tfds.features.Encoding.BYTES
        )
        return tfds.features.FeaturesDict(
            {"record_id": tfds.features.Text(), "signal": signal, **self.extra_features()}
        )

    def __getstate__(self) -> dict[str, Any]:
        # Only the state that a worker needs. TFDS's own method would construct a complete builder
        # in each worker, which reads the prepared data set.
        return {"_builder_config": self._builder_config, "_source": self._source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    @property
    def builder_config(self) -> RecordingsConfig:
        return cast(RecordingsConfig, self._builder_config)

    def _create_builder_config(self, builder_config, version):
        # `prepare` makes a config for changed options; TFDS would print a long warning, since that
        # config is not in BUILDER_CONFIGS.
        if isinstance(builder_config, RecordingsConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=self.features())

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        self._source = self._source or self.download(dl_manager)
        recordings = select(self.find_recordings(), self.builder_config.limit)
        plans = self._plan(recordings)
        self._check_space(plans)
        written = shards.without_duplicates(self._write_shards(plans))
        try:
            shards.verify(written, recordings=len(recordings))
        except InputError:  # after a corrected source, these shards are of no use
            self._delete_unfinished()
            raise
        if self.patient_key is None:
            rejections = [rejection for shard in written for rejection in shard.rejections]
            key_file = cast(Path, self.key_file)
            keeper.write_key_table(key_file, self.name, recordings, rejections)
            written = [keeper.redact(shard) for shard in written]
        self._name_shards(written)
        self._write_table_and_report(written)
        self._delete_unfinished()

    def _write_shards(self, plans: Sequence[Plan]) -> list[Shard]:
        total = sum(len(plan.recordings) for plan in plans)
        done = 0
        written = []
        for shard in self.run(self, plans):
            written.append(shard)
            done += len(shard.kept) + len(shard.rejections)
            self.progress(done, total)
        return written

    def _write_table_and_report(self, written: Sequence[Shard]) -> None:
        config = self.builder_config
        about = {"dataset": f"{self.name}/{config.name}:{self.version}", "rate_hz": config.rate_hz}
        about |= {"samples": config.samples, "leads": LEADS, "limit": config.limit}
        kept = [row for shard in written for row in shard.kept]
        rejections = [rejection for shard in written for rejection in shard.rejections]
        flagged = [row for row in kept if row.small is not None]
        folder = Path(self.data_dir)
        records = table.make(kept, patient_key=self.secret(), about=about)
        pyarrow.parquet.write_table(records, folder / table.FILE)
        report.write(folder, about, records, rejections, flagged)

    @property
    def _unfinished(self) -> Path:
        """Folder of the finished shards of an unfinished conversion.

        TFDS's own temporary folder has another name each time.
        """
        return Path(self.data_dir).parent / f".unfinished-{self.version}"

    @property
    def _journals(self) -> Path:
        """Folder of the journals, one per config.

        It is beside the key of a user's own files, since a journal may quote their names.
        """
        if self.patient_key is not None:
            return self._unfinished
        key_file = cast(Path, self.key_file)
        return key_file.with_name(
            f"{key_file.name}.{self.name}-{self.builder_config.name}.unfinished"
        )

    def _delete_unfinished(self) -> None:
        for folder in {self._unfinished, self._journals}:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_space(self, plans: Sequence[Plan]) -> None:
        recordings = sum(len(plan.recordings) for plan in plans if not plan.path.exists())
        needed_mb = recordings * self.builder_config.samples * len(LEADS) * 2 / 1e6  # 2: int16
        free_mb = shutil.disk_usage(self.data_dir).free / 1e6
        if needed_mb > free_mb:
            problem = f"{self.data_dir}: needs {needed_mb:,.0f} MB, {free_mb:,.0f} MB are free"
            raise InputError(f"{problem}; choose another folder for the output, or --limit")

    def _plan(self, recordings: Sequence[Recording]) -> list[Plan]:
        plans = []
        size = self.recordings_per_shard
        about = f"{self.name} {self.version} {self.builder_config} {self._source}"
        for folder in (self._unfinished, self._journals):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for split in SPLITS:
            in_split = [recording for recording in recordings if recording.split == split]
            for start in range(0, len(in_split), size):
                path = self._unfinished / f"{split}-{start}.part"
                journal = self._journals / f"{split}-{start}.json"
                plans.append(Plan(path, journal, about, split, in_split[start : start + size]))
        return plans

    def _name_shards(self, written: Sequence[Shard]) -> None:
        """Gives the shards their final names and TFDS their lengths; drops empty shards."""
        infos = []
        for split in dict.fromkeys(shard.split for shard in written if shard.kept):
            filled = [shard for shard in written if shard.split == split and shard.kept]
            template = self._get_filename_template(split)
            size_bytes = 0
            for index, shard in enumerate(filled):
                name = template.sharded_filepath(shard_index=index, num_shards=len(filled))
                size_bytes += shard.path.rename(name).stat().st_size
            lengths = [len(shard.kept) for shard in filled]
            infos.append(
                tfds.core.SplitInfo(split, lengths, size_bytes, filename_template=template)
            )
        self.info.set_splits(splits.SplitDict(infos))

    def _log_download_bytes(self) -> None:
        """Prints nothing, since `prepare` reports through `progress`."""

    def _log_download_done(self) -> None:
        """Prints nothing, for the same reason."""
