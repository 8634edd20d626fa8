"""From recordings to a prepared data set: ArrayRecord shards, records.parquet and a report.

A data set's builder derives from `RecordingsBuilder` and says two things: where its recordings are
(`find_recordings`, metadata only) and how one is read (`read_recording`). Worker processes or machines write the
shards, the same bytes whatever their number; each is kept until all are there, so an interrupted conversion goes on.
TFDS writes dataset_info.json and features.json, and puts the finished folder in place in one rename, so that a prepared
data set is complete or absent.
"""

import abc
import functools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder, splits

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.conversion import report, shards, table
from tfds_builders.conversion.plan import Plan, Shard
from tfds_builders.recording import privacy
from tfds_builders.recording.recording import SPLITS, Recording, RecordingsConfig

Progress = Callable[[int, int], None]
"""Called as progress(recordings done, recordings in all) after each shard."""
Run = Callable[["RecordingsBuilder", Sequence[Plan]], Iterator[Shard]]
"""Gives the shards of plans in their order: by `shards.write_all`, or on other machines."""


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
        run: Run | None = None,
        progress: Progress | None = None,
        key_file: Path | None = None,
        **tfds_arguments,
    ):
        self.source = source
        self.run = run or functools.partial(shards.write_all, workers=1)
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
            raise InputError(
                f"{self.name}: give the folder of its files as --source; they are at {url}"
            )
        if not self.source.is_dir():
            raise InputError(
                f"{self.source}: no such folder; give the one that holds {self.name} as --source"
            )
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
            raise InputError(
                f"{problem}; add --patient-key FILE, a file outside the data, made if there is none"
            )
        return privacy.read_key(self.key_file, apart_from=(self.source, Path(self.data_dir_root)))

    def extra_features(self) -> dict[str, tfds.features.FeatureConnector]:
        """Features of an example beside record_id and signal."""
        return {}

    def features(self) -> tfds.features.FeaturesDict:
        """The features of an example."""
        shape = (self.builder_config.samples, len(LEADS))
        signal = tfds.features.Tensor(
            shape=shape, dtype=np.int16, encoding=tfds.features.Encoding.BYTES
        )
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
        recordings = _select(self.find_recordings(dl_manager), self.builder_config.limit)
        plans = self._plan(recordings)
        self._check_space(plans)
        done, found = 0, []
        for shard in self.run(self, plans):
            found.append(shard)
            done += len(shard.kept) + len(shard.rejections)
            self.progress(done, len(recordings))
        found = shards.without_duplicates(found)
        try:
            shards.verify(found, found=len(recordings))
        except InputError:  # who mends the source does not want what was made of it
            self._forget_unfinished()
            raise
        if self.patient_key is None:
            rejections = [rejection for shard in found for rejection in shard.rejections]
            privacy.tell_keeper(cast(Path, self.key_file), self.name, recordings, rejections)
            found = [privacy.veil(shard) for shard in found]
        self._name_shards(found)
        self._tell(found)
        self._forget_unfinished()

    def _tell(self, found: Sequence[Shard]) -> None:
        """Writes the table and the report."""
        config = self.builder_config
        about = {"dataset": f"{self.name}/{config.name}:{self.version}", "rate_hz": config.rate_hz}
        about |= {"samples": config.samples, "leads": LEADS, "limit": config.limit}
        kept = [recording for shard in found for recording in shard.kept]
        records = table.make(kept, patient_key=self.secret(), about=about)
        pyarrow.parquet.write_table(records, Path(self.data_dir) / table.FILE)
        rejected = [rejection for shard in found for rejection in shard.rejections]
        drawn = [row for row in kept if row.small is not None]
        report.write(Path(self.data_dir), about, records, rejected, drawn)

    @property
    def _unfinished(self) -> Path:
        """Where shards wait until all are there: TFDS's own folder has another name each time."""
        return Path(self.data_dir).parent / f".unfinished-{self.version}"

    @property
    def _journals(self) -> Path:
        """A journal may name a user's own file, so that its place is beside the key; each config has one of its own."""
        if self.patient_key is not None:
            return self._unfinished
        key_file = cast(Path, self.key_file)
        return key_file.with_name(
            f"{key_file.name}.{self.name}-{self.builder_config.name}.unfinished"
        )

    def _forget_unfinished(self) -> None:
        for folder in {self._unfinished, self._journals}:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_space(self, plans: Sequence[Plan]) -> None:
        recordings = sum(len(plan.recordings) for plan in plans if not plan.path.exists())
        needed = recordings * self.builder_config.samples * len(LEADS) * 2  # bytes of an int16
        if needed > (free := shutil.disk_usage(self.data_dir).free):
            problem = (
                f"{self.data_dir}: needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
            )
            raise InputError(f"{problem}; choose another folder for the output, or --limit")

    def _plan(self, recordings: Sequence[Recording]) -> list[Plan]:
        plans, size = [], self.recordings_per_shard
        about = f"{self.name} {self.version} {self.builder_config} {self.source}"
        for folder in (self._unfinished, self._journals):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for split in SPLITS:
            mine = [recording for recording in recordings if recording.split == split]
            for start in range(0, len(mine), size):
                path = self._unfinished / f"{split}-{start}.part"
                journal = self._journals / f"{split}-{start}.json"
                plans.append(Plan(path, journal, about, split, mine[start : start + size]))
        return plans

    def _name_shards(self, written: Sequence[Shard]) -> None:
        """Gives the shards their final names, and TFDS their lengths. A shard without recordings goes."""
        infos = []
        for split in dict.fromkeys(shard.split for shard in written if shard.kept):
            mine = [shard for shard in written if shard.split == split and shard.kept]
            template = self._get_filename_template(split)
            names = [
                template.sharded_filepath(shard_index=i, num_shards=len(mine))
                for i in range(len(mine))
            ]
            files = [shard.path.rename(name) for shard, name in zip(mine, names, strict=True)]
            lengths, size_bytes = (
                [len(shard.kept) for shard in mine],
                sum(file.stat().st_size for file in files),
            )
            infos.append(
                tfds.core.SplitInfo(split, lengths, size_bytes, filename_template=template)
            )
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
        raise InputError(
            f"record id {twice[0]} occurs twice ({len(twice)} such); make record ids unique"
        )
    first_of_patient: dict[str, Recording] = {}
    for recording in recordings:
        first = first_of_patient.setdefault(recording.source_patient_id, recording)
        if first.split != recording.split:
            problem = f"recording {recording.record_id} is in {recording.split}"
            problem += f", its patient's recording {first.record_id} in {first.split}"
            raise InputError(f"{problem}; give all recordings of a patient the same split")
    by_split = {split: [r for r in recordings if r.split == split] for split in SPLITS}
    return [recording for mine in by_split.values() for recording in mine[:limit]]
