"""MERL's linear probes with 1, 10 and 100 % of the labels of PTB-XL (Liu et al. 2024, ICML).

Folds 1 to 8 train, 9 validates, 10 tests. The labelled recordings are drawn one by one, so that a
patient's recordings may be torn apart, with `train_test_split(train_size=share, random_state=42)`:
the same recordings here. Where ours differs: docs/protocols.md.
"""

from ecgjax.workflows.low_label_methods import Benchmark
from ecgjax.workflows.protocols.protocol import Protocol
from ecgjax.workflows.protocols.published import MERL_LABELS, MERL_TASKS

MERL = Protocol(
    name="merl",
    title="linear probes with 1, 10 and 100 % of the labels of PTB-XL",
    tasks=MERL_TASKS,
    settings=Benchmark(
        labels=("1%", "10%", "all"),
        seeds=1,
        train_at=(),
        trained=(),
        draw="recordings",
    ),
    readouts=(
        ("frozen", "linear", "linear on the embedding"),
        ("mean_pool", "linear", "linear on mean-pooled tokens"),
        ("attention", "linear", "query attention"),
        ("finetuned", "linear", "fine-tuned"),
        ("scratch", "linear", "from scratch"),
        ("random", "linear", "linear on a random encoder's embedding"),
    ),
    shares=MERL_LABELS,
)
"""1, 10 and 100 % of the labels, linear."""
