"""The split of a patient if the publisher defines none: one rule for all data sets."""

import hmac
import itertools

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Expected share of the patients in each split."""


def assign_split(source_patient_id: str, key: bytes) -> str:
    """Returns a patient's split by a keyed hash, whatever the order or number of other patients.

    Args:
      source_patient_id: the patient's identifier in the source.
      key: the builder's `patient_key`; another key gives other splits.
    """
    digest = hmac.digest(key, b"split:" + source_patient_id.encode(), "sha256")
    number = int.from_bytes(digest[:8], "big") / 2**64
    limits = itertools.accumulate(SHARES.values())
    return next(
        (split for split, limit in zip(SHARES, limits, strict=True) if number < limit), "test"
    )
