"""Batches for training: Grain shuffles, pairs and reads; the host moves int16 and nothing else."""

import grain
import jax
import numpy as np

from ecgjax.data.pairs import PatientPairs
from ecgjax.data.records import Records
from ecgjax.signals import InputError

# Batches that wait ready. Grain's own default of 500 would hold gigabytes (measured: research/ecosystem.md B2).
_READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


def pretraining_batches(
    records: Records, indices: np.ndarray, *, examples: str, batch_size: int, seed: int
) -> grain.IterDataset:
    """Endless batches for an objective, without labels.

    Args:
      records: the prepared data set.
      indices: the recordings that may be used.
      examples: "patient_pair" or "single", what the objective asks for.
      batch_size: pairs or recordings of a batch, over all processes.
      seed: order and partners.

    Returns:
      Batches {"signal": int16 [batch, 2, time, lead] or [batch, time, lead], "patient": int32 [batch]}; every process
      gets its own part of the global batch.
    """
    if not 0 < batch_size <= len(indices):
        raise InputError(
            f"batch of {batch_size} from {len(indices)} recordings in {records.path}: "
            f"give --batch-size 1 to {len(indices)}"
        )
    pairs = PatientPairs(indices, records.patients) if examples == "patient_pair" else None
    if pairs and pairs.patients < 2:
        raise InputError(f"{records.path}: one patient only; contrast needs the recordings of at least two")

    def draw(position: int, rng: np.random.Generator) -> np.ndarray:
        return pairs.draw(position, rng) if pairs else indices[position : position + 1]

    def read(rows: np.ndarray) -> dict[str, np.ndarray]:
        signal = records.read(rows.reshape(-1)).reshape(*rows.shape, records.samples, 12)
        return {"signal": signal if pairs else signal[:, 0], "patient": records.patients[rows[:, 0]]}

    dataset = grain.MapDataset.range(len(indices)).seed(seed).shuffle().repeat()
    dataset = _share_of_process(dataset).random_map(draw)
    return dataset.batch(_local(batch_size), drop_remainder=True).map(read).to_iter_dataset(_READ)


def labelled_batches(
    records: Records, indices: np.ndarray, targets: np.ndarray, *, batch_size: int, seed: int
) -> grain.IterDataset:
    """Endless batches for training with labels.

    Args:
      records: the prepared data set.
      indices: the labelled recordings, an explicit list: nothing else is ever read.
      targets: float32 [len(indices), class].
      batch_size: recordings of a batch, over all processes.
      seed: order.

    Returns:
      Batches {"signal": int16 [batch, time, lead], "targets": float32 [batch, class]}.
    """
    if not 0 < batch_size <= len(indices):
        raise InputError(
            f"batch of {batch_size} from {len(indices)} labelled recordings: give --batch-size 1 to {len(indices)}"
        )

    def read(positions: np.ndarray) -> dict[str, np.ndarray]:
        return {"signal": records.read(indices[positions]), "targets": targets[positions]}

    dataset = grain.MapDataset.range(len(indices)).seed(seed).shuffle().repeat()
    dataset = _share_of_process(dataset).batch(_local(batch_size), drop_remainder=True)
    return dataset.map(read).to_iter_dataset(_READ)


def _share_of_process(dataset: grain.MapDataset) -> grain.MapDataset:
    return dataset[jax.process_index() :: jax.process_count()] if jax.process_count() > 1 else dataset


def _local(batch_size: int) -> int:
    if batch_size % jax.process_count():
        raise InputError(f"batch of {batch_size} over {jax.process_count()} processes: give a multiple")
    return batch_size // jax.process_count()
