"""Quantised targets with learned codebooks, and the contrastive loss of masked positions.

They follow wav2vec 2.0 (arXiv:2006.11477, sections 2 and 3).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.objectives.parts.masking import masked_mean
from ecgjax.objectives.parts.nt_xent import unit_length


class GumbelQuantiser(nn.Module):
    """Product quantisation with Gumbel softmax: a feature becomes one code of each codebook.

    The forward pass uses the most likely code, the backward pass the gradient of the softmax
    (straight-through estimator).
    """

    codebooks: int
    codes: int
    """Codes per codebook."""
    width: int
    """Width of a quantised feature, shared equally by the codebooks."""

    @nn.compact
    def __call__(self, features: jax.Array, key: jax.Array, temperature: jax.Array):
        """Quantises features.

        Args:
          features: [batch, time, channel].
          key: random key of the Gumbel noise.
          temperature: temperature of the softmax.

        Returns:
          The quantised features [batch, time, width], their codes, int [batch, time, codebook], and
          the probabilities of all codes [batch, time, codebook, code].
        """
        # Standard deviation 1, as in fairseq: the features get different codes from the start.
        score = nn.Dense(
            self.codebooks * self.codes, kernel_init=nn.initializers.normal(1.0), name="score"
        )
        logits = score(features).reshape(*features.shape[:2], self.codebooks, self.codes)
        codebook = self.param(
            "codebook",
            nn.initializers.uniform(1.0),
            (self.codebooks, self.codes, self.width // self.codebooks),
        )
        soft = nn.softmax((logits + jax.random.gumbel(key, logits.shape)) / temperature)
        codes = soft.argmax(-1)
        choice = nn.one_hot(codes, self.codes) + soft - jax.lax.stop_gradient(soft)
        quantised = jnp.einsum("btgv,gvd->btgd", choice, codebook, precision="highest")
        return quantised.reshape(*features.shape[:2], -1), codes, nn.softmax(logits)


def diversity_loss(probability: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the diversity loss: the share of the codes that are not used.

    The number of used codes is the perplexity of the mean probabilities. The loss is 0 if all codes
    are used equally.

    Args:
      probability: [batch, time, codebook, code].
      mask: bool [batch, time], True for the features that count.
    """
    weight = mask[..., None, None].astype(jnp.float32)
    mean = (weight * probability).sum((0, 1)) / jnp.maximum(weight.sum(), 1)
    perplexity = jnp.exp(-(mean * jnp.log(mean + 1e-7)).sum(-1)).sum()
    return 1 - perplexity / mean.size


def masked_contrastive_loss(
    predicted: jax.Array,
    target: jax.Array,
    codes: jax.Array,
    mask: jax.Array,
    *,
    temperature: float,
) -> tuple[jax.Array, jax.Array]:
    """InfoNCE of each masked position among the masked positions of its segment.

    The formula is eq. 3 of arXiv:2006.11477.

    Args:
      predicted: [segment, position, dimension], predictions of the transformer.
      target: quantised targets of the same shape.
      codes: int [segment, position, codebook]; positions with equal codes are not negatives of each
        other.
      mask: bool [segment, position], True where masked.
      temperature: divides the cosine similarities.

    Returns:
      The mean loss over masked positions, and the share of them whose own target is the nearest.
    """
    cosine = jnp.einsum(
        "bpd,bnd->bpn", unit_length(predicted), unit_length(target), precision="highest"
    )
    positive = jnp.eye(mask.shape[1], dtype=bool)[None]
    negative = (codes[:, :, None] != codes[:, None]).any(-1) & mask[:, None]
    logits = jnp.where(negative | positive, cosine / temperature, -jnp.inf)
    positive_logits = jnp.diagonal(logits, axis1=1, axis2=2)
    loss = jax.nn.logsumexp(logits, axis=-1) - positive_logits
    nearest = (positive_logits >= logits.max(-1)).astype(jnp.float32)
    return masked_mean(loss, mask), masked_mean(nearest, mask)
