"""Ways of using labels: one file each. A new one is a settings dataclass with the method

  adapt(encoder, labelled, run) -> Adapted

that leaves a checkpoint in `run.workdir`, and one line here (`Labelled` and `Run` are in `training`).
"""

from ecgjax.adapt.consistency import Consistency
from ecgjax.adapt.finetune import FineTuning
from ecgjax.adapt.linear_probe import LinearProbing
from ecgjax.adapt.local_contrast import LocalContrast

METHODS = {
    "finetune": FineTuning,
    "linear_probe": LinearProbing,
    "consistency": Consistency,
    "local_contrast": LocalContrast,
}

Method = FineTuning | LinearProbing | Consistency | LocalContrast
"""Any method's settings."""
