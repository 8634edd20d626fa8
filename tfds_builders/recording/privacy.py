"""What keeps patients of a hospital's files unknown: a secret key, hashed names, shifted dates, reports without quotes.

Public data sets are pseudonymous already and use a key that everybody knows. For files of one's own the key is a file
that the user keeps apart from the data: who has the data without the key can neither find a patient by a guessed number
nor undo the shift of the dates.
"""

import csv
import dataclasses
import datetime
import hmac
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecgjax.errors import InputError
from tfds_builders.conversion.report import Rejection

if TYPE_CHECKING:
    from tfds_builders.conversion.plan import Shard
    from tfds_builders.recording.recording import Recording

KEY_BYTES = 32
LEAST_KEY_BYTES = 16
MOST_WEEKS = 520
OLDEST = 90.0
"""Years. Who is older is stored as 90: so few are that an age tells who it is (45 CFR 164.514)."""
NO_DETAIL = "what the file says is not repeated here; the table beside the key has it"


def read_key(path: Path, apart_from: Iterable[Path | None]) -> bytes:
    """The secret in a key file, which is made if there is none.

    Args:
      path: the key file.
      apart_from: folders that must not hold it.

    Raises:
      InputError: it is in one of them, cannot be read or made, or is too short to be a secret.
    """
    path = path.expanduser().resolve()
    for folder in apart_from:
        if folder and path.is_relative_to(folder.resolve()):
            raise InputError(
                f"{path}: in {folder}, with the data; keep the key elsewhere, as only one of them may get out"
            )
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; give a file that can be read or made as --patient-key"
        ) from error
    if len(key) < LEAST_KEY_BYTES:
        raise InputError(
            f"{path}: {len(key)} bytes are no secret; give {LEAST_KEY_BYTES} random bytes or more, or a new name"
        )
    return key


def record_id(file: str, key: bytes) -> str:
    """24 hex digits for the name of a file, which may well be the patient's."""
    return hmac.digest(key, b"file:" + file.encode("utf-8", "surrogateescape"), "sha256").hex()[:24]


def shifted(
    time: datetime.datetime | None, source_patient_id: str, key: bytes
) -> datetime.datetime | None:
    """`time`, some weeks earlier: the same number for all recordings of a patient, up to ten years.

    Differences within a patient, days of the week and times of the day stay as they are.
    """
    if time is None:
        return None
    digest = hmac.digest(key, b"shift:" + source_patient_id.encode(), "sha256")
    weeks = 1 + int.from_bytes(digest[:8], "big") % MOST_WEEKS
    return time - datetime.timedelta(weeks=weeks)


def age(years: float | None) -> float | None:
    """Whole years, and no more than OLDEST."""
    return None if years is None else min(float(int(years)), OLDEST)


def veil(shard: "Shard") -> "Shard":
    """A shard whose rejections say no more than their reason."""
    rejections = [
        dataclasses.replace(rejection, detail=NO_DETAIL) for rejection in shard.rejections
    ]
    return dataclasses.replace(shard, rejections=rejections)


def tell_keeper(
    key_file: Path, dataset: str, recordings: Sequence["Recording"], rejected: Sequence[Rejection]
) -> Path:
    """Writes, beside the key, which file became which record and why those rejected were, and returns that table."""
    path = key_file.with_name(f"{key_file.name}.{dataset}.csv")
    problems = {rejection.record_id: (rejection.reason, rejection.detail) for rejection in rejected}
    with open(
        os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600),
        "w",
        newline="",
        encoding="utf-8",
    ) as file:
        writer = csv.writer(file)
        writer.writerow(("record_id", "file", "reason", "detail"))
        for recording in recordings:
            writer.writerow(
                (
                    recording.record_id,
                    recording.location[0],
                    *problems.get(recording.record_id, ("", "")),
                )
            )
    return path
