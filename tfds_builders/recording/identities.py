"""Identifiers of patients: those that look as if they were one, and files that stand for theirs."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

FILE = "file "
"""Beginning of the identity of a patient of whom nothing but a file is known."""


def similar(patient_ids: Iterable[str]) -> set[str]:
    """Returns the identifiers that differ from another one only in how they are written.

    They differ in leading zeros, an ending .0 of a spreadsheet, case, width of the letters, or
    blanks and hyphens. Identities of files are left out.
    """
    groups = defaultdict(set)
    for patient_id in patient_ids:
        text = unicodedata.normalize("NFKC", patient_id).casefold()
        text = re.sub(r"[\s_-]+", "", text)
        text = re.sub(r"(?<=\d)\.0+$", "", text)
        if not patient_id.startswith(FILE):
            groups[re.sub(r"^0+(?=.)", "", text)].add(patient_id)
    return {patient_id for group in groups.values() if len(group) > 1 for patient_id in group}
