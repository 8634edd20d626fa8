"""Publishers' tables: the form is detected, the cells are read strictly."""

import pytest

from ecgjax.errors import InputError
from tfds_builders.formats import csv_table

REMEDY = "replace the file"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_form_of_a_table_is_detected(tmp_path, delimiter, encoding, end):
    lines = [["id", " name", "other "], ["1", "M\u00fcller", '"a, b; c|d\te"'], [], ["2", "", ""]]
    text = "".join(delimiter.join(line) + end for line in lines)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    rows = csv_table.read(tmp_path / "a.csv", ["id", "name"], REMEDY)
    assert rows == [
        {"id": "1", "name": "M\u00fcller", "other": "a, b; c|d\te"},
        {"id": "2", "name": "", "other": ""},
    ]


def test_short_and_empty_rows_are_counted(tmp_path):
    (tmp_path / "a.csv").write_text("id,name\n1\n\n,\n2,b,\n")
    sheet = csv_table.read_sheet(tmp_path / "a.csv", lambda name: name == "id", REMEDY)
    assert sheet.rows == [(2, ["1", ""]), (5, ["2", "b"])]
    assert (sheet.short_rows, sheet.empty_rows) == (1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,other\n1,a\n", "lacks column name; replace the file"),
        (b"id,name\n1,a,b\n", "row 2 has more cells than the header"),
        (b'id,name\n1,"a\n2,b\n', "after row 1: unexpected end of data; replace the file"),
        (b'id,name\n1,"a"b\n', "expected after"),
        (b"id,name\n1,\0\n", "has NUL characters"),
        (b"id,name\n1,\x81\xff\n", "no text in UTF-8 or cp1252; replace the file"),
        (b"\xff\xfei\0d", "no text in UTF-8 or cp1252; replace the file"),
        (b"id,name\n1," + b"a" * 200_000, "field larger than field limit"),
        (b"", "lacks column id, name"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        csv_table.read(tmp_path / "a.csv", ["id", "name"], REMEDY)
    assert "\n" not in str(caught.value)


def test_an_absent_file_and_an_invalid_cell_are_refused(tmp_path):
    with pytest.raises(InputError, match="give the folder that holds it"):
        csv_table.read(tmp_path / "a.csv", ["id"], REMEDY)
    (tmp_path / "a.csv").write_text("id,age\n7,200\n")
    with pytest.raises(InputError, match="id 7: age '200' is invalid; replace the file"):
        list(csv_table.read_cells(tmp_path / "a.csv", {"id": int, "age": csv_table.age}, REMEDY))
