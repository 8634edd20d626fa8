"""Encoders ready for use: raw recordings in, embeddings out. `ecgjax.load` reads a checkpoint."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax import encoders
from ecgjax.data.inference import each_batch, read_in_batches
from ecgjax.data.records import Records
from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing, Preprocessor
from ecgjax.signals import MISSING, lead_indices, rate_ratio
from ecgjax.train.checkpoint import load_encoder

_UV_PER_UNIT = {"V": 1e6, "mV": 1e3, "uV": 1.0}


@dataclasses.dataclass(frozen=True, eq=False)
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
        weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(self.variables))
        return hashlib.sha256(weights).hexdigest()[:16]

    def __call__(
        self,
        signal: np.ndarray,
        *,
        rate_hz: float,
        leads: Sequence[str],
        units: str,
        batch_size: int = 64,
    ) -> np.ndarray:
        """Embeds raw recordings.

        Args:
          signal: [time, lead] or [recording, time, lead], floats or integers in `units`; NaN for
            missing samples.
          rate_hz: sampling rate of the signal, in Hz.
          leads: names of its columns, all twelve standard leads in any order.
          units: "V", "mV" or "uV".
          batch_size: recordings that are embedded at once.

        Returns:
          float32 [dimension] or [recording, dimension].

        Raises:
          InputError: the units, leads, shape, length, rate or amplitudes cannot be used.
        """
        signal = np.asarray(signal)
        if signal.ndim not in (2, 3) or signal.shape[-1] != len(leads):
            raise InputError(
                f"signal of shape {signal.shape} with {len(leads)} leads: "
                f"give [time, lead] or [recording, time, lead]"
            )
        rate_ratio(rate_hz, self.preprocessing.rate_hz)  # refuses an impossible rate
        seconds = signal.shape[-2] / rate_hz
        if abs(seconds - self.preprocessing.seconds) > 0.5 / rate_hz:
            raise InputError(
                f"{signal.shape[-2]} samples at {rate_hz:g} Hz are {seconds:g} s; this encoder "
                f"takes {self.preprocessing.seconds:g} s: cut the signal, or check rate_hz"
            )
        ordered = signal[..., lead_indices(leads, "signal")]
        stored = as_stored(ordered.reshape(-1, *ordered.shape[-2:]), units)
        starts = range(0, len(stored), batch_size)
        batches = (stored[start : start + batch_size] for start in starts)
        embeddings = self._embed(batches, rate_hz, batch_size)
        return embeddings if signal.ndim == 3 else embeddings[0]

    def embed(self, records: Records, indices: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
        """Embeds prepared recordings: float32 [len(indices), dimension]."""
        batches = read_in_batches(records, indices, batch_size)
        return self._embed(batches, records.rate_hz, batch_size)

    def _embed(self, batches: Iterable[np.ndarray], rate_hz: float, batch_size: int) -> np.ndarray:
        embed = _jitted_embed(self.module, Preprocessor(self.preprocessing, rate_hz))
        step = functools.partial(embed, jax.device_put(self.variables))
        return each_batch(step, batches, batch_size)


@functools.lru_cache(maxsize=8)
def _jitted_embed(module: nn.Module, preprocess: Preprocessor):
    def embed(variables: dict, signal: jax.Array) -> jax.Array:
        outputs: Any = module.apply(variables, preprocess(signal), train=False)
        return outputs[1].astype(jnp.float32)

    return jax.jit(embed)


def load(path: str | Path) -> Encoder:
    """Loads a pre-trained or fine-tuned encoder.

    Args:
      path: a checkpoint, or the workdir of a run (its newest checkpoint is taken).

    Raises:
      InputError: there is no checkpoint, it is damaged, or its weights do not fit its architecture.
    """
    saved = load_encoder(path)
    restored = len(jax.tree.leaves(saved.variables))
    return Encoder(**vars(saved), restored=restored)


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


def as_stored(signal: np.ndarray, units: str) -> np.ndarray:
    """Converts physical values in `units` to the stored form: int16, 1 uV per LSB, NaN as MISSING.

    Raises:
      InputError: unknown units, or amplitudes that no ECG in these units has.
    """
    if units not in _UV_PER_UNIT:
        raise InputError(f"units {units!r}: give one of {', '.join(_UV_PER_UNIT)}")
    signal_uv = np.rint(np.asarray(signal, np.float64) * _UV_PER_UNIT[units])
    missing = ~np.isfinite(signal_uv)
    largest_uv = np.abs(np.where(missing, 0, signal_uv)).max(initial=0)
    if largest_uv > 32767 or 0 < largest_uv < 20:
        raise InputError(
            f"the largest amplitude is {largest_uv / 1e3:g} mV if these are {units}; "
            f"check the units"
        )
    return np.where(missing, MISSING, signal_uv).astype(np.int16)
