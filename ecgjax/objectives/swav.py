"""SwAV: crops of one recording predict each other's cluster, and clusters are used equally often.

Caron et al. 2020 (arXiv:2006.09882) in the form of Mehari & Strodthoff 2022 (arXiv:2103.12676):
3,000 prototypes (cluster centres) and two large crops of 2.5 s. Three iterations of Sinkhorn-Knopp
with epsilon 0.05 over the global batch assign the large crops to prototypes (their codes). All
eight crops predict the codes with temperature 0.1. The length of the six small crops is not
published; here it is half of a large one's, because the paper's small images have about half the
side. The head of 2048 and 128 with batch normalisation is that of the paper.

A queue of earlier projections helps if the batch is small compared to the number of prototypes. Its
entries take part in the assignment and nowhere else. Mehari & Strodthoff: 8 batches, from epoch 15
of 2,000 on. The prototypes are scaled to unit length when they are used, and learn from the first
step on (the paper's code freezes them for 313 steps).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import MEHARI_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.multi_crop import LONG_CROPS, crop_kinds, encode_crops
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Swav:
    """Settings of SwAV."""

    prototypes: int = 3000
    """Number of prototypes (clusters)."""
    temperature: float = 0.1
    """Temperature of the predictions; it divides the cosine similarities to prototypes."""
    epsilon: float = 0.05
    """Entropy weight of Sinkhorn-Knopp: the softness of the codes. Near 0 a code is one
    prototype."""
    sinkhorn_rounds: int = 3
    """Iterations of Sinkhorn-Knopp."""
    projection: tuple[int, ...] = (2048, 128)
    """Widths of the projection head's layers."""
    augmentation: Augmentation = MEHARI_VIEWS
    """Augmentation of the crops; its crop_s is the length of the two large ones."""
    small_crops: int = 6
    """Number of small crops, which predict codes and have none of their own."""
    small_crop_s: float = 1.25
    """Length of a small crop in seconds."""
    queue: int = 0
    """Length of the queue, in recordings of earlier batches that take part in the assignment; 0: no
    queue."""
    queue_from: float = 0.0075
    """Progress of the run, as a share, from which the queue is used."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the
    whole batch."""

    examples = "single"

    def __post_init__(self):
        check_widths(projection=self.projection)
        positive = (
            self.temperature,
            self.epsilon,
            self.small_crop_s,
            self.sinkhorn_rounds,
            self.prototypes - 1,
        )
        valid = all(value > 0 for value in positive) and min(self.small_crops, self.queue) >= 0
        if not (valid and 0 <= self.queue_from <= 1):
            raise InputError(
                f"{self}: give a temperature, epsilon, small_crop_s and sinkhorn_rounds above 0, "
                f"two prototypes or more, nothing negative, and queue_from as a share of the run"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        network_key, prototype_key = jax.random.split(key)
        variables = dict(self._network(encoder).init(network_key, signal, train=False))
        width = self.projection[-1]
        prototypes = unit_length(jax.random.normal(prototype_key, (self.prototypes, width)))
        variables["params"] = {**variables["params"], "prototypes": prototypes}
        if self.queue:
            variables["queue"] = {"projection": jnp.zeros((self.queue, 2, width))}
        return variables

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the swapped-prediction loss of crops of each recording; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead], and "progress".
        """

        kinds = crop_kinds(
            self.augmentation, small_crops=self.small_crops, small_crop_s=self.small_crop_s
        )
        embedding, crops, updates = encode_crops(
            self._network(encoder),
            variables,
            batch["signal"],
            key,
            kinds,
            preprocess=preprocess,
            microbatch=self.microbatch,
        )
        crops = unit_length(crops)
        prototypes = unit_length(variables["params"]["prototypes"])
        large = crops[:, :LONG_CROPS]
        queue = variables["queue"]["projection"] if self.queue else jnp.zeros((0, *large.shape[1:]))
        used = jnp.square(queue).sum((1, 2)) > 0  # not the empty entries
        if self.queue:
            used &= batch["progress"] >= self.queue_from
            newest = jnp.concatenate([jax.lax.stop_gradient(large), queue])[: self.queue]
            updates = {**updates, "queue": {"projection": newest}}
        projections = jnp.concatenate([large, queue])
        used = jnp.concatenate([jnp.ones(len(large), bool), used])
        codes = self._codes(projections, used, prototypes)[: len(large)]
        loss, shares = swapped_prediction(crops, prototypes, codes, temperature=self.temperature)
        metrics = {"prototypes_used": jnp.exp(_entropy(shares.mean((0, 1))))}
        return loss, (metrics | collapse_metrics(embedding), updates)

    def _codes(self, projections: jax.Array, used: jax.Array, prototypes: jax.Array) -> jax.Array:
        """[recording, 2, width] -> codes [recording, 2, prototype]; each crop is assigned alone."""
        scores = jax.lax.stop_gradient(
            jnp.einsum("rcw,pw->crp", projections, prototypes, precision="highest")
        )
        options = {"epsilon": self.epsilon, "rounds": self.sinkhorn_rounds}
        return jnp.stack([sinkhorn(crop, used, **options) for crop in scores], axis=1)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return ProjectedEncoder(encoder=encoder, widths=self.projection, batch_norm=True)


def sinkhorn(scores: jax.Array, used: jax.Array, *, epsilon: float, rounds: int) -> jax.Array:
    """Assigns rows to prototypes by their scores, so that all prototypes are used about equally.

    Args:
      scores: float32 [row, prototype], similarities.
      used: bool [row]; the other rows are not assigned.
      epsilon: weight of the entropy, the softness of the codes.
      rounds: iterations of the Sinkhorn-Knopp algorithm.

    Returns:
      Codes [row, prototype]; those of a used row sum to 1.
    """
    # Logarithms throughout: with a small epsilon most codes are too small for a float32.
    logits = scores / epsilon
    for _ in range(rounds):
        logits = jnp.where(used[:, None], logits, -1e30)
        logits -= jax.nn.logsumexp(logits, axis=0, keepdims=True)
        logits -= jax.nn.logsumexp(logits, axis=1, keepdims=True)
    return jnp.exp(logits) * used[:, None]


def swapped_prediction(
    crops: jax.Array, prototypes: jax.Array, codes: jax.Array, *, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """Cross entropy of each large crop's code and the predictions of all other crops.

    The formulas are eq. 2 and 6 of arXiv:2006.09882.

    Args:
      crops: unit vectors [recording, crop, width], the two large ones first.
      prototypes: unit vectors [prototype, width].
      codes: [recording, 2, prototype], codes of the large crops.
      temperature: divides the similarities.

    Returns:
      The mean over recordings and pairs of crops, and the predicted probabilities [recording, crop,
      prototype].
    """
    products = jnp.einsum("rcw,pw->rcp", crops, prototypes, precision="highest")
    log_shares = jax.nn.log_softmax(products / temperature)
    crossed = -jnp.einsum("rlp,rcp->lc", codes, log_shares, precision="highest") / len(crops)
    others = 1 - jnp.eye(2, crops.shape[1])
    return (crossed * others).sum() / others.sum(), jnp.exp(log_shares)


def _entropy(shares: jax.Array) -> jax.Array:
    return -(shares * jnp.log(shares + 1e-12)).sum()
