"""Prepared data sets in format 1: without hashes, so that a test may change what it likes."""

import json
from pathlib import Path

import pyarrow.parquet

TABLE = "records.parquet"


def unbind(folder: Path, **facts: object) -> Path:
    """Turns a data set into one of format 1, with other facts in its table if any are given."""
    (folder / "binding.json").unlink()
    table = pyarrow.parquet.read_table(folder / TABLE).drop_columns(["valid_samples", "sketch"])
    about = json.loads(table.schema.metadata[b"ecgjax"]) | facts
    del about["format"]
    del about["sketches"]
    table = table.replace_schema_metadata({"ecgjax": json.dumps(about)})
    pyarrow.parquet.write_table(table, folder / TABLE)
    return folder
