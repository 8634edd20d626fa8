"""Classifiers ready for use: recordings in, predictions out; and `ecgjax.load` for any model."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ecgjax.apply import Application, OnBad, Step
from ecgjax.data.records import Records
from ecgjax.outputs import EncoderWithHead, Outputs, join, query_count
from ecgjax.preprocessing import Preprocessing, Preprocessor, cut_windows
from ecgjax.pretrained import Encoder, from_saved, hash_variables
from ecgjax.train.model import SavedModel, load_model, save_model


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """An encoder with a trained head: predictions of labels, classes or numbers.

    Attributes:
      encoder: the encoder below the head, trained together with it or frozen.
      head: variables of the head, {"params": {"head"}, "batch_stats": {"norm"}}; with queries
        "attention" is among its parameters.
      outputs: names and kind of the outputs, and thresholds.
      window_s: length in seconds of the windows whose predictions are averaged; they overlap by
        half. None: one window, the whole recording.
    """

    encoder: Encoder
    head: dict
    outputs: Outputs
    window_s: float | None

    @property
    def fingerprint(self) -> str:
        """Hash of encoder and head, 16 hex digits of their SHA-256."""
        return hash_variables(self.variables)

    @property
    def variables(self) -> dict:
        """Variables of `EncoderWithHead`."""
        return join(self.encoder.variables, self.head)

    def __repr__(self) -> str:
        outputs = self.outputs
        names = ", ".join(outputs.names[:5]) + (", ..." if len(outputs) > 5 else "")
        return f"Classifier({outputs.target}: {outputs.kind} {names}; {self.encoder!r})"

    @property
    def embed(self):
        """Embeds raw recordings with the encoder below the head: `Encoder.embed`."""
        return self.encoder.embed

    @property
    def embed_records(self):
        """Embeds prepared recordings with the encoder below the head: `Encoder.embed_records`."""
        return self.encoder.embed_records

    @property
    def embed_stored(self):
        """Embeds stored samples with the encoder below the head: `Encoder.embed_stored`."""
        return self.encoder.embed_stored

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of a recording before the model sees it."""
        return self.encoder.preprocessing

    @property
    def config(self) -> dict:
        """Config of the run that trained the model."""
        return self.encoder.config

    def predict(
        self,
        signal: np.ndarray,
        *,
        rate_hz: float,
        leads: Sequence[str],
        units: str,
        allow_missing_leads: bool = False,
        on_bad: OnBad = "raise",
        batch_size: int = 64,
    ) -> np.ndarray:
        """Predicts raw recordings; arguments and errors are those of `Encoder.embed`.

        Returns:
          float32 [output] or [recording, output]: probabilities for labels and classes, numbers in
          their own units, in the order of `outputs.names`.
        """
        return self._application.to_signal(
            signal,
            rate_hz=rate_hz,
            leads=leads,
            units=units,
            allow_missing_leads=allow_missing_leads,
            on_bad=on_bad,
            batch_size=batch_size,
        )

    def predict_records(
        self, records: Records, indices: np.ndarray, *, batch_size: int = 128
    ) -> np.ndarray:
        """Predicts prepared recordings: float32 [len(indices), output]; see `predict`."""
        return self._application.to_records(records, indices, batch_size=batch_size)

    def predict_stored(
        self,
        signals: np.ndarray,
        valid_samples: np.ndarray,
        *,
        rate_hz: float,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Predicts stored samples: float32 [recording, output]; see `Application.to_stored`."""
        return self._application.to_stored(
            signals, valid_samples, rate_hz=rate_hz, batch_size=batch_size
        )

    def save(self, folder: Path) -> None:
        """Writes a model folder, which `ecgjax.load` reads."""
        encoder = self.encoder
        config = {
            **encoder.config,
            "outputs": self.outputs.to_config(),
            "window_s": self.window_s,
        }
        if queries := query_count(self.head):
            config["queries"] = queries
        parts = (encoder.module, encoder.variables, encoder.preprocessing, config, encoder.seen)
        save_model(folder, SavedModel(*parts, head=self.head))

    @property
    def _application(self) -> Application:
        settings = self.encoder.preprocessing

        def make_step(rate_hz: float) -> Step:
            predict = _jitted_predict(
                self.encoder.module, self.outputs, Preprocessor(settings, rate_hz), self.window_s
            )
            return functools.partial(predict, jax.device_put(self.variables))

        return Application(settings, len(self.outputs), make_step)


@functools.lru_cache(maxsize=16)
def _jitted_predict(
    module: nn.Module, outputs: Outputs, preprocess: Preprocessor, window_s: float | None
):
    return jax.jit(functools.partial(predict_step, module, outputs, preprocess, window_s))


def predict_step(
    module: nn.Module,
    outputs: Outputs,
    preprocess: Preprocessor,
    window_s: float | None,
    variables: dict,
    signal: jax.Array,
) -> jax.Array:
    """Predicts from stored samples int16 [batch, time, 12]: float32 [batch, output]."""
    queries = query_count(variables)
    model = EncoderWithHead(encoder=module, outputs=len(outputs), queries=queries)
    windows = cut_windows(preprocess(signal), window_s, rate_hz=preprocess.rate_hz)
    logits: Any = model.apply(variables, windows.reshape(-1, *windows.shape[2:]), train=False)
    return outputs.activate(logits).reshape(*windows.shape[:2], len(outputs)).mean(1)


def load(path: str | Path) -> Encoder | Classifier:
    """Loads a model: an encoder, or a classifier if the checkpoint has a head.

    Args:
      path: a model folder, a checkpoint, the workdir of a run, or the name of an encoder that is
        shipped with ecgjax, such as "ptb-xl".

    Raises:
      InputError: there is no checkpoint, it is damaged, or its weights do not fit its architecture.
    """
    saved = load_model(path)
    encoder = from_saved(saved)
    if saved.head is None:
        return encoder
    outputs = Outputs.from_config(saved.config["outputs"])
    return Classifier(encoder, saved.head, outputs, saved.config["window_s"])
