"""BYOL: predicts the target network's projection of one view from another view, without negatives.

Grill et al. 2020 (arXiv:2006.07733): an online network (encoder, projection head, predictor) and a
target network (encoder, projection head), which is an EMA of the online network. The EMA decay
rises from 0.996 to 1 on a cosine schedule. The heads of 4096 and 256 with batch normalisation are
those of the paper; Mehari & Strodthoff 2022 (arXiv:2103.12676), whose augmentation this is, used
them with ECGs. Both views pass through the network as one batch, so they share batch statistics.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import MEHARI_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.objectives.parts.microbatches import encode_in_microbatches
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import (
    ProjectedEncoder,
    ProjectionHead,
    check_same_output,
)
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Byol:
    """Settings of BYOL."""

    momentum: float = 0.996
    """Initial EMA decay of the target network; it rises to 1 on a cosine schedule."""
    projection: tuple[int, ...] = (4096, 256)
    """Widths of the projection head's layers."""
    prediction: tuple[int, ...] = (4096, 256)
    """Widths of the predictor's layers; the last one equals the projection head's."""
    augmentation: Augmentation = MEHARI_VIEWS
    """Augmentation that makes the two views of a recording."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the
    whole batch."""

    examples = "single"

    def __post_init__(self):
        check_same_output(self.projection, self.prediction)
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum {self.momentum}: give one from 0 to below 1")

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        variables = dict(self._online(encoder).init(key, signal, train=False))
        return {**variables, "slow": {"params": _target_params(variables["params"])}}

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the loss of both predictions of each recording; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead], and "progress".
        """
        params = variables["params"]
        decay = ema_decay_at(batch["progress"], initial=self.momentum)
        average = {"params": ema_update(variables["slow"]["params"], _target_params(params), decay)}
        target_network = ProjectedEncoder(encoder=encoder, widths=self.projection, batch_norm=True)

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> embeddings by name, and updates of batch statistics."""
            recordings = preprocess(signal)
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz, each=2)
            options = {"train": True, "mutable": ["batch_stats"]}
            statistics = {name: variables[name] for name in ("batch_stats",) if name in variables}
            (embedding, predicted), updates = self._online(encoder).apply(
                {"params": params, **statistics}, views, **options
            )
            (_, target), _ = target_network.apply({**average, **statistics}, views, **options)
            encoded = {
                "embedding": embedding,
                "predicted": predicted.reshape(len(signal), 2, -1),
                "target": target.reshape(len(signal), 2, -1),
            }
            return encoded, updates

        encoded, updates = encode_in_microbatches(
            encode, batch["signal"], key, size=self.microbatch
        )
        loss = byol_loss(encoded["predicted"], encoded["target"])
        metrics = {"target_cosine": 1 - loss / 4} | collapse_metrics(encoded["embedding"])
        return loss, (metrics, {**updates, "slow": average})

    def _online(self, encoder: nn.Module) -> nn.Module:
        return _OnlineNetwork(
            encoder=encoder, projection=self.projection, prediction=self.prediction
        )


def byol_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """Returns 2 - 2 cos(prediction, target of the other view), summed over both views.

    The formula is eq. 2 of arXiv:2006.07733.

    Args:
      predicted: [recording, 2, width], predictions from each view.
      target: [recording, 2, width], target projections of each view; they get no gradient.

    Returns:
      The mean over recordings.
    """
    other_view = jax.lax.stop_gradient(unit_length(target))[:, ::-1]
    return (2 - 2 * (unit_length(predicted) * other_view).sum(-1)).sum(1).mean()


def ema_decay_at(progress: float | jax.Array, *, initial: float) -> jax.Array:
    """Returns the EMA decay on a cosine schedule: `initial` at progress 0, and 1 at progress 1."""
    return 1 - (1 - initial) * (jnp.cos(jnp.pi * progress) + 1) / 2


def _target_params(params: dict) -> dict:
    return {name: part for name, part in params.items() if name != "predictor"}


class _OnlineNetwork(nn.Module):
    """Encoder, projection head and predictor."""

    encoder: nn.Module
    projection: tuple[int, ...]
    prediction: tuple[int, ...]

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> embedding [batch, dimension], prediction [batch, width]."""
        _, embedding = self.encoder(signal, train=train)
        projector = ProjectionHead(self.projection, batch_norm=True, name="projector")
        projected = projector(embedding, train=train)
        predictor = ProjectionHead(self.prediction, batch_norm=True, name="predictor")
        return embedding, predictor(projected, train=train)
