"""Local contrast with pseudo-labels: segments waves, from a few labelled and many other recordings.

This is the method of Chaitanya et al. 2023 (arXiv:2112.09645;
https://github.com/krishnabits001/pseudo_label_contrastive_training), carried over from cardiac
images to heartbeats: pixels become samples, structures become P, QRS and T. The loss is Dice on
the labelled recordings plus 0.1 times a contrastive loss on single samples of all recordings.
Samples of the same wave attract each other, within a recording and between two recordings; samples
of different waves repel each other. In recordings without wave labels, the confident predictions
of a frozen copy of the network are used (pseudo-labels). The copy is replaced by the present
network a few times per run. It gives the same labels as storing the pseudo-labels would, and is
part of the checkpoint.

As in the released code, a sample is compared with the mean of each wave in the two recordings; the
negatives that the released code also draws do not occur in its loss. There, the background takes no
part, and every pseudo-label counts. The network is first trained on the labelled recordings alone,
for a quarter of all steps (there 5,001 of 20,002).
"""

import dataclasses
import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.adapt.parts.classifier import Adapted
from ecgjax.adapt.parts.sample_contrast import local_contrast
from ecgjax.adapt.parts.segmenter import Segmenter, dice_loss
from ecgjax.adapt.parts.training import NETWORK, Labelled, Run, Training, from_encoder
from ecgjax.augment import OFF, Augmentation
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder
from ecgjax.signals import UNMARKED, WAVES
from ecgjax.train.optimizer import Optimizer

SHORTEST_CROP_S = 2.0
"""Shortest crop of a recording, in seconds: one beat at a heart rate of 30 per minute."""


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Settings of the contrastive loss."""

    weight: float = 0.1
    """Weight of the contrastive loss (published: 0.1). 0: supervised training alone; unlabelled
    recordings are not read."""
    temperature: float = 0.1
    """Temperature of the softmax over cosine similarities (published: 0.1)."""
    per_wave: int = 3
    """Number of samples drawn of each wave in each recording (published: 3)."""
    background: bool = True
    """Contrast the class "none" like a wave (published: no)."""
    alone: float = 0.25
    """Share of the steps, at the beginning, with the supervised loss only, because there are no
    pseudo-labels yet."""
    confidence: float = 0.9
    """Confidence threshold of a pseudo-label: samples below it take no part (published: 0)."""
    refreshes: int = 10
    """Number of times that pseudo-labels are computed, at equal intervals in the other steps."""

    def __post_init__(self):
        shares = 0 <= self.alone < 1 and 0 <= self.confidence < 1
        counts = min(self.per_wave, self.refreshes) >= 1
        if not (shares and counts and self.weight >= 0 and self.temperature > 0):
            raise InputError(
                f"{self}: give a weight of 0 or more, a temperature above 0, per_wave and "
                f"refreshes of 1 or more, and alone and confidence from 0 to below 1"
            )


@dataclasses.dataclass(frozen=True)
class LocalContrast(Training):
    """Settings of learning to segment waves."""

    CONFIG_KEY: ClassVar[str] = "localcontrast"

    optimizer: Optimizer = Optimizer(learning_rate=1e-3)
    """AdamW and its learning-rate schedule."""
    min_steps: int = 800
    """Minimum number of steps, even if few recordings are labelled."""
    batch_size: int = 8
    """Labelled recordings per step, over all devices; at most all labelled recordings."""
    unlabelled: int = 1
    """Recordings without wave labels for each labelled one."""
    contrast: Contrast = Contrast()
    """Settings of the contrastive loss."""
    augmentation: Augmentation = dataclasses.replace(
        OFF, crop_s=5.0, gain=0.1, noise_mv=0.02, wander_mv=0.1
    )
    """Augmentation of training recordings. Wave labels are cropped with them; nothing is stretched,
    since that would shift the waves. Crops teach the ends of a recording, which marks often leave
    out: from whole recordings of LUDB the network learnt to mark waves there at random."""

    def __post_init__(self):
        super().__post_init__()
        if self.contrast.weight and self.unlabelled < 1:
            raise InputError(
                f"--unlabelled {self.unlabelled}: give 1 or more, or --contrast.weight 0"
            )
        crop_s = self.augmentation.crop_s
        if crop_s is not None and crop_s < SHORTEST_CROP_S:
            raise InputError(
                f"--augmentation.crop-s {crop_s:g}: give {SHORTEST_CROP_S:g} or more, so that a "
                f"crop holds a heartbeat"
            )
        if self.augmentation.stretch:
            raise InputError(
                f"--augmentation.stretch {self.augmentation.stretch}: wave labels are not "
                f"stretched with the signal; give 0"
            )

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Trains a segmenter on wave labels at the encoder's rate; see `Training.train`."""
        objective = Segmentation(self.contrast, self.augmentation)
        others = self.unlabelled if self.contrast.weight else 0
        trained = self.train(objective, encoder, labelled, run, unlabelled=others)
        return self.adapted(trained)

    def adapted(self, variables: dict) -> Adapted:
        """Returns the segmenter of trained variables."""
        return Adapted({name: variables[name] for name in NETWORK}, window_s=None)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Dice loss on labelled recordings, and local contrast on all recordings."""

    contrast: Contrast
    augmentation: Augmentation

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns the initial variables of the segmenter."""
        return dict(Segmenter(encoder=encoder).init(key, signal, train=False))

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """Returns variables with the weights of `encoder`.

        The collection "labeller" is the frozen copy that makes pseudo-labels.
        """
        variables = from_encoder(self, encoder, key)
        if not self.contrast.weight:
            return variables
        labeller = {"network": variables, "refreshed": jnp.zeros((), jnp.int32)}
        return {**variables, "labeller": labeller}

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

        The batch is {"signal": int16 [batch, time, lead], "targets": wave labels uint8
        [batch, time at the encoder's rate]}, and unless the weight is 0 "unlabelled", int16
        [batch, each, time, lead], and "progress".
        """
        view_key, other_view_key, draw_key = jax.random.split(key, 3)
        model = Segmenter(encoder=encoder)
        labels = batch["targets"]
        network = {name: variables[name] for name in NETWORK}

        def segmented(crops: jax.Array, key: jax.Array) -> Any:
            """Returns (logits, embeddings) of the crops' views, and updates."""
            changes = dataclasses.replace(self.augmentation, crop_s=None)
            views = changes.views(crops, key, rate_hz=preprocess.rate_hz)
            return model.apply(network, views, train=True, mutable=["batch_stats"])

        crop_key, view_key = jax.random.split(view_key)
        recordings = preprocess(batch["signal"])
        crops, labels = self._crop((recordings, labels), crop_key, preprocess.rate_hz)
        (logits, embeddings), updates = segmented(crops, view_key)
        dice = dice_loss(logits, labels)
        if not self.contrast.weight:
            return dice, ({"dice_loss": dice}, updates)
        # A separate call with its own batch statistics. When unlabelled recordings were normalised
        # together with the labelled ones, even without contrast (weight 1e-9), Dice on other
        # recordings was 0.31 after 250 steps; with the supervised loss alone it was 0.81 after 500
        # (one run each).
        unlabelled = batch["unlabelled"].reshape(-1, *batch["signal"].shape[1:])
        crop_key, other_view_key = jax.random.split(other_view_key)
        (crops,) = self._crop((preprocess(unlabelled),), crop_key, preprocess.rate_hz)
        (_, other_embeddings), _ = segmented(crops, other_view_key)
        due = self._refreshes_due(batch["progress"])
        labeller = _refresh(variables["labeller"], network, due)
        other_logits, _ = model.apply(labeller["network"], crops, train=False)
        contrast = local_contrast(
            jnp.concatenate([embeddings, other_embeddings]),
            jnp.concatenate([labels, self._pseudo_labels(other_logits).astype(labels.dtype)]),
            draw_key,
            classes=range(0 if self.contrast.background else 1, len(WAVES)),
            shift=len(labels),  # the partner of the first unlabelled recording is a labelled one
            temperature=self.contrast.temperature,
            per_wave=self.contrast.per_wave,
        )
        contrast = jnp.where(labeller["refreshed"] > 0, contrast, 0.0)
        metrics = {
            "dice_loss": dice,
            "contrastive_loss": contrast,
            "refreshed": labeller["refreshed"],
        }
        loss = dice + self.contrast.weight * contrast
        return loss, (metrics, {**updates, "labeller": labeller})

    def _crop(self, arrays: tuple[jax.Array, ...], key: jax.Array, rate_hz: float) -> list:
        """Cuts the same random piece out of several arrays [recording, time, ...].

        Each recording has a piece of its own, as long as the augmentation's crops.
        """
        number, time = arrays[0].shape[:2]
        crop_s = self.augmentation.crop_s
        samples = time if crop_s is None else min(round(crop_s * rate_hz), time)
        if samples == time:
            return list(arrays)
        starts = jax.random.randint(key, (number,), 0, time - samples + 1)
        cut = jax.vmap(functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=samples))
        return [cut(array, starts) for array in arrays]

    def _pseudo_labels(self, logits: jax.Array) -> jax.Array:
        """Returns wave labels [recording, time] for logits [recording, time, class].

        Samples below the confidence threshold are `UNMARKED`.
        """
        probability = jax.nn.softmax(logits)
        return jnp.where(
            probability.max(-1) >= self.contrast.confidence, probability.argmax(-1), UNMARKED
        )

    def _refreshes_due(self, progress: jax.Array) -> jax.Array:
        """Returns the number of refreshes that the schedule has at this point of the run."""
        alone = self.contrast.alone
        done = jnp.floor((progress - alone) / (1 - alone) * self.contrast.refreshes)
        return jnp.where(progress >= alone, done + 1, 0).astype(jnp.int32)


def _refresh(labeller: dict, network: dict, due: jax.Array) -> dict:
    """Replaces the frozen copy by the present network if a refresh is due."""
    refresh = due > labeller["refreshed"]
    copy = jax.tree.map(lambda new, old: jnp.where(refresh, new, old), network, labeller["network"])
    return jax.lax.stop_gradient({"network": copy, "refreshed": due})
