"""The local contrastive loss of Chaitanya et al. 2023 (arXiv:2112.09645), on the samples of recordings."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ecgjax.objectives.parts.nt_xent import unit_length


def local_contrast(
    elements: jax.Array,
    marks: jax.Array,
    key: jax.Array,
    *,
    kinds: Sequence[int],
    partner: int,
    temperature: float,
    per_wave: int,
) -> jax.Array:
    """Cross entropy of telling, from a sample, its own wave among the waves of its recording and of another one.

    Args:
      elements: float32 [recording, time, width].
      marks: the kind of each sample, integers [recording, time].
      key: draws the samples.
      kinds: what is contrasted, as marked; other samples take no part.
      partner: the other recording is so many places before in the batch.
      temperature: cosine similarities are divided by this.
      per_wave: samples drawn of each wave in each recording, all if there are fewer.

    Returns:
      Mean over samples and over the two recordings, of those that hold the wave.
    """
    member = marks[:, None, :] == jnp.array(kinds)[None, :, None]  # [recording, wave, time]
    present = member.any(-1)
    means = unit_length(
        jnp.einsum("rct,rtw->rcw", member.astype(elements.dtype), elements, precision="highest")
    )
    most = min(per_wave, marks.shape[1])
    lots, drawn = jax.lax.top_k(
        jnp.where(member, jax.random.uniform(key, member.shape), -1.0), most
    )
    samples = unit_length(jnp.take_along_axis(elements[:, None], drawn[..., None], axis=2))

    # Of the recording itself and of its partner: [recording, 2, wave, ...].
    both_means = jnp.stack([means, jnp.roll(means, partner, axis=0)], axis=1)
    both_present = jnp.stack([present, jnp.roll(present, partner, axis=0)], axis=1)
    cosine = jnp.einsum("rcsw,rpdw->rcspd", samples, both_means, precision="highest") / temperature
    cosine = jnp.where(both_present[:, None, None], cosine, -1e9)
    log_share = cosine - jax.nn.logsumexp(cosine, axis=(-2, -1), keepdims=True)
    own = jnp.einsum("rcspc->rcsp", log_share)
    counts = (lots >= 0)[..., None] & both_present.swapaxes(1, 2)[
        :, :, None
    ]  # [recording, wave, sample, 2]
    return -jnp.where(counts, own, 0.0).sum() / jnp.maximum(counts.sum(), 1)
