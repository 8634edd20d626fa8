"""Dropouts and resampling of stored samples, as `prepare` and `embed` do it, in JAX.

An exported program cannot call `tfds_builders.recording.windows.to_rate`, which this follows step
by step. Every function here uses only operations that exporters know.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.preprocessing import resample
from ecgjax.signals import MISSING, rate_ratio
from tfds_builders.recording.leads import LARGEST_UV
from tfds_builders.recording.padding import DROPOUT_S
from tfds_builders.recording.windows import resampled_length

HALF_FILTER = 10
"""Length of half of the filter, in intervals of the slower rate: the default of resample_poly."""


def to_rate(stored: jax.Array, *, from_hz: float, to_hz: float) -> jax.Array:
    """Marks dropouts as missing, and resamples.

    Padding stays where it is: a program has inputs of one length.

    Args:
      stored: int16 [batch, time, lead], 1 uV per LSB, MISSING for a missing sample.
      from_hz: sampling rate of `stored`, in Hz.
      to_hz: wanted sampling rate, in Hz.

    Returns:
      int16 [batch, ceil(time * to_hz / from_hz), lead].
    """
    stored = _mark_dropouts(stored, max(2, round(DROPOUT_S * from_hz)))
    up, down = rate_ratio(from_hz, to_hz)
    if up == down:
        return stored
    samples = resampled_length(stored.shape[1], from_hz, to_hz)
    missing = stored == MISSING
    value_uv = _filter(_interpolate(stored, missing), up, down, samples)
    value_uv = jnp.round(value_uv).clip(-LARGEST_UV, LARGEST_UV).astype(jnp.int16)
    return jnp.where(_missing_nearby(missing, up, down, samples), jnp.int16(MISSING), value_uv)


def _mark_dropouts(stored: jax.Array, least: int) -> jax.Array:
    """Marks runs of `least` samples, constant in all leads at once, unless all samples are one."""
    if stored.shape[1] < least:
        return stored
    repeated = (stored[:, 1:] == stored[:, :-1]).all(-1, keepdims=True)
    begins = _count(repeated, np.ones(least - 1)) > least - 1.5  # a run begins at this sample
    around = jnp.pad(begins, ((0, 0), (least - 1, least - 1), (0, 0)))
    constant = _count(around, np.ones(least)) > 0.5
    dropped = constant & ~constant.all(1, keepdims=True)
    return jnp.where(dropped, jnp.int16(MISSING), stored)


def _interpolate(stored: jax.Array, missing: jax.Array) -> jax.Array:
    """Returns float32 with gaps interpolated linearly; a lead without any sample is 0."""
    place = jax.lax.broadcasted_iota(jnp.float32, (1, stored.shape[1], 1), 1)
    value_uv = jnp.where(missing, 0, stored).astype(jnp.float32)
    first_uv, first, begun = _nearest(value_uv, place, ~missing, _delay)
    last_uv, last, continued = _nearest(value_uv, place, ~missing, _advance)
    share = (place - first) / jnp.maximum(last - first, 1.0)
    between_uv = first_uv + (last_uv - first_uv) * share
    known_uv = jnp.where(begun, first_uv, last_uv)  # at the ends; 0 without any sample
    filled_uv = jnp.where(begun & continued, between_uv, known_uv)
    return jnp.where(missing, filled_uv, value_uv)


def _nearest(
    value: jax.Array, place: jax.Array, known: jax.Array, move: Callable[..., jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns value and place of the nearest known sample on one side, and whether there is one.

    Doubles the distance that it looks over until it reaches over the whole signal.
    """
    step = 1
    while step < value.shape[1]:
        moved = move(known, step)
        taken = moved & ~known
        value = jnp.where(taken, move(value, step), value)
        place = jnp.where(taken, move(place, step), place)
        known = known | moved
        step *= 2
    return value, place, known


def _delay(values: jax.Array, step: int) -> jax.Array:
    return jnp.pad(values, ((0, 0), (step, 0), (0, 0)))[:, : values.shape[1]]


def _advance(values: jax.Array, step: int) -> jax.Array:
    return jnp.pad(values, ((0, 0), (0, step), (0, 0)))[:, step:]


def _filter(value_uv: jax.Array, up: int, down: int, samples: int) -> jax.Array:
    """Resamples float32 [batch, time, lead], continued at both ends as a line (padtype="line")."""
    added = down * -(-HALF_FILTER * max(up, down) // (up * down))  # whole samples before and after
    first = value_uv[:, :1]
    last = value_uv[:, -1:]
    slope = (last - first) / max(value_uv.shape[1] - 1, 1)
    distance = np.arange(1, added + 1, dtype=np.float32)[None, :, None]
    parts = [first - slope * distance[:, ::-1], value_uv, last + slope * distance]
    with jax.default_matmul_precision("highest"):
        resampled = resample(jnp.concatenate(parts, axis=1), from_hz=down, to_hz=up)
    begin = added * up // down
    return resampled[:, begin : begin + samples]


def _missing_nearby(missing: jax.Array, up: int, down: int, samples: int) -> jax.Array:
    """Marks samples less than one interval of the slower rate away from a missing one."""
    reach = max(up, down)
    added = -(-reach // up)
    around = jnp.pad(missing, ((0, 0), (added, added + 1), (0, 0)))
    window = np.pad(np.ones(2 * reach - 1), (added * up - reach + 1, 0))
    return _count(around, window, up, down)[:, :samples] > 0.5


def _count(marks: jax.Array, window: np.ndarray, up: int = 1, down: int = 1) -> jax.Array:
    """Counts the marks in a window of zeros and ones, at every `down`-th of its places.

    There are `up` - 1 empty places between two marks: bool [batch, time, lead] -> float32.
    """
    batch, time, leads = marks.shape
    counts = jax.lax.conv_general_dilated(
        marks.astype(jnp.float32).swapaxes(1, 2).reshape(-1, time, 1),
        jnp.asarray(window, jnp.float32).reshape(-1, 1, 1),
        window_strides=(down,),
        padding=[(0, 0)],
        lhs_dilation=(up,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    return counts.reshape(batch, leads, -1).swapaxes(1, 2)
