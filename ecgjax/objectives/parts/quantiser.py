"""Contrast with quantised targets, whose codes are learned (wav2vec 2.0, arXiv:2006.11477, sections 2 and 3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.objectives.parts.masking import mean_where
from ecgjax.objectives.parts.nt_xent import unit_length


class GumbelQuantiser(nn.Module):
    """One code of each codebook stands for a feature; the gradient is that of a soft choice (Gumbel softmax)."""

    codebooks: int
    codes: int
    width: int

    @nn.compact
    def __call__(self, features: jax.Array, key: jax.Array, temperature: jax.Array):
        """Quantised features, what they were quantised to, and how probable each code was.

        Args:
          features: [batch, time, channel].
          key: draws the noise of the choice.
          temperature: of the soft choice; the lower, the harder.

        Returns:
          [batch, time, width], int [batch, time, codebook], and [batch, time, codebook, code].
        """
        # As wide as in fairseq: codes differ from the start.
        score = nn.Dense(
            self.codebooks * self.codes, kernel_init=nn.initializers.normal(1.0), name="score"
        )
        logits = score(features).reshape(*features.shape[:2], self.codebooks, self.codes)
        book = self.param(
            "codebook",
            nn.initializers.uniform(1.0),
            (self.codebooks, self.codes, self.width // self.codebooks),
        )
        soft = nn.softmax((logits + jax.random.gumbel(key, logits.shape)) / temperature)
        chosen = soft.argmax(-1)
        choice = nn.one_hot(chosen, self.codes) + soft - jax.lax.stop_gradient(soft)
        quantised = jnp.einsum("btgv,gvd->btgd", choice, book, precision="highest")
        return quantised.reshape(*features.shape[:2], -1), chosen, nn.softmax(logits)


def unused_codes(probability: jax.Array, counted: jax.Array) -> jax.Array:
    """Share of the codes that are not used, by the perplexity of their mean probability: 0 if all are used equally.

    Args:
      probability: [batch, time, codebook, code].
      counted: bool [batch, time], which features count.
    """
    weight = counted[..., None, None].astype(jnp.float32)
    mean = (weight * probability).sum((0, 1)) / jnp.maximum(weight.sum(), 1)
    perplexity = jnp.exp(-(mean * jnp.log(mean + 1e-7)).sum(-1)).sum()
    return 1 - perplexity / mean.size


def hidden_contrast(
    predicted: jax.Array,
    target: jax.Array,
    codes: jax.Array,
    hidden: jax.Array,
    *,
    temperature: float,
) -> tuple[jax.Array, jax.Array]:
    """InfoNCE of each hidden place among those of its segment (arXiv:2006.11477, eq. 3).

    Args:
      predicted: [segment, place, dimension], the transformer's.
      target: the same shape, quantised.
      codes: int [segment, place, codebook]; a place with the same codes as another is not its negative.
      hidden: bool [segment, place].
      temperature: divides the cosine similarities.

    Returns:
      The mean loss over hidden places, and the share of them whose own target is the nearest.
    """
    cosine = jnp.einsum(
        "bpd,bnd->bpn", unit_length(predicted), unit_length(target), precision="highest"
    )
    itself = jnp.eye(hidden.shape[1], dtype=bool)[None]
    other = (codes[:, :, None] != codes[:, None]).any(-1) & hidden[:, None]
    logits = jnp.where(other | itself, cosine / temperature, -jnp.inf)
    own = jnp.diagonal(logits, axis1=1, axis2=2)
    loss = jax.nn.logsumexp(logits, axis=-1) - own
    return mean_where(loss, hidden), mean_where((own >= logits.max(-1)).astype(jnp.float32), hidden)
