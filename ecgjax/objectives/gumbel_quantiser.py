"""Product quantisation whose choice of codes can be learned (wav2vec 2.0, arXiv:2006.11477, section 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp


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
        score = nn.Dense(self.codebooks * self.codes, kernel_init=nn.initializers.normal(1.0), name="score")
        logits = score(features).reshape(*features.shape[:2], self.codebooks, self.codes)
        book = self.param(
            "codebook", nn.initializers.uniform(1.0), (self.codebooks, self.codes, self.width // self.codebooks)
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
