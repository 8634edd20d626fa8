"""Fine-tuning: trains encoder and head together on labels, from a checkpoint or from scratch."""

import dataclasses

from ecgjax.adapt.parts.classifier import Adapted, Classification
from ecgjax.adapt.parts.training import Labelled, Run, Training
from ecgjax.augment import GENTLE_VIEWS, Augmentation
from ecgjax.pretrained import Encoder
from ecgjax.train.optimizer import Optimizer


@dataclasses.dataclass(frozen=True)
class FineTuning(Training):
    """Settings of fine-tuning.

    Learning-rate schedule: linear warm-up over the first 20 % of the steps to a peak of 2e-3, then
    cosine decay to 0. A run takes 20 epochs of the labelled recordings (`epochs`), but at least 400
    steps (`min_steps`). Below 1,000 labelled recordings a pre-trained encoder learns at a tenth of
    the head's rate (`encoder_rate`). `Training` declares these settings for all methods.
    """

    optimizer: Optimizer = Optimizer(learning_rate=2e-3, warmup=0.2)
    """AdamW and its learning-rate schedule."""
    dropout: float = 0.5
    """Dropout rate on the standardised embedding."""
    augmentation: Augmentation = GENTLE_VIEWS
    """Augmentation of training recordings. Predicted probabilities are means over windows of the
    same length as its crops."""

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Trains a classifier; see `Training.train`."""
        objective = Classification(labelled.outputs, self.dropout, self.augmentation)
        return self.adapted(self.train(objective, encoder, labelled, run))

    def adapted(self, variables: dict) -> Adapted:
        """Returns the classifier of trained variables."""
        return Adapted(variables, self.augmentation.crop_s)
