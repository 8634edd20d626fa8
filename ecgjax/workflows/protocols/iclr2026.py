"""The PTB-XL part of the benchmark of ECG foundation models (ICLR 2026, arXiv:2509.25095).

All labels of folds 1 to 8, 71 statements, 23 subclasses and 5 superclasses. The frozen encoder is
read out by a linear layer on mean-pooled tokens and by query attention, and it is fine-tuned; each
sees windows of 2.5 s, unless --tune chooses longer crops. Where ours differs: docs/protocols.md.
"""

import dataclasses

from ecgjax.adapt.finetune import FineTuning
from ecgjax.augment import GENTLE_VIEWS
from ecgjax.workflows.low_label_methods import Benchmark
from ecgjax.workflows.protocols.protocol import Protocol
from ecgjax.workflows.protocols.published import ICLR2026_TASKS

WINDOW_S = 2.5
"""Length of the windows, in seconds."""

ICLR2026 = Protocol(
    name="iclr2026",
    title="frozen and fine-tuned encoders with all labels of PTB-XL",
    tasks=ICLR2026_TASKS,
    settings=Benchmark(
        labels=("all",),
        seeds=1,
        train_at=("all",),
        trained=("finetuned",),
        probes=("mean_pool", "attention"),
        finetuning=FineTuning(augmentation=dataclasses.replace(GENTLE_VIEWS, crop_s=WINDOW_S)),
    ),
    readouts=(
        ("mean_pool", "mean_pool", "linear on mean-pooled tokens"),
        ("frozen", "mean_pool", "linear on the embedding"),
        ("attention", "attention", "query attention"),
        ("finetuned", "finetuned", "fine-tuned"),
        ("scratch", "scratch", "from scratch"),
        ("random", "mean_pool", "linear on a random encoder's embedding"),
    ),
    shares=("100%",),
    window_s=WINDOW_S,
)
"""All labels; linear, query attention, fine-tuned."""
