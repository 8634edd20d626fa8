"""Heads on encoders: the network, the names and kinds of its outputs, and its predictions."""

import dataclasses
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

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


class EncoderWithHead(nn.Module):
    """Encoder, standardised embedding, dropout, and a linear layer with one logit per output."""

    encoder: nn.Module
    outputs: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """Turns signals float32 [batch, time, lead] into logits float32 [batch, output]."""
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
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros, name="head")(hidden)


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
