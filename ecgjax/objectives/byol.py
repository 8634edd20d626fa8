"""BYOL: from one view of a recording foretell what a slowly following network makes of the other. No negatives.

Grill et al. 2020 (arXiv:2006.07733): an online network (encoder, projector, predictor) and a target (encoder,
projector) that is its moving average; the share that the target keeps rises from 0.996 to 1 along a cosine. Heads of
4096 and 256 with batch normalisation are that paper's; Mehari & Strodthoff 2022 (arXiv:2103.12676), whose views these
are, used them with ECGs. Both views pass the network as one batch, so they share batch statistics.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import MEHARI_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.objectives.parts.microbatches import in_microbatches
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, ProjectionHead, check_same_end
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Byol:
    """Settings of BYOL."""

    momentum: float = 0.996
    """Share of itself that the target keeps at the first step; it rises to 1 along a cosine."""
    projection: tuple[int, ...] = (4096, 256)
    """Widths of the projection head's layers."""
    prediction: tuple[int, ...] = (4096, 256)
    """Widths of the predictor's layers; the last is the projection's."""
    augmentation: Augmentation = MEHARI_VIEWS
    """What makes two views of a recording differ."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the whole batch."""

    examples = "single"

    def __post_init__(self):
        check_same_end(self.projection, self.prediction)
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum {self.momentum}: give one from 0 to below 1")

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        variables = dict(self._online(encoder).init(key, signal, train=False))
        return {**variables, "slow": {"params": _without_predictor(variables["params"])}}

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Both predictions for two views of each recording: batch["signal"] int16 [recording, time, lead]."""
        params, keep = variables["params"], momentum_at(batch["progress"], first=self.momentum)
        slow = {"params": ema_update(variables["slow"]["params"], _without_predictor(params), keep)}
        target = ProjectedEncoder(encoder=encoder, widths=self.projection, batch_norm=True)

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> {"embedding": [2 * recording, width], the others: [recording, 2, width]}."""
            recordings = preprocess(signal)
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz, each=2)
            how = {"train": True, "mutable": ["batch_stats"]}
            statistics = {name: variables[name] for name in ("batch_stats",) if name in variables}
            (embedding, predicted), updates = self._online(encoder).apply(
                {"params": params, **statistics}, views, **how
            )
            (_, aim), _ = target.apply({**slow, **statistics}, views, **how)
            predicted, aim = (part.reshape(len(signal), 2, -1) for part in (predicted, aim))
            return {"embedding": embedding, "predicted": predicted, "aim": aim}, updates

        found, updates = in_microbatches(encode, batch["signal"], key, size=self.microbatch)
        loss = bootstrap(found["predicted"], found["aim"])
        metrics = {"target_cosine": 1 - loss / 4} | collapse_metrics(found["embedding"])
        return loss, (metrics, {**updates, "slow": slow})

    def _online(self, encoder: nn.Module) -> nn.Module:
        return _Online(encoder=encoder, projection=self.projection, prediction=self.prediction)


def bootstrap(predicted: jax.Array, aim: jax.Array) -> jax.Array:
    """Of [recording, 2, width]: 2 - 2 cos of each view's prediction and the other's aim, summed over both ways.

    The mean over recordings; `aim` gets no gradient (arXiv:2006.07733, eq. 2).
    """
    other = jax.lax.stop_gradient(unit_length(aim))[:, ::-1]
    return (2 - 2 * (unit_length(predicted) * other).sum(-1)).sum(1).mean()


def momentum_at(progress: float | jax.Array, *, first: float) -> jax.Array:
    """Share that a slow network keeps: `first` at the run's start, 1 at its end, between them half a cosine."""
    return 1 - (1 - first) * (jnp.cos(jnp.pi * progress) + 1) / 2


def _without_predictor(params: dict) -> dict:
    return {name: part for name, part in params.items() if name != "predictor"}


class _Online(nn.Module):
    """Encoder, projection head and predictor; what the last makes is compared."""

    encoder: nn.Module
    projection: tuple[int, ...]
    prediction: tuple[int, ...]

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        _, embedding = self.encoder(signal, train=train)
        projected = ProjectionHead(self.projection, batch_norm=True, name="projector")(
            embedding, train=train
        )
        return embedding, ProjectionHead(self.prediction, batch_norm=True, name="predictor")(
            projected, train=train
        )
