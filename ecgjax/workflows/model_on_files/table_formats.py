"""Tables of results as Parquet, CSV or npz, written part by part.

Lists of texts are joined by semicolons in CSV and npz. A list of numbers is one column each in CSV,
NAME000 and so on, and one array in npz. An absent text is empty; an absent number is empty in CSV
and NaN, or 0 if it is an integer, in npz.
"""

import csv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ecgjax.errors import InputError

SIZE = "size"
"""Entry of a field's metadata: length of its lists of numbers."""
ENDINGS = (".parquet", ".csv", ".npz")


def check(out: Path, names: Sequence[str]) -> None:
    """Checks that a result can be written to a file before any work is done.

    Args:
      out: the file.
      names: columns by which an earlier result is known, which will be replaced.

    Raises:
      InputError: the ending is unknown, or there is another file or folder of that name.
    """
    if out.suffix not in ENDINGS:
        raise InputError(f"--out {out}: give a file that ends with {', '.join(ENDINGS)}")
    if out.exists() and not _has_columns(out, names):
        problem = f"--out {out}: exists and was not written by this command"
        raise InputError(f"{problem}; give another file, or delete it")


def _has_columns(path: Path, names: Sequence[str]) -> bool:
    try:
        if path.suffix == ".parquet":
            found = pyarrow.parquet.read_schema(path).names
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found = arrays.files
        else:
            with path.open(newline="", encoding="utf-8") as file:
                found = next(csv.reader(file), [])
    except (OSError, ValueError, pa.ArrowException, zipfile.BadZipFile):
        return False
    return found[: len(names)] == list(names)


def write(path: Path, parts: Sequence[Path], schema: pa.Schema) -> None:
    """Writes a table.

    Args:
      path: file to write, whose ending determines the format.
      parts: Parquet files with the rows, in their order.
      schema: the columns.
    """
    {".parquet": _write_parquet, ".csv": _write_csv, ".npz": _write_npz}[path.suffix](
        path, parts, schema
    )


def _batches(parts: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    for part in parts:
        with pyarrow.parquet.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=columns)


def _write_parquet(path: Path, parts: Sequence[Path], schema: pa.Schema) -> None:
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(parts):
            writer.write_table(batch)


def _write_csv(path: Path, parts: Sequence[Path], schema: pa.Schema) -> None:
    empty = _flat(schema.empty_table())
    with pyarrow.csv.CSVWriter(path, empty.schema) as writer:
        for batch in _batches(parts):
            writer.write_table(_flat(batch))


def _flat(table: pa.Table) -> pa.Table:
    """Returns a table without lists."""
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    for field in table.schema:
        column = table[field.name]
        if field.metadata:
            matrix = to_matrix(column, field)
            prefix = field.name[0]
            missing = np.isnan(matrix)
            digits = max(3, len(str(matrix.shape[1] - 1)))
            columns |= {
                f"{prefix}{index:0{digits}d}": pa.array(values, mask=missing[:, index])
                for index, values in enumerate(matrix.T)
            }
        elif pa.types.is_list(field.type):
            columns[field.name] = _joined(column)
        else:
            columns[field.name] = column
    return pa.table(columns)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([";".join(words or ()) for words in column.to_pylist()], pa.string())


def to_matrix(column: pa.ChunkedArray, field: pa.Field) -> np.ndarray:
    """Returns lists of numbers as float32 [row, number], NaN where there is none."""
    size = int(field.metadata[SIZE.encode()])
    matrix = np.full((len(column), size), np.nan, np.float32)
    present = column.is_valid().to_numpy()
    numbers = column.drop_null().combine_chunks().flatten()
    matrix[present] = numbers.to_numpy(zero_copy_only=False).reshape(-1, size)
    return matrix


def _write_npz(path: Path, parts: Sequence[Path], schema: pa.Schema) -> None:
    rows = sum(pyarrow.parquet.read_metadata(part).num_rows for part in parts)
    with zipfile.ZipFile(path, "w") as archive:
        for field in schema:
            first = _array(schema.empty_table().select([field.name]), field)
            shape = (rows, *first.shape[1:])
            kind = first.dtype if first.dtype.kind != "U" else _widest(parts, field)
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
            info = zipfile.ZipInfo(f"{field.name}.npy")  # of 1980, so that equal results are equal
            with archive.open(info, "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
                for batch in _batches(parts, [field.name]):
                    file.write(_array(batch, field).astype(kind).tobytes())


def _widest(parts: Sequence[Path], field: pa.Field) -> np.dtype:
    """Returns the NumPy type that holds the longest text of a column."""
    arrays = (_array(batch, field) for batch in _batches(parts, [field.name]))
    return max(
        (array.dtype for array in arrays), key=lambda kind: kind.itemsize, default=np.dtype("<U1")
    )


def _array(table: pa.Table, field: pa.Field) -> np.ndarray:
    """Returns a column as NumPy stores it without pickle."""
    column = table[field.name]
    if field.metadata:
        return to_matrix(column, field)
    if pa.types.is_list(field.type):
        column = _joined(column)
    if pa.types.is_list(field.type) or pa.types.is_string(field.type):
        return np.array([text or "" for text in column.to_pylist()] or [""], str)[: len(column)]
    absent = np.nan if pa.types.is_floating(field.type) else 0
    values = [absent if value is None else value for value in column.to_pylist()]
    return np.array(values, field.type.to_pandas_dtype())
