"""Bootstrap of leads: what a slow network says of a lead is predicted from another view of it, and from other leads.

The objective of BELL (Liu et al. 2024, doi:10.1016/j.cmpb.2024.108452), a BYOL (arXiv:2006.07733) for encoders with a
branch for each lead: mean squared errors of unit vectors (2 - 2 cos) within leads and between leads, no negatives. The
paper's abstract, which is what is public, gives no sizes: momentum and the kind of heads are BYOL's, the heads
narrower, as a lead's embedding is; views are those of `Augmentation` without silenced leads; each pair of different
leads counts the same, and so do the two errors.

Other encoders than lead_branches are shown one lead at a time, `leads` of each recording.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.byol import momentum_at
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.objectives.parts.lead_views import draw_leads, lead_embeddings
from ecgjax.objectives.parts.masking import seen_whole
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import ProjectionHead, check_same_end
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class LeadBootstrap:
    """Settings of pre-training by bootstrap of leads."""

    inter: float = 1.0
    """Weight of the error between leads; that within leads has 1."""
    momentum: float = 0.996
    """Share of itself that the slow network keeps at each step; goes to 1 along a cosine."""
    projection: tuple[int, ...] = (512, 128)
    """Widths of the projection head's layers; the heads are thrown away after pre-training."""
    prediction: tuple[int, ...] = (512, 128)
    """Widths of the predictor's layers; the last as the projection's."""
    leads: int = 2
    """Leads of a recording that are compared, for encoders without embeddings of single leads."""
    augmentation: Augmentation = Augmentation(lead_mask=0.0)
    """What makes the two views of a recording differ."""

    examples = "single"

    def __post_init__(self):
        check_same_end(self.projection, self.prediction)
        if not (0 <= self.momentum < 1 and self.inter >= 0 and self.leads >= 2):
            raise InputError(
                f"momentum {self.momentum}, inter {self.inter}, leads {self.leads}: give a momentum from 0 to below 1, "
                f"a weight of 0 or more and at least 2 leads"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        leads = draw_leads(encoder, key, signal, self.leads)
        variables = dict(self._network(encoder).init(key, signal, leads, predict=True, train=False))
        return variables | {"slow": {"params": _followed_parts(variables["params"])}}

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Errors within and between leads.

        Of batch: signal int16 [recording, time, lead]; progress, the share of the run that is done.
        """
        lead_key, *view_keys = jax.random.split(key, 3)
        signal = preprocess(batch["signal"])
        views = [
            self.augmentation.views(signal, key, rate_hz=preprocess.rate_hz) for key in view_keys
        ]
        both = jnp.stack(views, axis=1).reshape(-1, *views[0].shape[1:])
        leads = jnp.repeat(draw_leads(encoder, lead_key, signal, self.leads), 2, axis=0)

        keep = momentum_at(batch["progress"], first=self.momentum)
        slow = ema_update(variables["slow"]["params"], _followed_parts(variables["params"]), keep)
        own = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
        network = self._network(encoder)

        def say(variables: dict, *, predict: bool):
            """[recording, view, lead, dimension] of the views by the network with these variables."""
            said, updates = network.apply(
                variables, both, leads, predict=predict, train=True, mutable=["batch_stats"]
            )
            return said.reshape(len(signal), 2, *said.shape[1:]), updates

        predicted, updates = say(own, predict=True)
        target = jax.lax.stop_gradient(say({**own, "params": slow}, predict=False)[0][:, ::-1])
        within, between = lead_errors(predicted, target)
        metrics, whole = seen_whole(encoder, own, signal)
        updates = {name: {**tree, **whole.get(name, {})} for name, tree in updates.items()}
        metrics |= {"intra_lead": within, "inter_lead": between}
        return 2 * (within + self.inter * between), (metrics, {**updates, "slow": {"params": slow}})

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _Predicting(encoder, self.projection, self.prediction)


def lead_errors(predicted: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean squared errors of unit vectors, 2 - 2 cos (arXiv:2006.07733, eq. 2), within and between leads.

    Args:
      predicted: [..., lead, dimension].
      target: the same shape.

    Returns:
      The means over a lead and itself, and over all ordered pairs of different leads of a recording.
    """
    predicted, target = unit_length(predicted), unit_length(target)
    same = (predicted * target).sum(-1)
    # All pairs at once: a sum over leads of products is a product of sums.
    everything = (predicted.sum(-2) * target.sum(-2)).sum(-1)
    pairs = predicted.shape[-2] * (predicted.shape[-2] - 1)
    return 2 - 2 * same.mean(), 2 - 2 * (everything - same.sum(-1)).mean() / pairs


def _followed_parts(params: dict) -> dict:
    return {name: params[name] for name in ("encoder", "projector")}


class _Predicting(nn.Module):
    """An encoder, and the heads on its embeddings of single leads."""

    encoder: nn.Module
    projection: tuple[int, ...]
    prediction: tuple[int, ...]

    @nn.compact
    def __call__(
        self, signal: jax.Array, leads: jax.Array, *, predict: bool, train: bool
    ) -> jax.Array:
        """[batch, time, lead] and int [batch, count] -> predictions, or else projections, [batch, count, dimension]."""
        hidden = lead_embeddings(self.encoder, signal, leads, train=train)
        hidden = ProjectionHead(self.projection, batch_norm=True, name="projector")(
            hidden, train=train
        )
        if not predict:
            return hidden
        return ProjectionHead(self.prediction, batch_norm=True, name="predictor")(
            hidden, train=train
        )
