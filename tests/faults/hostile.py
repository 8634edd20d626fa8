"""Hostile prepared data sets, and a program that opens each of them and reports what it touched.

    python hostile.py FOLDER

opens all data sets in FOLDER/sets, reads whatever they let it read, and prints JSON: for each the
error, the time, the files opened outside of it, and the modules imported.
"""

import contextlib
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

Change = Callable[[Path], object]
INFO = "dataset_info.json"
FEATURES = "features.json"
TABLE = "records.parquet"
DEEP = '{"a":' * 200_000 + "1" + "}" * 200_000
HARMLESS = {
    *("class of own module", "class that is installed", "class os.system", "class in a feature"),
    *("moduleName", "redundant name in info", "no template", "extension type"),
}
"""Cases that open and read as if nothing were there, since nobody looks at what is hostile."""


def replace(file: Path, content: bytes | str) -> None:
    """Writes a file anew; the old one may be a hard link."""
    file.unlink(missing_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def _json(name: str, change: Callable[[Any], object]) -> Change:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        replace(folder / name, json.dumps(content))

    return apply


def _info(**values: object) -> Change:
    return _json(INFO, lambda info: info.update(values))


def _split(**values: object) -> Change:
    return _json(INFO, lambda info: info["splits"][0].update(values))


def _class(name: str) -> Change:
    return _json(FEATURES, lambda features: features.update(pythonClassName=name))


def _feature(**values: object) -> Change:
    return _json(
        FEATURES,
        lambda features: features["featuresDict"]["features"]["signal"].update(values),
    )


def _tensor(**values: object) -> Change:
    def change(features: Any) -> None:
        features["featuresDict"]["features"]["signal"]["tensor"].update(values)

    return _json(FEATURES, change)


def _content(name: str, content: bytes | str) -> Change:
    return lambda folder: replace(folder / name, content)


def _link(pattern: str, target: str) -> Change:
    def apply(folder: Path) -> None:
        file = _first(folder, pattern)
        file.unlink(missing_ok=True)
        file.symlink_to(folder.parent / target)

    return apply


def _pipe(pattern: str) -> Change:
    def apply(folder: Path) -> None:
        file = _first(folder, pattern)
        file.unlink(missing_ok=True)
        os.mkfifo(file)

    return apply


def _first(folder: Path, pattern: str) -> Path:
    return min(folder.glob(pattern), default=folder / pattern)


def _own_class(folder: Path) -> None:
    _class(f"{folder.name}.evil.Thing")(folder)
    (folder / "evil.py").write_text("open('PWNED', 'w').close()\nclass Thing: ...\n")


def _sparse(folder: Path) -> None:
    """A table of 100 GB that takes no space on the disk."""
    with (folder / TABLE).open("r+b") as opened:
        opened.truncate(100_000_000_000)


def _is_folder(folder: Path) -> None:
    shard = _first(folder, "*.array_record-*")
    shard.unlink()
    shard.mkdir()


def _about(**values: object) -> Change:
    def apply(folder: Path) -> None:
        table = pyarrow.parquet.read_table(folder / TABLE)
        about = json.loads(table.schema.metadata[b"ecgjax"]) | values
        _write(folder, table.replace_schema_metadata({"ecgjax": json.dumps(about)}))

    return apply


def _column(name: str, make: Callable[[int], Any]) -> Change:
    def apply(folder: Path) -> None:
        table = pyarrow.parquet.read_table(folder / TABLE)
        place = table.schema.get_field_index(name)
        _write(folder, table.set_column(place, name, make(len(table))))

    return apply


def _write(folder: Path, table: pa.Table, **options: Any) -> None:
    (folder / TABLE).unlink()
    pyarrow.parquet.write_table(table, folder / TABLE, compression="zstd", **options)


def _long_text(length: int) -> Change:
    """One text of many characters that all rows share, a few bytes in the file."""

    def apply(folder: Path) -> None:
        table = pyarrow.parquet.read_table(folder / TABLE)
        place = table.schema.get_field_index("device")
        text = pa.DictionaryArray.from_arrays(pa.array([0] * len(table)), ["0" * length])
        _write(folder, table.set_column(place, "device", text), store_schema=False)

    return apply


def _metadata(text: bytes | str) -> Change:
    def apply(folder: Path) -> None:
        table = pyarrow.parquet.read_table(folder / TABLE)
        _write(folder, table.replace_schema_metadata({"ecgjax": text}))

    return apply


def _extension(folder: Path) -> None:
    """A column whose type Arrow once made by unpickling."""
    table = pyarrow.parquet.read_table(folder / TABLE)
    names = {"ARROW:extension:name": "arrow.py_extension_type"}
    field = pa.field("x", pa.string(), metadata=names | {"ARROW:extension:metadata": b"cos\nsys\n"})
    _write(folder, table.append_column(field, pa.nulls(len(table), pa.string())))


def _footer(footer: bytes, length: int | None = None) -> Change:
    size = struct.pack("<I", len(footer) if length is None else length)
    return _content(TABLE, b"PAR1" + footer + size + b"PAR1")


def _nested(rows: int) -> pa.Array:
    array: pa.Array = pa.nulls(rows, pa.string())
    for _ in range(300):
        array = pa.StructArray.from_arrays([array], ["x"])
    return array


def _shard(content: bytes) -> Change:
    return lambda folder: replace(_first(folder, "*-train.array_record-*"), content)


def _examples(example: bytes) -> Change:
    """All examples of a shard replaced."""

    def apply(folder: Path) -> None:
        file = _first(folder, "*-train.array_record-*")
        with contextlib.closing(ArrayRecordReader(str(file))) as reader:
            count = reader.num_records()
        file.unlink()
        with contextlib.closing(ArrayRecordWriter(str(file), "group_size:1")) as writer:
            for _ in range(count):
                writer.write(example)

    return apply


def _binding(content: str) -> Change:
    return _content("binding.json", content)


def _longer_than_the_shards(folder: Path) -> None:
    _tensor(shape={"dimensions": ["10000000", "12"]})(folder)
    _about(samples=10_000_000)(folder)


_HASHES = {"files": dict.fromkeys((TABLE, INFO, FEATURES), "0" * 64), "shards": {}}
CASES: dict[str, Change] = {
    "class of own module": _own_class,
    "class that is installed": _class("this.Thing"),
    "class os.system": _class("os.system"),
    "class in a feature": _feature(pythonClassName="antigravity.Thing"),
    "moduleName": _info(moduleName="this"),
    "redundant name in info": _info(redirect="../outside"),
    "no template": _json(INFO, lambda info: info["splits"][0].pop("filepathTemplate")),
    "features null": _content(FEATURES, "null"),
    "features deep": _content(FEATURES, DEEP),
    "features a list": _content(FEATURES, "[[]]"),
    "features empty": _content(FEATURES, "{}"),
    "features no utf-8": _content(FEATURES, b"\xff\xfe{}"),
    "features 5 MB": _content(FEATURES, "{" + " " * 5_000_000 + "}"),
    "features a pipe": _pipe(FEATURES),
    "dtype object": _tensor(dtype="object"),
    "encoding zlib": _tensor(encoding="zlib"),
    "shape huge": _tensor(shape={"dimensions": ["9" * 30, "12"]}),
    "shape negative": _tensor(shape={"dimensions": ["-1000", "12"]}),
    "shape of others": _tensor(shape={"dimensions": ["500", "12"]}),
    "shape of text": _tensor(shape="1000"),
    "template with folder above": _split(filepathTemplate="../outside/x-{SHARD_X_OF_Y}"),
    "template absolute": _split(filepathTemplate="/etc/passwd"),
    "template with parts": _split(filepathTemplate="{DATASET}/../../outside/{SHARD_X_OF_Y}"),
    "template of attributes": _split(filepathTemplate="{DATASET.__class__}"),
    "name with folder above": _info(name="../outside/x"),
    "name absolute": _info(name="/etc/passwd"),
    "name with NUL": _info(name="a\0b"),
    "name with line end": _info(name="synthetic\n"),
    "name a list": _info(name=["synthetic"]),
    "name long": _info(name="a" * 100_000),
    "tfrecord": _info(fileFormat="tfrecord"),
    "format a class": _info(fileFormat={"pythonClassName": "this.Thing"}),
    "length negative": _split(shardLengths=["-5"]),
    "length zero": _split(shardLengths=["0"]),
    "length huge": _split(shardLengths=["9" * 20]),
    "length in other digits": _split(shardLengths=["٣"]),
    "length a number": _split(shardLengths=[1e308]),
    "lengths null": _split(shardLengths=None),
    "lengths text": _split(shardLengths="1024"),
    "lengths nested": _split(shardLengths=[["1"]]),
    "a million shards": _split(shardLengths=["1"] * 1_000_000),
    "150,000 shards": _split(shardLengths=["1"] * 150_000),
    "splits twice": _json(INFO, lambda info: info["splits"].append(info["splits"][0])),
    "split with folder above": _split(name="../outside"),
    "splits empty": _info(splits=[]),
    "splits a dict": _info(splits={"name": "train"}),
    "info with many digits": _content(INFO, '{"name": ' + "9" * 100_000 + "}"),
    "info NaN": _content(INFO, "NaN"),
    "info cut": _content(INFO, '{"name": "synth'),
    "info deep": _content(INFO, DEEP),
    "info a link outside": _link(INFO, "../outside/dataset_info.json"),
    "shard a link outside": _link("*-train.array_record-*", "../outside/shard"),
    "shard a device": _link("*-train.array_record-*", "/dev/zero"),
    "shard a loop": _link("*-train.array_record-*", "loop"),
    "shard a pipe": _pipe("*-train.array_record-*"),
    "shard a folder": _is_folder,
    "shard random": _shard(bytes(range(256)) * 5000),
    "shard empty": _shard(b""),
    "examples random": _examples(bytes(range(256))),
    "examples empty": _examples(b""),
    "examples of a huge length": _examples(b"\x0a\xff\xff\xff\xff\x07" + bytes(50)),
    "table a link outside": _link(TABLE, "../outside/records.parquet"),
    "table a device": _link(TABLE, "/dev/zero"),
    "table sparse": _sparse,
    "table empty": _content(TABLE, b""),
    "footer longer than file": _footer(b"\x15\x04", 2**31 - 1),
    "thrift list of 2^31": _footer(b"\x15\x04\x19\xfc\xff\xff\xff\xff\x07" + b"\0" * 50),
    "thrift text of 2^31": _footer(b"\x15\x04\x18\xff\xff\xff\xff\x07" + b"\0" * 50),
    "thrift deep": _footer(b"\x15\x04" + b"\x1c" * 100_000),
    "metadata deep": _metadata(DEEP),
    "metadata no JSON": _metadata(b"\xff"),
    "metadata null": _metadata("null"),
    "samples negative": _about(samples=-5),
    "samples text": _about(samples="x"),
    "samples null": _about(samples=None),
    "samples huge": _about(samples=10**12),
    "samples huge everywhere": _longer_than_the_shards,
    "samples true": _about(samples=True),
    "rate null": _about(rate_hz=None),
    "rate NaN": _about(rate_hz=float("nan")),
    "rate huge": _about(rate_hz=1e308),
    "rate zero": _about(rate_hz=0),
    "rate a list": _about(rate_hz=[100]),
    "leads unknown": _about(leads=["../x"]),
    "leads twice": _about(leads=["I", "I"]),
    "data set null": _about(dataset=None),
    "data set with line end": _about(dataset="a/b:1.0.0\nwarning"),
    "format 99": _about(format=99),
    "extension type": _extension,
    "column nested": _column("site", _nested),
    "column of numbers": _column("patient_id", lambda rows: pa.array(range(rows))),
    "column of 10 MB": _long_text(10_000_000),
    "hashes short": _column("waveform_hash", lambda rows: pa.array(["0"] * rows)),
    "hashes null": _column("waveform_hash", lambda rows: pa.nulls(rows, pa.string())),
    "binding null": _binding("null"),
    "binding deep": _binding(DEEP),
    "binding without shards": _binding(json.dumps({"format": 2} | _HASHES)),
    "binding of format 3": _binding(json.dumps({"format": 3} | _HASHES)),
    "binding a pipe": _pipe("binding.json"),
    "binding a link outside": _link("binding.json", "../outside/records.parquet"),
}

_opened: list[str] = []
_imported: list[str] = []
_ran: list[str] = []
_RUN = ("exec", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "ctypes.dlopen")


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _opened.append(os.path.realpath(os.fsdecode(arguments[0])))
    elif event == "import":
        _imported.append(arguments[0])
    elif event in _RUN or event.startswith(("pickle.", "marshal.", "socket.")):
        _ran.append(event)


def _read(folder: Path) -> str:
    """Opens and reads a data set; returns "read", or the error."""
    try:
        records = Records(folder)
        records.read(range(len(records)))
        assert records.table and records.fingerprint
        assert len(records.patients) == len(records.valid_samples) == len(records)
        assert records.labels([0]) and len(records.split("train"))
    except InputError as error:
        return str(error)
    except BaseException as error:
        return f"TRACEBACK {type(error).__name__}: {error}"[:300]
    return "read"


def main(folder: Path) -> None:
    """Opens every data set below `folder`."""
    original = shards.ArrayRecordReader

    def watched(file: str, options: str) -> Any:  # opened by C++, which no audit hook sees
        _opened.append(os.path.realpath(file))
        return original(file, options)

    shards.ArrayRecordReader = watched  # type: ignore[misc]
    assert _read(folder / "good") == "read"  # imports all that reading needs
    sys.addaudithook(_watch)
    outcomes = {}
    for case in sorted((folder / "sets").iterdir()):
        for noted in (_opened, _imported, _ran):
            noted.clear()
        started = time.perf_counter()
        outcome = _read(case)
        outcomes[case.name] = {
            "outcome": outcome,
            "seconds": time.perf_counter() - started,
            "outside": [path for path in _opened if not path.startswith(f"{case}{os.sep}")],
            "imported": list(_imported),
            "ran": list(_ran),
        }
    # Not getrusage: a program started by a large one begins with that one's peak.
    status = Path("/proc/self/status").read_text()
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    print(json.dumps({"sets": outcomes, "peak_bytes": peak_kb * 1024}))


if __name__ == "__main__":
    from ecgjax.data import shards
    from ecgjax.data.records import Records
    from ecgjax.errors import InputError

    main(Path(sys.argv[1]).resolve())
