"""A user's own WFDB records: all records of a folder and its subfolders."""

from ecgjax.errors import InputError
from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import recordings_csv
from tfds_builders.recording.recording import Recording


class Builder(WfdbBuilder):
    """Windows of 10 s of all WFDB records in a folder."""

    def find_recordings(self) -> list[Recording]:
        records = [
            str(path.relative_to(self.source).with_suffix(""))
            for path in self.source.rglob("*.hea")
        ]
        if not records:
            problem = f"{self.source}: no WFDB header (*.hea) in it"
            raise InputError(f"{problem}; give the folder that holds the records")
        listed = recordings_csv.read(self.source)
        recordings = {
            recording.location: recording
            for recording in recordings_csv.recordings(records, listed, self.secret())
        }
        # Nothing is taken from a header: its comments are free text, and its date is often the
        # date of a conversion.
        return self.find_windows(recordings, lambda record, header: recordings[record])
