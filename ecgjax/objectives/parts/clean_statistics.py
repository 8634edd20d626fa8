"""Batch statistics of an encoder from clean recordings, for methods that train on strong views."""

import flax.linen as nn
import jax

from ecgjax.objectives.parts.collapse import first_rows
from ecgjax.objectives.parts.masking import encode_unmasked
from ecgjax.preprocessing import Preprocessor

LAST_SHARE = 0.1
"""Share of the run, at its end, in which clean recordings set the statistics. These have an EMA
decay of 0.9: after 20 steps an eighth is left of those of the views."""


def clean_statistics(
    encoder: nn.Module, variables: dict, batch: dict, *, preprocess: Preprocessor, updates: dict
) -> dict:
    """Replaces the updates of the encoder's batch statistics at the end of a run.

    The saved encoder embeds whole clean recordings, so its statistics should be theirs, not those
    of noisy crops with masked leads. The parameters, and the statistics of heads, stay.

    Args:
      encoder: the encoder that is trained.
      variables: the objective's variables; the encoder's are under the name "encoder".
      batch: has "signal", int16 [recording, time, lead] or [pair, 2, time, lead], and "progress".
      preprocess: turns the signal into the encoder's input.
      updates: updates of the collections, from the views.

    Returns:
      The updates, from clean recordings in the last tenth of the run.
    """
    own = updates.get("batch_stats", {}).get("encoder")
    if own is None:  # the encoder has no such statistics
        return updates
    signal = first_rows(batch["signal"].reshape(-1, *batch["signal"].shape[-2:]))

    def clean() -> dict:
        _, found = encode_unmasked(encoder, variables, preprocess(signal))
        return found["batch_stats"]["encoder"]

    chosen = jax.lax.cond(batch["progress"] >= 1 - LAST_SHARE, clean, lambda: own)
    return {**updates, "batch_stats": {**updates["batch_stats"], "encoder": chosen}}
