"""Encoders ready for use: raw recordings in, embeddings out. `ecgjax.load` reads a checkpoint."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax import encoders
from ecgjax.data.inference import Windows, average_over_windows, divide, divide_records
from ecgjax.data.records import Records
from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing, Preprocessor, cut_windows
from ecgjax.signals import MISSING, UV_PER_UNIT, rate_ratio, unit_name
from ecgjax.train.checkpoint import load_encoder
from tfds_builders.recording import checks, leads, padding
from tfds_builders.recording.leads import TWELVE, LeadRule
from tfds_builders.recording.quality import RecordingError


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
        weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(self.variables))
        return hashlib.sha256(weights).hexdigest()[:16]

    def __repr__(self) -> str:
        name = type(self.module).__name__
        count = sum(np.size(leaf) for leaf in jax.tree.leaves(self.variables.get("params", {})))
        settings = self.preprocessing
        window = f"{settings.seconds:g} s at {settings.rate_hz:g} Hz, {len(settings.leads)} leads"
        return f"Encoder({name}, {count:,} parameters, {window}, weights {self.fingerprint})"

    def __call__(
        self,
        signal: np.ndarray,
        *,
        rate_hz: float,
        leads: Sequence[str],
        units: str,
        allow_missing_leads: bool = False,
        on_bad: Literal["raise", "nan"] = "raise",
        batch_size: int = 64,
    ) -> np.ndarray:
        """Embeds raw recordings of any length from the shortest window on.

        A recording longer than the encoder's window is embedded in several windows whose embeddings
        are averaged; see `ecgjax.data.inference`.

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
        signal = _without_mask(signal)
        if signal.dtype.kind not in "iuf":
            raise InputError(f"signal of type {signal.dtype}: give floats or integers")
        if signal.ndim not in (2, 3) or signal.shape[-1] != len(leads):
            raise InputError(
                f"signal of shape {signal.shape} with {len(leads)} leads: "
                f"give [time, lead] or [recording, time, lead]"
            )
        if on_bad not in ("raise", "nan"):
            raise InputError(f"on_bad {on_bad!r}: give 'raise' or 'nan'")
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size}: give 1 or more")
        rate_ratio(rate_hz, self.preprocessing.rate_hz)  # refuses an impossible rate
        window_s = self.preprocessing.seconds
        divide(signal.shape[-2], rate_hz=rate_hz, window_s=window_s)
        rule = LeadRule(self.preprocessing.leads, allow_missing_leads)
        recordings = signal if signal.ndim == 3 else signal[None]
        usable: dict[int, np.ndarray] = {}
        windows: list[Windows] = []
        for index, stored in as_stored(recordings, leads, units, rule=rule, on_bad=on_bad):
            recording = padding.move_to_start(stored, rate_hz)
            try:
                samples = padding.valid_samples(recording)
                windows.append(divide(samples, rate_hz=rate_hz, window_s=window_s))
                usable[index] = recording
            except InputError as error:
                if on_bad == "raise":
                    raise InputError(f"recording {index}: {error}") from None
        embeddings = np.full((len(recordings), self.dimension), np.nan, np.float32)
        rows = np.array([*usable], int)
        embeddings[rows] = self._embed(
            lambda positions: np.stack([usable[row] for row in rows[positions]]),
            windows,
            rate_hz,
            batch_size,
        )
        return embeddings if signal.ndim == 3 else embeddings[0]

    def embed(self, records: Records, indices: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
        """Embeds prepared recordings: float32 [len(indices), dimension]."""
        indices = np.asarray(indices)
        windows = divide_records(records, indices, window_s=self.preprocessing.seconds)
        return self._embed(
            lambda rows: records.read(indices[rows]), windows, records.rate_hz, batch_size
        )

    @functools.cached_property
    def dimension(self) -> int:
        """Number of features of an embedding."""
        settings = self.preprocessing
        signal = jax.ShapeDtypeStruct((1, settings.samples, len(settings.leads)), jnp.float32)
        apply = functools.partial(self.module.apply, self.variables, train=False)
        outputs: Any = jax.eval_shape(apply, signal)
        return outputs[1].shape[-1]

    def _embed(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        windows: Sequence[Windows],
        rate_hz: float,
        batch_size: int,
    ) -> np.ndarray:
        if not windows:
            return np.zeros((0, self.dimension), np.float32)
        embed = _jitted_embed(self.module, Preprocessor(self.preprocessing, rate_hz))
        step = functools.partial(embed, jax.device_put(self.variables))
        return average_over_windows(step, read, windows, batch_size)


@functools.lru_cache(maxsize=8)
def _jitted_embed(module: nn.Module, preprocess: Preprocessor):
    def embed(variables: dict, signal: jax.Array) -> jax.Array:
        window_s = preprocess.preprocessing.window_s
        windows = cut_windows(preprocess(signal), window_s, rate_hz=preprocess.rate_hz)
        outputs: Any = module.apply(variables, windows.reshape(-1, *windows.shape[2:]), train=False)
        embeddings = outputs[1].astype(jnp.float32)
        return embeddings.reshape(*windows.shape[:2], -1).mean(1)

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


def _without_mask(signal: np.ndarray) -> np.ndarray:
    """Returns an array with NaN in place of masked samples."""
    if isinstance(signal, np.ma.MaskedArray):
        return np.ma.filled(signal.astype(np.float64), np.nan)
    return np.asarray(signal)


def as_stored(
    signal: np.ndarray,
    names: Sequence[str],
    units: str,
    *,
    rule: LeadRule = TWELVE,
    on_bad: Literal["raise", "nan"] = "raise",
) -> Iterator[tuple[int, np.ndarray]]:
    """Converts raw recordings to the stored form with the functions that `prepare` uses.

    Args:
      signal: [recording, time, lead] in `units`, NaN (int16: MISSING) for missing samples.
      names: names of the leads.
      units: V, mV, uV or nV.
      rule: the leads that are needed.
      on_bad: "raise" refuses a recording without a usable ECG, "nan" leaves it out.

    Yields:
      The index of each recording, and int16 [time, 12], 1 uV per LSB, in the order of LEADS.

    Raises:
      InputError: unknown units, absent leads, or a recording that is no ECG.
    """
    unit = unit_name(units)
    if unit is None:
        raise InputError(f"units {units!r}: give one of {', '.join(UV_PER_UNIT)}")
    try:
        leads.find(names, "signal", rule)
    except RecordingError as error:  # its remedy is for the command line
        problem = str(error).partition("; ")[0]
        raise InputError(
            f"{problem}; name each lead once, or give allow_missing_leads=True"
        ) from None
    for index, recording in enumerate(signal):
        value_uv = np.asarray(recording, np.float64) * UV_PER_UNIT[unit]
        value_uv[~np.isfinite(value_uv)] = np.nan
        if recording.dtype.newbyteorder("=") == np.int16:
            value_uv[recording == MISSING] = np.nan
        try:
            stored = leads.to_stored(value_uv, names, f"recording {index}", rule).signal
            checks.require_ecg(stored, f"recording {index}")
        except RecordingError as error:
            if on_bad == "raise":
                raise InputError(f"{error} (units: {unit}); on_bad='nan' skips it") from error
        else:
            yield index, stored
