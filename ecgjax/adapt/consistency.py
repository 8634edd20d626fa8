"""Consistency with pseudo-labels (CPSS 2024): a classifier learns from unlabelled recordings too.

As far as is known, CPSS is FixMatch (arXiv:2001.07685) with a second kind of pseudo-label. A weak
view of an unlabelled recording is classified. If a class is predicted with high confidence, a
strong view must get the same class (positive pseudo-label). In a recording without such a class,
the classes that rank lowest are taken as absent (ranking-based negative pseudo-label). Thresholds
and weights of CPSS are not published; 0.95 and 1 are FixMatch's. The pseudo-labels come from an
EMA of the trained network (the teacher), which is also the result.

CPSS has one class per recording and a softmax. A recording of PTB-XL may have several superclasses,
so here each class has a sigmoid and a binary cross-entropy of its own:

  positive   a class is present if its probability reaches the threshold, and absent if the
             probability of its absence does (a softmax implies this for all other classes);
  negative   if no class of a recording is present, its `ranked` least likely classes are absent.

All other (recording, class) pairs are unknown and not in the loss. A task with one condition has no
ranking and therefore no negative pseudo-labels.

A new head begins with a probability of 0.5 for each class, not with the share of each class as in
`finetune`: with the share of a rare class, the teacher would be certain of its absence in every
recording before it has learned anything.

Ablations on PTB-XL (superclass, 10 % of labels, macro AUROC on fold 9, one draw):

  supervised only                                            0.8927
  the default settings                                       0.8959
  the result is the trained network, not the teacher         0.8949
  probabilities as soft pseudo-labels                        0.8958
  soft pseudo-labels from four views                         0.8953
  weight 4                                                   0.8926
  three times as many steps                                  0.8912
  threshold 0.8, and the mean over the known classes only    0.8871
"""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ecgjax.adapt.parts.classifier import Adapted, Classification, supervised_loss
from ecgjax.adapt.parts.training import NETWORK, Labelled, Run, Training
from ecgjax.augment import GENTLE_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder
from ecgjax.train.optimizer import Optimizer


@dataclasses.dataclass(frozen=True)
class PseudoLabelling:
    """Settings of the pseudo-labels and of their loss."""

    threshold: float = 0.95
    """Confidence threshold for a class to count as present, or as absent (FixMatch: 0.95)."""
    ranked: int = 1
    """Number of least likely classes that count as absent if no class is present."""
    weight: float = 1.0
    """Weight of the loss on pseudo-labels (FixMatch: 1)."""
    momentum: float = 0.99
    """EMA decay of the teacher, the network that makes the pseudo-labels (mean teacher,
    arXiv:1703.01780). 0: the trained network itself makes them (FixMatch)."""
    weak: Augmentation = GENTLE_VIEWS
    """Weak augmentation: for labelled recordings, and for views that get pseudo-labels."""
    strong: Augmentation = dataclasses.replace(Augmentation(), lead_mask=0.5)
    """Strong augmentation: for views that are trained on the pseudo-labels. Its crops may be from
    another part of the recording than the weak ones."""

    def __post_init__(self):
        if not (
            0.5 < self.threshold <= 1
            and self.ranked >= 0
            and self.weight >= 0
            and 0 <= self.momentum < 1
        ):
            raise InputError(
                f"threshold {self.threshold}, ranked {self.ranked}, weight {self.weight}, momentum "
                f"{self.momentum}: give a threshold above 0.5 and at most 1, a momentum from 0 to "
                f"below 1, and a ranked and a weight of 0 or more"
            )


@dataclasses.dataclass(frozen=True)
class Consistency(Training):
    """Settings of training with pseudo-labels."""

    CONFIG_KEY: ClassVar[str] = "consistency"

    optimizer: Optimizer = Optimizer(learning_rate=2e-3, warmup=0.2)
    """AdamW and its learning-rate schedule."""
    batch_size: int = 64
    """Labelled recordings per step, over all devices; at most all labelled recordings
    (FixMatch: 64)."""
    unlabelled: int = 3
    """Unlabelled recordings for each labelled one (FixMatch: 7, which takes twice as long)."""
    dropout: float = 0.5
    """Dropout rate on the standardised embedding."""
    pseudo: PseudoLabelling = PseudoLabelling()
    """Settings of the pseudo-labels and of their loss."""

    def __post_init__(self):
        super().__post_init__()
        if self.unlabelled < 1:
            raise InputError(
                f"--unlabelled {self.unlabelled}: give 1 or more, or --method finetune"
            )

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Trains a classifier on labelled and unlabelled recordings; see `Training.train`.

        The unlabelled recordings are all others of the training split. The result is the teacher,
        the network that FixMatch evaluates; `ecgjax.load` finds it in the checkpoint, too. Training
        resumes from the trained network, which the checkpoint also holds.

        Raises:
          InputError: the targets are classes or numbers.
        """
        kind = labelled.outputs.kind
        if kind != "labels":
            problem = f"--method consistency: {labelled.outputs.target} has {kind}"
            remedy = (
                "its pseudo-labels need labels that are present or absent; give --method finetune"
            )
            raise InputError(f"{problem}; {remedy}")
        classification = Classification(labelled.outputs, self.dropout, self.pseudo.weak)
        objective = ConsistentClassification(classification, self.pseudo)
        trained = self.train(objective, encoder, labelled, run, unlabelled=self.unlabelled)
        return self.adapted(trained)

    def adapted(self, variables: dict) -> Adapted:
        """Returns the teacher of trained variables."""
        return Adapted(teacher_variables(variables), self.pseudo.weak.crop_s)


def teacher_variables(variables: dict) -> dict:
    """Returns the variables of the network that makes the pseudo-labels.

    Its parameters are the EMA in the collection "result", or those of the trained network if there
    is no EMA. The batch statistics are those of the trained network.
    """
    return {name: variables[name] for name in NETWORK} | variables.get("result", {})


@dataclasses.dataclass(frozen=True)
class ConsistentClassification:
    """Supervised loss on labelled recordings plus a consistency loss on unlabelled ones."""

    classification: Classification
    pseudo: PseudoLabelling

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns the initial variables of the classifier."""
        return self.classification.init(encoder, key, signal)

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """Returns variables with the weights of `encoder`, for the teacher as well."""
        variables = self.classification.begin(encoder, key)
        if not self.pseudo.momentum:
            return variables
        return {**variables, "result": {"params": variables["params"]}}

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ) -> tuple[jax.Array, tuple[dict, Any]]:
        """Returns (loss, (metrics, updates)); see `SupervisedObjective`.

        The batch is {"signal": int16 [batch, time, lead], "targets": float32 [batch, class],
        "unlabelled": int16 [batch, each, time, lead]}.
        """
        labelled_key, weak_key, strong_key, dropout_key = jax.random.split(key, 4)
        labelled_dropout_key, strong_dropout_key = jax.random.split(dropout_key)
        model = self.classification.network(encoder)
        pseudo = self.pseudo

        def views(signal: jax.Array, augmentation: Augmentation, key: jax.Array) -> jax.Array:
            recordings = preprocess(signal.reshape(-1, *signal.shape[-2:]))
            return augmentation.views(recordings, key, rate_hz=preprocess.rate_hz)

        def logits_and_statistics(signal: jax.Array, key: jax.Array) -> Any:
            student = {name: variables[name] for name in NETWORK}
            rngs = {"dropout": key}
            return model.apply(student, signal, train=True, mutable=["batch_stats"], rngs=rngs)

        updates = {}
        if pseudo.momentum:
            slow = ema_update(variables["result"]["params"], variables["params"], pseudo.momentum)
            updates = {"result": {"params": slow}}
        teacher = teacher_variables(variables | updates)
        weak_views = views(batch["unlabelled"], pseudo.weak, weak_key)
        guess: Any = model.apply(teacher, weak_views, train=False)
        probability = jax.nn.sigmoid(jax.lax.stop_gradient(guess))
        present, known = pseudo_labels(
            probability, threshold=pseudo.threshold, ranked=pseudo.ranked
        )

        # Two separate calls: only the weak views update the running batch statistics, because the
        # classifier is used on recordings without strong augmentation.
        labelled_views = views(batch["signal"], pseudo.weak, labelled_key)
        strong_views = views(batch["unlabelled"], pseudo.strong, strong_key)
        labelled, statistics = logits_and_statistics(labelled_views, labelled_dropout_key)
        strong, _ = logits_and_statistics(strong_views, strong_dropout_key)
        supervised = supervised_loss(self.classification.outputs, labelled, batch["targets"])
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
    """Makes pseudo-labels from predicted probabilities.

    Args:
      probability: probability of each class, float [recording, class].
      threshold: confidence threshold for presence and for absence.
      ranked: number of least likely classes taken as absent in a recording without a present class.

    Returns:
      present: float32 [recording, class], 1 for a class taken as present.
      known: float32 [recording, class], 1 for a class taken as present or as absent.
    """
    present = probability >= threshold
    absent = 1 - probability >= threshold
    rank = probability.argsort(-1).argsort(-1)
    lowest = rank < min(ranked, probability.shape[-1] - 1)
    known = present | absent | (lowest & ~present.any(-1, keepdims=True))
    return present.astype(jnp.float32), known.astype(jnp.float32)


def known_cross_entropy(logits: jax.Array, present: jax.Array, known: jax.Array) -> jax.Array:
    """Computes the binary cross-entropy of the `known` classes with targets `present`.

    The sum is divided by the number of all classes and recordings, as in FixMatch: while few
    classes are known, the loss is small.
    """
    return (known * optax.sigmoid_binary_cross_entropy(logits, present)).mean()
