"""Every reason to reject a recording and every quality flag, with its meaning and its remedy.

A recording is rejected only if it cannot be read as its file describes it, or if it holds no ECG.
Every other recording is kept and flagged, since the tolerable amount of noise depends on the use.
`python -m tfds_builders.recording.quality` copies these tables into tfds_builders/README.md.
"""

from collections.abc import Mapping
from pathlib import Path

from ecgjax.errors import InputError

NO_ECG_UV = 50
"""A recording without any lead whose range exceeds this value is rejected as no ECG. Cardiologists
call a QRS complex low if it stays below 500 uV in all limb leads."""
FLAT_UV = 10
"""A lead whose range is at most this value is flat: 10 uV are 0.1 mm on paper, hardly visible."""
HUGE_UV = 20_000
"""A lead whose range exceeds this value is no ECG lead, since QRS complexes stay below 10 mV. The
int16 samples could hold a range of 65,534 uV."""
SATURATED_UV = 2000
"""A lead is saturated if it stays at its own extreme for SATURATED_S, at this level or beyond."""
SATURATED_S = 0.1
CLIPPED_UV = 500
"""A lead is clipped if it stays at its own extreme for CLIPPED_S, CLIPPED_RUNS times, at this level
or beyond: an amplifier has cut off its peaks."""
CLIPPED_S = 0.008
CLIPPED_RUNS = 3
RESIDUAL_UV = 25
"""A limb lead contradicts leads I and II if its difference from the value calculated from them has
a standard deviation above this value and above RESIDUAL_SHARE of that of the calculated value.
In PTB-XL, III = II - I holds within 2 uV in 99.67 % of the records."""
RESIDUAL_SHARE = 0.2
OFFSET_UV = 300
"""A lead has an offset if its median is further from zero. In PTB-XL, 0.7 % of the recordings have
such a lead. Offsets of 300 uV (standard deviation over leads) took a frozen probe for atrial
fibrillation from an AUROC of 0.925 to 0.838, before the baseline was removed."""
SHORTEST_S = 1.0
"""Shortest part of a recording that is kept, in seconds."""

REASONS = {
    "amplitude": (
        f"No lead covers more than {NO_ECG_UV} uV, for example since units are wrong by 1000.",
        "Correct gain and units, or leave the recording out.",
    ),
    "annotation": (
        "The file of wave annotations is absent, damaged or does not match the recording.",
        "Download the record again.",
    ),
    "checksum": (
        "The samples do not match the checksum in the file: they are damaged.",
        "Download the file again.",
    ),
    "damaged": ("The data of an HDF5 file cannot be read.", "Download the file again."),
    "duplicate": (
        "Another recording has the same samples. The one kept is the first, searched in the order "
        "test, validation, train.",
        "Leave one of the two out; the detail names both.",
    ),
    "file_name": (
        "The name leads out of the source, by a path or a link, or to no regular file.",
        "Put the file itself into the source.",
    ),
    "format": (
        "The file is not in a supported format, or its content is not what the format demands.",
        "Download it again, or convert it to a supported format.",
    ),
    "header": (
        "The header is not valid WFDB, contradicts itself or is incomplete.",
        "Replace the header file.",
    ),
    "initial_value": (
        "The first sample is not the one in the WFDB header: the files do not belong together.",
        "Download the record again.",
    ),
    "leads": (
        "A lead is absent and does not follow from two limb leads, or two signals have names of "
        "the same lead.",
        "`--lead-names NAME=LEAD` for a lead with another name, `--leads LEAD ...` for a data set "
        "with these leads only, or `--allow-missing-leads`.",
    ),
    "length": (
        "The recording is shorter than those of the data set, the file has another length than "
        "its header says, or it exceeds the limit for one recording.",
        "`--pad-from S` to keep recordings of at least S seconds, filled up with missing samples, "
        "or `--seconds S` for shorter ones; download a damaged file again; divide a long one.",
    ),
    "memory": (
        "A reader of vendor files needs more memory than its sandbox has.",
        "Leave the file out, or export a shorter part.",
    ),
    "missing": ("Every sample is marked as missing.", "Leave the recording out."),
    "missing_file": (
        "A file, or a recording within a file, is listed but absent.",
        "Complete the source, or correct the list.",
    ),
    "packed": (
        "The file is an archive or compressed, and nothing in it is looked at.",
        "Unpack it into the source.",
    ),
    "range": (
        "A lead exceeds 32767 uV, the largest value of a stored sample, and not by an offset.",
        "Correct gain and units.",
    ),
    "rate": (
        "The sampling rate is no rate of an ECG, or not the rate of the chosen config.",
        "Correct the sampling rate, or download the record again.",
    ),
    "resources": (
        "A reader of vendor files was stopped because it ran out of time or memory.",
        "Leave the file out.",
    ),
    "shape": (
        "The dimensions of the samples are not as described, or leads differ in length or rate.",
        "Correct arrays.json, or export the file again.",
    ),
    "unlisted": (
        "The source has a table of recordings, and the file has no row in it.",
        "Add a row; only the column of files is needed, but without a patient the file counts as "
        "one of its own.",
    ),
    "units": (
        "The samples have no gain, or units that are no voltage.",
        "Export the file with its gain, in V, mV, uV or nV.",
    ),
    "warned": (
        "The reader of a vendor's file warned that samples may be wrong, shifted or cut off; the "
        "detail has its message.",
        "Export the file again, or leave it out.",
    ),
    "unreadable": (
        "The reader failed without a more exact reason; the detail has its message.",
        "Export the file again, or leave it out.",
    ),
}
"""(meaning, remedy) of each reason to reject a recording."""
FLAGS = {
    "missing": (
        "Samples are missing, other than padding and leads that the data set does not need.",
        "Mask them; they are -32768 in the stored signal.",
    ),
    "flat": (
        f"The lead stays within {FLAT_UV} uV: an electrode was probably off.",
        "Ignore this lead.",
    ),
    "huge": (
        f"The lead covers more than {HUGE_UV / 1000:g} mV, which no heart produces.",
        "Check gain and units, or ignore this lead.",
    ),
    "saturated": (
        f"The lead stays at its extreme, {SATURATED_UV} uV or more, for {SATURATED_S:g} s.",
        "Ignore this lead.",
    ),
    "clipped": (
        f"The lead stays at its extreme for {1000 * CLIPPED_S:g} ms at least {CLIPPED_RUNS} times: "
        "its peaks are cut off.",
        "Do not measure amplitudes in this lead.",
    ),
    "einthoven": (
        "Lead III is not II - I (Einthoven's law), so that leads may be exchanged in the file.",
        "Check the order and the names of the leads.",
    ),
    "offset": (
        f"The median of the lead is over {OFFSET_UV} uV from zero, as of an amplifier without AC "
        "coupling. An offset that 16 bits cannot hold was removed.",
        "Nothing: the encoder's preprocessing removes the baseline.",
    ),
    "padded": (
        "The recording was shorter, or zeros or one value in all leads filled it up at an end. Its "
        "samples are at the start, the rest is missing samples.",
        "Nothing: crops and embeddings leave the missing part out.",
    ),
    "gap": (
        "Samples are missing between others, for example where an EDF+D file is interrupted, or "
        "where all leads stay at one value for a second.",
        "Do not measure intervals across the gap.",
    ),
    "corrected": (
        "The publisher's gain is known to be wrong, and the right one was used. The README of the "
        "data set has the evidence.",
        "Nothing.",
    ),
    "drift": (
        "No exact ratio of small integers leads from the sampling rate to that of the data set; "
        "the nearest one was used, and 10 s are at most 0.5 ms too long or too short.",
        "Nothing.",
    ),
    "goldberger": (
        "aVR, aVL or aVF does not follow from I and II (Goldberger's definitions), so that leads "
        "may be exchanged in the file.",
        "Check the order and the names of the leads.",
    ),
}
"""(meaning, remedy) of each quality flag, named without the lead."""


class RecordingError(InputError):
    """A recording that is rejected: `reason` is a key of REASONS, the message is one line.

    Raises:
      ValueError: the reason is not in REASONS, a programming error.
    """

    def __init__(self, reason: str, message: str):
        if reason not in REASONS:
            raise ValueError(f"reason {reason!r} is not in quality.REASONS; add it with a remedy")
        super().__init__(message)
        self.reason = reason


README = Path(__file__).parent.parent / "README.md"
COMMAND = "python -m tfds_builders.recording.quality"
BEGIN = f"<!-- begin: written by {COMMAND} -->"
END = "<!-- end -->"


def update_readme(text: str) -> str:
    """Returns the README's text with the tables of reasons and flags between its two markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{README}: lacks the lines {BEGIN} and {END}; add them")
    tables = f"{_markdown('reason', REASONS)}\n\n{_markdown('flag', FLAGS)}"
    return f"{before}{begin}\n{tables}\n{end}{after}"


def _markdown(title: str, table: Mapping[str, tuple[str, str]]) -> str:
    rows = [f"| `{word}` | {meaning} | {remedy} |" for word, (meaning, remedy) in table.items()]
    return "\n".join([f"| {title} | meaning | remedy |", "| --- | --- | --- |", *rows])


if __name__ == "__main__":
    README.write_text(update_readme(README.read_text(encoding="utf-8")), encoding="utf-8")
