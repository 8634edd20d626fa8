"""The split of a patient where the publisher has none: one rule for all data sets."""

import hmac
import itertools

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Of the patients, on average."""


def of_patient(source_patient_id: str, key: bytes) -> str:
    """Split by a keyed hash of the patient: it depends on neither the order nor the number of the others.

    Args:
      source_patient_id: the patient's identifier in the source.
      key: the builder's `patient_key`; another key, another division.
    """
    digest = hmac.digest(key, b"split:" + source_patient_id.encode(), "sha256")
    number = int.from_bytes(digest[:8], "big") / 2**64
    limits = itertools.accumulate(SHARES.values())
    return next(
        (split for split, limit in zip(SHARES, limits, strict=True) if number < limit), "test"
    )
