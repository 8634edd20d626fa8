"""Classifier: an encoder with a linear head, its supervised loss, and its predictions.

A checkpoint of `ecgjax.launch.finetune` holds the variables of this classifier.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ecgjax.adapt.parts.training import from_encoder
from ecgjax.augment import Augmentation
from ecgjax.data.inference import average_over_windows, divide_records
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessor, cut_windows
from ecgjax.pretrained import Encoder


class Classifier(nn.Module):
    """Encoder, standardised embedding, dropout, and a linear layer with one logit per class."""

    encoder: nn.Module
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """Classifies signals float32 [batch, time, lead]; returns logits float32 [batch, class]."""
        _, embedding = self.encoder(signal, train=train)
        # Without scale and bias: the mean and deviation of a linear probe are inserted unchanged.
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-8,
            use_scale=False,
            use_bias=False,
            name="norm",
        )
        hidden = nn.Dropout(self.dropout, deterministic=not train)(
            norm(embedding.astype(jnp.float32))
        )
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, name="head")(hidden)


@dataclasses.dataclass(frozen=True)
class Classification:
    """Supervised loss: binary cross-entropy of all classes on one view of each recording."""

    classes: int
    dropout: float
    augmentation: Augmentation

    def __post_init__(self):
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout}: give a rate from 0 to below 1")

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        return dict(self.network(encoder).init(key, signal, train=False))

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """Returns variables with the weights of `encoder` and a new head."""
        return from_encoder(self, encoder, key)

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ) -> tuple[jax.Array, tuple[dict, Any]]:
        """Returns (loss, (metrics, updates)); see `SupervisedObjective`.

        The batch is {"signal": int16 [batch, time, lead], "targets": float32 [batch, class]}.
        """
        view_key, dropout_key = jax.random.split(key)
        signals = preprocess(batch["signal"])
        views = self.augmentation.views(signals, view_key, rate_hz=preprocess.rate_hz)
        logits, updates = self.network(encoder).apply(
            variables, views, train=True, mutable=["batch_stats"], rngs={"dropout": dropout_key}
        )
        loss = optax.sigmoid_binary_cross_entropy(logits, batch["targets"]).mean()
        return loss, ({}, updates)

    def network(self, encoder: nn.Module) -> Classifier:
        """Returns the Flax module that the variables of `init` belong to."""
        return Classifier(encoder=encoder, classes=self.classes, dropout=self.dropout)


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted:
    """A trained classifier or segmenter, as every method of `ecgjax.adapt` returns it."""

    variables: dict
    """Variables of the `Classifier` (or `Segmenter`)."""
    window_s: float | None
    """Length in seconds of the windows that probabilities are averaged over; they overlap by half.
    None: one window, the whole recording."""


def predict(
    adapted: Adapted,
    encoder: Encoder,
    records: Records,
    indices: np.ndarray,
    *,
    batch_size: int = 128,
) -> np.ndarray:
    """Predicts probabilities float32 [len(indices), class] of prepared recordings.

    Args:
      adapted: the trained classifier.
      encoder: the encoder that training started from; only its architecture and preprocessing are
        used.
      records: the prepared data set.
      indices: numbers of the recordings.
      batch_size: recordings per batch.
    """
    classes = adapted.variables["params"]["head"]["bias"].shape[0]
    step = _jitted_predict(
        encoder.module,
        classes,
        Preprocessor(encoder.preprocessing, records.rate_hz),
        adapted.window_s,
    )
    variables = jax.device_put(adapted.variables)
    windows = divide_records(records, indices, window_s=encoder.preprocessing.seconds)
    return average_over_windows(
        functools.partial(step, variables),
        lambda rows: records.read(indices[rows]),
        windows,
        batch_size,
    )


@functools.lru_cache(maxsize=16)
def _jitted_predict(
    encoder: nn.Module, classes: int, preprocess: Preprocessor, window_s: float | None
) -> Callable[[dict, np.ndarray], jax.Array]:
    model = Classifier(encoder=encoder, classes=classes)

    def step(variables: dict, signal: jax.Array) -> jax.Array:
        windows = cut_windows(preprocess(signal), window_s, rate_hz=preprocess.rate_hz)
        logits: Any = model.apply(variables, windows.reshape(-1, *windows.shape[2:]), train=False)
        return jax.nn.sigmoid(logits).reshape(*windows.shape[:2], classes).mean(1)

    return jax.jit(step)
