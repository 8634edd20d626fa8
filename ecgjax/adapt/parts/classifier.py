"""An encoder with a linear head: what every way of using labels ends in, and what a fine-tuned checkpoint holds."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ecgjax.adapt.parts.training import from_encoder
from ecgjax.augment import Augmentation
from ecgjax.data.inference import each_batch, read_in_batches
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder


class Classifier(nn.Module):
    """Encoder, standardised embedding, dropout, one logit a class."""

    encoder: nn.Module
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """float32 [batch, time, lead] -> logits float32 [batch, class]."""
        _, embedding = self.encoder(signal, train=train)
        # Without scale and bias, so that a linear probe's mean and deviation fit in as they are.
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
    """The supervised objective: binary cross entropy of every class on one augmented piece of each recording."""

    classes: int
    dropout: float
    augmentation: Augmentation

    def __post_init__(self):
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout}: give a share from 0 to below 1")

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        return dict(self.network(encoder).init(key, signal, train=False))

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """Variables with the weights of `encoder` and a new head."""
        return from_encoder(self, encoder, key)

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Loss of {"signal": int16 [batch, time, lead], "targets": float32 [batch, class]}, as an objective's."""
        view_key, dropout_key = jax.random.split(key)
        signals = preprocess(batch["signal"])
        views = self.augmentation.views(signals, view_key, rate_hz=preprocess.rate_hz)
        logits, updates = self.network(encoder).apply(
            variables, views, train=True, mutable=["batch_stats"], rngs={"dropout": dropout_key}
        )
        loss = optax.sigmoid_binary_cross_entropy(logits, batch["targets"]).mean()
        return loss, ({}, updates)

    def network(self, encoder: nn.Module) -> Classifier:
        """What `init`'s variables belong to."""
        return Classifier(encoder=encoder, classes=self.classes, dropout=self.dropout)


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted:
    """What a way of using labels gives.

    Attributes:
      variables: of the `Classifier`.
      window_s: probabilities are means over windows of this length that overlap by half; None: the whole recording.
    """

    variables: dict
    window_s: float | None


def predict(
    adapted: Adapted,
    encoder: Encoder,
    records: Records,
    indices: np.ndarray,
    *,
    batch_size: int = 128,
) -> np.ndarray:
    """Probabilities float32 [len(indices), class] of prepared recordings; `encoder` says architecture and input."""
    classes = adapted.variables["params"]["head"]["bias"].shape[0]
    step = _jitted_predict(
        encoder.module,
        classes,
        Preprocessor(encoder.preprocessing, records.rate_hz),
        adapted.window_s,
    )
    variables = jax.device_put(adapted.variables)
    batches = read_in_batches(records, indices, batch_size)
    return each_batch(functools.partial(step, variables), batches, batch_size)


@functools.lru_cache(maxsize=16)
def _jitted_predict(
    encoder: nn.Module, classes: int, preprocess: Preprocessor, window_s: float | None
):
    model = Classifier(encoder=encoder, classes=classes)

    def step(variables: dict, signal: jax.Array) -> jax.Array:
        windows = _windows(preprocess(signal), window_s, preprocess.rate_hz)
        logits: Any = model.apply(variables, windows.reshape(-1, *windows.shape[2:]), train=False)
        return jax.nn.sigmoid(logits).reshape(*windows.shape[:2], classes).mean(1)

    return jax.jit(step)


def _windows(signal: jax.Array, window_s: float | None, rate_hz: float) -> jax.Array:
    """[batch, time, lead] -> [batch, window, window_s * rate_hz, lead], each half a window after the one before.

    The last one ends with the recording, so that no sample is left out.
    """
    time = signal.shape[1]
    length = time if window_s is None else min(round(window_s * rate_hz), time)
    starts = [*range(0, time - length, max(1, length // 2)), time - length]
    return jnp.stack([signal[:, start : start + length] for start in starts], axis=1)
