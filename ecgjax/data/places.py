"""Places of recordings in what is kept of a data set: embeddings, tokens, signals on a device."""

import numpy as np


def places(kept: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the places of recordings among those that are kept, int64 in the shape of `indices`.

    Args:
      kept: numbers of the kept recordings, ascending.
      indices: numbers of the recordings to find.

    Raises:
      KeyError: a recording is not kept.
    """
    found = np.searchsorted(kept, indices)
    absent = np.append(kept, -1)[found] != indices
    if np.any(absent):
        raise KeyError(f"recording {np.extract(absent, indices)[0]} is not kept")
    return found
