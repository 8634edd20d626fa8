"""Further read-outs of a frozen encoder in the benchmark, beside the probe on its embedding.

mean_pool    logistic regression on the mean of the tokens
attention    queries that are learned, and a linear layer; see `ecgjax.adapt.attention_probe`
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.adapt.attention_probe import AttentionProbing
from ecgjax.adapt.parts.tokens import Tokens, read_tokens
from ecgjax.data.records import Records
from ecgjax.errors import counted
from ecgjax.pretrained import Encoder
from ecgjax.train.runlog import console
from ecgjax.workflows.low_label import LabelledRecordings
from ecgjax.workflows.probing import Draw, Embeddings, embed, fit_probe, predict

FurtherProbe = Literal["mean_pool", "attention"]


class MeanTokens(nn.Module):
    """An encoder whose embedding is the mean of its tokens over time."""

    encoder: nn.Module

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns tokens [batch, time, width] and embeddings float32 [batch, width]."""
        tokens, _ = self.encoder(signal, train=train)
        return tokens, tokens.astype(jnp.float32).mean(1)


def mean_pooled(encoder: Encoder) -> Encoder:
    """Returns the encoder with the mean of its tokens as the embedding."""
    variables = {name: {"encoder": tree} for name, tree in encoder.variables.items()}
    return dataclasses.replace(encoder, module=MeanTokens(encoder.module), variables=variables)


class FurtherProbes:
    """Scores of the further probes. The needed recordings of a data set are encoded once.

    Args:
      encoder: the frozen encoder.
      needed: recordings that any task needs, for the folder of each data set.
      attention: settings of the query-attention probe.
    """

    def __init__(
        self, encoder: Encoder, needed: Mapping[Path, np.ndarray], attention: AttentionProbing
    ):
        self._encoder = encoder
        self._needed = needed
        self._attention = attention
        self._means: dict[Path, Embeddings] = {}
        self._tokens: dict[Path, Tokens] = {}

    def scores(
        self, probe: FurtherProbe, draw: Draw, train: Records, tests: Sequence[LabelledRecordings]
    ) -> list[np.ndarray]:
        """Returns scores of each test by a probe that is fitted to a draw, [recording, output].

        For labels mean_pool returns log-odds, as the probe on embeddings does, and attention
        probabilities.
        """
        if probe == "attention":
            return self._by_attention(draw, train, tests)
        fitted = fit_probe(draw, self._embed(train))
        return [
            predict(draw, fitted, self._embed(test.records).select(test.indices)) for test in tests
        ]

    def _by_attention(
        self, draw: Draw, train: Records, tests: Sequence[LabelledRecordings]
    ) -> list[np.ndarray]:
        settings = dataclasses.replace(self._attention, seed=draw.seed)
        tokens = self._read(train)
        parts = (draw.indices, draw.targets, draw.patients, draw.outputs)
        head, steps = settings.fit(tokens, *parts)
        size = counted(len(draw.indices), "labelled recording")
        console.print(f"query attention on {size}: {steps} steps")
        results = []
        for test in tests:
            tested = self._read(test.records)
            results.append(head.predict(tested, tested.positions(test.indices)))
        return results

    def _embed(self, records: Records) -> Embeddings:
        path = records.path
        if path not in self._means:
            self._announce(records, "mean of the tokens")
            self._means[path] = embed(mean_pooled(self._encoder), records, self._needed[path])
        return self._means[path]

    def _read(self, records: Records) -> Tokens:
        path = records.path
        if path not in self._tokens:
            self._announce(records, "tokens")
            window_s = self._attention.window_s
            self._tokens[path] = read_tokens(
                self._encoder, records, self._needed[path], window_s=window_s
            )
        return self._tokens[path]

    def _announce(self, records: Records, product: str) -> None:
        size = counted(len(self._needed[records.path]), "recording")
        console.print(f"embedding {size} of {records.name}: {product}")
