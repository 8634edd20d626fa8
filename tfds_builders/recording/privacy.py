"""Pseudonyms for the patients of a user's own files: a secret key, hashed names, shifted dates.

Public data sets are pseudonymous already and use a public key. The key of a user's own files is a
file that the user stores apart from the data. Somebody who has the data without the key can neither
find a patient by trying identifiers nor undo the shift of the dates.
"""

import datetime
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from ecgjax.errors import InputError

KEY_BYTES = 32
LEAST_KEY_BYTES = 16
MOST_WEEKS = 520
OLDEST = 90.0
"""Highest age that is stored, in years: older patients are so few that their age can identify them
(45 CFR 164.514)."""


def read_key(path: Path, apart_from: Iterable[Path | None]) -> bytes:
    """Returns the secret of a key file, which is created if it does not exist.

    Args:
      path: the key file.
      apart_from: folders that must not hold it.

    Raises:
      InputError: it is in one of them, cannot be read or created, or is too short to be a secret.
    """
    path = path.expanduser().resolve()
    for folder in apart_from:
        if folder and path.is_relative_to(folder.resolve()):
            problem = f"{path}: the key is in {folder}, with the data"
            raise InputError(f"{problem}; store it elsewhere, since the data may be passed on")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        remedy = "give a file that can be read or created as --patient-key"
        raise InputError(f"{path}: {error.strerror}; {remedy}") from error
    if len(key) < LEAST_KEY_BYTES:
        remedy = f"give {LEAST_KEY_BYTES} random bytes or more, or the name of a new file"
        raise InputError(f"{path}: {len(key)} bytes are no secret; {remedy}")
    return key


def hash_file_name(file: str, key: bytes) -> str:
    """Returns the record id of a file, 24 hex digits, since its name may be the patient's."""
    return hmac.digest(key, b"file:" + file.encode("utf-8", "surrogateescape"), "sha256").hex()[:24]


def shift_date(
    time: datetime.datetime | None, source_patient_id: str, key: bytes
) -> datetime.datetime | None:
    """Returns `time` shifted into the past by 1 to 520 weeks, the same number for one patient.

    Intervals between a patient's recordings, weekdays and times of day are preserved.
    """
    if time is None:
        return None
    digest = hmac.digest(key, b"shift:" + source_patient_id.encode(), "sha256")
    weeks = 1 + int.from_bytes(digest[:8], "big") % MOST_WEEKS
    return time - datetime.timedelta(weeks=weeks)


def cap_age(years: float | None) -> float | None:
    """Returns whole years, at most OLDEST."""
    return None if years is None else min(float(int(years)), OLDEST)
