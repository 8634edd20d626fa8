"""Tables of recordings with random damage are read, or refused with one line.

Whatever is read is accounted for: each column is used or unused; each row is matched, without a
recording, or empty; and each recording has a row or is unlisted. ECGJAX_FUZZ_TABLES is the number
of tables (10,000 take 45 s), and ECGJAX_FUZZ_SEED the random seed of the damage.
"""

import os
import random
import re
import time

from ecgjax.errors import InputError
from tfds_builders.formats import recordings_csv
from tfds_builders.recording.recording import SPLITS

SEED = int(os.environ.get("ECGJAX_FUZZ_SEED", "0"))
CASES = int(os.environ.get("ECGJAX_FUZZ_TABLES", "500"))
SECRET = "Zebulon"
"""Name of a patient in all tables, which no message quotes."""
FILES = [f"r{number}" for number in range(8)] + ["a/b.xml", "a/c.xml#0", "a/c.xml#1", "x.npy"]
HEADERS = {
    "file": ["file", "File", " filename", "ecg_file", "PATH", "record", "record_id", "\ufefffile"],
    "patient": ["patient", "Patient_ID", "patient-id", "mrn", "subject id", "PID"],
    "time": ["time", "Date", "recorded_at", "acquisition_time", "ecg time"],
    "age": ["age", "Age (years)", "age_years", "AGE"],
    "sex": ["sex", "Gender", "SEX "],
    "labels": ["labels", "label", "dx", "scp_codes", "Diagnoses"],
    "split": ["split", "set"],
    "other": ["note", "birth date", "", "Name", "fold", "file2", "patients' doctor", "\u0130"],
}
CELLS = {
    "file": [
        *FILES,
        "r0.hea",
        "R1.DAT",
        "./r2",
        "a\\b.xml",
        "a/b",
        "a/c.xml",
        "x.npy#0",
        "#",
        "#0",
    ],
    "patient": ["A", "B", "0012", "12", "12.0", "X X X X", "ANON", "000000", "nan", "1" * 400],
    "time": ["2024-01-31", "2024-01-31T12:00:00Z", "20240131", "31.01.2024", "01/31/2024"],
    "age": ["63", "63.5", "063Y", "18M", "-1", "999", "nan", "1e999", "9" * 400, ">89", "inf", "0"],
    "sex": ["F", "m", "female", "1", "0", "H", "\u00df", "\u0130"],
    "labels": ["AFIB", "AFIB;SR", "['AFIB', 'SR']", "{'NORM': 100.0}", "atrial fibrillation"],
    "split": ["train", "Test", "val", "dev"],
    "other": ["x", f"{SECRET}, 1931-02-03", 'say "hi"', "a\nb", "\x7f", "\t;|,"],
}
CELLS["file"] += [
    "#0",
    "absent",
    "../r0",
    "/etc/passwd",
    "C:\\r0",
    "a/../r0",
    ".",
    "r\u0130",
    "r0/",
]
CELLS["patient"] += ["1.2E+12", "\u0661\u0661\u0661\u0661", "\u00b2\u00b2", "-1", "M\u00fcller"]
CELLS["time"] += ["05/06/2024", "0001-01-01", "0000-00-00", "9999-12-31T24:00", "2024-13-45"]
CELLS["time"] += ["1/2/03", "31-Jan-2024", "31-Foo-2024", "2024-01-31 99:99", "99999999", "\u0662"]
CELLS["labels"] += ["{'NORM': ", "{1: 2}", "{" * 3000, "[" * 90_000, "{'A': " + "9" * 5000 + "}"]
"""Cells of each column; the first two are good ones."""
PIECES = ["\0", '"', "'", "\r", "\n", "\n\n", ",", ";", "\t", "|", "\ufeff", "\x81", "\ud800"]
PIECES += ["9" * 200_000, "\u2028", "\x1c", "\\", " ", "file", "#", "\u00fc", "sep=;"]
ENCODINGS = ["utf-8"] * 5 + ["utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32", "shift-jis"]


def _table(rng: random.Random) -> bytes:
    """Returns a table that mostly makes sense, with damage in half of the cases."""
    meanings = [name for name in HEADERS if rng.random() < 0.6 or name == "file"]
    if rng.random() < 0.1:
        meanings.append(rng.choice(list(HEADERS)))
    rng.shuffle(meanings)
    delimiter = rng.choice(",,,;;\t|")
    lines = [[rng.choice(HEADERS[name]) for name in meanings]]
    files = rng.sample(FILES, rng.randrange(len(FILES)))
    odd = rng.choice([0, 0, 0.05, 0.3])
    for file in files:
        lines.append([_cell(name, file, odd, rng) for name in meanings])
    if rng.random() < 0.2:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice([[], [""], ["", ""], lines[-1]]))
    if rng.random() < 0.1:
        line = rng.choice(lines)
        line[:] = rng.choice([line[:-1], [*line, ""], [*line, "x"]])
    text = rng.choice(["\n", "\r\n", "\r"]).join(
        delimiter.join(_quoted(cell, delimiter, rng) for cell in line) for line in lines
    )
    for _ in range(rng.choice([0, 0, 1, 3])):
        start = rng.randrange(len(text) + 1)
        end = start + rng.choice([0, 0, 1, 5])
        text = text[:start] + rng.choice(PIECES) + text[end:]
    data = text.encode(rng.choice(ENCODINGS), rng.choice(["replace", "ignore"]))
    if rng.random() < 0.1:
        start = rng.randrange(len(data) + 1)
        data = data[:start] + rng.randbytes(rng.choice([1, 3])) + data[start:]
    return data


def _cell(name: str, file: str, odd: float, rng: random.Random) -> str:
    if rng.random() < odd:
        return rng.choice([*CELLS[name], "", SECRET])
    return file if name == "file" else rng.choice(CELLS[name][:2])


def _quoted(cell: str, delimiter: str, rng: random.Random) -> str:
    needed = any(character in cell for character in f'{delimiter}"\r\n')
    if needed and rng.random() < 0.95 or rng.random() < 0.05:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _count(data: bytes, delimiter: str) -> tuple[int, int]:
    """Returns the numbers of columns and rows of a table, by code of its own."""
    marks = {b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252")
    if text[:4].casefold() == "sep=":
        text = text.partition("\n")[2]
    mark = re.escape(delimiter)
    cell = re.compile(rf'(?: *"(?:[^"]|"")*"[^{mark}\r\n]*|[^{mark}\r\n]*)({mark}|\r\n|\r|\n|$)')
    ends = [match[1] for match in cell.finditer(text)]
    if ends[-2:] == ["", ""] or text.endswith(("\r", "\n")):
        ends.pop()  # an empty match after the end of the text
    rows = "".join("." if end == delimiter else "\n" for end in ends).splitlines()
    return len(rows[0]) + 1, len(rows) - 1


def _account(table: recordings_csv.RecordingsTable, data: bytes) -> None:
    """Checks that every column, row and recording is accounted for."""
    recordings = table.recordings(FILES, b"a secret of some length")
    account = table.summary()
    columns, rows = _count(data, account["delimiter"])
    assert len(account["columns_used"]) + len(account["columns_unused"]) == columns
    assert account["rows"] + account["empty_rows"] == rows
    rejected = [recording.problem[0] for recording in recordings if recording.problem]
    assert rejected.count("missing_file") == account["rows_without_recording"]
    assert rejected.count("unlisted") == account["recordings_without_row"]
    matched = {id(cells) for file, cells in table.cells.items() if file in FILES}
    assert len(matched) + account["rows_without_recording"] == account["rows"]
    assert {recording.location for recording in recordings} >= set(FILES)
    assert len(recordings) == len(FILES) + account["rows_without_recording"]
    assert all(recording.split in SPLITS for recording in recordings)
    assert not any(SECRET in warning or "\n" in warning for warning in account["warnings"])


def test_a_damaged_table_is_accounted_for_or_refused(tmp_path):
    rng = random.Random(SEED)
    path = tmp_path / "recordings.csv"
    read = 0
    slowest = 0.0
    for case in range(CASES):
        data = _table(rng)
        path.write_bytes(data)
        started = time.perf_counter()
        try:
            table = recordings_csv.read(tmp_path)
            _account(table, data)
            read += 1
        except InputError as error:
            message = str(error)
            assert "\n" not in message and ";" in message, (case, message)
            assert SECRET not in message and len(message) < 500, (case, message)
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 5 and CASES // 4 < read < CASES
