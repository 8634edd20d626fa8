"""recordings.csv in the spellings of hospitals: columns, files, cells, patients, and their account.

Each of the trials of tables becomes a test of its kind here.
"""

import datetime
import json

import pyarrow.parquet
import pytest
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from tfds_builders.formats import recordings_csv
from tfds_builders.prepare import prepare
from tfds_builders.recording import identities, privacy, timestamps

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

KEY = b"a secret of some length"
FILES = ("r0", "r1", "r2", "r3")


def _read(folder, text, files=FILES, *, name="recordings.csv", encoding="utf-8", kept=()):
    """Returns the recordings by file, and the account of the table."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode(encoding))
    table = recordings_csv.read(folder, kept)
    recordings = {recording.location: recording for recording in table.recordings(files, KEY)}
    return recordings, table.summary()


def _patients(recordings):
    return {file: recording.source_patient_id for file, recording in recordings.items()}


PLACEHOLDERS = "X XX x-x-x ANON Anonymous ANONYMIZED anonymised UNKNOWN unnamed n/a NA nan None"
PLACEHOLDERS += " null <NA> #N/A test - ? *** 0 000000 000-00-0000 0.0 999 99999999 NoID patient -1"
PLACEHOLDERS += " -999.0 11111111 AAAA 123456789 Unknown^Unknown an\u00f4nimo UNKNOWN0000 [null]"
PLACEHOLDERS += " \uff38\uff38 00000000-0000-0000-0000-000000000000"
SEVERAL_WORDS = ["X X X X", "X F X X", "no id", "No Patient ID", "John Doe", "test patient", ""]
SEVERAL_WORDS += ["not recorded", "Pat. unbekannt", "Notfall", "EMERGENCY", "Max Mustermann"]
GENUINE = "A B F M 1 2 11 222 0012 42 ANON0042 P001 P000 M\u00fcller A1 test900 X1 99887"
GENUINE += " 1000.0 12.0 10000 100 MRN_0042 patient_12 patient-999 Jane-Miller"
GENUINE += " Notfall-0042 trauma7 Max pat42"


@pytest.mark.parametrize("patient", [*PLACEHOLDERS.split(), *SEVERAL_WORDS])
def test_a_placeholder_is_no_patient(patient):
    assert privacy.is_placeholder(patient)


@pytest.mark.parametrize("patient", GENUINE.split())
def test_an_identifier_is_no_placeholder(patient):
    assert not privacy.is_placeholder(patient)


@pytest.mark.parametrize(
    "header",
    [
        "file,patient,age,sex,labels",
        "file, patient, age, sex, labels",
        " File ,PATIENT_ID,Age_Years,Gender,Label",
        "filename,patient-id,Age (years),Sex,diagnosis",
        "File Name,Patient ID,age_at_ecg,Geschlecht,dx",
        "ecg_file,mrn,AGE,GENDER,scp_codes",
        "record,subject_id,age,sex,Diagnoses",
        '"path","PatientID","age [years]","sex","codes"',
        "record_id,pid,Alter,patient_sex,statements",
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_are_found_by_synonym_in_any_spelling(tmp_path, header, delimiter):
    rows = ["r0,A,63,F,AFIB", "r1,A,64,f,SR", "r2,B,50,M,PVC", "r3,B,51,male,SR"]
    text = "\r\n".join([header, *rows]).replace(",", delimiter)
    recordings, account = _read(tmp_path, text)
    assert _patients(recordings) == {"r0": "A", "r1": "A", "r2": "B", "r3": "B"}
    assert [recording.age for recording in recordings.values()] == [63, 64, 50, 51]
    assert [recording.sex for recording in recordings.values()] == ["female"] * 2 + ["male"] * 2
    assert recordings["r0"].labels == ("AFIB",) and recordings["r0"].split == recordings["r1"].split
    assert account["delimiter"] == delimiter and not account["columns_unused"]
    meanings = ["file", "patient", "age", "sex", "labels"]
    assert list(account["columns_used"].values()) == meanings and not account["warnings"]


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("cp1252", "cp1252")],
)
@pytest.mark.parametrize("first", ["", "sep=;\r\n"])
def test_the_encoding_is_detected_and_said(tmp_path, encoding, said, first):
    text = f"{first}file;patient;comment\r\nr0;M\u00fcller;h\u00e4ufig\r\n"
    recordings, account = _read(tmp_path, text, ["r0"], encoding=encoding)
    assert _patients(recordings) == {"r0": "M\u00fcller"}
    assert account["encoding"] == said and account["columns_unused"] == ["comment"]
    assert len(account["warnings"]) == (said == "cp1252")


@pytest.mark.parametrize("name", ["recordings.csv", "RECORDINGS.CSV", "recordings.csv.txt"])
def test_the_table_is_found_by_its_name_and_is_no_recording(tmp_path, name):
    recordings, account = _read(tmp_path, "file,patient\nr0,A\n", ["r0", name], name=name)
    assert list(recordings) == ["r0"] and account["file"] == name


def test_other_tables_are_named_and_two_are_refused(tmp_path):
    _, account = _read(tmp_path, "file,labels\nr0,AFIB\n", ["r0"], name="labels.csv")
    assert account["file"] is None and "'labels.csv'" in account["warnings"][0]
    (tmp_path / "signal.csv").write_text("I,II,V1\n1,2,3\n")  # a recording of its own
    table = recordings_csv.read(tmp_path)
    table.recordings(["signal.csv", "labels.csv"], KEY)
    assert len(table.summary()["warnings"]) == 1
    (tmp_path / "recordings.csv.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match=r"recordings.csv.gz: is compressed; unpack it"):
        recordings_csv.read(tmp_path)
    (tmp_path / "recordings.csv.gz").rename(tmp_path / "recordings.zip")  # of signals
    assert recordings_csv.read(tmp_path).path is None
    (tmp_path / "Recordings.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"Recordings.xlsx: no CSV; export it"):
        recordings_csv.read(tmp_path)
    (tmp_path / "recordings.csv").write_text("file\nr0\n")
    (tmp_path / "recordings.tsv").write_text("file\nr0\n")
    with pytest.raises(InputError, match=r"has recordings.csv and recordings.tsv; leave one"):
        recordings_csv.read(tmp_path)


@pytest.mark.parametrize(
    "header", ["file,patient,patient_id", "filename,file", "file,Sex,gender", "file,label,labels"]
)
def test_two_columns_of_one_meaning_are_refused(tmp_path, header):
    (tmp_path / "recordings.csv").write_text(f"{header}\nr0,A\n")
    with pytest.raises(InputError, match="both mean") as caught:
        recordings_csv.read(tmp_path)
    assert repr(header.split(",")[-1]) in str(caught.value)


def test_no_column_is_dropped_silently_and_some_are_kept_on_request(tmp_path):
    text = "file,patient,Name,birth date,BMI,\nr0,A,Jane Doe,1931-02-03, 21.5 ,x\n"
    recordings, account = _read(tmp_path, text, ["r0"], kept=["bmi"])
    assert recordings["r0"].extra == (("BMI", "21.5"),)
    assert account["columns_used"] == {"file": "file", "patient": "patient", "BMI": "kept"}
    assert account["columns_unused"] == ["Name", "birth date", "(column 6)"]
    for kept, message in (("height", "has 0 columns"), ("patient", "is read, or")):
        with pytest.raises(InputError, match=message):
            recordings_csv.read(tmp_path, [kept])


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("r0.hea", ["r0", "r1"]),
        ("r0.dat", ["r0", "r1"]),
        ("R0.HEA", ["r0", "r1"]),
        ("./r0", ["r0"]),
        ("a\\r0.xml", ["a/r0.xml"]),
        (".\\a\\r0", ["a/r0.xml", "a/r1.xml"]),
        ("a//r0", ["a/r0.XML"]),
        ("A/R0.XML", ["a/r0.xml"]),
        ("x.npy", ["x.npy#0"]),
        ("x.h5", ["x.h5#group/a"]),
        ("x", ["x.csv.gz"]),
        ("x#0", ["x.npy#0", "x.npy#1"]),
        ("r.0", ["r.0", "r"]),
        ("Mu\u0308ller", ["M\u00fcller"]),
    ],
)
def test_a_file_is_found_in_the_ways_that_people_write_it(tmp_path, listed, names):
    recordings, account = _read(tmp_path, f"file,patient\n{listed},A\n", names)
    assert recordings[names[0]].source_patient_id == "A"
    assert account["rows_without_recording"] == 0
    assert account["recordings_without_row"] == len(names) - 1


def test_a_row_of_a_file_belongs_to_all_its_recordings(tmp_path):
    text = "file,patient\na.xml,A\nb,B\n"
    recordings, _ = _read(tmp_path, text, ["a.xml#0", "a.xml#1", "b.xml"])
    assert _patients(recordings) == {"a.xml#0": "A", "a.xml#1": "A", "b.xml": "B"}


def test_rows_and_recordings_that_do_not_meet_are_rejected_and_counted(tmp_path):
    text = "file,patient\nr0,A\n\n , \nabsent,B\nlink/r9,C\n"
    recordings, account = _read(tmp_path, text, ["r0", "r1"])
    reasons = {file: recording.problem for file, recording in recordings.items()}
    assert {file: problem and problem[0] for file, problem in reasons.items()} == {
        "absent": "missing_file",
        "link/r9": "missing_file",
        "r0": None,
        "r1": "unlisted",
    }
    assert account["rows"] == 3 and account["empty_rows"] == 2
    assert account["rows_without_recording"] == 2 and account["recordings_without_row"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\nr0\nr1\nr0\n", "rows 2 and 4 name the same file"),
        ("file\nr0\nr0.hea\n", "rows 2 and 3 name the same file"),
        ("file\na\n", "row 2 names 2 files"),
        ("file,patient\n,A\n", "row 2 names no file"),
        ("file\n../r0\n", "row 2: column 'file' is not a path in the folder"),
        ("file\nC:\\data\\r0\n", "row 2: column 'file' is not"),
        ("file\n/etc/passwd\n", "row 2: column 'file' is not"),
        ("patient,age\nA,3\n", "row 1 names no column of files"),
        ("r0,Jane\n", "row 1 names no column of files"),
        ("", "row 1 names no column of files"),
        ("file,patient\nr0,A,Jane\n", "row 2 has more cells than the header"),
        ('file,patient\nr0,"Jane\nr1,B\n', "after row 1: unexpected end of data"),
        ('file,patient\nr0,"Jane\nr1,B"\n', "row 2: column 'patient' is not an identifier"),
        ("file,patient\nr0,1.23457E+12\n", "lacks its last digits"),
        ("file,patient\nr0,1.2e+12\n", "lacks its last digits"),
        ("file,age\nr0,Jane\n", "row 2: column 'age' is not an age in years"),
        ("file,time\nr0,Jane\n", "row 2: column 'time' is not a date or time"),
        ("file,date\nr0,05/06/2024\n", "write 2024-01-31"),
        ("file,date\nr0,31/01/2024\nr1,01/31/2024\n", "row 2: column 'date' is not"),
        ("file,split\nr0,dev\n", "row 2: column 'split' is not one of train, validation, test"),
        (f"file,labels\nr0,{'Jane had pain ' * 5}\n", "row 2: column 'labels' is not codes or"),
        ("file,patient,split\nr0,A,train\nr1,A,test\n", "rows 2 and 3 are of the same patient, in"),
        ("file,date,datetime\nr0,2024-01-31,2024-01-31\n", "'date' and 'datetime' both mean time"),
        ("file\nr0\0\n", "has NUL characters"),
        ("file\nr0\x81\u00ff\n", "no text in UTF-8 or cp1252"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_without_a_quotation(tmp_path, text, message):
    (tmp_path / "recordings.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message) as caught:
        recordings_csv.read(tmp_path).recordings(["r0", "r1", "a.xml", "a.dcm"], KEY)
    assert "Jane" not in str(caught.value) and "\n" not in str(caught.value)


def test_values_that_cannot_be_true_are_unknown_and_counted(tmp_path):
    rows = [
        "r0,-1,0001-01-01,1",
        "r1,999,1900-01-01 00:00:00,2",
        "r2,0,9999-12-31,F",
        "r3,nan,,Jane",
    ]
    recordings, account = _read(tmp_path, "\n".join(["file,age,date,sex", *rows]))
    assert [recording.age for recording in recordings.values()] == [None, None, 0, None]
    assert not any(recording.recorded_at for recording in recordings.values())
    assert [recording.sex for recording in recordings.values()] == [None, None, "female", None]
    ages, dates, sexes = account["warnings"][1:]
    assert ages.startswith("2 cells of the column 'age' are outside 0 to 120 years")
    assert dates.startswith("3 cells of the column 'date' are no date of an ECG")
    assert sexes.startswith("3 cells of the column 'sex' ('1', '2') are not understood")


@pytest.mark.parametrize(
    "text", ["061Y", "61Y", "61.0", "61,5", "61 years", "732M", " 61 ", "P61Y"]
)
def test_ages_are_understood(tmp_path, text):
    recordings, account = _read(tmp_path, f"file;age\nr0;{text}\n", ["r0"])
    assert recordings["r0"].age == 61 and len(account["warnings"]) == 1


@pytest.mark.parametrize(
    ("text", "age"), [("18M", 1), ("3 W", 0), (">89", 90), ("90+", 90), ("0", 0)]
)
def test_ages_of_children_and_of_the_very_old_are_understood(tmp_path, text, age):
    recordings, _ = _read(tmp_path, f"file,age\nr0,{text}\n", ["r0"])
    assert recordings["r0"].age == age


@pytest.mark.parametrize(
    ("cells", "sexes"),
    [
        ("F M f m", ["female", "male"] * 2),
        ("Female MALE weiblich m\u00e4nnlich", ["female", "male"] * 2),
        ("w m Frau Mann", ["female", "male"] * 2),
        ("H M H M", ["male", "female"] * 2),  # hombre, mujer
        ("H F O U", ["male", "female", None, None]),
    ],
)
def test_sexes_are_understood_from_the_whole_column(tmp_path, cells, sexes):
    rows = [f"{file},{cell}" for file, cell in zip(FILES, cells.split(), strict=True)]
    recordings, account = _read(tmp_path, "\n".join(["file,sex", *rows]))
    assert [recording.sex for recording in recordings.values()] == sexes
    assert len(account["warnings"]) == 1


@pytest.mark.parametrize(
    "text",
    ["2024-01-31T12:05:00", "2024-01-31 12:05", "2024-01-31T12:05:00.000Z", "20240131120500"]
    + ["202401311205", "20240131120500.000+0100", "31.01.2024 12:05", "31/01/2024 12:05:00"]
    + ["1/31/2024 12:05 PM", "31-Jan-2024 12:05", "Jan 31, 2024 12:05", "2024/1/31 12:05"],
)
def test_times_are_understood(text):
    assert timestamps.parse_time(text) == datetime.datetime(2024, 1, 31, 12, 5)


@pytest.mark.parametrize("text", ["05/06/2024", "1706659200", "45322", "2024", "12:00", "May 2024"])
def test_times_with_two_meanings_or_none_are_refused(text):
    with pytest.raises(ValueError):
        timestamps.parse_time(text)


@pytest.mark.parametrize(("other", "month"), [("31/01/2024", 6), ("01/31/2024", 5)])
def test_the_column_tells_the_order_of_day_and_month(tmp_path, other, month):
    recordings, _ = _read(
        tmp_path, f"file,date,patient\nr0,05/06/2024,A\nr1,{other},A\n", FILES[:2]
    )
    first = recordings["r0"].recorded_at
    second = recordings["r1"].recorded_at
    assert first and second
    right = datetime.datetime(2024, month, 5 if month == 6 else 6) - datetime.datetime(2024, 1, 31)
    assert first - second == right


def test_a_day_and_a_time_of_day_may_be_in_two_columns(tmp_path):
    text = "file,patient,exam time,exam date\nr0,A,12:05,2024-01-31\n"
    text += "r1,A,2024-01-31 12:06,20240131\n"
    recordings, account = _read(tmp_path, text, FILES[:2])
    first = recordings["r0"].recorded_at
    second = recordings["r1"].recorded_at
    assert first and second and second - first == datetime.timedelta(minutes=1)
    assert account["columns_used"]["exam date"] == account["columns_used"]["exam time"] == "time"


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("AFIB; SR", ("AFIB", "SR")),
        ("AFIB,SR", ("AFIB", "SR")),
        ("AFIB|SR|AFIB", ("AFIB", "SR")),
        ("['AFIB', 'SR']", ("AFIB", "SR")),
        ("['AFIB' 'SR']", ("AFIB", "SR")),
        ("[AFIB, SR]", ("AFIB", "SR")),
        ("{'NORM': 100.0, 'SR': 0.0}", ("NORM", "SR")),
        ("{'AFIB': 0, 'SR': 1}", ("SR",)),
        ("{'AFIB': True, 'SR': False}", ("AFIB",)),
        ("atrial fibrillation", ("atrial fibrillation",)),
        ("infarction, inferior; AFIB", ("infarction, inferior", "AFIB")),
        ("(probable) AFIB", ("(probable) AFIB",)),
        ("nan", ()),
        ("[]", ()),
    ],
)
def test_labels_are_understood(tmp_path, cell, labels):
    recordings, _ = _read(tmp_path, f'file,dx\nr0,"{cell}"\n', ["r0"])
    assert recordings["r0"].labels == labels


def test_placeholders_are_patients_of_their_own(tmp_path):
    text = "file,patient\nr0,X X X X\nr1,X X X X\nr2,\nr3,A\n"
    recordings, account = _read(tmp_path, text)
    assert len(set(_patients(recordings).values())) == 4
    assert account["warnings"][0].startswith("3 rows have no identifier of a patient, or a pl")


def test_numbers_of_patients_are_no_placeholders(tmp_path):
    """0, 11 and 22 continue the numbers of the others; a 0 of many strangers does not."""
    files = [f"r{number}" for number in range(60)]
    rows = [f"r{number},{number // 2}" for number in range(60)]
    recordings, account = _read(tmp_path, "\n".join(["file,patient", *rows]), files)
    assert len(set(_patients(recordings).values())) == 30 and not account["warnings"]
    rows = [f"r{number},{max(0, number - 40)}" for number in range(60)]
    recordings, account = _read(tmp_path, "\n".join(["file,patient", *rows]), files)
    assert len(set(_patients(recordings).values())) == 60 and len(account["warnings"]) == 1


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        ("0012 12 13 14", 2),
        ("12.0 12 a A", 4),
        ("P-1 P1 P2 P3", 2),
        ("\uff11\uff12 12 13 14", 2),
        ("1 2 3 4", 0),
    ],
)
def test_similar_identifiers_are_found_and_stay_apart(tmp_path, ids, count):
    assert len(identities.similar(ids.split())) == count
    rows = [f"{file},{patient}" for file, patient in zip(FILES, ids.split(), strict=True)]
    recordings, _ = _read(tmp_path, "\n".join(["file,patient", *rows]))
    assert len(set(_patients(recordings).values())) == 4


def test_files_of_patients_without_a_name_are_not_similar(tmp_path):
    recordings, _ = _read(tmp_path, "file\na-1\na1\nA1\n", ["a-1", "a1", "A1"])
    assert not identities.similar(_patients(recordings).values())


def test_an_identifier_has_no_invisible_characters(tmp_path):
    text = "file,patient\nr0,12\u200b\nr1,\ufeff12\nr2,\u00a012\nr3,\u200b\n"
    recordings, _ = _read(tmp_path, text)
    patients = list(_patients(recordings).values())
    assert patients[:3] == ["12"] * 3 and patients[3].startswith(identities.FILE)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_rows_of_a_patient_share_the_split_that_one_of_them_names(tmp_path, split):
    """A hash would tear two of three patients over two splits."""
    recordings, _ = _read(tmp_path, f"file,patient,split\nr0,A,\nr1,A,{split}\nr2,A,nan\nr3,B,\n")
    assert [recordings[file].split for file in FILES[:3]] == [split] * 3


def test_numbers_that_excel_keeps_as_text_are_unwrapped(tmp_path):
    recordings, _ = _read(tmp_path, 'file,patient\nr0,="0042"\nr1,\'0042\nr2,0042\nr3,"=""7"""\n')
    assert list(_patients(recordings).values()) == ["0042", "0042", "0042", "7"]


def test_numbers_that_pandas_has_written_are_whole(tmp_path):
    recordings, account = _read(tmp_path, "file,patient\nr0,12.0\nr1,13.0\nr2,\nr3,12.0\n")
    assert recordings["r0"].source_patient_id == recordings["r3"].source_patient_id == "12"
    assert recordings["r1"].source_patient_id == "13" and len(account["warnings"]) == 1


def test_two_folders_share_no_patient_and_no_record_id(tmp_path):
    """Whether there is no table, no column of patients, or a placeholder."""
    for text in ("file\nr0\n", "file,patient\nr0,ANON\n"):
        first, _ = _read(tmp_path / "a", text, ["r0"])
        (tmp_path / "b/a").mkdir(parents=True, exist_ok=True)  # the name of the folder is the same
        second, _ = _read(tmp_path / "b/a", text, ["r0"])
        (third,) = recordings_csv.read(tmp_path / "b").recordings(["r0"], KEY)
        three = [first["r0"], second["r0"], third]
        assert len({recording.source_patient_id for recording in three}) == 3
        assert len({recording.record_id for recording in three}) == 3


def test_a_conversion_accounts_for_its_table(tmp_path):
    source = tmp_path / "raw"
    for seed, name in enumerate(("r0", "r1")):
        tiny_ptb_xl.write_record(source / name, seed=seed, fs=500, samples=5000)
    text = "Filename;Patient_ID;Device;note\nr0.hea;A;cart 7;Jane\nr2;B;;\n"
    (source / "recordings.csv").write_text(text)
    settings = {"source": source, "patient_key": tmp_path / "key", "columns": ("Device",)}
    prepared = prepare("wfdb_folder", tmp_path / "out", **settings)
    (row,) = pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    report = json.loads((prepared / "report.json").read_text())
    assert report["reasons"] == {"missing_file": 1, "unlisted": 1}
    used = {"Filename": "file", "Patient_ID": "patient", "Device": "kept"}
    assert report["table"]["columns_used"] == used and report["table"]["columns_unused"] == ["note"]
    assert row["Device"] == "cart 7" and "Jane" not in str(report)


def test_columns_are_kept_of_a_table_of_ones_own_only(tmp_path):
    with pytest.raises(InputError, match="--columns ward: ptb_xl has no recordings.csv"):
        prepare("ptb_xl", tmp_path / "out", source=tmp_path, columns=("ward",))
    with pytest.raises(InputError, match="has no recordings.csv with the column ward"):
        recordings_csv.read(tmp_path, ["ward"])
