"""ecgjax.load: raw arrays in any lead order, units and rate give the embedding, or an error."""

import jax
import numpy as np
import pytest

import ecgjax
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import as_stored, untrained, untrained_twin
from ecgjax.signals import LEADS, MISSING


@pytest.fixture(scope="module")
def encoder(workdir):
    return ecgjax.load(workdir)


@pytest.fixture(scope="module")
def signals_mv(records):
    return records.read(records.split("test")[:5]) * 1e-3


RAW = {"rate_hz": 100, "leads": LEADS, "units": "mV"}


@pytest.fixture(scope="module")
def embeddings(encoder, signals_mv):
    return encoder(signals_mv, **RAW)


def test_a_loaded_encoder_has_its_config_and_all_arrays(encoder, embeddings):
    assert encoder.restored == len(jax.tree.leaves(encoder.variables)) > 10
    assert encoder.config["encoder"]["name"] == "compact_resnet"
    assert embeddings.shape == (5, 16) and embeddings.dtype == np.float32
    assert np.abs(embeddings - embeddings[0])[1:].max(1).min() > 1e-4


def test_prepared_recordings_have_the_embeddings_of_raw_ones(encoder, records, embeddings):
    np.testing.assert_array_equal(encoder.embed(records, records.split("test")[:5]), embeddings)


def test_a_recording_has_the_same_embedding_alone_and_in_a_batch(encoder, signals_mv, embeddings):
    np.testing.assert_array_equal(encoder(signals_mv[3], **RAW), embeddings[3])
    in_pairs = encoder(signals_mv, **RAW, batch_size=2)
    np.testing.assert_allclose(in_pairs, embeddings, rtol=1e-5, atol=1e-6)


def test_order_and_spelling_of_leads_do_not_matter(encoder, signals_mv, embeddings):
    order = np.random.default_rng(0).permutation(12)
    names = [LEADS[i].upper() for i in order]
    shuffled = encoder(signals_mv[..., order], rate_hz=100, leads=names, units="mV")
    np.testing.assert_array_equal(shuffled, embeddings)


@pytest.mark.parametrize(("units", "factor"), [("V", 1e-3), ("uV", 1e3)])
def test_units_do_not_matter(encoder, signals_mv, embeddings, units, factor):
    converted = encoder(signals_mv * factor, rate_hz=100, leads=LEADS, units=units)
    np.testing.assert_array_equal(converted, embeddings)
    whole = (signals_mv * 1e3).round().astype(np.int16)
    np.testing.assert_array_equal(encoder(whole, rate_hz=100, leads=LEADS, units="uV"), embeddings)


def _smooth_mv(rate_hz):
    """Windowed sines of up to 30 Hz, which both sampling rates can represent."""
    time = np.arange(round(10 * rate_hz)) / rate_hz
    rng = np.random.default_rng(0)
    frequency_hz = rng.uniform(1, 30, size=(2, 12, 5))
    phase = rng.uniform(0, 6, size=(2, 12, 5))
    waves = np.sin(2 * np.pi * frequency_hz * time[:, None, None, None] + phase).sum(-1)
    return np.moveaxis(waves, 0, 1) * (np.sin(np.pi * time / 10) ** 2)[:, None] * 0.3


def test_the_sampling_rate_hardly_matters(encoder):
    slow = encoder(_smooth_mv(100), rate_hz=100, leads=LEADS, units="mV")
    fast = encoder(_smooth_mv(500), rate_hz=500, leads=LEADS, units="mV")
    between_recordings = np.linalg.norm(slow[0] - slow[1])
    assert (np.linalg.norm(fast - slow, axis=1) < 0.02 * between_recordings).all()
    reversed_mv = _smooth_mv(500)[:, ::5][:, ::-1]
    misread = encoder(reversed_mv, rate_hz=100, leads=LEADS, units="mV")
    assert (np.linalg.norm(misread - slow, axis=1) > 0.05 * between_recordings).all()


def test_missing_samples_count_as_zero(encoder, signals_mv):
    gap = signals_mv[0].copy()
    gap[100:150, 2] = np.nan
    zero = signals_mv[0].copy()
    zero[100:150, 2] = 0
    np.testing.assert_array_equal(encoder(gap, **RAW), encoder(zero, **RAW))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "Volt"}, "units 'Volt': give one of V, mV, uV"),
        ({"units": "V"}, "mV if these are V; check the units"),
        ({"units": "uV"}, "mV if these are uV; check the units"),
        ({"leads": LEADS[:11]}, "with 11 leads"),
        ({"leads": (*LEADS[:11], "V5")}, "lacks lead V6"),
        ({"rate_hz": 500}, "1000 samples at 500 Hz are 2 s; this encoder takes 10 s"),
        ({"rate_hz": 0}, "sampling rate 0 Hz"),
        ({"rate_hz": float("nan")}, "sampling rate nan Hz"),
    ],
)
def test_wrong_units_leads_and_rates_are_refused(encoder, signals_mv, change, message):
    with pytest.raises(InputError) as error:
        encoder(signals_mv[0], **{**RAW, **change})
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(12,), (1, 1, 1000, 12), (12, 1000), (999, 12), (0, 12)])
def test_wrong_shapes_are_refused(encoder, shape):
    with pytest.raises(InputError):
        encoder(np.zeros(shape), **RAW)


def test_physical_values_become_the_stored_form():
    signal_mv = np.array([[0.0004, 0.0006, np.nan, -1.5, np.inf, 32.767]])
    np.testing.assert_array_equal(
        as_stored(signal_mv, "mV"), [[0, 1, MISSING, -1500, MISSING, 32767]]
    )
    with pytest.raises(InputError, match="32.768 mV"):
        as_stored(np.array([[-32.768]]), "mV")


def test_the_fingerprint_depends_on_the_weights(encoder, workdir):
    assert encoder.fingerprint == ecgjax.load(workdir).fingerprint
    assert encoder.fingerprint != ecgjax.load(workdir / "checkpoints" / "2").fingerprint
    assert untrained_twin(encoder).fingerprint == "random weights"


def test_an_untrained_twin_differs_only_in_its_weights(encoder, tiny_encoders):
    twin = untrained_twin(encoder, seed=3)
    assert twin.module == encoder.module and twin.preprocessing == encoder.preprocessing
    assert twin.restored == 0
    assert jax.tree.structure(twin.variables) == jax.tree.structure(encoder.variables)
    same = untrained("compact_resnet", Preprocessing(), seed=3)
    jax.tree.map(np.testing.assert_array_equal, same.variables, twin.variables)
    kernels = [tree["params"]["stem"]["kernel"] for tree in (encoder.variables, twin.variables)]
    assert not np.allclose(*kernels)


def test_public_names_need_no_import_of_a_submodule():
    assert ecgjax.load.__module__ == ecgjax.Encoder.__module__ == "ecgjax.pretrained"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ecgjax.nonsense
