"""Ways of using labels: one file each. A new one is a settings dataclass with the method

  adapt(encoder, records, indices, targets, *, workdir, config, title) -> Adapted

that leaves a checkpoint in `workdir`, and one line here.
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
