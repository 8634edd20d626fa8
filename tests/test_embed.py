"""ecgjax embed: one row for each recording of any file, the same as from prepared data."""

import dataclasses
import functools
import shutil
import sys

import jax
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from helpers import muse, tiny_ptb_xl

from ecgjax.errors import InputError
from ecgjax.launch import embed as command
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import load_encoder
from ecgjax.workflows.embed import embed, embed_files
from ecgjax.workflows.model_on_files import apply, inputs
from ecgjax.workflows.model_on_files.apply import Job
from ecgjax.workflows.model_on_files.options import Reading, Share, unmasked_note
from ecgjax.workflows.model_on_files.read_ahead import read_ahead
from tfds_builders.prepare import prepare
from tfds_builders.raw_files import detection, reading
from tfds_builders.raw_files.samples import Chunk, Samples, Unit

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb 4.3, pandas 3.1


@pytest.fixture(scope="module")
def encoder(workdir):
    return load_encoder(workdir)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five WFDB records, of which one is flat and one is cut off, a MUSE file and other files."""
    folder = tmp_path_factory.mktemp("own")
    for seed in range(5):
        tiny_ptb_xl.write_record(folder / f"rec{seed}", seed=seed)
    (folder / "rec1.dat").write_bytes((folder / "rec1.dat").read_bytes()[:5000])
    tiny_ptb_xl.write_record(folder / "rec2", d_signal=np.zeros((1000, 12), int))
    muse.write(folder / "muse.xml")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / "labels.csv").write_text("file,label\nrec0,1\n")
    return folder


def _rows(table):
    return {(row["file"], row["window"]): row for row in table.to_pylist()}


def test_files_of_a_folder_find_their_builders(folder, tmp_path):
    parts, left_out = detection.detect([folder])
    assert [(part.dataset, len(part.files)) for part in parts] == [
        ("wfdb_folder", 5),
        ("vendor_folder", 1),
    ]
    assert sorted(left_out) == ["labels.csv", "notes.pdf"]
    # A record is known by any of its files.
    for name in ("rec0", "rec0.hea", "rec0.dat"):
        ((dataset, source, files),), _ = detection.detect([folder / name])
        assert (dataset, source, files[0].path) == ("wfdb_folder", folder, "rec0.hea")
    np.save(tmp_path / "a.npy", np.zeros((1000, 12)))
    ((dataset, _, files),), _ = detection.detect([tmp_path])
    assert files[0].problem[0] == "format" and "arrays.json" in files[0].problem[1]
    (tmp_path / "arrays.json").write_text("{}")
    ((dataset, source, _),), _ = detection.detect([tmp_path / "a.npy"])
    assert (dataset, source) == ("arrays", tmp_path)


def test_one_bad_file_does_not_stop_the_others(encoder, folder):
    rows = _rows(embed_files(encoder, [folder]))
    assert {file: row["reason"] for (file, _), row in rows.items()} == {
        **dict.fromkeys(["rec0", "rec3", "rec4", "muse.xml"]),
        "rec1": "length",
        "rec2": "amplitude",
    }
    for row in rows.values():
        assert (row["status"] == "ok") == (row["embedding"] is not None) == (not row["message"])
        assert row["record_id"] is None and row["patient_id"] is None


def test_raw_files_have_the_rows_of_prepared_data(encoder, folder, tmp_path):
    key = tmp_path / "key"
    source = tmp_path / "source"
    shutil.copytree(folder, source)
    (source / "recordings.csv").write_text("file,patient\nrec0,A\nrec3,B\nrec4,B\n")
    raw = embed_files(encoder, [source / "rec0", source], reading=Reading(patient_key=key))
    ids = {row["record_id"]: row for row in raw.to_pylist() if row["status"] == "ok"}
    for dataset in ("wfdb_folder", "vendor_folder"):
        if dataset == "vendor_folder":
            for file in source.glob("rec*"):
                file.unlink()
        prepared = prepare(f"{dataset}/100hz", tmp_path / "out", source=source, patient_key=key)
        for row in embed_files(encoder, [prepared], batch_size=1).to_pylist():
            same = ids.pop(row["record_id"])
            assert same["patient_id"] == row["patient_id"]
            assert same["quality"] == row["quality"]
            np.testing.assert_allclose(same["embedding"], row["embedding"], rtol=0, atol=1e-6)
    assert not ids


def test_a_file_has_the_embedding_of_its_array(encoder, folder):
    record = tiny_ptb_xl.read_by_wfdb(folder / "rec0", physical=True)
    about = {"rate_hz": 100, "leads": record.sig_name, "units": "mV"}
    array = encoder(record.p_signal, **about, batch_size=1)
    (row,) = embed_files(encoder, [folder / "rec0.dat"]).to_pylist()
    np.testing.assert_allclose(row["embedding"], array, rtol=0, atol=1e-6)


def test_the_array_may_have_the_rate_of_the_file(encoder, tmp_path):
    """Both are resampled and rounded as `prepare` does it; a dropout is a gap in both."""
    walk = np.cumsum(np.random.default_rng(0).integers(-90, 91, (5000, 12)), axis=0) // 4
    walk[2000:2600] = walk[2000]
    tiny_ptb_xl.write_record(tmp_path / "fast", d_signal=walk, fs=500)
    about = {"rate_hz": 500, "leads": tiny_ptb_xl.NAMES, "units": "uV"}
    (row,) = embed_files(encoder, [tmp_path]).to_pylist()
    array = encoder(walk, **about, batch_size=1)
    np.testing.assert_allclose(row["embedding"], array, rtol=0, atol=1e-6)


def test_listed_files_that_are_absent_have_a_row(encoder, folder, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for file in ("rec0.hea", "rec0.dat", "muse.xml"):
        shutil.copy(folder / file, source)
    table = source / "recordings.csv"
    table.write_text("file,patient\nrec0,A\nmuse.xml,B\nlater/rec9.dat,B\ngone.xml,C\n")
    rows = embed_files(encoder, [source]).to_pylist()
    assert {row["file"]: row["reason"] for row in rows} == {
        "rec0": None,
        "muse.xml": None,
        "gone.xml": "missing_file",
        "later/rec9.dat": "missing_file",
    }
    assert all("recordings.csv names it" in row["message"] for row in rows if row["reason"])
    (row,) = embed_files(encoder, [source / "rec0"]).to_pylist()  # chosen: no other one is missed
    with pytest.raises(InputError, match="recordings.csv: a table of recordings.*give its folder"):
        embed_files(encoder, [table])


def test_missing_leads_are_warned_of_unless_the_model_knows_them():
    settings = Preprocessing()
    masked = {"pretraining": {"objective": {"augmentation": {"lead_mask": 0.5}}}}
    unmasked = {"pretraining": {"objective": {"augmentation": {"lead_mask": 0.0}}}}
    accepting = Reading(allow_missing_leads=True)
    assert "trained without lead masking" in unmasked_note(accepting, settings, unmasked)
    assert "--leads" in unmasked_note(Reading(leads=("I",)), settings, {})
    assert not unmasked_note(accepting, settings, masked)
    assert not unmasked_note(Reading(leads=settings.leads), settings, unmasked)


@pytest.fixture
def small_chunks(monkeypatch):
    """One recording in a chunk."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 24_000)
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 24_000 * 40)


@pytest.mark.parametrize("ending", ["parquet", "csv", "npz"])
def test_a_killed_job_continues_and_writes_the_same_file(
    encoder, folder, tmp_path, small_chunks, ending
):
    whole = tmp_path / f"whole.{ending}"
    stopped = tmp_path / f"stopped.{ending}"
    embed(encoder, [folder], Job(whole))

    def stop(done, total):
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(encoder, [folder], Job(stopped), progress=stop)
    assert not stopped.exists()
    report = embed(encoder, [folder], Job(stopped))
    assert report.computed == 4  # the third part was not finished
    assert stopped.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted([whole, stopped])


def test_a_part_that_a_power_cut_emptied_is_computed_again(encoder, folder, tmp_path, small_chunks):
    out = tmp_path / "out.parquet"

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(encoder, [folder], Job(out), progress=stop)
    parts = list((tmp_path / ".out.parquet.unfinished").glob("*.parquet"))
    parts[0].write_bytes(b"")
    assert embed(encoder, [folder], Job(out)).computed == 4 + 1
    assert len(parts) == 2 and out.exists()


def test_a_model_without_finite_results_is_refused(encoder, folder, tmp_path):
    huge = jax.tree.map(lambda leaf: np.full_like(leaf, 3e38), encoder.variables)
    broken = dataclasses.replace(encoder, variables=huge)
    with pytest.raises(InputError, match="are not finite; its weights are of no use"):
        embed(broken, [folder], Job(tmp_path / "out.parquet"))


def test_a_changed_file_is_read_again(encoder, folder, tmp_path, small_chunks):
    source = tmp_path / "source"
    shutil.copytree(folder, source)

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed(encoder, [source], Job(out), progress=stop)
    tiny_ptb_xl.write_record(source / "rec1", seed=1)
    assert embed(encoder, [source], Job(out)).summary["status"] == {"ok": 5, "rejected": 1}


def test_shares_together_are_everything(encoder, prepared, tmp_path, small_chunks):
    embed(encoder, [prepared], Job(tmp_path / "all.parquet"), batch_size=8)
    for index in range(3):
        job = Job(tmp_path / "part.parquet", Share.parse(f"{index}/3"))
        report = embed(encoder, [prepared], job, batch_size=8)
        assert report.out.name == f"part-0000{index}-of-00003.parquet"
    parts = [pyarrow.parquet.read_table(path) for path in sorted(tmp_path.glob("part-*"))]
    whole = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    ids = [record for part in parts for record in part["record_id"].to_pylist()]
    assert ids == whole["record_id"].to_pylist()


def test_slurm_tasks_take_their_shares(monkeypatch):
    with pytest.raises(InputError, match="srun"):
        Share.parse("slurm")
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert Share.parse("slurm") == Share(1, 4)
    for name, value in (("ID", 7), ("MIN", 3), ("STEP", 2), ("COUNT", 5)):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert Share.parse("slurm") == Share(2 * 4 + 1, 20)
    for wrong in ("8/8", "1", "-1/2", "0/0"):
        with pytest.raises(InputError, match="K from 0"):
            Share.parse(wrong)


def test_formats_hold_the_same(encoder, folder, tmp_path):
    tables = {}
    for ending in ("parquet", "csv", "npz"):
        tables[ending] = embed(encoder, [folder], Job(tmp_path / f"e.{ending}")).out
    table = pyarrow.parquet.read_table(tables["parquet"])
    with np.load(tables["npz"]) as arrays:
        assert arrays["file"].tolist() == table["file"].to_pylist()
        accepted = arrays["status"] == "ok"
        assert np.isnan(arrays["embedding"][~accepted]).all()
        embeddings = arrays["embedding"][accepted]
    np.testing.assert_array_equal(embeddings, np.stack(table["embedding"].drop_null().to_numpy()))
    flat = pyarrow.csv.read_csv(tables["csv"])
    assert flat.column_names[-1] == f"e{encoder.dimension - 1:03d}"
    first = flat["e000"].to_numpy()
    assert np.isnan(first[~accepted]).all()
    np.testing.assert_allclose(first[accepted], embeddings[:, 0], rtol=1e-6)


def test_only_an_own_result_is_replaced(encoder, folder, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n")
    with pytest.raises(InputError, match="was not written by this command"):
        embed(encoder, [folder], Job(table))
    assert table.read_text() == "file,label\n"
    with pytest.raises(InputError, match=r"ends with \.parquet"):
        embed(encoder, [folder], Job(tmp_path / "labels.xlsx"))
    own = tmp_path / "own.csv"
    for files in ([folder], [folder / "rec0"]):
        embed(encoder, files, Job(own))
    assert own.read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["absent"], {}, "no such file or folder"),
        (["notes.pdf"], {}, r"no ECG file \(but notes.pdf\)"),
        ([], {}, "--input"),
        (["rec0"], {"seconds": 1}, "give 2.5 s or more"),
        (["rec0"], {"dataset": "ptb_xl"}, "give the folder of the data set"),
        (["rec0"], {"dataset": "ptbxl"}, "unknown; choose from"),
        (["rec0"], {"leads": ("X",)}, "'X' is no lead"),
    ],
)
def test_wrong_input_is_refused_in_one_line(encoder, folder, paths, options, message):
    with pytest.raises(InputError, match=message) as error:
        embed_files(encoder, [folder / path for path in paths], reading=Reading(**options))
    assert "\n" not in str(error.value)


def test_options_do_not_change_a_prepared_data_set(encoder, prepared):
    with pytest.raises(InputError, match=r"--pad-from: .* is a prepared data set"):
        embed_files(encoder, [prepared], reading=Reading(pad_from=5))


def test_short_recordings_and_missing_leads_on_request(encoder, tmp_path):
    tiny_ptb_xl.write_record(tmp_path / "short", samples=700)
    (row,) = embed_files(encoder, [tmp_path]).to_pylist()
    assert row["reason"] == "length" and "--pad-from 7" in row["message"]
    beats = np.random.default_rng(0).integers(-500, 500, (1000, 12))
    beats[200:] = 0
    tiny_ptb_xl.write_record(tmp_path / "almost_empty", d_signal=beats)
    bad, row = embed_files(encoder, [tmp_path], reading=Reading(pad_from=2)).to_pylist()
    assert row["quality"][-1] == "padded"
    assert (bad["reason"], bad["embedding"], bad["quality"]) == ("length", None, None)
    assert "almost_empty: without padding, 200 samples at 100 Hz are 2 s" in bad["message"]
    (tmp_path / "almost_empty.hea").unlink()
    (tmp_path / "almost_empty.dat").unlink()
    long, _ = embed_files(encoder, [tmp_path], reading=Reading(seconds=3, leads=("I",))).to_pylist()
    assert (long["window"], long["status"]) == (1, "ok")


def test_worker_processes_read_in_order():
    def unit(number):
        facts = functools.partial(Samples, np.full(3, number), np.zeros(0), [], [])
        return Unit(1, str(number), lambda: iter([Chunk([], 100, facts)]), in_processes=True)

    read = list(read_ahead([unit(number) for number in range(6)], workers=2))
    assert [(number, samples.signals[0]) for number, _, samples in read] == [
        (number, number) for number in range(6)
    ]


def test_the_command_reports_and_fails_if_all_is_rejected(
    workdir, folder, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "e.parquet"
    words = ["--checkpoint", workdir, "--out", out, "--input"]
    key = tmp_path / "key"
    monkeypatch.setattr(sys, "argv", ["embed", *map(str, [*words, folder, "--patient-key", key])])
    command.main()
    lines, notes = capsys.readouterr()
    assert f"new key: {key}" in notes  # another key than that of prepare would be a mistake
    assert "6 = 4 embedded + 2 rejected" in lines and str(out) in lines
    monkeypatch.setattr(sys, "argv", ["embed", *map(str, [*words, folder / "rec2"])])
    with pytest.raises(
        InputError, match=r"all recordings were rejected \(1\): 1 because of amplitude"
    ):
        command.main()
    assert pyarrow.parquet.read_table(out)["reason"].to_pylist() == ["amplitude"]


def test_batches_suit_few_recordings():
    few = inputs.Inputs([Unit(3, "", lambda: iter([]), False)], [])
    model = apply.ModelColumns(None, None, None, None, 1, 256, {})
    assert apply._batch_size(model, few) == 4
