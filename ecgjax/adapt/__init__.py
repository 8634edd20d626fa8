"""Methods that use labels, one file each.

A method is a frozen dataclass. Its fields are the settings, and it has one function:

  adapt(encoder, labelled, run) -> Adapted

    encoder   the initial encoder, pre-trained or with random weights (`ecgjax.pretrained.Encoder`)
    labelled  recordings and their targets (`parts.training.Labelled`)
    run       folder for checkpoints and logs, config, and title (`ecgjax.train.loop.Run`)
    Adapted   the trained variables, as `parts.classifier.predict` uses them

`adapt` saves a checkpoint in `run.workdir`. Called again with the same workdir and settings, it
resumes from that checkpoint. `CONFIG_KEY` names its settings in the config of the checkpoint.

To add a method, write its file, add it to `METHODS` and to `Method`, and its key to `METHODS` of
`ecgjax.workflows.runs`.
"""

from ecgjax.adapt.attention_probe import AttentionProbing
from ecgjax.adapt.consistency import Consistency
from ecgjax.adapt.finetune import FineTuning
from ecgjax.adapt.linear_probe import LinearProbing
from ecgjax.adapt.local_contrast import LocalContrast

METHODS = {
    "finetune": FineTuning,
    "linear_probe": LinearProbing,
    "attention_probe": AttentionProbing,
    "consistency": Consistency,
    "local_contrast": LocalContrast,
}

Method = FineTuning | LinearProbing | AttentionProbing | Consistency | LocalContrast
"""Settings of any method."""
