"""Fine-tuning: encoder and head trained together with labels, from a checkpoint or from scratch."""

import dataclasses

from ecgjax.adapt.parts.classifier import Adapted, Classification
from ecgjax.adapt.parts.training import Labelled, Run, Training
from ecgjax.augment import GENTLE_VIEWS, Augmentation
from ecgjax.pretrained import Encoder


@dataclasses.dataclass(frozen=True)
class FineTuning(Training):
    """Settings of a supervised run."""

    dropout: float = 0.5
    """Of the standardised embedding."""
    augmentation: Augmentation = GENTLE_VIEWS
    """What is done to a training recording; probabilities are means over windows of the same length."""

    def adapt(self, encoder: Encoder, labelled: Labelled, run: Run) -> Adapted:
        """Trains a classifier; see `Training.train`."""
        objective = Classification(labelled.targets.shape[1], self.dropout, self.augmentation)
        return Adapted(self.train(objective, encoder, labelled, run), self.augmentation.crop_s)
