"""An encoder as a scikit-learn transformer: recordings in, embeddings out.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

embedder = EcgEmbedder("ptb-xl", rate_hz=500)
model = make_pipeline(embedder, StandardScaler(), LogisticRegression())
model.fit(signals_mv, labels)
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ecgjax.apply import OnBad
from ecgjax.classifier import Classifier, load
from ecgjax.errors import InputError
from ecgjax.pretrained import Encoder
from ecgjax.signals import LEADS
from ecgjax.train.checkpoint import find_checkpoint


class EcgEmbedder(TransformerMixin, BaseEstimator):
    """Embeds recordings with a pre-trained encoder. Fitting learns nothing from them.

    A pickle holds the path or name of the checkpoint and the hash of its weights, not the weights:
    the checkpoint is read again where the pickle is used, and refused if its weights differ.

    Args:
      checkpoint: what `ecgjax.load` takes: a model folder, a checkpoint, the workdir of a run, or
        the name of a shipped encoder.
      rate_hz: sampling rate of the recordings, in Hz; needed.
      leads: names of their leads, in order.
      units: V, mV, uV or nV.
      allow_missing_leads: accept absent leads as missing samples.
      on_bad: "raise" refuses recordings without a usable ECG, "nan" embeds them as NaN.
      batch_size: windows that are embedded at once.

    Attributes:
      fingerprint_: hash of the encoder's weights.
      dimension_: number of features of an embedding.
      n_features_in_: samples x leads, after fitting with recordings in two dimensions.
    """

    def __init__(
        self,
        checkpoint: str = "ptb-xl",
        *,
        rate_hz: float | None = None,
        leads: Sequence[str] = LEADS,
        units: str = "mV",
        allow_missing_leads: bool = False,
        on_bad: OnBad = "raise",
        batch_size: int = 64,
    ):
        self.checkpoint = checkpoint
        self.rate_hz = rate_hz
        self.leads = leads
        self.units = units
        self.allow_missing_leads = allow_missing_leads
        self.on_bad: OnBad = on_bad
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> "EcgEmbedder":
        """Reads the encoder and checks the shape of the recordings; see `transform`.

        Raises:
          InputError: the checkpoint or the shape cannot be used, or there is no rate.
        """
        if self.rate_hz is None:
            raise InputError("EcgEmbedder: no rate_hz; give the sampling rate of X in Hz")
        self._recordings(X, fitting=True)
        encoder = self._encoder()
        self.fingerprint_ = encoder.fingerprint
        self.dimension_ = encoder.dimension
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeds recordings.

        Args:
          X: numbers [recording, time, lead], or [recording, time x lead] with the leads of a sample
            side by side, or a list of [time, lead] of different lengths; NaN for missing samples.

        Returns:
          float32 [recording, dimension].

        Raises:
          InputError: a recording cannot be used, or the checkpoint's weights have changed.
        """
        check_is_fitted(self)
        recordings = self._recordings(X, fitting=False)
        encoder = self._encoder()
        if encoder.fingerprint != self.fingerprint_:
            problem = f"{self.checkpoint}: weights {encoder.fingerprint}, fitted with"
            raise InputError(f"{problem} {self.fingerprint_}; fit again, or restore the checkpoint")
        embed = functools.partial(
            encoder.embed,
            rate_hz=self.rate_hz or 0.0,
            leads=self.leads,
            units=self.units,
            allow_missing_leads=self.allow_missing_leads,
            on_bad=self.on_bad,
            batch_size=self.batch_size,
        )
        if isinstance(recordings, np.ndarray):
            return embed(recordings)
        lengths = np.array([len(recording) for recording in recordings])
        embeddings = np.empty((len(recordings), self.dimension_), np.float32)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            embeddings[rows] = embed(np.stack([recordings[row] for row in rows]))
        return embeddings

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Returns embedding0, embedding1, ..."""
        check_is_fitted(self)
        return np.array([f"embedding{number}" for number in range(self.dimension_)], object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _recordings(self, X: Any, *, fitting: bool) -> np.ndarray | list[np.ndarray]:
        """Returns [recording, time, lead], or a list of [time, lead] of different lengths."""
        if isinstance(X, list | tuple) and len({np.shape(recording) for recording in X}) > 1:
            return [check_array(recording, ensure_all_finite=False) for recording in X]
        if getattr(X, "ndim", 2) > 2 or isinstance(X, list | tuple) and np.ndim(X) > 2:
            return check_array(X, allow_nd=True, ensure_all_finite=False)
        settings: Any = {"X": X, "reset": fitting, "ensure_all_finite": "allow-nan"}
        flat: Any = validate_data(self, **settings)
        leads = len(self.leads)
        if flat.shape[1] % leads:
            problem = f"X of shape {flat.shape} with {leads} leads"
            raise InputError(f"{problem}; give [recording, time x lead] or [recording, time, lead]")
        return flat.reshape(len(flat), -1, leads)

    def _encoder(self) -> Encoder:
        return _read(str(find_checkpoint(self.checkpoint)))


@functools.lru_cache(maxsize=4)
def _read(path: str) -> Encoder:
    model = load(path)
    return model.encoder if isinstance(model, Classifier) else model
