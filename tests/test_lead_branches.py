"""Lead branches: independent embeddings of leads, and separate or shared weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.lead_branches import LeadBranches

SIGNAL = np.random.default_rng(0).normal(size=(2, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=[False, True], ids=["separate", "shared"])
def branches(request):
    """Encoder, variables, a function that embeds single leads, and one that embeds recordings."""
    encoder = LeadBranches(widths=(4,), shared=request.param)
    variables = jax.jit(functools.partial(encoder.init, train=False))(jax.random.key(0), SIGNAL)
    embed = functools.partial(encoder.apply, variables, train=False)
    return (
        encoder,
        variables,
        jax.jit(functools.partial(embed, method="lead_embeddings")),
        jax.jit(embed),
    )


def test_the_embedding_of_a_lead_does_not_depend_on_other_leads(branches):
    _, _, lead_embeddings, embed = branches
    changed = SIGNAL.copy()
    changed[:, :, 1] += 1.0
    before = lead_embeddings(SIGNAL)
    after = lead_embeddings(changed)
    assert before.shape == (2, 3, 8)
    np.testing.assert_array_equal(before[:, ::2], after[:, ::2])
    assert np.abs(before[:, 1] - after[:, 1]).max() > 1e-3
    tokens, embedding = embed(SIGNAL)
    assert tokens.shape == (2, 16, 12)
    np.testing.assert_allclose(embedding, before.reshape(2, -1), atol=1e-6)
    np.testing.assert_allclose(tokens[:, :, 4:8].mean(1), before[:, 1, :4], atol=1e-5)


def test_a_branch_is_a_compact_resnet(branches):
    encoder, variables, lead_embeddings, _ = branches
    equal_leads = np.repeat(SIGNAL[:, :, :1], 3, axis=2)
    embeddings = lead_embeddings(equal_leads)
    for lead in range(3):
        branch = {name: part["branch"] for name, part in variables.items()}
        if not encoder.shared:
            branch = jax.tree.map(lambda leaf, lead=lead: leaf[lead], branch)
        _, expected = CompactResnet(widths=(4,)).apply(branch, SIGNAL[:, :, :1], train=False)
        np.testing.assert_allclose(embeddings[:, lead], expected, atol=1e-5)
    assert (np.ptp(embeddings, axis=1).max() < 1e-6) == encoder.shared


@pytest.mark.parametrize(("shared", "leads"), [(False, 12), (True, 1)])
def test_separate_weights_are_twelve_times_the_shared_ones(shared, leads):
    signal = jax.ShapeDtypeStruct((1, 1000, 12), jnp.float32)
    variables = jax.eval_shape(
        functools.partial(LeadBranches(shared=shared).init, train=False), jax.random.key(0), signal
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == leads * BRANCH


BRANCH = (
    112 + 32 + (5 * 16 * 16 * 2 + 16 * 16 + 3 * 32) + (16 * 32 + 5 * 16 * 32 + 5 * 32 * 32 + 3 * 64)
)
BRANCH += 32 * 64 + 5 * 32 * 64 + 5 * 64 * 64 + 3 * 128
"""Parameters of a branch: stem and batch norm, and three blocks with a shortcut, two convolutions
and three batch norms."""
