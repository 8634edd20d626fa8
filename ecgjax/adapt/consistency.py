"""Consistency with pseudo-labels (CPSS 2024): recordings without labels take part in training a classifier.

What is known of CPSS is that it is FixMatch (arXiv:2001.07685) with a second kind of pseudo-label. A weak view of an
unlabelled recording is classified; where the class is beyond doubt, a strong view has to be classified alike (positive
pseudo-label). A recording without such a class is not wasted: the classes that rank lowest in it are taken as absent
(ranking-based negative pseudo-label). Thresholds and weights are not published: 0.95 and 1 are FixMatch's, and the
network that makes pseudo-labels, a slow copy of the trained one, is the one that is kept.

What else was tried on PTB-XL (superclass, 10 % of labels, macro AUROC on fold 9, one draw; supervised alone 0.8927):
as it is 0.8959, keeping the trained network 0.8949, probabilities as soft labels 0.8958, these of four views at once
0.8953, with weight 4 0.8926, three times as long 0.8912, threshold 0.8 and the mean over known classes only 0.8871.

CPSS knows one class a recording and uses a softmax. A recording of PTB-XL may have several superclasses, so here every
class is a question of its own, with a sigmoid and binary cross entropy:

  positive   the class is present where its probability reaches the threshold, and absent where that of its absence does
             (a softmax says so of all other classes at once);
  negative   in a recording where no class is found present, the `ranked` classes of the lowest probability are absent.

Class by class the rest is unknown and out of the loss. A task of one condition has no ranking, so no negative labels.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ecgjax.adapt.parts.classifier import Adapted, Classification
from ecgjax.adapt.parts.training import Labelled, Run, Training
from ecgjax.augment import GENTLE_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder


@dataclasses.dataclass(frozen=True)
class PseudoLabelling:
    """What makes pseudo-labels, and how much they count."""

    threshold: float = 0.95
    """Probability from which a class counts as present, or as absent (FixMatch: 0.95)."""
    ranked: int = 1
    """Classes that count as absent, the least likely first, in a recording where none is found present."""
    weight: float = 1.0
    """Of the loss on pseudo-labels (FixMatch: 1)."""
    momentum: float = 0.99
    """Share of itself that the network which makes pseudo-labels keeps at each step, following the trained one (mean
    teacher, arXiv:1703.01780); 0: the trained one itself (FixMatch)."""
    weak: Augmentation = GENTLE_VIEWS
    """The views of labelled recordings, and those on which pseudo-labels are made."""
    strong: Augmentation = Augmentation()
    """The views that have to agree with the pseudo-labels; of any piece of the recording."""

    def __post_init__(self):
        if not (
            0.5 < self.threshold <= 1
            and self.ranked >= 0
            and self.weight >= 0
            and 0 <= self.momentum < 1
        ):
            given = f"threshold {self.threshold}, ranked {self.ranked}, weight {self.weight}, momentum {self.momentum}"
            raise InputError(
                f"{given}: give a threshold above 0.5 to 1, a momentum from 0 to below 1, and no negatives"
            )


@dataclasses.dataclass(frozen=True)
class Consistency(Training):
    """Settings of training with pseudo-labels."""

    batch_size: int = 64
    """Labelled recordings a step, over all devices; at most all there are (FixMatch: 64)."""
    unlabelled: int = 3
    """Recordings without labels for each labelled one (FixMatch: 7, which takes twice as long)."""
    dropout: float = 0.5
    """Of the standardised embedding."""
    pseudo: PseudoLabelling = PseudoLabelling()
    """Pseudo-labels."""

    def __post_init__(self):
        super().__post_init__()
        if self.unlabelled < 1:
            raise InputError(
                f"--unlabelled {self.unlabelled}: give 1 or more, or --method finetune"
            )

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Trains a classifier on these and the training split's other recordings; see `Training.train`.

        What is returned, and what `ecgjax.load` finds in the checkpoint, is the network that made the pseudo-labels, as
        FixMatch tests it; training goes on from the other, which the checkpoint holds as well.
        """
        classification = Classification(labelled.targets.shape[1], self.dropout, self.pseudo.weak)
        supervision = ConsistentClassification(classification, self.pseudo)
        trained = self.train(supervision, encoder, labelled, run, unlabelled=self.unlabelled)
        return Adapted(labeller(trained), self.pseudo.weak.crop_s)


NETWORK = ("params", "batch_stats")


def labeller(variables: dict) -> dict:
    """The network that makes pseudo-labels: it follows the trained one, or is it; batch statistics they share."""
    return {name: variables[name] for name in NETWORK} | variables.get("result", {})


@dataclasses.dataclass(frozen=True)
class ConsistentClassification:
    """Supervised classification, and agreement of strong views with the pseudo-labels of weak ones."""

    classification: Classification
    pseudo: PseudoLabelling

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """The classifier's variables."""
        return self.classification.init(encoder, key, signal)

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """Variables with the weights of `encoder`, and the network that makes pseudo-labels: at first the same."""
        variables = self.classification.begin(encoder, key)
        return (
            {**variables, "result": {"params": variables["params"]}}
            if self.pseudo.momentum
            else variables
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
        """Loss of {signal: int16 [batch, time, lead], targets: float32 [batch, class], unlabelled: int16 [batch, each,
        time, lead]}, as an objective's."""
        labelled_key, weak_key, strong_key, dropout_key = jax.random.split(key, 4)
        model, pseudo = self.classification.network(encoder), self.pseudo

        def views(signal: jax.Array, augmentation: Augmentation, key: jax.Array) -> jax.Array:
            recordings = preprocess(signal.reshape(-1, *signal.shape[-2:]))
            return augmentation.views(recordings, key, rate_hz=preprocess.rate_hz)

        updates = {}
        if pseudo.momentum:
            slow = ema_update(variables["result"]["params"], variables["params"], pseudo.momentum)
            updates = {"result": {"params": slow}}
        teacher = labeller(variables | updates)
        weak = views(batch["unlabelled"], pseudo.weak, weak_key)
        guess: Any = model.apply(teacher, weak, train=False)
        probability = jax.nn.sigmoid(jax.lax.stop_gradient(guess))
        present, known = pseudo_labels(
            probability, threshold=pseudo.threshold, ranked=pseudo.ranked
        )

        # One after the other: the classifier meets recordings as they are, not strong views, so what it remembers of
        # the batch statistics is that of weak views.
        own = {name: variables[name] for name in NETWORK}
        training = {"train": True, "mutable": ["batch_stats"]}
        drop, strong_drop = ({"dropout": key} for key in jax.random.split(dropout_key))
        weak_views = views(batch["signal"], pseudo.weak, labelled_key)
        strong_views = views(batch["unlabelled"], pseudo.strong, strong_key)
        labelled, statistics = model.apply(own, weak_views, rngs=drop, **training)
        strong, _ = model.apply(own, strong_views, rngs=strong_drop, **training)
        supervised = optax.sigmoid_binary_cross_entropy(labelled, batch["targets"]).mean()
        agreement = known_cross_entropy(strong, present, known)
        metrics = {
            "supervised_loss": supervised,
            "pseudo_loss": agreement,
            "pseudo_known": known.mean(),
            "pseudo_present": present.mean(),
        }
        return supervised + pseudo.weight * agreement, (metrics, {**statistics, **updates})


def pseudo_labels(
    probability: jax.Array, *, threshold: float, ranked: int
) -> tuple[jax.Array, jax.Array]:
    """What is taken as true of recordings without labels.

    Args:
      probability: of each class in each recording, float [recording, class].
      threshold: from which presence, or absence, is believed.
      ranked: classes of the lowest probability that are believed absent in a recording where none is believed present.

    Returns:
      float32 [recording, class]: 1 where a class is present; 1 where the pseudo-label (present or absent) counts.
    """
    present, absent = probability >= threshold, 1 - probability >= threshold
    rank = probability.argsort(-1).argsort(-1)
    lowest = rank < min(ranked, probability.shape[-1] - 1)
    known = present | absent | (lowest & ~present.any(-1, keepdims=True))
    return present.astype(jnp.float32), known.astype(jnp.float32)


def known_cross_entropy(logits: jax.Array, present: jax.Array, known: jax.Array) -> jax.Array:
    """Binary cross entropy where it is `known` whether a class is `present`, over all classes and recordings.

    As in FixMatch the sum is divided by all of them: while little is known, little is learnt from it.
    """
    return (known * optax.sigmoid_binary_cross_entropy(logits, present)).mean()
