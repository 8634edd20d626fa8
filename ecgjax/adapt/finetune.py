"""Fine-tuning: encoder and head trained together with labels, from a checkpoint or from scratch."""

import dataclasses
from pathlib import Path

import numpy as np

from ecgjax.adapt.classifier import Adapted, Classification
from ecgjax.adapt.training import Training
from ecgjax.augment import Augmentation
from ecgjax.data.records import Records
from ecgjax.pretrained import Encoder


@dataclasses.dataclass(frozen=True)
class FineTuning(Training):
    """Settings of a supervised run."""

    dropout: float = 0.5
    """Of the standardised embedding."""
    augmentation: Augmentation = Augmentation(lead_mask=0.0, gain=0.1, noise_mv=0.01, wander_mv=0.05, time_out=0.0)
    """What is done to a training recording; probabilities are means over windows of the same length."""

    def adapt(
        self,
        encoder: Encoder,
        records: Records,
        indices: np.ndarray,
        targets: np.ndarray,
        *,
        workdir: Path,
        config: dict,
        title: str,
    ) -> Adapted:
        """Trains a classifier on `targets`, float32 [len(indices), class]; see `Training.train`."""
        objective = Classification(targets.shape[1], self.dropout, self.augmentation)
        variables = self.train(
            objective, encoder, records, indices, targets, workdir=workdir, config=config, title=title
        )
        return Adapted(variables, self.augmentation.crop_s)
