"""Encoders ready for use: recordings in, embeddings out."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax import encoders
from ecgjax.apply import Application, OnBad, Step
from ecgjax.data.records import Records
from ecgjax.data.seen import Seen
from ecgjax.errors import counted
from ecgjax.preprocessing import Preprocessing, Preprocessor, cut_windows
from ecgjax.train.model import SavedModel, load_model, save_model


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Encoder:
    """A trained or untrained encoder with its preprocessing.

    Attributes:
      module: the Flax module.
      variables: {"params", "batch_stats"}.
      preprocessing: preprocessing of a recording before the module sees it.
      config: the checkpoint's config; empty for an untrained encoder.
      seen: recordings and patients that it was trained on.
      restored: number of arrays read from the checkpoint; 0 for an untrained encoder.
    """

    module: nn.Module
    variables: dict
    preprocessing: Preprocessing
    config: dict = dataclasses.field(default_factory=dict)
    seen: Seen = dataclasses.field(default_factory=Seen.none)
    restored: int = 0

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, 16 hex digits of their SHA-256; "random weights" if untrained."""
        if not self.restored:
            return "random weights"
        return hash_variables(self.variables)

    def __repr__(self) -> str:
        name = type(self.module).__name__
        count = sum(np.size(leaf) for leaf in jax.tree.leaves(self.variables.get("params", {})))
        settings = self.preprocessing
        leads = counted(len(settings.leads), "lead")
        window = f"{settings.seconds:g} s at {settings.rate_hz:g} Hz, {leads}"
        return f"Encoder({name}, {count:,} parameters, {window}, weights {self.fingerprint})"

    def embed(
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
        """Embeds raw recordings of any length from the shortest window on.

        A recording longer than the encoder's window is embedded in several windows whose embeddings
        are averaged; see `ecgjax.data.inference`. `encoder(signal, ...)` is the same.

        Args:
          signal: [time, lead] or [recording, time, lead], floats or integers in `units`; NaN for
            missing samples, in int16 -32768 as in prepared data sets. Missing samples at both ends,
            and padding in the form of constant ones, count for nothing, as in `prepare`.
          rate_hz: sampling rate of the signal, in Hz.
          leads: names of its columns in any order, as `prepare` takes them. The encoder needs the
            leads of its preprocessing; limb leads that follow from two others may be absent.
          units: V, mV, uV or nV.
          allow_missing_leads: accept absent leads as missing samples, which suits an encoder that
            was trained with lead masking.
          on_bad: "raise" refuses the batch if it holds a recording without a usable ECG, "nan"
            returns NaN for that recording.
          batch_size: windows that are embedded at once.

        Returns:
          float32 [dimension] or [recording, dimension].

        Raises:
          InputError: the units, leads, shape, length or rate cannot be used, or, unless `on_bad` is
            "nan", a recording is no ECG; the message has its index.
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

    __call__ = embed

    def embed_records(
        self, records: Records, indices: np.ndarray, *, batch_size: int = 256
    ) -> np.ndarray:
        """Embeds prepared recordings: float32 [len(indices), dimension]."""
        return self._application.to_records(records, indices, batch_size=batch_size)

    def embed_stored(
        self,
        signals: np.ndarray,
        valid_samples: np.ndarray,
        *,
        rate_hz: float,
        batch_size: int = 256,
    ) -> np.ndarray:
        """Embeds stored samples: float32 [recording, dimension]; see `Application.to_stored`."""
        return self._application.to_stored(
            signals, valid_samples, rate_hz=rate_hz, batch_size=batch_size
        )

    def save(self, folder: Path) -> None:
        """Writes a model folder, which `ecgjax.load` reads."""
        save_model(
            folder,
            SavedModel(self.module, self.variables, self.preprocessing, self.config, self.seen),
        )

    @functools.cached_property
    def dimension(self) -> int:
        """Number of features of an embedding."""
        settings = self.preprocessing
        signal = jax.ShapeDtypeStruct((1, settings.samples, len(settings.leads)), jnp.float32)
        apply = functools.partial(self.module.apply, self.variables, train=False)
        outputs: Any = jax.eval_shape(apply, signal)
        return outputs[1].shape[-1]

    @property
    def _application(self) -> Application:
        def make_step(rate_hz: float) -> Step:
            embed = _jitted_embed(self.module, Preprocessor(self.preprocessing, rate_hz))
            return functools.partial(embed, jax.device_put(self.variables))

        return Application(self.preprocessing, self.dimension, make_step)


def hash_variables(variables: dict) -> str:
    """Returns 16 hex digits of the SHA-256 of all arrays."""
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(variables))
    return hashlib.sha256(weights).hexdigest()[:16]


@functools.lru_cache(maxsize=8)
def _jitted_embed(module: nn.Module, preprocess: Preprocessor):
    return jax.jit(functools.partial(embed_step, module, preprocess))


def embed_step(
    module: nn.Module, preprocess: Preprocessor, variables: dict, signal: jax.Array
) -> jax.Array:
    """Embeds stored samples int16 [batch, time, 12]: float32 [batch, dimension]."""
    window_s = preprocess.preprocessing.window_s
    windows = cut_windows(preprocess(signal), window_s, rate_hz=preprocess.rate_hz)
    outputs: Any = module.apply(variables, windows.reshape(-1, *windows.shape[2:]), train=False)
    embeddings = outputs[1].astype(jnp.float32)
    return embeddings.reshape(*windows.shape[:2], -1).mean(1)


def load_encoder(path: str | Path) -> Encoder:
    """Loads the encoder of a model, without its head if it has one.

    Args:
      path: a model folder, a checkpoint, the workdir of a run, or the name of an encoder that is
        shipped with ecgjax, such as "ptb-xl".

    Raises:
      InputError: there is no checkpoint, it is damaged, or its weights do not fit its architecture.
    """
    return from_saved(load_model(path))


def from_saved(saved: SavedModel) -> Encoder:
    """Returns the encoder of a model that was read."""
    return Encoder(
        saved.module,
        saved.variables,
        saved.preprocessing,
        saved.config,
        saved.seen,
        restored=len(jax.tree.leaves(saved.variables)),
    )


def untrained(name: str, preprocessing: Preprocessing, *, seed: int = 0) -> Encoder:
    """Makes the encoder `name` with initial weights: the baseline for a trained one."""
    return untrained_twin(Encoder(encoders.ENCODERS[name], {}, preprocessing), seed=seed)


def untrained_twin(encoder: Encoder, *, seed: int = 0) -> Encoder:
    """Makes an encoder of the same architecture and preprocessing with initial weights."""
    preprocessing = encoder.preprocessing
    signal = jnp.zeros((1, preprocessing.samples, len(preprocessing.leads)))
    variables = _jitted_init(encoder.module)(jax.random.key(seed), signal)
    return Encoder(encoder.module, dict(variables), preprocessing)


@functools.lru_cache(maxsize=8)
def _jitted_init(module: nn.Module):
    return jax.jit(functools.partial(module.init, train=False))
