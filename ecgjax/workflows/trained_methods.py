"""Methods of the low-label benchmark that train encoder and head; see `benchmark`."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ecgjax.adapt.finetune import FineTuning
from ecgjax.adapt.parts.classifier import trained_model
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.classifier import Classifier
from ecgjax.evaluate.benchmark_predictions import file_name
from ecgjax.pretrained import Encoder, untrained_twin
from ecgjax.workflows.low_label import LabelledRecordings, training_set
from ecgjax.workflows.probing import Draw
from ecgjax.workflows.task_data import TaskData
from ecgjax.workflows.tuning import VALIDATED_FROM, Tuning, mean_score, measurements

TrainedMethod = Literal["scratch", "finetuned"]
"""Methods that train with each draw."""


class TrainedMethods:
    """Scores of the methods that train.

    Args:
      encoder: the pre-trained encoder.
      architecture: entries of a run's config that describe it.
      finetuning: settings of training.
      out: folder of the runs. None of them is trained twice.
      tune: choose some of them for each task, amount of labels and method; see `tuning`.
      validated_from: see `tuning.measurements`.
    """

    def __init__(
        self,
        encoder: Encoder,
        architecture: dict,
        finetuning: FineTuning,
        out: Path,
        *,
        tune: bool,
        validated_from: int = VALIDATED_FROM,
    ):
        self._encoder = encoder
        self._architecture = architecture
        self._finetuning = finetuning
        self._tuning = Tuning(out) if tune else None
        self._validated_from = validated_from
        self._out = out

    def scores(
        self, method: TrainedMethod, data: TaskData, draws: list[Draw], tuning_draw: Draw
    ) -> list[list[np.ndarray]]:
        """Trains with each draw.

        Args:
          method: start of the training.
          data: the task.
          draws: labelled recordings to train on.
          tuning_draw: labelled recordings that choose the settings, if they are tuned.

        Returns:
          For each draw, the predictions of each test, [recording, output].
        """
        settings = self._finetuning
        if self._tuning:
            settings = self._tuned(self._tuning, method, data, tuning_draw)
        tests = [test.labelled for test in data.tests]
        results = []
        for draw in draws:
            name = f"{method}-{file_name(data.task.name)}-{len(draw.indices)}-{draw.seed}"
            model = self._train(method, data, settings, draw, self._out / name)
            results.append([model.predict_records(test.records, test.indices) for test in tests])
        return results

    def _tuned(
        self, tuning: Tuning, method: TrainedMethod, data: TaskData, draw: Draw
    ) -> FineTuning:
        """Returns the settings that a draw chooses."""
        kind = data.task.outputs.kind
        parts = list(measurements(draw, data.train, data.validation, self._validated_from))

        def fit(settings: FineTuning, part: Draw, tested: LabelledRecordings) -> np.ndarray:
            # A fold has fewer recordings, but the learning rates that are chosen are for all.
            settings = settings.with_rates_for(len(draw.indices))
            with tempfile.TemporaryDirectory(dir=self._out, prefix="tuning-") as folder:
                model = self._train(method, data, settings, part, Path(folder))
            return model.predict_records(tested.records, tested.indices)

        start = "random weights" if method == "scratch" else self._encoder.fingerprint
        key = [start, self._architecture, data.train.records.fingerprint]
        key += [[training_set(each.indices, each.targets) for each in part] for part in parts]
        return tuning.choose(
            {"task": data.task.name, "labels": len(draw.indices), "method": method},
            key,
            self._finetuning,
            self._encoder.preprocessing.seconds,
            functools.partial(mean_score, fit, kind=kind, parts=parts),
        )

    def _train(
        self,
        method: TrainedMethod,
        data: TaskData,
        settings: FineTuning,
        draw: Draw,
        folder: Path,
    ) -> Classifier:
        """Trains encoder and head with a draw."""
        start = self._encoder
        if method == "scratch":
            start = untrained_twin(self._encoder, seed=draw.seed)
        records = data.train.records
        config: dict[str, Any] = {
            **self._architecture,
            "task": data.task.name,
            "classes": list(data.task.outputs.names),
            "data": records.name,
            "labelled": len(draw.indices),
        }
        if not data.is_published or data.draw != "patients":
            config |= training_set(draw.indices, draw.targets)
        seeded = dataclasses.replace(settings, seed=draw.seed)
        labelled = Labelled(records, draw.indices, draw.targets, draw.outputs)
        adapted = seeded.adapt(start, labelled, Run(folder, config, folder.name))
        return trained_model(adapted, start, labelled, config)
