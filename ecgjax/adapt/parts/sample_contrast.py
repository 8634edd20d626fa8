"""Local contrastive loss on the samples of recordings (Chaitanya et al. 2023, arXiv:2112.09645)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ecgjax.objectives.parts.nt_xent import unit_length


def local_contrast(
    embeddings: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    classes: Sequence[int],
    shift: int,
    temperature: float,
    per_wave: int,
) -> jax.Array:
    """Computes the contrastive loss of samples against the mean embedding of each wave.

    For each drawn sample, the mean embedding of its own wave is the positive. The negatives are the
    means of the other waves. Positives and negatives are taken from the sample's recording and from
    its partner, another recording of the batch.

    Args:
      embeddings: embedding of each sample, float32 [recording, time, width].
      labels: wave label of each sample, integers [recording, time].
      key: random key of the drawn samples.
      classes: wave labels that are contrasted; samples with other labels take no part.
      shift: the partner of recording i is recording i - shift.
      temperature: temperature of the softmax over cosine similarities.
      per_wave: number of samples drawn of each wave in each recording; all if there are fewer.

    Returns:
      Mean cross-entropy over the drawn samples and the two recordings that contain their wave.
    """
    member = labels[:, None, :] == jnp.array(classes)[None, :, None]  # [recording, wave, time]
    present = member.any(-1)
    sums = jnp.einsum(
        "rct,rtw->rcw", member.astype(embeddings.dtype), embeddings, precision="highest"
    )
    means = unit_length(sums)
    random = jnp.where(member, jax.random.uniform(key, member.shape), -1.0)
    order, drawn = jax.lax.top_k(random, min(per_wave, labels.shape[1]))
    samples = unit_length(jnp.take_along_axis(embeddings[:, None], drawn[..., None], axis=2))

    # Means of the recording and of its partner: [recording, 2, wave, ...].
    both_means = jnp.stack([means, jnp.roll(means, shift, axis=0)], axis=1)
    both_present = jnp.stack([present, jnp.roll(present, shift, axis=0)], axis=1)
    cosine = jnp.einsum("rcsw,rpdw->rcspd", samples, both_means, precision="highest") / temperature
    cosine = jnp.where(both_present[:, None, None], cosine, -1e9)
    log_probability = cosine - jax.nn.logsumexp(cosine, axis=(-2, -1), keepdims=True)
    positive = jnp.einsum("rcspc->rcsp", log_probability)
    is_sample = (order >= 0)[..., None]  # negative where a wave has fewer than per_wave samples
    has_wave = both_present.swapaxes(1, 2)[:, :, None]
    counts = is_sample & has_wave  # [recording, wave, sample, 2]
    return -jnp.where(counts, positive, 0.0).sum() / jnp.maximum(counts.sum(), 1)
