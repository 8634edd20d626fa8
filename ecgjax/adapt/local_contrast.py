"""Local contrast with pseudo-labels: segmentation learnt from a few marked recordings and many without marks.

The method of Chaitanya et al. 2023 (arXiv:2112.09645; https://github.com/krishnabits001/pseudo_label_contrastive_training)
carried from heart images to heart beats: pixels become samples, structures become P, QRS and T. The loss is Dice on the
marked recordings, plus a tenth of a contrastive loss on single samples of all recordings: samples of one wave attract
each other, within a recording and between two, and those of another wave repel. In recordings without marks the waves
are pseudo-labels: what a frozen copy of the network finds there beyond doubt, a copy that is replaced by the present
network a few times a run. Keeping the copy, and asking it anew, gives the same marks as storing them, and resumes from
a checkpoint.

As in the released code a sample is compared with the mean of each wave in the two recordings; the negatives that it
draws besides are in none of its sums. There the background takes no part and every pseudo-label counts. The network is
first trained on the marked recordings alone, for a quarter of all steps (there 5,001 of 20,002).
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.adapt.parts.classifier import Adapted
from ecgjax.adapt.parts.sample_contrast import local_contrast
from ecgjax.adapt.parts.segmenter import Segmenter, dice_loss
from ecgjax.adapt.parts.training import Labelled, Run, Training, from_encoder
from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder
from ecgjax.signals import UNMARKED, WAVES
from ecgjax.train.optimizer import Optimizer


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The contrastive part of the loss."""

    weight: float = 0.1
    """Of the contrastive loss (published: 0.1). 0: supervised training alone, no other recording is read."""
    temperature: float = 0.1
    """Cosine similarities are divided by this (published: 0.1)."""
    per_wave: int = 3
    """Samples drawn of each wave in each recording (published: 3)."""
    background: bool = True
    """Whether "none" is contrasted like a wave (published: no)."""
    alone: float = 0.25
    """Share of the run, at its beginning, without contrast: there are no pseudo-labels yet."""
    confidence: float = 0.9
    """A sample without a mark takes part where its pseudo-label is as probable as this (published: 0, all do)."""
    refreshes: int = 10
    """Times that pseudo-labels are made, at equal intervals in the rest of the run."""

    def __post_init__(self):
        shares = 0 <= self.alone < 1 and 0 <= self.confidence < 1
        if not (
            shares
            and self.weight >= 0
            and self.temperature > 0
            and min(self.per_wave, self.refreshes) >= 1
        ):
            raise InputError(
                f"{self}: give a weight of 0 or more, a temperature above 0, per_wave and refreshes of 1 or more, and "
                f"alone and confidence from 0 to below 1"
            )


@dataclasses.dataclass(frozen=True)
class LocalContrast(Training):
    """Settings of learning to mark waves."""

    optimizer: Optimizer = Optimizer(learning_rate=1e-3)
    """AdamW and its schedule."""
    min_steps: int = 800
    """Steps at the least, however few recordings are marked."""
    batch_size: int = 8
    """Marked recordings a step, over all devices; at most all there are."""
    unlabelled: int = 1
    """Recordings without marks for each marked one."""
    contrast: Contrast = Contrast()
    """The contrastive part of the loss."""
    augmentation: Augmentation = Augmentation(
        crop_s=3600.0, lead_mask=0.0, gain=0.1, noise_mv=0.02, wander_mv=0.1, time_out=0.0
    )
    """What is done to a training recording. Pieces are whole recordings, so that marks stay where they are."""

    def __post_init__(self):
        super().__post_init__()
        if self.contrast.weight and self.unlabelled < 1:
            raise InputError(
                f"--unlabelled {self.unlabelled}: give 1 or more, or --contrast.weight 0"
            )
        if self.augmentation.stretch:
            raise InputError(
                f"--augmentation.stretch {self.augmentation.stretch}: marks stay where they are; give 0"
            )

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Trains a segmenter, by marks at the encoder's rate; see `Training.train`."""
        supervision = Segmentation(self.contrast, self.augmentation)
        others = self.unlabelled if self.contrast.weight else 0
        trained = self.train(supervision, encoder, labelled, run, unlabelled=others)
        return Adapted({name: trained[name] for name in ("params", "batch_stats")}, window_s=None)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Dice on marked recordings, and local contrast on all."""

    contrast: Contrast
    augmentation: Augmentation

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """The segmenter's variables."""
        return dict(Segmenter(encoder=encoder).init(key, signal, train=False))

    def begin(self, encoder: Encoder, key: jax.Array) -> dict:
        """Variables with the weights of `encoder`; "labeller" is the copy that makes pseudo-labels."""
        variables = from_encoder(self, encoder, key)
        if not self.contrast.weight:
            return variables
        return {
            **variables,
            "labeller": {"network": variables, "refreshed": jnp.zeros((), jnp.int32)},
        }

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Loss of {"signal": int16 [batch, time, lead], "targets": uint8 [batch, time'], "unlabelled": int16 [batch,
        each, time, lead] unless the weight is 0}, as an objective's."""
        view_key, other_view_key, draw_key = jax.random.split(key, 3)
        model, marks = Segmenter(encoder=encoder), batch["targets"]
        own = {name: variables[name] for name in ("params", "batch_stats")}

        def trained(signal: jax.Array, key: jax.Array) -> Any:
            """(logits, elements), updates of augmented recordings, and the recordings as they are."""
            recordings = preprocess(signal)
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz)
            return *model.apply(own, views, train=True, mutable=["batch_stats"]), recordings

        (logits, elements), updates, _ = trained(batch["signal"], view_key)
        if logits.shape[1] != marks.shape[1]:
            raise InputError(
                f"--augmentation.crop-s {self.augmentation.crop_s}: marks are of whole recordings; give their length"
            )
        segmentation = dice_loss(logits, marks)
        if not self.contrast.weight:
            return segmentation, ({"dice_loss": segmentation}, updates)
        # Apart, with batch statistics of their own. Normalised together with the marked ones, even without contrast
        # (weight 1e-9) the Dice of others was 0.31 after 250 steps; supervised alone 0.81 after 500 (a run each).
        unlabelled = batch["unlabelled"].reshape(-1, *batch["signal"].shape[1:])
        (_, others), _, recordings = trained(unlabelled, other_view_key)
        labeller = _refreshed(variables["labeller"], own, self._refreshes_due(batch["progress"]))
        found = self._believed(model.apply(labeller["network"], recordings, train=False)[0]).astype(
            marks.dtype
        )
        local = local_contrast(
            jnp.concatenate([elements, others]),
            jnp.concatenate([marks, found]),
            draw_key,
            kinds=range(0 if self.contrast.background else 1, len(WAVES)),
            partner=len(
                marks
            ),  # so that the first recording without marks has the marked one beside it
            temperature=self.contrast.temperature,
            per_wave=self.contrast.per_wave,
        )
        local = jnp.where(labeller["refreshed"] > 0, local, 0.0)
        metrics = {
            "dice_loss": segmentation,
            "contrastive_loss": local,
            "refreshed": labeller["refreshed"],
        }
        return segmentation + self.contrast.weight * local, (
            metrics,
            {**updates, "labeller": labeller},
        )

    def _believed(self, logits: jax.Array) -> jax.Array:
        """Pseudo-labels [recording, time] of logits [recording, time, kind]; UNMARKED where none is beyond doubt."""
        probability = jax.nn.softmax(logits)
        return jnp.where(
            probability.max(-1) >= self.contrast.confidence, probability.argmax(-1), UNMARKED
        )

    def _refreshes_due(self, progress: jax.Array) -> jax.Array:
        """How often pseudo-labels should have been made by now."""
        alone = self.contrast.alone
        done = jnp.floor((progress - alone) / (1 - alone) * self.contrast.refreshes)
        return jnp.where(progress >= alone, done + 1, 0).astype(jnp.int32)


def _refreshed(labeller: dict, network: dict, due: jax.Array) -> dict:
    newer = due > labeller["refreshed"]
    kept = jax.tree.map(lambda own, old: jnp.where(newer, own, old), network, labeller["network"])
    return jax.lax.stop_gradient({"network": kept, "refreshed": due})
