"""Draws of single recordings, as MERL and the works that followed it draw labels."""

import numpy as np
from sklearn.model_selection import train_test_split

MERL_SEED = 42
"""`random_state` of MERL's draws (Liu et al. 2024, ICML, finetune/finetune_dataset.py)."""


def draw_single(recordings: int, count: int, *, seed: int) -> np.ndarray:
    """Draws recordings, whoever their patients are.

    With seed 0 and the recordings of a task in the order of PTB-XL's ecg_id, these are the
    recordings that MERL trains with. Draws with one seed are nested.

    Args:
      recordings: number of recordings to draw from.
      count: number of recordings to draw.
      seed: number of the draw.

    Returns:
      Sorted positions, [count].
    """
    everything = np.arange(recordings)
    if count == recordings:
        return everything
    drawn, _ = train_test_split(everything, train_size=count, random_state=MERL_SEED + seed)
    return np.sort(drawn)
