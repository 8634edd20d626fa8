"""`ecgjax export`: files that give the embeddings of ecgjax from raw samples, or no file."""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ecgjax
from ecgjax.apply import as_stored
from ecgjax.classifier import Classifier
from ecgjax.encoders import ENCODERS
from ecgjax.encoders.conv_lstm import ConvLstm
from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.encoders.parts.platforms import plain
from ecgjax.encoders.s4 import S4
from ecgjax.encoders.vit1d import Vit1d
from ecgjax.errors import InputError
from ecgjax.launch import export as command
from ecgjax.launch.command import run
from ecgjax.outputs import Outputs
from ecgjax.signals import LEADS, MISSING
from ecgjax.workflows.export import export as workflow
from ecgjax.workflows.export.export import export
from ecgjax.workflows.export.options import Export
from ecgjax.workflows.export.program import Program, to_stored
from ecgjax.workflows.export.stored_rate import to_rate
from ecgjax.workflows.export.trial import trial_signals
from tfds_builders.recording import windows
from tfds_builders.recording.leads import LeadRule
from tfds_builders.recording.padding import mark_dropouts

EIGHT = ("V6", "II", "i", "V1", "V2", "V3", "V4", "V5")
"""Leads in an order and spelling of their own; the other four follow from I and II."""

HALF_MICROVOLT = 5e-4
"""Difference of results if resampled samples near half a microvolt are rounded otherwise."""


@pytest.fixture(scope="module")
def classifier(workdir, tmp_path_factory):
    """A saved classifier of two labels with random weights, and its folder."""
    encoder = ecgjax.load(workdir)
    rng = np.random.default_rng(0)
    width = encoder.dimension
    head = {
        "params": {"head": {"kernel": rng.normal(size=(width, 2)), "bias": np.ones(2)}},
        "batch_stats": {"norm": {"mean": np.zeros(width), "var": np.full(width, 4.0)}},
    }
    head = jax.tree.map(np.float32, head)
    outputs = Outputs("trial", "labels", ("AF", "LBBB"), thresholds=(0.3, 0.6))
    folder = tmp_path_factory.mktemp("classifier") / "model"
    Classifier(encoder, head, outputs, 2.5).save(folder)
    return ecgjax.load(folder), folder


def _signals(samples: int, leads: int, count: int = 3) -> np.ndarray:
    """Random walks with offsets and a gap, in mV."""
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.normal(0, 0.05, (count, samples, leads)), axis=1)
    walk += rng.uniform(-2, 2, (count, 1, leads))
    walk[0, 50:90, :] = np.nan
    walk[1, :, 0] += 120  # an electrode offset
    return walk.astype(np.float32)


def test_samples_are_rounded_as_prepare_rounds_them():
    signals = _signals(600, 8)
    signals[2, :300] = 0  # not an offset, but flat for half of the time
    stored, usable = jax.jit(to_stored, static_argnums=(1, 2))(signals, EIGHT, LeadRule())
    expected = dict(as_stored(signals, EIGHT, "mV"))
    for row, recording in expected.items():
        difference = np.asarray(stored[row], int) - recording
        # Only the offset of V6 is calculated in another way.
        assert (difference == difference[0]).all() and not difference[0, :-1].any()
        assert (difference[0, -1] != 0) == (row == 1)
    assert usable.all() and len(expected) == 3


def test_recordings_without_ecg_are_not_usable():
    signals = np.zeros((4, 500, 12), np.float32)
    signals[0] = np.nan
    signals[1] = 1.5  # flat
    signals[2, 250] = 40  # mV, and no offset explains it
    signals[3] = np.sin(np.arange(500))[:, None]
    _, usable = jax.jit(to_stored, static_argnums=(1, 2))(signals, LEADS, LeadRule())
    assert list(usable) == [False, False, False, True]
    indices = [row for row, _ in as_stored(signals, LEADS, "mV", on_bad="nan")]
    assert indices == [3]


def test_a_stablehlo_program_takes_raw_samples(classifier, tmp_path):
    model, folder = classifier
    out = tmp_path / "new" / "classifier.stablehlo"
    settings = {"rate_hz": 250.0, "leads": EIGHT, "seconds": 12.0}
    exported = export(Export(str(folder), "stablehlo", out, **settings))
    assert exported.difference < 1e-3
    program = jax.export.deserialize(bytearray(out.read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert "/ecgjax/" not in program.mlir_module()  # no paths of this machine
    signals = _signals(3000, 8)
    results = program.call(signals)
    given = {"rate_hz": 250, "leads": EIGHT, "units": "mV"}
    embeddings = model.embed(signals, **given)
    np.testing.assert_allclose(results["embedding"], embeddings, atol=HALF_MICROVOLT)
    predictions = model.predict(signals, **given)
    np.testing.assert_allclose(results["prediction"], predictions, atol=HALF_MICROVOLT)
    described = json.loads((tmp_path / "new" / "classifier.stablehlo.json").read_text())
    assert described["input"]["shape"] == ["batch", 3000, 8]
    assert described["input"]["leads"] == list(EIGHT)
    assert described["outputs_of_head"]["thresholds"] == [0.3, 0.6]
    assert "probabilities of trial: AF, LBBB" in out.with_name(out.name + ".md").read_text()


def test_an_onnx_program_takes_raw_samples(classifier, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, folder = classifier
    tmp_path.joinpath("there").mkdir()
    options = Export(str(folder), "onnx", tmp_path / "there", rate_hz=250.0, seconds=5.0)
    (file, *_) = export(options).files
    session = onnxruntime.InferenceSession(file)
    signals = _signals(1250, 12, count=4)
    embeddings, predictions = session.run(["embedding", "prediction"], {"signal": signals})
    given = {"rate_hz": 250, "leads": LEADS, "units": "mV"}
    np.testing.assert_allclose(embeddings, model.embed(signals, **given), atol=HALF_MICROVOLT)
    np.testing.assert_allclose(predictions, model.predict(signals, **given), atol=HALF_MICROVOLT)
    described = json.loads(session.get_modelmeta().custom_metadata_map["ecgjax"])
    assert described["input"]["rate_hz"] == 250


@pytest.mark.parametrize(
    "encoder",
    [
        S4(widths=(8, 8), kernels=(3, 1), strides=(2, 1), layers=1, states=4),  # Fourier
        ConvLstm(widths=(8,), kernels=(1,), strides=(2,), lstm=8, lstm_layers=1),  # a loop
        LeadBranches(widths=(4,)),  # grouped convolutions
        Vit1d(width=8, layers=1, heads=2),  # products in batches
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_onnx_runtime_computes_what_jax_computes(encoder):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from ecgjax.workflows.export.onnx_trace import trace

    signal = np.random.default_rng(0).normal(size=(3, 100, 12)).astype(np.float32)
    variables = jax.jit(lambda key: encoder.init(key, signal, train=False))(jax.random.key(0))

    def embed(signal):
        return {"embedding": encoder.apply(variables, signal, train=False)[1]}

    with plain():
        graph, names = trace(embed, signal.shape, dynamic=True)
    given = onnx.helper.make_tensor_value_info("signal", 1, ["batch", 100, 12])
    result = onnx.helper.make_empty_tensor_value_info(names["embedding"])
    whole = onnx.helper.make_graph(graph.nodes, "embed", [given], [result], graph.initializers)
    operators = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(whole, opset_imports=operators, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"signal": signal})
    expected = jax.jit(embed)(signal)["embedding"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_have_a_plain_form_for_any_batch(name):
    """Without choices by platform, gradients of its own, and a known batch."""
    batch, samples, leads = jax.export.symbolic_shape("batch, 250, 12")
    signal = jax.ShapeDtypeStruct((2, samples, leads), np.float32)
    encoder = ENCODERS[name]
    init = functools.partial(encoder.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), signal)
    signal = jax.ShapeDtypeStruct((batch, samples, leads), np.float32)
    with plain():
        traced = jax.make_jaxpr(lambda v, x: encoder.apply(v, x, train=False)[1])(variables, signal)
    text = str(traced)
    assert "platform_index" not in text and "custom_vjp" not in text
    assert str(traced.out_avals[0].shape[0]) == "batch"


def test_safetensors_rebuild_the_classifier(classifier, tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.numpy import load_file

    from ecgjax.workflows.export.safetensors import rebuild

    model, folder = classifier
    out = tmp_path / "weights.safetensors"
    assert export(Export(str(folder), "safetensors", out)).difference == 0
    weights = load_file(out)
    assert weights["head.params.head.kernel"].shape == (16, 2)
    signals = _signals(1000, 12)
    given = {"rate_hz": 100, "leads": LEADS, "units": "mV"}
    again = rebuild(out)
    np.testing.assert_array_equal(again.predict(signals, **given), model.predict(signals, **given))
    assert again.fingerprint == model.fingerprint
    out.write_bytes(out.read_bytes()[:100])
    with pytest.raises(InputError, match="no weights that ecgjax has exported"):
        rebuild(out)


def test_a_model_folder_has_no_optimizer(workdir, tmp_path):
    out = tmp_path / "model"
    export(Export(str(workdir), "ecgjax", out))
    assert not (out / "train").exists()
    model = ecgjax.load(out)
    assert model.fingerprint == ecgjax.load(workdir).fingerprint
    assert len(model.seen.to_uint32()) == len(ecgjax.load(workdir).seen.to_uint32())
    export(Export(str(workdir), "ecgjax", out))  # again: replaced
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "private.txt").touch()
    with pytest.raises(InputError, match="holds something else; give a new folder as --out"):
        export(Export(str(workdir), "ecgjax", tmp_path / "letters"))


def test_a_file_that_differs_is_not_written(workdir, tmp_path, monkeypatch, capsys):
    out = tmp_path / "encoder.stablehlo"
    out.write_text("an earlier export")
    out.with_name("encoder.stablehlo.json").write_text('{"made_by": "ecgjax"}')
    writer = workflow.WRITERS["stablehlo"]

    def shifted(path, program):
        run = writer.read(path, program)
        return lambda signals: {name: value * 1.001 for name, value in run(signals).items()}

    monkeypatch.setitem(workflow.WRITERS, "stablehlo", writer._replace(read=shifted))
    words = ["--checkpoint", str(workdir), "--format", "stablehlo", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["ecgjax export", *words])
    with pytest.raises(SystemExit) as end:
        run(command.main)
    assert end.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "encoder.stablehlo: differs from ecgjax by" in line and "nothing was written" in line
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["encoder.stablehlo", "encoder.stablehlo.json"]
    assert out.read_text() == "an earlier export"


@pytest.mark.parametrize(("from_hz", "to_hz"), [(500, 100), (257, 100), (100, 250), (100, 100)])
def test_stored_samples_are_resampled_as_prepare_resamples_them(from_hz, to_hz):
    rng = np.random.default_rng(from_hz)
    time = 4 * from_hz + 3
    stored = (rng.normal(0, 20, (3, time, 12)).cumsum(1) + rng.normal(0, 300, (3, 1, 12))).round()
    stored = stored.astype(np.int16)
    stored[0, 50:80] = MISSING
    stored[0, :, :2] = MISSING
    stored[1, :20, 3] = MISSING
    stored[1, -20:, 4] = MISSING
    stored[2, 50 : 60 + from_hz] = stored[2, 50]  # a dropout
    found = np.asarray(to_rate(jnp.asarray(stored), from_hz=from_hz, to_hz=to_hz))
    for recording, result in zip(stored, found, strict=True):
        marked = mark_dropouts(recording, from_hz)
        wanted = windows.resample(marked, from_hz=from_hz, to_hz=to_hz, origin="test")
        np.testing.assert_array_equal(result == MISSING, wanted == MISSING)
        difference = np.abs(result.astype(int) - wanted)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.002  # half microvolts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": -1.0}, "--rate-hz -1: no rate of an ECG; give between 50 and 50000 Hz"),
        ({"rate_hz": float("inf")}, "--rate-hz inf: no rate of an ECG"),
        ({"seconds": 1.0}, "are 1 s; give 2.5 s or more"),
        ({"seconds": 3600.0}, "--seconds 3600: give up to 120 s, and cut longer recordings"),
        ({"leads": ("I", "V1")}, "lacks lead II, V2"),
        ({"leads": (*LEADS, "ii")}, "both mean lead II"),
        ({"format": "safetensors", "rate_hz": 500.0}, "weights, which --rate-hz cannot change"),
        ({"checkpoint": "nowhere"}, "nowhere: no such folder"),
        ({"out": "file/encoder.onnx"}, "cannot be written"),
        ({"out": "file"}, "file: was not written by this command; give another file as --out"),
    ],
)
def test_wrong_options_are_one_line(workdir, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(workflow, "_require", lambda *_: None)
    (tmp_path / "file").touch()
    given = {"checkpoint": str(workdir), "format": "stablehlo", "out": "encoder", **options}
    given["out"] = tmp_path / given["out"]
    with pytest.raises(InputError) as error:
        export(Export(**given))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_absent_extra_is_named(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(workflow.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="no package onnx and onnxruntime; pip install 'ecgjax"):
        export(Export(str(workdir), "onnx", tmp_path / "encoder.onnx"))


def test_trial_signals_hold_what_must_be_compared(workdir):
    program = Program(ecgjax.load(workdir), 100.0, LEADS, 1000)
    results = program.apply(trial_signals(program))["embedding"]
    assert list(np.isnan(results).any(1)) == [False] * 5 + [True]
    assert np.ptp(results[:5], axis=0).max() > 1e-2
