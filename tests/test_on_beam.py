"""Conversion with Apache Beam: the same bytes as with workers, or an error."""

import pytest
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from tfds_builders.conversion import builder, on_beam, shards
from tfds_builders.prepare import prepare

pytest.importorskip("apache_beam", reason="Apache Beam is an extra (pip install 'ecgjax[beam]')")
# Warnings within Beam: optional clients that are not installed, deprecations of its dependencies.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
IN_MEMORY = ("runner=DirectRunner", "direct_running_mode=in_memory")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(builder.RecordingsBuilder, "recordings_per_shard", 2)
    return tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 1, 2, 3, 4, 9, 10]))


def test_beam_and_workers_write_the_same_bytes(tmp_path, source):
    (source / "records100/00000/00002_lr.dat").write_bytes(b"")  # rejected
    local = prepare("ptb_xl/100hz", tmp_path / "local", source=source)
    beam = prepare("ptb_xl/100hz", tmp_path / "beam", source=source, beam=IN_MEMORY)
    assert {path.name for path in local.iterdir()} == {path.name for path in beam.iterdir()}
    for file in local.iterdir():
        assert file.read_bytes() == (beam / file.name).read_bytes(), file.name


def test_a_shard_lost_by_beam_is_an_error_and_the_next_run_writes_it(tmp_path, source, monkeypatch):
    write = shards.write

    def lose(builder, plan):
        if plan.path.name != "train-2.part":
            write(builder, plan)

    with monkeypatch.context() as patch:
        patch.setattr(on_beam.shards, "write", lose)
        with pytest.raises(
            InputError,
            match="Beam ended without an error, but 1 of 5 shards are absent; run the same command",
        ):
            prepare("ptb_xl/100hz", tmp_path / "out", source=source, beam=IN_MEMORY)
    assert not list((tmp_path / "out").rglob("records.parquet"))
    written = []
    monkeypatch.setattr(
        shards,
        "write",
        lambda builder, plan: written.append(plan.path.name) or write(builder, plan),
    )
    prepare("ptb_xl/100hz", tmp_path / "out", source=source)
    assert written == ["train-2.part"]


def test_a_failed_pipeline_is_one_line(tmp_path, source):
    with pytest.raises(
        InputError, match="ptb_xl: Beam failed .*; correct the cause and run the same command again"
    ) as error:
        prepare("ptb_xl/100hz", tmp_path / "out", source=source, beam=("runner=NoSuchRunner",))
    assert "\n" not in str(error.value)
