"""Validation of a model while it trains with labels: loss, AUROC, and the best step.

The figures are those of a fixed sample of the validation split, drawn by patients:

  validation/loss    mean loss of the predictions, as in training but without augmentation
  validation/auroc   for labels and classes: mean AUROC of the classes with cases and controls
  validation/mae     for one number: mean absolute error in its own unit
  validation/dice    for waves: mean Dice coefficient of P, QRS and T (no loss)

The step with the highest AUROC (the lowest error, the lowest loss of several numbers) is kept. The
model of the last step remains the one that is tested: choosing a step on validation recordings
makes their figures too good.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecgjax.adapt import Method
from ecgjax.adapt.parts.training import Labelled, Training
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.metrics import macro_auroc
from ecgjax.outputs import Outputs
from ecgjax.pretrained import Encoder
from ecgjax.train.runlog import read_metrics
from ecgjax.train.state import TrainState
from ecgjax.train.watch import Watch, best_and_last
from ecgjax.workflows.low_label import LabelledRecordings, draw_labelled
from ecgjax.workflows.targets import Target

FEWEST = 250
"""Number of validation recordings in the sample of the shortest run, if there are as many."""
MOST = 1000
"""Number of validation recordings in the sample of a long run."""
SHARE = 0.01
"""Recordings in the sample for each recording that the run trains on, between the two limits. With
ten validations, of a few windows each and without gradients, it takes a tenth of the time of a long
run and a quarter of that of the shortest (docs/watching.md)."""
EVALUATIONS = 10
"""Number of validations in a run by default."""


@dataclasses.dataclass(frozen=True, eq=False)
class Validation:
    """Validation of a model during its training."""

    settings: Method
    target: Target
    encoder: Encoder
    """The encoder that training starts from."""
    labelled: Labelled
    """The recordings that are trained on."""
    held_out: LabelledRecordings
    """The validation recordings, of which a sample is looked at."""
    config: dict
    """Config of the model that is kept."""
    folder: Path
    """Folder of the model that is kept."""

    def watch(self) -> Watch | None:
        """Returns the watch of the run; None if the method has no steps, or `eval_every` is 0."""
        settings = self.settings
        if not isinstance(settings, Training) or settings.eval_every == 0:
            return None
        steps = settings.steps(len(self.labelled.indices))
        every = settings.eval_every or max(1, steps // EVALUATIONS)
        if self.target.per_sample:  # a segmenter is no model folder
            return Watch(every, self.measure, "validation/dice")
        best = best_figure(self.labelled.outputs, self.sample.targets)
        lower = best != "validation/auroc"
        return Watch(every, self.measure, best, lower_is_better=lower, keep=self.keep)

    @functools.cached_property
    def sample(self) -> LabelledRecordings:
        """The validation recordings that are looked at, drawn by patients, always the same ones.

        For a single condition, half of them are cases if there are as many: AUROC of a rare
        condition would be left to chance.
        """
        settings: Any = self.settings
        outputs = self.labelled.outputs
        held_out = self.held_out
        trained = settings.steps(len(self.labelled.indices)) * settings.batch_size
        number = min(int(np.clip(SHARE * trained, FEWEST, MOST)), len(held_out.indices))
        balanced = outputs.kind == "labels" and len(outputs) == 1
        return held_out.take(
            draw_labelled(held_out.targets, held_out.patients, number, seed=0, balanced=balanced)
        )

    def measure(self, state: TrainState) -> dict[str, float]:
        """Returns the figures of a state."""
        sample = self.sample
        predicted = self._model(state).predict_records(sample.records, sample.indices)
        if self.target.per_sample:
            return {"validation/dice": _dice(sample, predicted)}
        return figures(self.labelled.outputs, sample.targets, predicted)

    def keep(self, state: TrainState, step: int) -> None:
        """Saves the model of a state; its config names the step."""
        self._model(state, step=step).save(self.folder)

    def _model(self, state: TrainState, **config: Any) -> Any:
        variables = jax.device_get({"params": state.params, **state.collections})
        settings: Any = self.settings
        adapted = settings.adapted(variables)
        return self.target.trained(adapted, self.encoder, self.labelled, self.config | config)

    def results(self, workdir: Path) -> dict[str, Any]:
        """Returns the figures of the best and of the last step for metrics.json."""
        watch = self.watch()
        lines = best_and_last(watch, read_metrics(workdir)) if watch else {}
        if not lines:
            return {}
        return {"during_training": {"recordings": len(self.sample.indices), **lines}}


def best_figure(outputs: Outputs, targets: np.ndarray) -> str:
    """Returns the name of the figure that chooses the best step."""
    if outputs.kind == "numbers":
        return "validation/mae" if len(outputs) == 1 else "validation/loss"
    defined = np.isfinite(macro_auroc(targets, np.zeros_like(targets)))
    return "validation/auroc" if defined else "validation/loss"


def figures(outputs: Outputs, targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Returns loss and AUROC, or loss and mean absolute error, of predictions.

    Args:
      outputs: the outputs of the model.
      targets: float32 [recording, output], NaN where there is no label.
      predicted: probabilities, or numbers in their own units, same shape.
    """
    values = {"validation/loss": _loss(outputs, targets, predicted)}
    if outputs.kind != "numbers":
        values["validation/auroc"] = macro_auroc(targets, predicted)
    elif len(outputs) == 1:
        values["validation/mae"] = float(np.nanmean(np.abs(targets - predicted)))
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _loss(outputs: Outputs, targets: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the mean loss of the known targets, like `supervised_loss` of the logits."""
    if outputs.kind == "numbers":
        scales = np.asarray(outputs.scales or 1.0)
        return float(np.nanmean(((targets - predicted) / scales) ** 2))
    probability = np.clip(predicted, 1e-7, 1 - 1e-7)
    losses = -targets * np.log(probability)
    if outputs.kind == "labels":
        losses -= (1 - targets) * np.log1p(-probability)
        return float(np.nanmean(losses))
    return float(np.nanmean(losses.sum(-1)))


def _dice(sample: LabelledRecordings, predicted: np.ndarray) -> float:
    bootstrap = dice_bootstrap(sample.targets, {"model": predicted}, sample.patients, draws=1)
    return bootstrap.macro("model").value
