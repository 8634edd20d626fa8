"""Pseudonyms for the patients of a user's own files: a secret key, hashed names, shifted dates.

An identifier that stands for no patient, such as "X" or "000000", must not become a pseudonym:
strangers would share it.

Public data sets are pseudonymous already and use a public key. The key of a user's own files is a
file that the user stores apart from the data. Somebody who has the data without the key can neither
find a patient by trying identifiers nor undo the shift of the dates.
"""

import datetime
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ecgjax.errors import InputError
from tfds_builders.recording import demographics

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
    """Returns the record id of a file, 24 hex digits, since its name may be the patient's.

    Args:
      file: the full path, so that files of the same name in two folders have two ids.
      key: the secret.
    """
    return hmac.digest(key, b"file:" + file.encode("utf-8", "surrogateescape"), "sha256").hex()[:24]


def shift_date(
    time: datetime.datetime | None, source_patient_id: str, key: bytes
) -> datetime.datetime | None:
    """Returns `time` shifted into the past by 1 to 520 weeks, the same number for one patient.

    Intervals between a patient's recordings, weekdays and times of day are preserved. A time at
    which nobody recorded an ECG, see `demographics.plausible_time`, is unknown.
    """
    time = demographics.plausible_time(time)
    if time is None:
        return None
    digest = hmac.digest(key, b"shift:" + source_patient_id.encode(), "sha256")
    weeks = 1 + int.from_bytes(digest[:8], "big") % MOST_WEEKS
    return time - datetime.timedelta(weeks=weeks)


def cap_age(years: float | None) -> float | None:
    """Returns whole years, at most OLDEST; an age that nobody has is unknown."""
    years = demographics.plausible_age(years)
    return None if years is None else min(float(int(years)), OLDEST)


PLACEHOLDERS = "na nd nn nv ka nan nat none null nil unknown unk unnamed unidentified undefined"
PLACEHOLDERS += " unspecified unassigned unbekannt inconnu desconocido desconhecido sconosciuto"
PLACEHOLDERS += " onbekend ukendt missing empty blank void removed redacted masked hidden deleted"
PLACEHOLDERS += " deidentified pseudonymized pseudonymised dummy demo default sample example test"
PLACEHOLDERS += " testing tester tbd todo noid noname nopatient notavailable notapplicable notknown"
PLACEHOLDERS += " patient patientid subject person participant id pid mrn name nothing notset"
PLACEHOLDERS += " private invalid error value ref num div0 false true inf johndoe janedoe doejohn"
PLACEHOLDERS += " doejane mustermann maxmustermann pat ohne keine withheld confidential vertraulich"
PLACEHOLDERS += " emergency notfall notfallpatient trauma urgence urgencia urgencias"
PLACEHOLDERS += " 匿名 不明 未知"
WORDS = frozenset(PLACEHOLDERS.split())
"""Words written in place of an identifier, those of spreadsheets and of pandas included."""
FILLING = "no not available applicable known set specified recorded given code nr john jane doe max"
FILLERS = frozenset(FILLING.split())
"""Words that occur beside WORDS in a placeholder of several words."""
SEX_LETTERS = frozenset("fmu")
"""Letters that EDF+ writes beside placeholders, as in "X F X X"."""

NUMBERED = re.compile("(anon[a-z]*|unknown|none|null|xx+)(0{3,}|9{3,})")
"""Placeholders filled up with zeros or nines, as in "UNKNOWN0000"."""


def is_placeholder(patient_id: str) -> bool:
    """Tells whether an identifier stands for no patient, such as "X X X X", "ANON" or "000000".

    A wrong yes makes each recording of a patient a patient of its own; a wrong no makes one patient
    of many strangers. A word with a number, such as "ANON0042", is a pseudonym.
    """
    text = unicodedata.normalize("NFKC", patient_id).strip()
    if re.fullmatch(r"-\d+(\.\d*)?", text):  # -1, -999: codes for a missing number
        return True
    whole = demographics.plain(re.sub(r"(?<=\d)\.0+$", "", text))
    words = [word for word in map(demographics.plain, re.split(r"[\W_]+", text)) if word]
    if not whole or whole in WORDS or _is_filled(whole) or NUMBERED.fullmatch(whole):
        return True
    others = [word for word in words if word not in FILLERS | SEX_LETTERS]
    empty = sum(map(_is_empty_word, others)) or len(words) > 1 and FILLERS.issuperset(words)
    return bool(empty) and all(map(_is_empty_word, others))


def _is_empty_word(word: str) -> bool:
    return word in WORDS or word.isalpha() and (word.startswith("anon") or set(word) == {"x"})


def _is_filled(word: str) -> bool:
    """Tells whether a word is one character repeated, or counts up from 0 or 1."""
    rows = ("12345678901234567890", "0123456789")
    if len(word) >= 5 and any(row.startswith(word) for row in rows):
        return True
    least = {"0": 1, "9": 2, "x": 1}.get(word[0], 4 if word.isdecimal() else 3)  # 222: a number
    return set(word) == {word[0]} and len(word) >= least
