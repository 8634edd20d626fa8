"""No flipped bit and no exchange of rows, shards or tables in a prepared data set is silent.

Each is refused, or what is read equals the original. ECGJAX_FLIPS is the number of flipped bits,
ECGJAX_FUZZ_SEED the random seed of their places.
"""

import os
import shutil
from collections import Counter

import numpy as np
import pyarrow.parquet
import pytest
from helpers import format_1

from ecgjax.data import binding
from ecgjax.data.migration import migrate
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from tfds_builders.prepare import prepare
from tfds_builders.synthetic.synthetic_dataset_builder import Builder

FLIPS = int(os.environ.get("ECGJAX_FLIPS", "40"))
SEED = int(os.environ.get("ECGJAX_FUZZ_SEED", "0"))
TABLE = "records.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A data set of about 70 recordings in several shards for each split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Builder, "recordings_per_shard", 8)
        return prepare("synthetic/100hz", tmp_path_factory.mktemp("flips"), patients=24, seed=3)


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def _content(folder) -> list:
    """Returns everything that can be read from a data set."""
    records = Records(folder)
    everything = np.arange(len(records))
    facts = [records.name, records.rate_hz, records.samples, records.leads]
    signals = [records.read(everything).tobytes(), records.waves(everything).tobytes()]
    columns = [records.patients.tolist(), records.fingerprint, records.valid_samples.tolist()]
    return [*facts, *signals, *columns, records.table.to_pylist()]


def _outcome(folder, expected) -> str:
    """Returns when a damaged data set is refused, or "harmless", or "silent"."""
    try:
        Records(folder)
    except InputError as error:
        assert "\n" not in str(error) and str(folder) in str(error) and ";" in str(error)
        return "opening"
    try:
        return "harmless" if _content(folder) == expected else "silent"
    except InputError as error:
        assert "\n" not in str(error) and str(folder) in str(error) and ";" in str(error)
        return "reading"


def _flip(file, rng) -> int:
    """Flips a random bit and returns its place."""
    place = int(rng.integers(file.stat().st_size * 8))
    _flip_at(file, place)
    return place


def _flip_at(file, place: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(place // 8)
        byte = opened.read(1)[0]
        opened.seek(place // 8)
        opened.write(bytes([byte ^ 1 << place % 8]))


def test_no_flipped_bit_is_silent(copy):
    rng = np.random.default_rng(SEED)
    expected = _content(copy)
    shards = sorted(copy.glob("*.array_record-*"))
    outcomes: Counter = Counter()
    for number in range(FLIPS):
        others = ("dataset_info.json", "features.json", binding.FILE)
        kind = (TABLE, "shard", TABLE, "shard", others[number // 5 % 3])[number % 5]
        file = shards[int(rng.integers(len(shards)))] if kind == "shard" else copy / kind
        place = _flip(file, rng)
        outcomes[kind, _outcome(copy, expected)] += 1
        _flip_at(file, place)
    print(dict(outcomes))
    assert _content(copy) == expected
    assert outcomes.total() == FLIPS and not [key for key in outcomes if "silent" in key]
    assert {outcome for kind, outcome in outcomes if kind == TABLE} == {"opening"}


def _reorder(folder, order) -> str:
    table = pyarrow.parquet.read_table(folder / TABLE)
    pyarrow.parquet.write_table(table.take(order(table)), folder / TABLE)
    return TABLE


def _rows_sorted(folder, other):
    return _reorder(folder, lambda table: np.argsort(table["waveform_hash"].to_pylist()))


def _two_rows_exchanged(folder, other):
    return _reorder(folder, lambda table: [1, 0, *range(2, len(table))])


def _exchange(folder, one: str, two: str) -> str:
    """Exchanges two shards; returns the name of the first, which is checked first."""
    (folder / one).rename(folder / "third")
    (folder / two).rename(folder / one)
    (folder / "third").rename(folder / two)
    return one


def _shards(folder, split: str) -> list[str]:
    """Returns the names of a split's full shards."""
    shards = sorted(folder.glob(f"*-{split}.array_record-*"))
    return [file.name for file in shards if file.stat().st_size == shards[0].stat().st_size]


def _two_shards_exchanged(folder, other):
    return _exchange(folder, *_shards(folder, "train")[:2])


def _train_and_test_exchanged(folder, other):
    return _exchange(folder, _shards(folder, "train")[0], _shards(folder, "test")[0])


def _one_shard_copied_over_another(folder, other):
    one, two = _shards(folder, "train")[:2]
    shutil.copy(folder / one, folder / two)
    return two


def _table_of_another_data_set(folder, other):
    shutil.copy(other / TABLE, folder / TABLE)
    return TABLE


def _shard_of_another_data_set(folder, other):
    name = _shards(folder, "train")[0]
    shutil.copy(next(other.glob("*-train.array_record-*")), folder / name)
    return name


EXCHANGES = [
    *(_rows_sorted, _two_rows_exchanged, _two_shards_exchanged, _train_and_test_exchanged),
    *(_one_shard_copied_over_another, _table_of_another_data_set, _shard_of_another_data_set),
]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_exchange_is_refused_at_the_start_by_name(exchange, copy, prepared):
    culprit = exchange(copy, prepared)
    with pytest.raises(InputError) as error:
        Records(copy)
    assert str(error.value).startswith(f"{copy / culprit}: ")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_exchange_in_format_1_is_refused_when_it_is_read(exchange, copy, prepared):
    expected = _content(copy)
    format_1.unbind(copy)
    expected[-1] = Records(copy).table.to_pylist()  # without valid_samples
    assert _outcome(copy, expected) == "harmless"
    exchange(copy, prepared)
    assert _outcome(copy, expected) in ("opening", "reading")
    with pytest.raises(InputError):
        migrate(Records(copy, accept_unbound=True), lambda done, total: None)
    assert not (copy / binding.FILE).exists()
