"""Lead bootstrap: predicts a target network's embedding of a lead from other views and other leads.

This is the objective of BELL (Liu et al. 2024, doi:10.1016/j.cmpb.2024.108452), a BYOL
(arXiv:2006.07733) for encoders with one branch per lead. The loss is the mean squared error of unit
vectors (2 - 2 cos), within leads and between leads, without negatives. Only the abstract of the
paper is public, and it gives no sizes. Momentum and kind of heads are therefore BYOL's, and the
heads are narrower, like the embedding of a lead. The views are those of `Augmentation` without
masked leads. All pairs of different leads have the same weight, and so have the two losses.

lead_branches embeds all leads at once. Other encoders get one lead at a time, `leads` per
recording.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import OFF, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.byol import ema_decay_at
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.objectives.parts.lead_views import draw_leads, lead_embeddings
from ecgjax.objectives.parts.masking import encode_unmasked
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import ProjectionHead, check_same_output
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class LeadBootstrap:
    """Settings of pre-training by lead bootstrap."""

    inter: float = 1.0
    """Weight of the loss between leads; the loss within leads has weight 1."""
    momentum: float = 0.996
    """Initial EMA decay of the target network; it rises to 1 on a cosine schedule."""
    projection: tuple[int, ...] = (512, 128)
    """Widths of the projection head's layers; the heads are discarded after pre-training."""
    prediction: tuple[int, ...] = (512, 128)
    """Widths of the predictor's layers; the last one equals the projection head's."""
    leads: int = 2
    """Leads that are compared per recording, for encoders without embeddings of single leads."""
    augmentation: Augmentation = dataclasses.replace(
        OFF, crop_s=2.5, gain=0.2, noise_mv=0.02, wander_mv=0.1, time_out=0.25
    )
    """Augmentation that makes the two views of a recording."""

    examples = "single"

    def __post_init__(self):
        check_same_output(self.projection, self.prediction)
        if not (0 <= self.momentum < 1 and self.inter >= 0 and self.leads >= 2):
            raise InputError(
                f"momentum {self.momentum}, inter {self.inter}, leads {self.leads}: give a "
                f"momentum from 0 to below 1, a weight of 0 or more and at least 2 leads"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        leads = draw_leads(encoder, key, signal, self.leads)
        variables = dict(self._network(encoder).init(key, signal, leads, predict=True, train=False))
        return variables | {"slow": {"params": _target_params(variables["params"])}}

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the losses within and between leads, weighted; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead], and "progress".
        """
        lead_key, *view_keys = jax.random.split(key, 3)
        signal = preprocess(batch["signal"])
        views = [
            self.augmentation.views(signal, view_key, rate_hz=preprocess.rate_hz)
            for view_key in view_keys
        ]
        both = jnp.stack(views, axis=1).reshape(-1, *views[0].shape[1:])
        leads = jnp.repeat(draw_leads(encoder, lead_key, signal, self.leads), 2, axis=0)

        decay = ema_decay_at(batch["progress"], initial=self.momentum)
        average = ema_update(
            variables["slow"]["params"], _target_params(variables["params"]), decay
        )
        own = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
        network = self._network(encoder)

        def project(variables: dict, *, predict: bool):
            """Outputs of the network for both views [recording, view, lead, dimension]."""
            outputs, updates = network.apply(
                variables, both, leads, predict=predict, train=True, mutable=["batch_stats"]
            )
            return outputs.reshape(len(signal), 2, *outputs.shape[1:]), updates

        predicted, updates = project(own, predict=True)
        projected, _ = project({**own, "params": average}, predict=False)
        target = jax.lax.stop_gradient(projected[:, ::-1])  # of the other view
        within, between = lead_losses(predicted, target)
        metrics, unmasked = encode_unmasked(encoder, own, signal)
        updates = {name: {**tree, **unmasked.get(name, {})} for name, tree in updates.items()}
        metrics |= {"intra_lead": within, "inter_lead": between}
        loss = 2 * (within + self.inter * between)
        return loss, (metrics, {**updates, "slow": {"params": average}})

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _LeadBootstrapNetwork(encoder, self.projection, self.prediction)


def lead_losses(predicted: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared errors of unit vectors within and between leads: 2 - 2 cos (arXiv:2006.07733, eq. 2).

    Args:
      predicted: [..., lead, dimension].
      target: target projections of the same shape.

    Returns:
      The mean over leads, and the mean over all ordered pairs of different leads of a recording.
    """
    predicted = unit_length(predicted)
    target = unit_length(target)
    same = (predicted * target).sum(-1)
    # The sum of the products of all pairs is the product of the two sums.
    all_pairs = (predicted.sum(-2) * target.sum(-2)).sum(-1)
    pairs = predicted.shape[-2] * (predicted.shape[-2] - 1)
    return 2 - 2 * same.mean(), 2 - 2 * (all_pairs - same.sum(-1)).mean() / pairs


def _target_params(params: dict) -> dict:
    return {name: params[name] for name in ("encoder", "projector")}


class _LeadBootstrapNetwork(nn.Module):
    """An encoder, and the heads on its embeddings of single leads."""

    encoder: nn.Module
    projection: tuple[int, ...]
    prediction: tuple[int, ...]

    @nn.compact
    def __call__(
        self, signal: jax.Array, leads: jax.Array, *, predict: bool, train: bool
    ) -> jax.Array:
        """Projects leads, int [batch, count], of a signal [batch, time, lead].

        Returns:
          Predictions if `predict`, otherwise projections, [batch, count, dimension].
        """
        embeddings = lead_embeddings(self.encoder, signal, leads, train=train)
        projector = ProjectionHead(self.projection, batch_norm=True, name="projector")
        projected = projector(embeddings, train=train)
        if not predict:
            return projected
        predictor = ProjectionHead(self.prediction, batch_norm=True, name="predictor")
        return predictor(projected, train=train)
