"""ecgjax.load: raw arrays in any lead order, units and rate give the embedding, or an error."""

import jax
import numpy as np
import pytest

import ecgjax
from ecgjax.apply import as_stored
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import untrained, untrained_twin
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
    prepared = encoder.embed_records(records, records.split("test")[:5])
    np.testing.assert_allclose(prepared, embeddings, rtol=1e-6, atol=1e-7)


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


def test_a_missing_lead_is_the_baseline(encoder, signals_mv):
    gap = signals_mv[0].copy()
    gap[:, 2] = np.nan
    flat = signals_mv[0].copy()
    flat[:, 2] = 1.5
    np.testing.assert_allclose(encoder(gap, **RAW), encoder(flat, **RAW), atol=1e-5)


def test_offsets_of_the_leads_change_nothing(encoder, signals_mv, embeddings):
    """Also those that only a DC-coupled amplifier has."""
    offset_mv = np.linspace(-300, 300, 12)
    np.testing.assert_allclose(encoder(signals_mv + offset_mv, **RAW), embeddings, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "mmHg"}, "units 'mmHg': give one of V, mV, uV, nV"),
        ({"units": "V"}, "check its gain and units (units: V); on_bad='nan' skips it"),
        ({"units": "uV"}, "no lead covers more than"),
        ({"leads": LEADS[:11]}, "with 11 leads"),
        ({"leads": (*LEADS[:11], "V5")}, "both mean lead V5"),
        ({"leads": (*LEADS[:11], "X")}, "lacks lead V6"),
        ({"rate_hz": 500}, "1000 samples at 500 Hz are 2 s; give 2.5 s or more"),
        ({"rate_hz": 0}, "sampling rate 0 Hz"),
        ({"rate_hz": float("nan")}, "sampling rate nan Hz"),
        ({"on_bad": "skip"}, "on_bad 'skip': give 'raise' or 'nan'"),
        ({"leads": ("I", *"ABCDEFGHIJK")}, "or give allow_missing_leads=True"),
        ({"batch_size": 0}, "batch_size 0: give 1 or more"),
    ],
)
def test_wrong_units_leads_and_rates_are_refused(encoder, signals_mv, change, message):
    with pytest.raises(InputError) as error:
        encoder(signals_mv[0], **{**RAW, **change})
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(12,), (1, 1, 1000, 12), (12, 1000), (249, 12), (0, 12)])
def test_wrong_shapes_are_refused(encoder, shape):
    with pytest.raises(InputError):
        encoder(np.zeros(shape), **RAW)


@pytest.mark.parametrize("samples", [999, 1001, 1020])
def test_a_few_samples_more_or_less_hardly_matter(encoder, signals_mv, embeddings, samples):
    longer_mv = np.concatenate([signals_mv, signals_mv[:, ::-1]], axis=1)[:, :samples]
    between = np.linalg.norm(embeddings[0] - embeddings[1])
    distance = np.linalg.norm(encoder(longer_mv, **RAW) - embeddings, axis=1)
    assert (distance < 0.1 * between).all()


def test_a_long_recording_has_the_mean_embedding_of_its_windows(encoder, signals_mv, embeddings):
    long_mv = np.concatenate([signals_mv[0], signals_mv[1]])
    np.testing.assert_allclose(encoder(long_mv, **RAW), embeddings[:2].mean(0), atol=1e-5)


def test_missing_samples_at_the_end_count_for_nothing(encoder, signals_mv):
    padded_mv = signals_mv[:2].copy()
    padded_mv[0, 800:] = np.nan
    expected = [encoder(signals_mv[0, :800], **RAW), encoder(signals_mv[1], **RAW)]
    np.testing.assert_allclose(encoder(padded_mv, **RAW), expected, atol=1e-6)


@pytest.mark.parametrize("padding_mv", [np.nan, 0.0])
def test_padding_in_front_and_of_zeros_counts_for_nothing(encoder, signals_mv, padding_mv):
    short_mv = signals_mv[0, :500]
    front_mv = np.concatenate([np.full((100, 12), padding_mv), short_mv])
    padded_mv = np.concatenate([front_mv, np.full((400, 12), padding_mv)])
    np.testing.assert_allclose(encoder(padded_mv, **RAW), encoder(short_mv, **RAW), atol=1e-6)


def test_a_window_within_a_gap_counts_for_nothing(encoder, signals_mv, embeddings):
    gap_mv = np.full_like(signals_mv[0], np.nan)
    long_mv = np.concatenate([signals_mv[0], gap_mv, signals_mv[1]])
    np.testing.assert_allclose(encoder(long_mv, **RAW), embeddings[:2].mean(0), atol=1e-5)


def test_masked_samples_and_those_of_prepared_recordings_are_missing(encoder, signals_mv):
    gaps = np.zeros(signals_mv[0].shape, bool)
    gaps[300:400, 2] = True
    expected = encoder(np.where(gaps, np.nan, signals_mv[0]), **RAW)
    masked = np.ma.masked_array(signals_mv[0], gaps)
    np.testing.assert_allclose(encoder(masked, **RAW), expected, atol=1e-6)
    stored = np.where(gaps, MISSING, np.rint(signals_mv[0] * 1e3)).astype(">i2")
    prepared = encoder(stored, rate_hz=100, leads=LEADS, units="uV")
    np.testing.assert_allclose(prepared, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [complex, bool, str, object])
def test_only_floats_and_integers_are_signals(encoder, signals_mv, kind):
    with pytest.raises(InputError, match="give floats or integers"):
        encoder(signals_mv.astype(kind), **RAW)


def test_limb_leads_are_calculated_and_absent_ones_allowed_on_request(encoder, signals_mv):
    eight = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    i, ii = signals_mv[..., 0], signals_mv[..., 1]
    limb_mv = np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2], axis=-1)
    lawful_mv = np.concatenate([limb_mv, signals_mv[..., 6:]], axis=-1)
    names = [f"ECG {LEADS[lead]}" for lead in eight]
    few = encoder(lawful_mv[..., eight], rate_hz=100, leads=names, units="millivolt")
    np.testing.assert_allclose(few, encoder(lawful_mv, **RAW), atol=1e-3)
    with pytest.raises(InputError, match="lacks lead II"):
        encoder(signals_mv[..., :1], rate_hz=100, leads=["I"], units="mV")
    options = {"rate_hz": 100, "units": "mV", "allow_missing_leads": True}
    one = encoder(signals_mv[..., :1], leads=["I"], **options)
    absent_mv = np.where(np.arange(12) == 0, signals_mv, np.nan)
    np.testing.assert_allclose(one, encoder(absent_mv, **RAW), atol=1e-6)


def test_an_encoder_needs_the_leads_of_its_preprocessing_only(tiny_encoders, signals_mv):
    one_lead = untrained("compact_resnet", Preprocessing(leads=("I",)))
    embedding = one_lead(signals_mv[0, :, :1], rate_hz=100, leads=["LeadI"], units="mV")
    np.testing.assert_allclose(embedding, one_lead(signals_mv[0], **RAW), atol=1e-6)


def test_each_recording_of_a_batch_is_judged_by_itself(encoder, signals_mv, embeddings):
    batch_mv = signals_mv.copy()
    batch_mv[0] /= 1000  # volts among millivolts
    batch_mv[1] = 0
    batch_mv[2] = np.nan
    batch_mv[3, 500] = 1e6
    for index in range(4):
        with pytest.raises(InputError, match="recording 0: "):
            encoder(batch_mv[index:], **RAW)
    judged = encoder(batch_mv, **RAW, on_bad="nan")
    assert np.isnan(judged[:4]).all()
    np.testing.assert_allclose(judged[4], embeddings[4], atol=1e-6)
    alone = encoder(batch_mv[:4], **RAW, on_bad="nan")
    assert alone.shape == judged[:4].shape and np.isnan(alone).all()


def test_an_empty_batch_gives_an_empty_result(encoder, signals_mv, embeddings):
    empty = encoder(signals_mv[:0], **RAW)
    assert empty.shape == (0, embeddings.shape[1]) and empty.dtype == np.float32


def test_the_text_of_an_encoder_is_short(encoder):
    assert repr(encoder).startswith("Encoder(CompactResnet, ") and len(repr(encoder)) < 120


def test_physical_values_become_the_stored_form():
    signal_mv = np.zeros((1, 4, 12))
    signal_mv[0, :, 0] = [0.0004, 0.0006, np.nan, -1.5]
    signal_mv[0, 0, 6] = np.inf
    ((index, stored),) = as_stored(signal_mv, LEADS, "mV")
    assert index == 0
    np.testing.assert_array_equal(stored[:, 0], [0, 1, MISSING, -1500])
    assert stored[0, 6] == MISSING and stored.dtype == np.int16


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
    assert ecgjax.load.__module__ == ecgjax.Classifier.__module__ == "ecgjax.classifier"
    assert ecgjax.Encoder.__module__ == "ecgjax.pretrained"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ecgjax.nonsense
