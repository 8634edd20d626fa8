"""Fine-tuning: trains encoder and head together on labels, from a checkpoint or from scratch."""

import dataclasses
import functools
from typing import ClassVar, Self

from ecgjax.adapt.linear_probe import fit_to, insert_probe
from ecgjax.adapt.parts.classifier import Adapted, Classification, with_start_bias
from ecgjax.adapt.parts.training import Labelled, Run, Training, rate_for
from ecgjax.augment import GENTLE_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.pretrained import Encoder
from ecgjax.train.optimizer import Optimizer

FITTED_RATE = 0.05
"""Default of `FineTuning.fitted_rate` with few labels."""


@dataclasses.dataclass(frozen=True)
class FineTuning(Training):
    """Settings of fine-tuning.

    Learning-rate schedule: linear warm-up over the first 20 % of the steps to a peak of 2e-3, then
    cosine decay to 0. A run takes 20 epochs of the labelled recordings (`epochs`), but at least 400
    steps (`min_steps`). Below 1,000 labelled recordings a pre-trained encoder learns at a tenth of
    the head's rate (`encoder_rate`), and after a fitted head both are a twentieth of that
    (`fitted_rate`). `Training` declares the settings that are not listed here for all methods.
    """

    CONFIG_KEY: ClassVar[str] = "finetuning"

    optimizer: Optimizer = Optimizer(learning_rate=2e-3, warmup=0.2)
    """AdamW and its learning-rate schedule."""
    dropout: float = 0.5
    """Dropout rate on the standardised embedding."""
    augmentation: Augmentation = dataclasses.replace(GENTLE_VIEWS, crop_s=5.0)
    """Augmentation of training recordings. Predicted probabilities are means over windows of the
    same length as its crops, 5 s by default like the windows of the shipped encoder (other lengths:
    docs/results.md)."""
    head_first: bool = True
    """Start with a head that is fitted to the embeddings of the pre-trained encoder, as the linear
    probe is, so that training begins where the probe ends and the gradients of a random head do not
    spoil the encoder (Kumar et al. 2022, arXiv:2202.10054). From random weights it is off."""
    fitted_rate: float | None = None
    """Learning rate after a fitted head, as a factor of that after a new one. Default: 0.05 below
    1,000 labelled recordings, which training would soon overfit, otherwise 1."""

    def __post_init__(self):
        super().__post_init__()
        if self.fitted_rate is not None and not self.fitted_rate > 0:
            raise InputError(f"fitted_rate {self.fitted_rate}: give a factor above 0")

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Trains a classifier; see `Training.train`."""
        fit_head = self.head_first and encoder.restored > 0
        objective = Classification(labelled.outputs, self.dropout, self.augmentation, fit_head)
        if not fit_head:
            begin = functools.partial(with_start_bias, labelled.outputs, labelled.targets)
            return self.adapted(self.train(objective, encoder, labelled, run, begin=begin))
        begin = functools.partial(self.with_fitted_head, encoder, labelled)
        second = self.second_stage(len(labelled.indices))
        return self.adapted(second.train(objective, encoder, labelled, run, begin=begin))

    def with_rates_for(self, recordings: int) -> Self:
        """Returns these settings with the learning rates for a number of labelled recordings."""
        rate = rate_for(recordings, self.fitted_rate, few=FITTED_RATE)
        return dataclasses.replace(super().with_rates_for(recordings), fitted_rate=rate)

    def second_stage(self, recordings: int) -> Self:
        """Returns the settings after a fitted head for a number of labelled recordings."""
        factor = rate_for(recordings, self.fitted_rate, few=FITTED_RATE)
        rate = factor * self.optimizer.learning_rate
        optimizer = dataclasses.replace(self.optimizer, learning_rate=rate)
        return dataclasses.replace(self, optimizer=optimizer)

    def with_fitted_head(self, encoder: Encoder, labelled: Labelled, variables: dict) -> dict:
        """Returns variables with the head of a linear probe on windows as long as the crops."""
        window_s = self.augmentation.crop_s
        preprocessing = dataclasses.replace(encoder.preprocessing, window_s=window_s)
        frozen = dataclasses.replace(encoder, preprocessing=preprocessing)
        return insert_probe(variables, fit_to(frozen, labelled, seed=self.seed))

    def adapted(self, variables: dict) -> Adapted:
        """Returns the classifier of trained variables."""
        return Adapted(variables, self.augmentation.crop_s)
