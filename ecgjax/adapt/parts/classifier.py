"""Supervised losses of an encoder with a head, and the trained model."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ecgjax.adapt.parts.training import NETWORK, Labelled, from_encoder
from ecgjax.augment import Augmentation
from ecgjax.classifier import Classifier
from ecgjax.data.seen import seen_in
from ecgjax.errors import InputError
from ecgjax.outputs import EncoderWithHead, Outputs, separate
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder


@dataclasses.dataclass(frozen=True)
class Classification:
    """Supervised loss on one view of each recording; see `supervised_loss`."""

    outputs: Outputs
    dropout: float
    augmentation: Augmentation
    fixed_norm: bool = False
    """Keep the standardisation of embeddings that the head was fitted with."""

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

        The batch is {"signal": int16 [batch, time, lead], "targets": float32 [batch, output]}.
        """
        view_key, dropout_key = jax.random.split(key)
        signals = preprocess(batch["signal"])
        views = self.augmentation.views(signals, view_key, rate_hz=preprocess.rate_hz)
        logits, updates = self.network(encoder).apply(
            variables, views, train=True, mutable=["batch_stats"], rngs={"dropout": dropout_key}
        )
        loss = supervised_loss(self.outputs, logits, batch["targets"])
        return loss, ({}, updates)

    def network(self, encoder: nn.Module) -> EncoderWithHead:
        """Returns the Flax module that the variables of `init` belong to."""
        return EncoderWithHead(encoder, len(self.outputs), self.dropout, self.fixed_norm)


def with_start_bias(outputs: Outputs, targets: np.ndarray, variables: dict) -> dict:
    """Returns the variables of a new classifier with the bias of `Outputs.start_bias`."""
    params = variables["params"]
    bias = jnp.asarray(outputs.start_bias(targets))
    return {**variables, "params": {**params, "head": {**params["head"], "bias": bias}}}


def supervised_loss(outputs: Outputs, logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Computes the mean loss of the known targets.

    Binary cross-entropy for labels, cross-entropy for classes, squared error of standardised
    values for numbers. Targets that are NaN are left out.

    Args:
      outputs: the kind of the outputs, and for numbers their means and scales.
      logits: float32 [batch, output].
      targets: float32 [batch, output]; classes are one-hot.
    """
    known = ~jnp.isnan(targets)
    targets = jnp.where(known, targets, 0.0)
    if outputs.kind == "classes":
        losses = optax.softmax_cross_entropy(logits, targets)
        known = known.all(-1)
    elif outputs.kind == "labels":
        losses = optax.sigmoid_binary_cross_entropy(logits, targets)
    else:
        losses = optax.squared_error(logits, outputs.standardise(targets))
    return (losses * known).sum() / jnp.maximum(known.sum(), 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted:
    """A trained classifier or segmenter, as every method of `ecgjax.adapt` returns it."""

    variables: dict
    """Variables of the `Classifier` (or `Segmenter`)."""
    window_s: float | None
    """Length in seconds of the windows that probabilities are averaged over; they overlap by half.
    None: one window, the whole recording."""


def trained_model(
    adapted: Adapted, encoder: Encoder, labelled: Labelled, config: dict
) -> Classifier:
    """Returns the trained model, ready for predictions and to be saved.

    Args:
      adapted: the trained variables.
      encoder: the encoder that training started from.
      labelled: the recordings that it was trained on.
      config: config of the run.
    """
    network = {name: adapted.variables[name] for name in NETWORK if name in adapted.variables}
    variables, head = separate(jax.tree.map(np.asarray, network))
    trained = Encoder(
        encoder.module,
        variables,
        encoder.preprocessing,
        config,
        encoder.seen | seen_in(labelled.records, labelled.indices),
        restored=len(jax.tree.leaves(variables)),
    )
    return Classifier(trained, head, labelled.outputs, adapted.window_s)
