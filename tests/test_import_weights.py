"""Published weights: values after the import, and files that are not what they should be."""

import dataclasses
import sys
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
from helpers import published

import ecgjax
import ecgjax.__main__
from ecgjax.encoders.net1d import Net1d
from ecgjax.encoders.pclr_resnet import PclrResnet
from ecgjax.errors import InputError
from ecgjax.train.origin import unknown_past
from ecgjax.workflows.import_weights import import_weights
from ecgjax.workflows.published.arrays import read_arrays
from ecgjax.workflows.published.catalogue import PUBLISHED
from ecgjax.workflows.published.layouts import net1d_name, pclr_name

NET1D = Net1d(stem=2, widths=(4, 6), depths=(1, 2), group_width=2, kernel=4)
PCLR = PclrResnet(stem=3, widths=(4, 6), kernel=4, epsilon=1e-3)
RATE_HZ = 50.0
"""The small encoders take 2 s at this rate: 100 samples."""


@pytest.fixture
def small(monkeypatch):
    """Replaces the published architectures by small ones for short inputs at a low rate."""
    modules = {"clef-small": NET1D, "ecgfounder": NET1D, "pclr": PCLR}
    for name, module in modules.items():
        original = PUBLISHED[name]
        settings = dataclasses.replace(original.preprocessing, rate_hz=RATE_HZ, seconds=2.0)
        entry = dataclasses.replace(original, module=module, preprocessing=settings)
        monkeypatch.setitem(PUBLISHED, name, entry)


def _keras_file(path, arrays, *, top="model_weights", first=0):
    """Writes arrays as Keras 2 does; `first` models were made in the session before."""
    with h5py.File(path, "w") as file:
        file.create_group("optimizer_weights")["Adam/iterations:0"] = 1
        for name, values in arrays.items():
            layer, weight = name.split("/")
            kind, _, number = layer.rpartition("_")
            if first and kind != "projection" and layer != "projection":
                number = int(number) if number.isdigit() else 0
                layer = f"{kind if kind and number else layer}_{number + first}"
            file[f"{top}/{layer}/{layer}/{weight}:0"] = values
    return path


def _torch_file(path, arrays, wrap=lambda state: state, prefix=""):
    torch = pytest.importorskip("torch")
    state = {prefix + name: torch.tensor(values) for name, values in arrays.items()}
    torch.save(wrap(state), path)
    return path


def _signal_mv(leads=12):
    return np.random.default_rng(1).normal(0, 0.5, (100, leads)).round(3)


def _embed(encoder, signal_mv):
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    return encoder(signal_mv, rate_hz=RATE_HZ, leads=leads[: signal_mv.shape[1]], units="mV")


@pytest.mark.parametrize("first", [0, 13])
@pytest.mark.usefixtures("small")
def test_pclr_has_the_published_values(tmp_path, first):
    arrays = published.pclr_arrays(PCLR, 12, np.random.default_rng(0))
    dense = {"projection/kernel": np.zeros((6, 6)), "projection_0/bias": np.zeros(6)}
    file = _keras_file(tmp_path / "PCLR.h5", arrays | dense, first=first)
    encoder = import_weights("pclr", file, tmp_path / "model")
    signal_mv = _signal_mv()
    expected = published.pclr(PCLR, arrays, signal_mv).mean(0)
    if not first:
        np.testing.assert_allclose(_embed(encoder, signal_mv), expected, rtol=1e-4)
    loaded = ecgjax.load(tmp_path / "model")
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.module.epsilon == 1e-3 and not loaded.seen.waveforms.size
    assert loaded.config["published"]["file"] == "PCLR.h5"
    kernel = loaded.variables["params"]["unit2"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, arrays["conv1d_5/kernel"])


@pytest.mark.usefixtures("small")
def test_clef_has_the_published_values_of_the_chosen_lead(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = published.net1d_arrays(NET1D, 1, np.random.default_rng(0))
    prefixed = {f"backbone.{name}": values for name, values in arrays.items()}
    safetensors.save_file(prefixed, tmp_path / "clef.safetensors")
    encoder = import_weights(
        "clef-small", tmp_path / "clef.safetensors", tmp_path / "model", lead="ii"
    )
    assert encoder.preprocessing.leads == ("II",)
    settings = dataclasses.replace(encoder.preprocessing, filters="none")  # test_filters has them
    signal_mv = _signal_mv(2)
    lead = signal_mv[:, 1:] - signal_mv[:, 1].mean()
    expected = published.net1d(NET1D, arrays, lead / lead.std()).mean(0)
    values = _embed(dataclasses.replace(encoder, preprocessing=settings), signal_mv)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)
    assert "CLEF small, trained on MIMIC-IV-ECG; nobody can tell" in unknown_past(encoder.config)


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda state: state, ""),
        (lambda state: {"state_dict": state, "val_auroc": np.float64(0.92), "step": 3}, ""),
        (lambda state: {"epoch": 1, "state_dict": state}, "module."),
    ],
)
def test_files_of_pytorch_are_read_without_running_code(tmp_path, wrap, prefix):
    arrays = published.net1d_arrays(NET1D, 12, np.random.default_rng(0))
    file = _torch_file(tmp_path / "weights.pth", arrays, wrap, prefix)
    found = read_arrays(file)
    assert found.keys() == {prefix + name for name in arrays}
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[prefix + name], values)


class Code:
    """An object that a file of weights should not hold."""


def test_a_file_with_code_is_refused(tmp_path):
    file = _torch_file(tmp_path / "w.pth", {}, lambda state: {"state_dict": state, "args": Code()})
    with pytest.raises(InputError, match="w.pth: holds code besides its arrays, which ecgjax"):
        read_arrays(file)


def test_names_are_the_published_ones():
    assert pclr_name(("params", "stem", "kernel")) == "conv1d/kernel"
    assert pclr_name(("params", "unit1", "shortcut", "kernel")) == "conv1d_1/kernel"
    assert pclr_name(("params", "unit4", "conv2", "kernel")) == "conv1d_12/kernel"
    name = pclr_name(("batch_stats", "unit4", "norm2", "var"))
    assert name == "batch_normalization_8/moving_variance"
    assert pclr_name(("params", "stem_norm", "scale")) == "batch_normalization/gamma"
    name = net1d_name(("params", "stage7_block4", "excite", "bias"))
    assert name == "stage_list.6.block_list.3.se_fc2.bias"


def _changed(name):
    arrays = published.pclr_arrays(PCLR, 12, np.random.default_rng(0))
    if name == "missing":
        del arrays["conv1d_2/kernel"]
    elif name == "left over":
        arrays["lstm/kernel"] = np.zeros(3)
    elif name == "shape":
        arrays["conv1d/kernel"] = np.zeros((4, 1, 3))
    elif name == "nan":
        arrays["conv1d/kernel"] = arrays["conv1d/kernel"] * np.nan
    return arrays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "lacks conv1d_2/kernel; it holds another model, see --from"),
        ("left over", "has lstm/kernel, which this architecture lacks; it holds another model"),
        ("shape", "conv1d/kernel is 4x1x3, not 4x12x3; it holds another model or other leads"),
        ("nan", "conv1d/kernel holds NaN or infinity; download it again"),
    ],
)
@pytest.mark.usefixtures("small")
def test_a_file_of_another_model_is_refused(tmp_path, change, message):
    file = _keras_file(tmp_path / "PCLR.h5", _changed(change))
    with pytest.raises(InputError, match=message):
        import_weights("pclr", file, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("PCLR.h5", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the"),
        ("a.pth", b"<!DOCTYPE html><html>", "a web page, not the weights; download the file"),
        ("PCLR.h5", b"123", r"PCLR.h5: cannot be read \(.*\); download it again"),
        pytest.param(
            "a.pth",
            b"garbage" * 30,
            r"a.pth: cannot be read \(.*\); download it again",
            marks=pytest.mark.skipif(not find_spec("torch"), reason="needs torch"),
        ),
        ("weights.bin", b"123", "not a file of weights; known are .h5"),
        (None, b"", "no such file; give the file of weights"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path, name, content, message):
    file = tmp_path / (name or "none.h5")
    if name:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_arrays(file)


@pytest.mark.usefixtures("small")
def test_the_command_prints_origin_and_licence(tmp_path, monkeypatch, capsys):
    arrays = published.pclr_arrays(PCLR, 12, np.random.default_rng(0))
    file = _keras_file(tmp_path / "PCLR.h5", arrays)
    out = tmp_path / "model"
    words = ["import-weights", "--from", "pclr", "--file", str(file), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["ecgjax", *words])
    ecgjax.__main__.main()
    printed = capsys.readouterr().out
    assert "licence GPL-3.0" in printed and "doi:10.1371/journal.pcbi.1009862" in printed
    assert f"--checkpoint {out}" in printed
    monkeypatch.setattr(sys, "argv", ["ecgjax", *words, "--lead", "I"])
    with pytest.raises(SystemExit):
        ecgjax.__main__.main()
    assert "--lead I: pclr takes 12 leads; omit it" in capsys.readouterr().err
