"""A model as one function of raw samples, with all that `ecgjax.load(...).embed` does inside.

What it does is what `embed` and `predict` do, from the same functions: conversion to microvolts,
absent limb leads, electrode offsets, dropouts, resampling, baseline, limits of the amplitude,
windows and their averages. Three things differ:

- A recording must fill the exported length, because a program has inputs of one shape. `embed`
  moves padding to the end and cuts it off.
- A recording that `embed` refuses, because it holds no ECG, has NaN as its results.
- The offset of a lead beyond 30 mV is its mean; `embed` takes the median. It matters only for an
  encoder that keeps the baseline.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.classifier import Classifier, predict_step
from ecgjax.data.inference import Windows, divide
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import Encoder, embed_step
from ecgjax.signals import LEADS, MISSING, limb_weights, rate_ratio
from ecgjax.workflows.export.stored_rate import to_rate
from tfds_builders.recording import leads as lead_names
from tfds_builders.recording.leads import FULL_UV, LARGEST_OFFSET_UV, LARGEST_UV, LeadRule
from tfds_builders.recording.quality import NO_ECG_UV, OFFSET_UV, RecordingError
from tfds_builders.recording.windows import resampled_length


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A function of float32 [batch, samples, lead] in mV with NaN for missing samples.

    Raises:
      InputError: the rate, the length or the leads do not suit the model.
    """

    model: Encoder | Classifier
    rate_hz: float
    """Sampling rate of the signals, in Hz."""
    leads: tuple[str, ...]
    """Names of their columns, in order."""
    samples: int
    """Length of the signals."""
    allow_missing_leads: bool = False
    """Take absent leads as missing samples."""

    def __post_init__(self):
        rate_ratio(self.rate_hz, self.encoder.preprocessing.rate_hz)
        _ = self.windows
        try:
            lead_names.find(self.leads, "--leads", self._rule)
        except RecordingError as error:
            problem = str(error).partition("; ")[0]
            remedy = "name each lead once, or give --allow-missing-leads"
            raise InputError(f"{problem}; {remedy}") from None

    @property
    def encoder(self) -> Encoder:
        """The model, or the encoder below its head."""
        return self.model.encoder if isinstance(self.model, Classifier) else self.model

    @property
    def windows(self) -> Windows:
        """Windows that a recording is divided into."""
        settings = self.encoder.preprocessing
        samples = resampled_length(self.samples, self.rate_hz, settings.rate_hz)
        return divide(samples, rate_hz=settings.rate_hz, window_s=settings.seconds)

    @property
    def _rule(self) -> LeadRule:
        return LeadRule(self.encoder.preprocessing.leads, self.allow_missing_leads)

    @property
    def widths(self) -> dict[str, int]:
        """Number of columns of each result."""
        widths = {"embedding": self.encoder.dimension}
        if isinstance(self.model, Classifier):
            widths["prediction"] = len(self.model.outputs)
        return widths

    def __call__(self, signal_mv: jax.Array) -> dict[str, jax.Array]:
        """Returns "embedding" float32 [batch, dimension], and "prediction" of a classifier."""
        stored, usable = to_stored(signal_mv, self.leads, self._rule)
        model_hz = self.encoder.preprocessing.rate_hz
        stored = to_rate(stored, from_hz=self.rate_hz, to_hz=model_hz)
        pieces = [_cut(stored, start, self.windows.length) for start in self.windows.starts]
        windows = jnp.concatenate(pieces)  # window by window, of all recordings
        count = len(pieces)
        held = (windows != MISSING).any((1, 2)).reshape(count, -1, 1)  # not within a gap

        def average(results: jax.Array) -> jax.Array:
            by_window = results.reshape(count, -1, results.shape[-1])
            total = jnp.where(held, by_window, 0.0).sum(0)
            mean = total / jnp.maximum(held.sum(0, dtype=jnp.float32), 1.0)
            return jnp.where(usable[:, None], mean, jnp.nan)

        return {name: average(step(windows)) for name, step in self._steps().items()}

    def _steps(self) -> dict[str, Callable[[jax.Array], jax.Array]]:
        encoder = self.encoder
        preprocess = Preprocessor(encoder.preprocessing, encoder.preprocessing.rate_hz)
        embed = functools.partial(embed_step, encoder.module, preprocess, encoder.variables)
        steps: dict[str, Callable[[jax.Array], jax.Array]] = {"embedding": embed}
        if isinstance(self.model, Classifier):
            model = self.model
            settings = (encoder.module, model.outputs, preprocess, model.window_s)
            steps["prediction"] = functools.partial(predict_step, *settings, model.variables)
        return steps

    def apply(self, signal_mv: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the same results by `embed` and `predict`, which take each recording's length."""
        settings = {
            "rate_hz": self.rate_hz,
            "leads": self.leads,
            "units": "mV",
            "allow_missing_leads": self.allow_missing_leads,
            "on_bad": "nan",
        }
        results = {"embedding": self.model.embed(signal_mv, **settings)}
        if isinstance(self.model, Classifier):
            results["prediction"] = self.model.predict(signal_mv, **settings)
        return results


def _cut(stored: jax.Array, start: int, length: int) -> jax.Array:
    piece = stored[:, start : start + length]
    missing = length - piece.shape[1]
    return jnp.pad(piece, ((0, 0), (0, missing), (0, 0)), constant_values=MISSING)


def to_stored(
    signal_mv: jax.Array, names: tuple[str, ...], rule: LeadRule
) -> tuple[jax.Array, jax.Array]:
    """Converts signals to the stored form, as `tfds_builders.recording.leads.to_stored` does.

    Args:
      signal_mv: float32 [batch, time, lead], NaN for missing samples.
      names: names of the leads.
      rule: the leads that are needed.

    Returns:
      int16 [batch, time, 12], 1 uV per LSB, and bool [batch], true if the recording is an ECG.
    """
    value_uv = _round_to_microvolts(signal_mv, functools.partial(_twelve_leads, names, rule))
    present = jnp.isfinite(value_uv)
    value_uv = jnp.where(present, value_uv, 0.0)
    unmeasured = (value_uv == 0).all(-1, keepdims=True)
    offset_uv = _large_offsets(value_uv, present & ~unmeasured)
    present = present & ~(unmeasured & (offset_uv != 0).any(-1, keepdims=True))
    value_uv = jnp.where(present, value_uv - offset_uv, 0.0)
    fits = (jnp.abs(value_uv) <= LARGEST_UV).all((-2, -1))
    lowest_uv, highest_uv = _range(value_uv, present)
    is_ecg = (highest_uv - lowest_uv > NO_ECG_UV).any((-2, -1))
    inside_uv = jnp.clip(value_uv, -LARGEST_UV, LARGEST_UV).astype(jnp.int16)
    return jnp.where(present, inside_uv, jnp.int16(MISSING)), fits & is_ecg


def _round_to_microvolts(
    signal_mv: jax.Array, combine: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Rounds combinations of leads to microvolts, with the result of 64-bit numbers.

    float32 holds a sample of a lead with an electrode offset, but not the product with 1000, and
    the sum of two leads often lies half a microvolt between two integers. Each sample is therefore
    the sum of three parts, of which the first two have products that are exact.
    """
    signal_mv = jnp.where(jnp.isfinite(signal_mv), signal_mv, jnp.nan)
    whole_mv = jnp.round(signal_mv)
    rest_mv = signal_mv - whole_mv
    coarse_mv = jnp.round(rest_mv * 4096) / 4096
    whole_uv, coarse_uv, fine_uv = (
        combine(part_mv * 1e3) for part_mv in (whole_mv, coarse_mv, rest_mv - coarse_mv)
    )
    even_uv = 2 * jnp.floor(coarse_uv / 2)  # so that half a microvolt is rounded as in the whole
    return whole_uv + even_uv + jnp.round(coarse_uv - even_uv + fine_uv)


def _twelve_leads(names: tuple[str, ...], rule: LeadRule, value_uv: jax.Array) -> jax.Array:
    """Returns the leads in the order of LEADS, absent ones calculated or NaN."""
    given = lead_names.find(names, "signal", rule)
    weights = limb_weights(tuple(given))
    columns = []
    for lead in LEADS:
        if lead not in rule.kept or lead not in {*given, *weights}:
            columns.append(jnp.full_like(value_uv[..., 0], jnp.nan))
        elif lead in given:
            columns.append(value_uv[..., given[lead]])
        else:
            terms = [weight * value_uv[..., given[known]] for known, weight in weights[lead]]
            columns.append(terms[0] + terms[1])
    return jnp.stack(columns, axis=-1)


def _large_offsets(value_uv: jax.Array, valid: jax.Array) -> jax.Array:
    """Returns the offset of leads that pass FULL_UV because of it, [batch, 1, lead], or else 0."""
    lowest_uv, highest_uv = _range(value_uv, valid)
    count = valid.sum(-2, keepdims=True, dtype=jnp.float32)
    total_uv = jnp.where(valid, value_uv, 0.0).sum(-2, keepdims=True)
    mean_uv = jnp.round(total_uv / jnp.maximum(count, 1.0))
    large = jnp.maximum(highest_uv, -lowest_uv) > FULL_UV
    narrow = highest_uv - lowest_uv <= 2 * LARGEST_UV
    raised = (jnp.abs(mean_uv) > OFFSET_UV) & (jnp.abs(mean_uv) <= LARGEST_OFFSET_UV)
    fitting_uv = jnp.maximum(jnp.minimum(mean_uv, lowest_uv + LARGEST_UV), highest_uv - LARGEST_UV)
    return jnp.where(large & narrow & raised, fitting_uv, 0.0)


def _range(value_uv: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the lowest and highest valid value of each lead, [batch, 1, lead]; 0 without any."""
    some = valid.any(-2, keepdims=True)
    lowest_uv = jnp.where(valid, value_uv, jnp.inf).min(-2, keepdims=True)
    highest_uv = jnp.where(valid, value_uv, -jnp.inf).max(-2, keepdims=True)
    return jnp.where(some, lowest_uv, 0.0), jnp.where(some, highest_uv, 0.0)
