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
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder

from ecgjax.data.binding import FORMAT
from ecgjax.data.sketches import VERSION as SKETCHES
from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.conversion import final_names, keeper, report, sample, shards, summary, table
from tfds_builders.conversion.bound_info import BoundInfo
from tfds_builders.conversion.plan import (
    Plan,
    Progress,
    Run,
    Shard,
    SourceTable,
    check_space,
    divide,
    select,
)
from tfds_builders.formats.own_files import ALL, Choice
from tfds_builders.recording import privacy
from tfds_builders.recording.recording import Recording, RecordingsConfig, rates
from tfds_builders.second_readers.reading import Reading


class RecordingsBuilder(dataset_builder.FileReaderBuilder):
    """Base class of all builders, with `RecordingsConfig`s as BUILDER_CONFIGS."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {"2.0.0": "Bound by hashes; valid_samples and the user's further columns."}
    BUILDER_CONFIGS = rates(100, 500)
    """The first config is the default."""
    url: str | None = None
    """Address of the raw files, for the error message when --source is absent."""
    patient_key: bytes | None = None
    """Key of the patient hash. A constant for public data sets, whose patient ids are pseudonyms
    already, so that tables prepared by different people agree. None for a user's own files, whose
    key is a secret file."""
    choice: Choice = ALL
    """The files that are read of a user's own folder."""
    source_table: SourceTable | None = None
    """The user's table of recordings, if the source has one; set by `find_recordings`."""
    notes: Mapping[str, int] = types.MappingProxyType({})
    """Numbers of files by what was left out of them or was odd; set by `find_recordings`."""
    source_description: str = ""
    """Facts on the whole source that its samples depend on; set by `find_recordings`. A shard of an
    interrupted conversion is not used again if they have changed."""
    recordings_per_shard = 1024
    """Fixed, so that the shards do not depend on the number of workers."""

    def __init__(
        self,
        *,
        source: Path | None = None,
        run: Run | None = None,
        workers: int = 1,
        progress: Progress | None = None,
        key_file: Path | None = None,
        **tfds_arguments,
    ):
        self._source = source
        self.run = run or functools.partial(shards.write_all, workers=1)
        self.workers = workers
        self.progress = progress or (lambda done, total: None)
        self.key_file = key_file
        super().__init__(file_format="array_record", **tfds_arguments)

    @abc.abstractmethod
    def find_recordings(self) -> list[Recording]:
        """Returns all recordings of the source, in the order of the prepared splits."""

    @abc.abstractmethod
    def read_recording(self, recording: Recording) -> dict[str, Any]:
        """Returns an example: "signal" and the extra features.

        Runs in a worker process, on a copy of the builder with `builder_config` and `source` only.

        Returns:
          "signal", int16 [samples, 12] at 1 uV per LSB, leads in the order of LEADS; a value for
          each name in `extra_features`; and, if there are any, "flags", quality flags that the
          samples do not show any more.

        Raises:
          InputError: the recording is rejected. The report counts the reason of a
            `quality.RecordingError`, and any other InputError as "unreadable".
        """

    def read_again(self, recording: Recording) -> list[Reading]:
        """Returns readings of a whole recording by other software, one of which was stored.

        Raises:
          CannotRead: that software cannot read it.
        """
        raise NotImplementedError(f"{self.name} has no second reader")

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
            is_file = self._source.is_file()
            problem = f"{self._source}: {'a file, not a folder' if is_file else 'no such folder'}"
            remedy = "unpack archives, and give" if is_file else "give"
            raise InputError(f"{problem}; {remedy} the one that holds {self.name} as --source")
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
        # Not TFDS's own state, from which each worker would construct a complete builder.
        return {"_builder_config": self._builder_config, "_source": self._source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    @property
    def builder_config(self) -> RecordingsConfig:
        return cast(RecordingsConfig, self._builder_config)

    def _create_builder_config(self, builder_config, version):
        if isinstance(builder_config, RecordingsConfig):
            return builder_config  # TFDS would print a long warning if options are changed
        return super()._create_builder_config(builder_config, version)

    def _info(self) -> tfds.core.DatasetInfo:
        about = self.get_metadata()
        return BoundInfo(
            builder=self,
            features=self.features(),
            description=about.description,
            citation=about.citation,
        )

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        self._source = self._source or self.download(dl_manager)
        recordings = select(self.find_recordings(), self.builder_config.limit)
        plans = self._plan(recordings)
        check_space(plans, self.builder_config.samples, Path(self.data_dir))
        written = shards.without_duplicates(self._write_shards(plans))
        shards.verify(written, recordings=len(recordings))
        key_table = None
        if self.patient_key is None:
            key_table = keeper.add_to_key_table(
                cast(Path, self.key_file), self._full_name, self._source, recordings, written
            )
            written = [keeper.redact(shard) for shard in written]
        if not any(shard.kept for shard in written):
            self.delete_unfinished()  # after a corrected source, these shards are of no use
            raise summary.all_rejected(written, key_table)
        accepted = sample.draw(written, self.features())
        self.info.set_splits(final_names.give(written, self._get_filename_template))
        self._write_table_and_report(written, accepted)
        self.delete_unfinished()

    def _write_shards(self, plans: Sequence[Plan]) -> list[Shard]:
        total = sum(len(plan.recordings) for plan in plans)
        done = 0
        written = []
        for shard in self.run(self, plans):
            written.append(shard)
            done += len(shard.kept) + len(shard.rejections)
            self.progress(done, total)
        return written

    @property
    def _full_name(self) -> str:
        return f"{self.name}/{self.builder_config.name}:{self.version}"

    def _write_table_and_report(
        self, written: Sequence[Shard], accepted: Sequence[sample.Accepted]
    ) -> None:
        config = self.builder_config
        about = {"dataset": self._full_name, "rate_hz": config.rate_hz}
        leads = [lead for lead in LEADS if lead in config.leads]
        about |= {"samples": config.samples, "leads": leads, "limit": config.limit}
        about |= {"format": FORMAT, "sketches": SKETCHES}
        kept = [row for shard in written for row in shard.kept]
        folder = Path(self.data_dir)
        records = table.make(kept, patient_key=self.secret(), about=about)
        pyarrow.parquet.write_table(records, folder / table.FILE)
        about |= {"allow_missing_leads": config.allow_missing_leads, "notes": dict(self.notes)}
        about |= {"pad_from_s": config.pad_from_s, "own_files": self.patient_key is None}
        about |= {"table": self.source_table.summary() if self.source_table else None}
        report.write(
            folder, summary.summarise(about, records, written, accepted), written, accepted
        )

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

    def delete_unfinished(self) -> None:
        """Deletes what is kept to continue an interrupted conversion."""
        for folder in {self._unfinished, self._journals}:
            shutil.rmtree(folder, ignore_errors=True)

    def _plan(self, recordings: Sequence[Recording]) -> list[Plan]:
        about = f"{self._full_name} {self.builder_config} {self._source} {self.source_description}"
        folders = (self._unfinished, self._journals)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return divide(recordings, self.recordings_per_shard, about, folders)

    def _log_download_bytes(self) -> None:
        """Prints nothing, since `prepare` reports through `progress`."""

    def _log_download_done(self) -> None:
        """Prints nothing, for the same reason."""
