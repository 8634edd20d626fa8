"""Encoders: shapes, published sizes, a gradient for every parameter, and settings in JSON."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax import encoders
from ecgjax.encoders import ENCODERS
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.conv_lstm import ConvLstm
from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.encoders.net1d import Net1d
from ecgjax.encoders.pclr_resnet import PclrResnet
from ecgjax.encoders.s4 import S4
from ecgjax.encoders.two_path_resnet import TwoPathResnet
from ecgjax.encoders.unet1d import Unet1d
from ecgjax.encoders.vit1d import Vit1d
from ecgjax.encoders.wav2vec_transformer import Wav2vecTransformer
from ecgjax.encoders.xresnet1d import XResnet1d
from ecgjax.errors import InputError

SMALL = {
    "compact_resnet": CompactResnet(widths=(4,)),
    "pclr_resnet": PclrResnet(stem=4, widths=(4, 6), kernel=4),
    "xresnet1d50": XResnet1d(depths=(1, 1), stem=(4, 6), width=4, expansion=2),
    "xresnet1d101": XResnet1d(depths=(1, 2), stem=(4, 6), width=4, expansion=2),
    "conv_lstm": ConvLstm(widths=(6, 6), kernels=(1, 1), strides=(2, 1), lstm=5),
    "s4": S4(widths=(6, 6), kernels=(3, 1), strides=(2, 1), layers=2, states=4),
    "lead_branches": LeadBranches(widths=(4,)),
    "two_path_resnet": TwoPathResnet(
        widths=(4, 6), read_out_blocks=2, lead_widths=(4,), lead_stem=4, leads=(0, 7)
    ),
    "vit1d": Vit1d(width=8, layers=2, heads=2),
    "vit1d_leads": Vit1d(width=8, layers=1, heads=2, patch=50, lead_patches=True),
    "vit1d_st_mem": Vit1d(
        width=8, layers=1, heads=2, patch=75, lead_patches=True, registers=0, separators=True
    ),
    "wav2vec_transformer": Wav2vecTransformer(
        channels=4, halvings=2, width=8, layers=1, heads=2, position_kernel=8, position_groups=2
    ),
    "unet1d": Unet1d(widths=(4, 6)),
    "net1d": Net1d(stem=4, widths=(4, 6), depths=(1, 2), group_width=2, kernel=4),
    "net1d_ecgfounder": Net1d(
        stem=4, widths=(4, 8), depths=(1, 1), ratio=1.0, group_width=4, kernel=4
    ),
}


@functools.cache
def _shapes(name, samples=1000):
    """Shapes of variables, tokens and embedding of the full-sized encoder; computes nothing."""
    signal = jax.ShapeDtypeStruct((3, samples, 12), jnp.float32)
    encoder = ENCODERS[name]
    variables = jax.eval_shape(
        functools.partial(encoder.init, train=False), jax.random.key(0), signal
    )
    tokens, embedding = jax.eval_shape(
        functools.partial(encoder.apply, train=False), variables, signal
    )
    return variables, tokens, embedding


@pytest.mark.parametrize(
    ("name", "samples", "tokens", "embedding"),
    [
        ("compact_resnet", 1000, (32, 256), 512),
        ("compact_resnet", 250, (8, 256), 512),
        ("compact_resnet", 5000, (157, 256), 512),
        ("pclr_resnet", 4096, (16, 320), 320),
        ("pclr_resnet", 1000, (4, 320), 320),
        ("xresnet1d50", 1000, (32, 256), 512),
        ("xresnet1d50", 250, (8, 256), 512),
        ("xresnet1d101", 1000, (32, 256), 512),
        ("conv_lstm", 1000, (1000, 512), 1536),
        ("conv_lstm", 250, (250, 512), 1536),
        ("s4", 1000, (500, 512), 1536),
        ("s4", 251, (126, 512), 1536),
        ("lead_branches", 1000, (63, 768), 1536),
        ("lead_branches", 250, (16, 768), 1536),
        ("two_path_resnet", 1000, (32, 768), 1920),
        ("two_path_resnet", 250, (8, 768), 1920),
        ("vit1d", 5000, (200, 192), 192),
        ("vit1d", 260, (11, 192), 192),
        ("vit1d_leads", 5000, (20, 192), 192),
        ("vit1d_leads", 250, (1, 192), 192),
        ("vit1d_st_mem", 2250, (30, 192), 192),
        ("wav2vec_transformer", 2500, (157, 192), 192),
        ("wav2vec_transformer", 250, (16, 192), 192),
        ("unet1d", 1000, (1000, 16), 256),
        ("unet1d", 333, (333, 16), 256),
        ("net1d", 5000, (40, 256), 256),
        ("net1d", 250, (2, 256), 256),
    ],
)
def test_tokens_and_embedding_have_their_shapes(name, samples, tokens, embedding):
    _, token_shape, embedding_shape = _shapes(name, samples)
    assert token_shape.shape == (3, *tokens)
    assert embedding_shape.shape == (3, embedding)


def test_tokens_of_two_paths_are_those_of_each_path_and_averages_of_pairs():
    encoder = SMALL["two_path_resnet"].clone(lead_stride=2)
    signal = np.random.default_rng(0).normal(size=(2, 250, 12)).astype(np.float32)
    variables = encoder.init(jax.random.key(0), signal, train=False)
    tokens, embedding = encoder.apply(variables, signal, train=False)
    joint = CompactResnet((4, 6), read_out_blocks=2)
    single = CompactResnet((4,), stem=4, stem_kernel=11, stem_stride=2)
    parts = {
        name: {kind: each[name] for kind, each in variables.items()} for name in ("joint", "single")
    }
    joint_tokens, joint_embedding = joint.apply(parts["joint"], signal, train=False)
    np.testing.assert_allclose(tokens[..., :6], joint_tokens, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embedding[:, :20], joint_embedding, rtol=1e-5, atol=1e-6)
    for place, lead in enumerate((0, 7)):
        own, _ = single.apply(parts["single"], signal[..., [lead]], train=False)  # 63 tokens
        pairs = np.append(own, own[:, -1:], axis=1).reshape(2, 32, 2, 4).mean(2)
        columns = slice(6 + 4 * place, 10 + 4 * place)
        np.testing.assert_allclose(tokens[..., columns], pairs, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="after halving.*give a power of 2 as lead_stride"):
        encoder.clone(lead_stride=3).init(jax.random.key(0), signal, train=False)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("compact_resnet", "0.7"),
        ("pclr_resnet", "6.39"),
        ("xresnet1d50", "0.89"),
        ("xresnet1d101", "1.80"),
        ("conv_lstm", "5.00"),
        ("vit1d", "3.6"),
        ("s4", "3.21"),  # 3.8 with the heads of ECG-CPC: test_cpc
        ("unet1d", "1.09"),
    ],
)
def test_number_of_parameters_is_the_published_one(name, millions):
    variables, _, _ = _shapes(name)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) / 1e6
    assert f"{count:.{len(millions) - 2}f}" == millions


@pytest.fixture(scope="module", params=ENCODERS)
def small(request):
    """A small encoder with changed parameters: initial scales of zero hide the layers before."""
    encoder = SMALL[request.param]
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(4, 250, 12)).astype(np.float32)
    variables = jax.jit(functools.partial(encoder.init, train=False))(jax.random.key(0), signal)
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32),
        jax.tree.map(np.asarray, variables["params"]),
    )
    return encoder, {**variables, "params": params}, signal


def test_every_parameter_has_a_gradient_and_all_statistics_change(small):
    encoder, variables, signal = small

    def weighted_sum(params):
        outputs, updates = encoder.apply(
            {**variables, "params": params}, signal, train=True, mutable=["batch_stats"]
        )
        # Of tokens and embedding: the decoder of a U-Net has no part in the embedding.
        weights = [jnp.cos(jnp.arange(part.size)).reshape(part.shape) for part in outputs]
        pairs = zip(outputs, weights, strict=True)
        return sum((part * weight).sum() for part, weight in pairs), updates

    gradient = jax.jit(jax.grad(weighted_sum, has_aux=True))
    gradients, updates = gradient(variables["params"])
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert np.abs(leaf).max() > 1e-4, jax.tree_util.keystr(path)
    before = jax.tree.leaves(variables.get("batch_stats", {}))
    after = jax.tree.leaves(updates.get("batch_stats", {}))
    assert len(before) == len(after) and not any(map(np.array_equal, before, after))


def test_embedding_does_not_depend_on_the_batch_when_not_training(small):
    encoder, variables, signal = small
    embed = jax.jit(lambda signal: encoder.apply(variables, signal, train=False)[1])
    # Reversed in time as well: wav2vec_transformer ignores the amplitude.
    others = np.concatenate([signal[:1], 100 * signal[1:, ::-1]])
    np.testing.assert_allclose(embed(signal)[0], embed(others)[0], atol=1e-5)
    assert not np.allclose(embed(signal)[1], embed(others)[1])


@pytest.mark.parametrize("name", ENCODERS)
def test_settings_survive_json(name):
    for encoder in (ENCODERS[name], SMALL[name]):
        saved = json.loads(json.dumps(encoders.settings(encoder)))
        assert encoders.build(name, saved) == encoder


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Vit1d(width=190, heads=4), "transformer: width 190, layers 8, heads 4: give"),
        (Wav2vecTransformer(layers=0), "transformer: width 192, layers 0, heads 4: give"),
        (S4(states=7), "states 7: give an even number"),
    ],
)
def test_impossible_sizes_are_refused(encoder, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(
            functools.partial(encoder.init, train=False), jax.random.key(0), jnp.zeros((1, 250, 12))
        )


@pytest.mark.parametrize(
    ("name", "saved", "message"),
    [
        ("vit", {}, "encoder 'vit' is unknown"),
        ("compact_resnet", {"depth": 3}, "compact_resnet has no setting depth"),
    ],
)
def test_an_encoder_of_another_version_is_refused(name, saved, message):
    with pytest.raises(InputError, match=message):
        encoders.build(name, saved)
