"""Heads on encoders: the network, the names and kinds of its outputs, and its predictions."""

import dataclasses
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logit

from ecgjax.errors import InputError

Kind = Literal["labels", "classes", "numbers"]


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Names and kind of the outputs of a head; saved with it.

    Targets are float32 [recording, output]. NaN means that a recording has no label for this
    output.
    """

    target: str
    """Name of the task, or of the column of the user's own targets."""
    kind: Kind
    """labels: each present (1) or absent (0), independent of the others; classes: exactly one of
    them present; numbers: quantities in their own units."""
    names: tuple[str, ...]
    """Name of each output."""
    means: tuple[float, ...] = ()
    """Mean of the training targets of each output, for numbers. A head predicts deviations."""
    scales: tuple[float, ...] = ()
    """Standard deviation of the training targets of each output, for numbers."""
    thresholds: tuple[float, ...] = ()
    """Probability from which on each output counts as present, for labels; chosen on the validation
    split, empty if none was chosen."""

    def __post_init__(self):
        if self.kind not in get_args(Kind):
            raise InputError(f"outputs of kind {self.kind!r}; give {', '.join(get_args(Kind))}")
        if not self.names or len(set(self.names)) < len(self.names):
            given = " ".join(self.names) or "(none)"
            raise InputError(f"{self.target}: outputs {given}; give one or more, each once")
        for name in ("means", "scales", "thresholds"):
            if len(getattr(self, name)) not in (0, len(self.names)):
                raise InputError(f"{self.target}: {name} {getattr(self, name)}; give one each")

    def __len__(self) -> int:
        return len(self.names)

    def activate(self, logits: jax.Array) -> jax.Array:
        """Turns logits float32 [..., output] into probabilities, or numbers in their own units."""
        if self.kind == "labels":
            return jax.nn.sigmoid(logits)
        if self.kind == "classes":
            return jax.nn.softmax(logits)
        if not self.means:
            return logits
        means = jnp.broadcast_to(jnp.asarray(self.means), logits.shape)
        return means + jnp.broadcast_to(jnp.asarray(self.scales), logits.shape) * logits

    def fitted(self, targets: np.ndarray) -> "Outputs":
        """Returns these outputs with means and scales of training targets, if they are numbers.

        A number that is the same in all recordings has the scale 1.

        Args:
          targets: float32 [recording, output], with NaN where there is no label.

        Raises:
          InputError: an output has no number at all.
        """
        if self.kind != "numbers":
            return self
        for name, column in zip(self.names, targets.T, strict=True):
            if np.isnan(column).all():
                raise InputError(f"{self.target}: no training recording has a {name}; leave it out")
        columns = np.asarray(targets, np.float64).T
        means = tuple(float(np.nanmean(column)) for column in columns)
        scales = tuple(float(np.nanstd(column)) or 1.0 for column in columns)
        return dataclasses.replace(self, means=means, scales=scales)

    def standardise(self, targets: Any) -> Any:
        """Returns what the head learns: numbers less their mean, in units of their scale."""
        if self.kind != "numbers":
            return targets
        means = jnp.broadcast_to(jnp.asarray(self.means), targets.shape)
        return (targets - means) / jnp.broadcast_to(jnp.asarray(self.scales), targets.shape)

    def start_bias(self, targets: np.ndarray) -> np.ndarray:
        """Returns the bias with which a head whose weights are 0 predicts the mean of the targets.

        A step of Adam changes a bias by about the learning rate. From 0, thousands of steps would
        mainly learn how rare each label is (Lin et al. 2017, arXiv:1708.02002).

        Args:
          targets: float32 [recording, output], with NaN where there is no label.

        Returns:
          float32 [output]: the log-odds of labels, the log-probabilities of classes; 0 for numbers,
          which a head predicts as deviations from their mean.
        """
        if self.kind == "numbers":
            return np.zeros(len(self), np.float32)
        share = smoothed_shares(targets)
        bias = logit(share) if self.kind == "labels" else np.log(share)
        return bias.astype(np.float32)

    def to_config(self) -> dict[str, Any]:
        """Returns the fields as JSON takes them."""
        fields = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Outputs":
        """Restores what `to_config` returned."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in config.items()
        }
        return cls(**fields)


def smoothed_shares(targets: np.ndarray) -> np.ndarray:
    """Returns the share of recordings with each label, never 0 or 1.

    It is (cases + 0.5) / (known + 1): a label that no recording has may still occur in others.

    Args:
      targets: 0 or 1, or NaN where there is no label, [recording, class].
    """
    known = (~np.isnan(targets)).sum(axis=0)
    cases = np.nansum(np.asarray(targets, np.float64), axis=0)
    return (cases + 0.5) / (known + 1)


class EncoderWithHead(nn.Module):
    """Encoder, standardised embedding, dropout, and a linear layer with one logit per output.

    With `queries`, the head reads the standardised tokens, which the queries pool, in place of the
    embedding.
    """

    encoder: nn.Module
    outputs: int
    dropout: float = 0.0
    fixed_norm: bool = False
    """Keep the standardisation in training, too."""
    queries: int = 0
    """Number of queries; 0: the embedding is read."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """Turns signals float32 [batch, time, lead] into logits float32 [batch, output]."""
        tokens, embedding = self.encoder(signal, train=train)
        features = merge_tokens(tokens) if self.queries else embedding
        # Without scale and bias: the mean and deviation of a linear probe are inserted unchanged.
        norm = nn.BatchNorm(
            use_running_average=self.fixed_norm or not train,
            momentum=0.9,
            epsilon=1e-8,
            use_scale=False,
            use_bias=False,
            name="norm",
        )
        hidden = norm(features.astype(jnp.float32))
        if self.queries:
            hidden = QueryAttention(self.queries, name="attention")(hidden)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros, name="head")(hidden)


class QueryAttention(nn.Module):
    """Learned queries, each of which pools the tokens of a window by its own attention.

    It is the head of the frozen encoders in the benchmark of ECG foundation models (ICLR 2026,
    arXiv:2509.25095): multi-head attention with one learned query (Bardes et al. 2024, V-JEPA,
    arXiv:2404.08471). There the query and the keys of a head have a projection each. Only their
    product matters, which is the query here. Values are projected after pooling: both are linear.
    """

    queries: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Pools tokens float32 [batch, time, width] to [batch, queries * (width // queries)]."""
        width = tokens.shape[-1]
        share = max(1, width // self.queries)
        # The start is the mean over time: equal weights, and for each query its share of features.
        query = self.param("query", nn.initializers.zeros, (self.queries, width))
        value = self.param("value", _shares_of_features, (self.queries, width, share))
        weights = jax.nn.softmax(jnp.einsum("btw,qw->bqt", tokens, query) / width**0.5)
        pooled = jnp.einsum("bqt,btw->bqw", weights, tokens)
        return jnp.einsum("bqw,qwv->bqv", pooled, value).reshape(len(tokens), -1)


def _shares_of_features(key: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    """Returns values by which each query passes on its share of the features.

    Args:
      key: not needed; all initialisers have one.
      shape: [query, width, share].
    """
    queries, width, share = shape
    feature = np.arange(width)
    passed = (np.arange(queries)[:, None] * share + np.arange(share)) % width
    return jnp.asarray(passed[:, None, :] == feature[None, :, None], jnp.float32)


MOST_TOKENS = 32
"""Largest number of tokens of a window that queries attend over, 80 ms each in 2.5 s."""


def merge_tokens(tokens: jax.Array) -> jax.Array:
    """Averages neighbouring tokens so that at most `MOST_TOKENS` are left.

    Args:
      tokens: [batch, time, width].

    Returns:
      float32 [batch, time', width], of which all but the last are averages of equally many.
    """
    time = tokens.shape[1]
    group = -(-time // MOST_TOKENS)
    tokens = tokens.astype(jnp.float32)
    if group == 1:
        return tokens
    member = np.arange(time) // group == np.arange(-(-time // group))[:, None]
    means = (member / member.sum(1, keepdims=True)).astype(np.float32)
    return jnp.einsum("gt,btw->bgw", means, tokens, precision="highest")


def query_count(variables: dict) -> int:
    """Returns the number of queries of a head or of `EncoderWithHead`; 0 without attention."""
    attention = variables["params"].get("attention")
    return 0 if attention is None else attention["query"].shape[0]


def join(encoder: dict, head: dict) -> dict:
    """Joins the variables of an encoder and of a head to those of `EncoderWithHead`."""
    return {
        name: {"encoder": encoder.get(name, {}), **head.get(name, {})}
        for name in {**encoder, **head}
    }


def separate(variables: dict) -> tuple[dict, dict]:
    """Returns the variables of the encoder and those of the head; inverse of `join`."""
    encoder = {name: tree["encoder"] for name, tree in variables.items() if tree.get("encoder")}
    head = {
        name: {part: value for part, value in tree.items() if part != "encoder"}
        for name, tree in variables.items()
    }
    return encoder, head
