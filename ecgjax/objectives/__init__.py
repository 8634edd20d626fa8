"""Pre-training objectives: one file a method, named after what it does. A new one is one file, and one line here.

An objective is a frozen dataclass whose fields are the method's settings. The loop asks of it:

  examples: "single", "patient_pair" or an `ecgjax.data.pairs.PairRule`, what `ecgjax.data` puts into a batch;
  init(encoder, key, signal) -> variables: {"params": {"encoder": ..., ...}, other collections likewise};
  loss(encoder, variables, batch, key, preprocess) -> (loss, (metrics, updates)): of a batch with "signal", stored recordings
    int16 [..., time, lead] that `preprocess` makes the encoder's input of (`ecgjax.preprocessing.Preprocessor`), "patient", int32,
    and "progress", how much of the run is done, from 0 to below 1. `updates` are the new values of the collections
    besides "params" (batch statistics, slow targets, queues), which the loop carries without knowing them. Metrics
    include `collapse_metrics`.
"""

from typing import Union

from ecgjax.objectives.adversarial import Adversarial
from ecgjax.objectives.byol import Byol
from ecgjax.objectives.clocs import Clocs
from ecgjax.objectives.cpc import Cpc
from ecgjax.objectives.jepa import Jepa
from ecgjax.objectives.lead_bootstrap import LeadBootstrap
from ecgjax.objectives.masked_autoencoder import MaskedAutoencoder
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.objectives.simclr import Simclr
from ecgjax.objectives.swav import Swav
from ecgjax.objectives.temporal_spatial import TemporalSpatial
from ecgjax.objectives.wav2vec_cmsc import Wav2vecCmsc

OBJECTIVES = {
    "adversarial": Adversarial,
    "byol": Byol,
    "clocs": Clocs,
    "cpc": Cpc,
    "jepa": Jepa,
    "lead_bootstrap": LeadBootstrap,
    "masked_autoencoder": MaskedAutoencoder,
    "patient_contrast": PatientContrast,
    "simclr": Simclr,
    "swav": Swav,
    "temporal_spatial": TemporalSpatial,
    "wav2vec_cmsc": Wav2vecCmsc,
}

Objective = Union[tuple(OBJECTIVES.values())]  # noqa: UP007  # type: ignore[valid-type]
"""Any objective's settings."""
