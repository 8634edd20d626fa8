"""An encoder that says of every sample which wave it belongs to, and the Dice loss that teaches it."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.adapt.parts.classifier import Adapted
from ecgjax.data.inference import each_batch, read_in_batches
from ecgjax.data.records import Records
from ecgjax.encoders.unet1d import TwoConvolutions
from ecgjax.errors import InputError
from ecgjax.objectives.parts.projection_head import ProjectionHead
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder
from ecgjax.signals import UNMARKED, WAVES, rate_ratio


class Segmenter(nn.Module):
    """Encoder, and on its tokens two heads: one logit a class, and an element for contrast, for every sample."""

    encoder: nn.Module
    width: int = 16
    """Of both heads (Chaitanya et al. 2023: that of the U-Net's first level)."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """float32 [batch, time, lead] -> logits float32 [batch, time, len(WAVES)], elements [batch, time, width]."""
        tokens, _ = self.encoder(signal, train=train)
        if tokens.shape[1] != signal.shape[1]:
            name, samples = type(self.encoder).__name__, signal.shape[1]
            raise InputError(
                f"{name} has {tokens.shape[1]} tokens for {samples} samples; give --encoder unet1d"
            )
        hidden = TwoConvolutions(self.width, 3, name="before_head")(tokens, train=train)
        elements = ProjectionHead((self.width, self.width), batch_norm=True, name="projector")(
            tokens, train=train
        )
        return nn.Dense(len(WAVES), name="head")(hidden), elements


def dice_loss(logits: jax.Array, marks: jax.Array) -> jax.Array:
    """1 - Dice coefficient of the softmax, over all samples of the batch, mean over classes ("none" is one).

    Args:
      logits: [batch, time, class].
      marks: the class of each sample, integers [batch, time]; samples with `UNMARKED` are left out.
    """
    known = (marks != UNMARKED)[..., None]
    truth = jax.nn.one_hot(marks, logits.shape[-1]) * known
    share = jax.nn.softmax(logits) * known
    sizes = truth.sum((0, 1)) + share.sum((0, 1))
    return 1 - (2 * (truth * share).sum((0, 1)) / (sizes + 1e-6)).mean()


def segment(
    adapted: Adapted,
    encoder: Encoder,
    records: Records,
    indices: np.ndarray,
    *,
    batch_size: int = 64,
) -> np.ndarray:
    """The class of each sample of prepared recordings, uint8 [len(indices), time] at the encoder's rate."""
    step = _jitted_segment(encoder.module, Preprocessor(encoder.preprocessing, records.rate_hz))
    variables = jax.device_put(
        {name: adapted.variables[name] for name in ("params", "batch_stats")}
    )
    batches = read_in_batches(records, indices, batch_size)
    return each_batch(functools.partial(step, variables), batches, batch_size)


@functools.lru_cache(maxsize=16)
def _jitted_segment(encoder: nn.Module, preprocess: Preprocessor):
    model = Segmenter(encoder=encoder)

    def step(variables: dict, signal: jax.Array) -> jax.Array:
        outputs: Any = model.apply(variables, preprocess(signal), train=False)
        return outputs[0].argmax(-1).astype(jnp.uint8)

    return jax.jit(step)


def read_marks(records: Records, indices: np.ndarray, rate_hz: float) -> np.ndarray:
    """The true class of each sample, uint8 [len(indices), time]: at `rate_hz`, the nearest stored sample's."""
    up, down = rate_ratio(records.rate_hz, rate_hz)
    samples = -(-records.samples * up // down)
    nearest = np.minimum(np.rint(np.arange(samples) * down / up).astype(int), records.samples - 1)
    return records.waves(indices)[:, nearest]
