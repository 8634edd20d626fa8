"""Pre-training objectives: one method per file, and one line per method in `OBJECTIVES`.

An objective is a frozen dataclass. Its fields are the settings of the method: each becomes an
option of the command line, and its docstring the help text. The training loop uses three
attributes:

  examples
    The content of a batch: "single" (recordings), "patient_pair" (two recordings of a patient),
    or an `ecgjax.data.pairs.PairRule`.

  init(encoder, key, signal) -> variables
    The initial variables for an encoder's input `signal`, float32 [batch, time, lead]: {"params":
    {"encoder": ..., other networks}, other collections}. In every collection the encoder's
    variables have the name "encoder".

  loss(encoder, variables, batch, key, *, preprocess) -> (loss, (metrics, updates))
    The loss of a batch, and a dict of scalar metrics, which include `collapse_metrics`. `updates`
    has the new values of the collections besides "params": batch statistics, EMA targets, queues.
    The loop carries them from step to step without knowing their meaning. The batch has

      "signal": int16 [recording, time, lead] or [pair, 2, time, lead], stored recordings;
        `preprocess` (an `ecgjax.preprocessing.Preprocessor`) turns them into the encoder's input.
      "patient": int32 [recording] or [pair].
      "progress": float32, the share of the run that is done, from 0 to below 1.
      "num_steps": int, steps of the whole run.

A collection named "result", {"params": {"encoder": ...}}, replaces the trained encoder in the saved
checkpoint, for example by its EMA. `examples/barlow_twins.py` is a complete method in 40 lines.
"""

from typing import Union

from ecgjax.objectives.adversarial import Adversarial
from ecgjax.objectives.byol import Byol
from ecgjax.objectives.clocs import Clocs
from ecgjax.objectives.cpc import Cpc
from ecgjax.objectives.jepa import Jepa
from ecgjax.objectives.lead_bootstrap import LeadBootstrap
from ecgjax.objectives.lejepa import Lejepa
from ecgjax.objectives.masked_autoencoder import MaskedAutoencoder
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.objectives.simclr import Simclr
from ecgjax.objectives.swav import Swav
from ecgjax.objectives.temporal_spatial import TemporalSpatial
from ecgjax.objectives.visreg import Visreg
from ecgjax.objectives.wav2vec_cmsc import Wav2vecCmsc

OBJECTIVES = {
    "adversarial": Adversarial,
    "byol": Byol,
    "clocs": Clocs,
    "cpc": Cpc,
    "jepa": Jepa,
    "lead_bootstrap": LeadBootstrap,
    "lejepa": Lejepa,
    "masked_autoencoder": MaskedAutoencoder,
    "patient_contrast": PatientContrast,
    "simclr": Simclr,
    "swav": Swav,
    "temporal_spatial": TemporalSpatial,
    "visreg": Visreg,
    "wav2vec_cmsc": Wav2vecCmsc,
}
"""Settings class of each method by its name on the command line."""

Objective = Union[tuple(OBJECTIVES.values())]  # noqa: UP007  # type: ignore[valid-type]
"""Settings of any of the methods."""
