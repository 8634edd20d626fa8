"""Comparison of an exported file with ecgjax on simulated ECGs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecgjax.classifier import Classifier
from ecgjax.errors import InputError, first_line
from ecgjax.workflows.export.program import Program

LARGEST_DIFFERENCE = 1e-4
"""Largest difference of a result that counts as rounding. Embeddings and numbers are divided by
their root mean square; probabilities are not."""
LARGEST_RESAMPLED_DIFFERENCE = 1e-3
"""The same if the program resamples: a resampled sample near half a microvolt may be rounded to
the next one (on average one of 5,000), because 32-bit sums depend on the order of their terms."""
WAVES = (
    (-0.2, 0.025, 0.15),
    (-0.03, 0.01, -0.15),
    (0.0, 0.012, 1.1),
    (0.03, 0.01, -0.3),
    (0.28, 0.05, 0.35),
)
"""Waves P, Q, R, S and T of a beat: time from R in s, width in s, height in mV."""


def trial_signals(program: Program) -> np.ndarray:
    """Simulates six recordings with what real ones have.

    There are beats, wander, noise, electrode offsets of up to 200 mV, a gap, leads without samples,
    and a recording without ECG.

    Returns:
      float32 [6, time, lead] in mV, NaN for missing samples.
    """
    rng = np.random.default_rng(21)
    time_s = np.arange(program.samples)[:, None] / program.rate_hz
    leads = len(program.leads)
    recordings = []
    for rate in rng.uniform(0.8, 1.8, 6):  # beats per second
        beats = np.arange(rng.uniform(0, 1), time_s[-1, 0] + 1, 1 / rate)
        beats = beats + rng.normal(0, 0.02, len(beats))
        signal = 0.02 * rng.standard_normal((program.samples, leads))
        signal += 0.3 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4, leads) * time_s)
        for centre_s, width_s, height_mv in WAVES:
            shape = np.exp(-0.5 * ((time_s - beats - centre_s) / width_s) ** 2).sum(1)
            signal += np.outer(shape, height_mv * rng.uniform(-0.6, 1.2, leads))
        recordings.append(signal)
    signals = np.stack(recordings)
    signals[1] += rng.uniform(-1, 1, leads)
    signals[2] += np.linspace(-200, 200, leads)
    begin = program.samples // 3
    signals[3, begin : begin + program.samples // 8] = np.nan
    signals[4, :, : leads // 3] = np.nan
    signals[5] = 0.01 * np.round(signals[5])
    return signals.astype(np.float32)


def compare(
    program: Program,
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    signals: np.ndarray,
    path: Path,
) -> float:
    """Compares the results of an exported file with those of `embed` and `predict`.

    Args:
      program: the function that was exported.
      run: the function in the file.
      signals: float32 [recording, time, lead] in mV.
      path: the file, for the error message.

    Returns:
      The largest difference.

    Raises:
      InputError: the file cannot be run, or it differs by more than LARGEST_DIFFERENCE
        or LARGEST_RESAMPLED_DIFFERENCE.
    """
    wanted = program.apply(signals)
    try:
        found = run(signals)
    except Exception as error:
        problem = f"{path}: the exported file cannot be run ({first_line(error)})"
        raise InputError(f"{problem}; nothing was written; give another --format") from error
    differences = [_difference(program, name, found[name], wanted[name]) for name in wanted]
    worst = max(differences)
    resampled = program.rate_hz != program.encoder.preprocessing.rate_hz
    largest = LARGEST_RESAMPLED_DIFFERENCE if resampled else LARGEST_DIFFERENCE
    if not worst <= largest:
        problem = f"{path}: differs from ecgjax by {worst:.1e}, over {largest:g}"
        raise InputError(f"{problem}; nothing was written; give another --format")
    return worst


def _difference(program: Program, name: str, found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape or (np.isnan(found) != np.isnan(wanted)).any():
        return np.inf
    scale = np.sqrt(np.nanmean(np.square(wanted), dtype=np.float64))
    model = program.model
    if name == "prediction" and isinstance(model, Classifier) and model.outputs.kind != "numbers":
        scale = 1.0
    return float(np.nanmax(np.abs(found - wanted)) / scale)
