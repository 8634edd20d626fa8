"""Segmenter: an encoder with a head that classifies every sample as P, QRS, T or none.

A wave label is the class of one sample, an index into `ecgjax.signals.WAVES`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.adapt.parts.classifier import Adapted
from ecgjax.adapt.parts.training import NETWORK
from ecgjax.data.inference import each_batch, read_in_batches
from ecgjax.data.records import Records
from ecgjax.encoders.unet1d import TwoConvolutions
from ecgjax.errors import InputError
from ecgjax.objectives.parts.projection_head import ProjectionHead
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder
from ecgjax.signals import UNMARKED, WAVES, rate_ratio


class Segmenter(nn.Module):
    """Encoder with two heads on its tokens: logits and an embedding for each sample."""

    encoder: nn.Module
    width: int = 16
    """Width of both heads (Chaitanya et al. 2023: the width of the U-Net's first level)."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Segments signals float32 [batch, time, lead].

        Returns:
          Logits float32 [batch, time, len(WAVES)] and embeddings float32 [batch, time, width].

        Raises:
          InputError: the encoder does not have one token per sample.
        """
        tokens, _ = self.encoder(signal, train=train)
        if tokens.shape[1] != signal.shape[1]:
            raise InputError(
                f"{type(self.encoder).__name__} has {tokens.shape[1]} tokens for "
                f"{signal.shape[1]} samples; give --encoder unet1d"
            )
        hidden = TwoConvolutions(self.width, 3, name="before_head")(tokens, train=train)
        projector = ProjectionHead((self.width, self.width), batch_norm=True, name="projector")
        embeddings = projector(tokens, train=train)
        return nn.Dense(len(WAVES), name="head")(hidden), embeddings


def dice_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes 1 - Dice coefficient of the softmax probabilities, mean over classes.

    The coefficient of a class is computed over all samples of the batch. "none" is a class, too.

    Args:
      logits: [batch, time, class].
      labels: wave labels, integers [batch, time]; samples with `UNMARKED` are left out.
    """
    known = (labels != UNMARKED)[..., None]
    truth = jax.nn.one_hot(labels, logits.shape[-1]) * known
    probability = jax.nn.softmax(logits) * known
    sizes = truth.sum((0, 1)) + probability.sum((0, 1))
    return 1 - (2 * (truth * probability).sum((0, 1)) / (sizes + 1e-6)).mean()


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedSegmenter:
    """A trained segmenter with the encoder that its training started from."""

    adapted: Adapted
    encoder: Encoder

    def predict_records(self, records: Records, indices: np.ndarray) -> np.ndarray:
        """Predicts the wave of each sample, uint8 [len(indices), time]; see `segment`."""
        return segment(self.adapted, self.encoder, records, indices)


def segment(
    adapted: Adapted,
    encoder: Encoder,
    records: Records,
    indices: np.ndarray,
    *,
    batch_size: int = 64,
) -> np.ndarray:
    """Predicts wave labels uint8 [len(indices), time] of prepared recordings.

    Args:
      adapted: the trained segmenter.
      encoder: the encoder that training started from; only its architecture and preprocessing are
        used. Its input rate is the sampling rate of the labels.
      records: the prepared data set.
      indices: numbers of the recordings.
      batch_size: recordings per batch.
    """
    step = _jitted_segment(encoder.module, Preprocessor(encoder.preprocessing, records.rate_hz))
    variables = jax.device_put({name: adapted.variables[name] for name in NETWORK})
    batches = read_in_batches(records, indices, batch_size)
    return each_batch(functools.partial(step, variables), batches, batch_size)


@functools.lru_cache(maxsize=16)
def _jitted_segment(
    encoder: nn.Module, preprocess: Preprocessor
) -> Callable[[dict, np.ndarray], jax.Array]:
    model = Segmenter(encoder=encoder)

    def step(variables: dict, signal: jax.Array) -> jax.Array:
        outputs: Any = model.apply(variables, preprocess(signal), train=False)
        return outputs[0].argmax(-1).astype(jnp.uint8)

    return jax.jit(step)


def read_wave_labels(records: Records, indices: np.ndarray, rate_hz: float) -> np.ndarray:
    """Reads the true wave labels uint8 [len(indices), time], resampled to `rate_hz`.

    Each sample has the label of the nearest stored sample.
    """
    up, down = rate_ratio(records.rate_hz, rate_hz)
    samples = -(-records.samples * up // down)
    nearest = np.minimum(np.rint(np.arange(samples) * down / up).astype(int), records.samples - 1)
    return records.waves(indices)[:, nearest]
