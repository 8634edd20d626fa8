"""SwAV: views of one recording must agree on its prototypes, which all recordings of the batch share out equally.

Caron et al. 2020 (arXiv:2006.09882) in the form of Mehari & Strodthoff 2022 (arXiv:2103.12676): 3,000 prototypes, two
large crops of 2.5 s whose codes come from three rounds of Sinkhorn-Knopp with epsilon 0.05 over the global batch, and
which all eight crops foretell with temperature 0.1. The length of the six small crops is not known; half a large one's
here, as the paper's images have about half the side. Head of 2048 and 128 with batch normalisation, by the paper.

A queue of earlier projections helps batches that are small beside the number of prototypes: it takes part in sharing
them out and nowhere else. Mehari & Strodthoff: 8 batches, from 15 of 2,000 epochs on. Prototypes are scaled to unit
length where they are used, and learn from the first step on (the paper's code keeps them for 313 steps).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import MEHARI_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.microbatches import in_microbatches
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Swav:
    """Settings of SwAV."""

    prototypes: int = 3000
    """Clusters that recordings are shared out to."""
    temperature: float = 0.1
    """Cosine similarities to prototypes are divided by this."""
    epsilon: float = 0.05
    """Softness of the codes: 0 would give each crop to one prototype."""
    sinkhorn_rounds: int = 3
    """Times that prototypes, then crops are brought to equal shares."""
    projection: tuple[int, ...] = (2048, 128)
    """Widths of the projection head's layers."""
    augmentation: Augmentation = MEHARI_VIEWS
    """What makes crops of a recording differ; its crop_s is that of the two large ones."""
    small_crops: int = 6
    """Further crops, which foretell codes and have none."""
    small_crop_s: float = 1.25
    """Length of a small crop in seconds."""
    queue: int = 0
    """Recordings of earlier batches that share the prototypes too; 0: none."""
    queue_from: float = 0.0075
    """Share of the run that is done before the queue takes part."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the whole batch."""

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
        good = all(value > 0 for value in positive) and min(self.small_crops, self.queue) >= 0
        if not (good and 0 <= self.queue_from <= 1):
            raise InputError(
                f"{self}: give a temperature, epsilon, small_crop_s and sinkhorn_rounds above 0, two prototypes or "
                f"more, nothing negative, and queue_from as a share of the run"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        network_key, prototype_key = jax.random.split(key)
        variables = dict(self._network(encoder).init(network_key, signal, train=False))
        width = self.projection[-1]
        prototypes = unit_length(jax.random.normal(prototype_key, (self.prototypes, width)))
        variables["params"] = {**variables["params"], "prototypes": prototypes}
        return variables | (
            {"queue": {"projection": jnp.zeros((self.queue, 2, width))}} if self.queue else {}
        )

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Swapped prediction of crops of each recording: batch["signal"] int16 [recording, time, lead]."""

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> {"embedding": [2 * recording, width], "crops": [recording, crop, width]}."""
            recordings, state, crops = preprocess(signal), variables, []
            for augmentation, each in self._crops():
                key, view_key = jax.random.split(key)
                views = augmentation.views(
                    recordings, view_key, rate_hz=preprocess.rate_hz, each=each
                )
                found, updates = self._network(encoder).apply(
                    state, views, train=True, mutable=["batch_stats"]
                )
                state = {**variables, **updates}
                crops.append((found[0], unit_length(found[1]).reshape(len(signal), each, -1)))
            return {
                "embedding": crops[0][0],
                "crops": jnp.concatenate([crop for _, crop in crops], axis=1),
            }, updates

        found, updates = in_microbatches(encode, batch["signal"], key, size=self.microbatch)
        prototypes, large = unit_length(variables["params"]["prototypes"]), found["crops"][:, :2]
        waiting = (
            variables["queue"]["projection"] if self.queue else jnp.zeros((0, *large.shape[1:]))
        )
        take_part = jnp.square(waiting).sum((1, 2)) > 0  # not those that are still empty
        if self.queue:
            take_part &= batch["progress"] >= self.queue_from
            newest = jnp.concatenate([jax.lax.stop_gradient(large), waiting])[: self.queue]
            updates = {**updates, "queue": {"projection": newest}}
        among = (
            jnp.concatenate([large, waiting]),
            jnp.concatenate([jnp.ones(len(large), bool), take_part]),
        )
        codes = self._codes(*among, prototypes)[: len(large)]
        loss, shares = swapped_prediction(
            found["crops"], prototypes, codes, temperature=self.temperature
        )
        metrics = {"prototypes_used": jnp.exp(_entropy(shares.mean((0, 1))))} | collapse_metrics(
            found["embedding"]
        )
        return loss, (metrics, updates)

    def _crops(self) -> list[tuple[Augmentation, int]]:
        """Recipes of crops, and how many there are of each."""
        small = dataclasses.replace(self.augmentation, crop_s=self.small_crop_s)
        return [(self.augmentation, 2)] + [(small, self.small_crops)] * bool(self.small_crops)

    def _codes(
        self, projections: jax.Array, take_part: jax.Array, prototypes: jax.Array
    ) -> jax.Array:
        """[recording, 2, width] -> [recording, 2, prototype]; each of the two crops is shared out by itself."""
        scores = jax.lax.stop_gradient(
            jnp.einsum("rcw,pw->crp", projections, prototypes, precision="highest")
        )
        how = {"epsilon": self.epsilon, "rounds": self.sinkhorn_rounds}
        return jnp.stack([sinkhorn(one, take_part, **how) for one in scores], axis=1)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return ProjectedEncoder(encoder=encoder, widths=self.projection, batch_norm=True)


def sinkhorn(scores: jax.Array, take_part: jax.Array, *, epsilon: float, rounds: int) -> jax.Array:
    """Codes: how rows share out to prototypes by their scores, so that all prototypes get about as much.

    Args:
      scores: float32 [row, prototype], similarities.
      take_part: bool [row]; others get nothing.
      epsilon: softness, the entropy's weight.
      rounds: iterations of the Sinkhorn-Knopp algorithm.

    Returns:
      [row, prototype]; a row that takes part sums to 1.
    """
    logits = (
        scores / epsilon
    )  # logarithms throughout: with a small epsilon most shares are too small for a float32
    for _ in range(rounds):
        logits = jnp.where(take_part[:, None], logits, -1e30)
        logits -= jax.nn.logsumexp(logits, axis=0, keepdims=True)
        logits -= jax.nn.logsumexp(logits, axis=1, keepdims=True)
    return jnp.exp(logits) * take_part[:, None]


def swapped_prediction(
    crops: jax.Array, prototypes: jax.Array, codes: jax.Array, *, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """Cross entropy of each large crop's code and what every other crop makes of it (arXiv:2006.09882, eq. 2 and 6).

    Args:
      crops: unit vectors [recording, crop, width], the two large ones first.
      prototypes: unit vectors [prototype, width].
      codes: [recording, 2, prototype], of the large ones.
      temperature: divides the similarities.

    Returns:
      The mean over recordings and pairs of crops, and every crop's shares [recording, crop, prototype].
    """
    products = jnp.einsum("rcw,pw->rcp", crops, prototypes, precision="highest")
    log_shares = jax.nn.log_softmax(products / temperature)
    crossed = -jnp.einsum("rlp,rcp->lc", codes, log_shares, precision="highest") / len(crops)
    others = 1 - jnp.eye(2, crops.shape[1])
    return (crossed * others).sum() / others.sum(), jnp.exp(log_shares)


def _entropy(shares: jax.Array) -> jax.Array:
    return -(shares * jnp.log(shares + 1e-12)).sum()
