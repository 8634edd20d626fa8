"""The frozen probe of a pre-training run: how good are the embeddings so far?

Fixed samples of training and validation recordings of one data set are embedded. The figures are

  probe/TASK           AUROC of a linear probe on validation, for tasks with enough cases (mean over
                       the classes), fitted to the training sample;
  probe/patient_rank1  without labels: the validation recordings of patients with several are
                       searched among all in the sample; the share whose nearest other recording is
                       of the same patient (`ecgjax.evaluate.identification`);
  probe/patient_map    mean average precision of the same search;
  probe/rank           RankMe (Garrido et al. 2023, arXiv:2210.02885), the effective
                       number of dimensions that the embeddings of the validation sample use.

The samples do not depend on the run's seed, so that the figures of several runs can be compared.
Those of `identify` are lower, because it searches the whole split.
"""

import dataclasses
import functools
import io
import math

import flax.linen as nn
import jax
import matplotlib.image
import numpy as np
import pyarrow.compute

from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate import plots
from ecgjax.evaluate.identification import retrieve, standardise
from ecgjax.evaluate.metrics import macro_auroc
from ecgjax.evaluate.tasks import MAIN_TASKS, TASKS
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder
from ecgjax.train.state import TrainState
from ecgjax.train.state_parts import encoder_variables
from ecgjax.train.watch import Measurement, Watch
from ecgjax.workflows.first_look import first_conditions
from ecgjax.workflows.low_label import draw_labelled
from ecgjax.workflows.probing import Draw, Embeddings, embed, probe

SAMPLE = 1000
"""Largest number of training recordings, and of validation recordings, in the samples."""
MIN_CASES = 10
"""Cases and controls that a class needs in both samples, and patients with several recordings that
their identification needs."""
PROBES = 10
"""Number of probes in a run by default."""
MIN_RECORDINGS = 200_000
"""Recordings to train on between two probes by default. A probe of compact_resnet on PTB-XL takes
17 to 21 s of computation on a CPU, and identification embeds a tenth more recordings; 200,000
recordings take 350 s; so it is 7 % at most."""


def default_interval(num_steps: int, recordings: int, log_every: int) -> int | None:
    """Returns the steps between probes if none are given; None for a run that is too short.

    It is a multiple of the interval of the log, so that it changes no dispatch.

    Args:
      num_steps: steps of the run.
      recordings: recordings of a step.
      log_every: steps between log lines.
    """
    steps = max(num_steps / PROBES, MIN_RECORDINGS / recordings)
    every = math.ceil(steps / log_every) * log_every
    return every if every < num_steps else None


def frozen_probe(
    records: Mixture, module: nn.Module, preprocessing: Preprocessing, *, every: int
) -> Watch | None:
    """Returns the probe of a run on `records`, None if they hold no validation recordings.

    Args:
      records: the data sets of the run. The first one with labels is probed; without labels, the
        first one with patients who have several recordings; else the first one.
      module: the encoder.
      preprocessing: the encoder's preprocessing.
      every: steps between probes.
    """
    samples = [_Sample(member) for member in records.members if _has_validation(member)]
    if not samples:
        return None
    chosen = next((sample for sample in samples if sample.tasks), None)
    chosen = chosen or next((sample for sample in samples if len(sample.visits)), samples[0])
    return Watch(every, functools.partial(_measure, chosen, module, preprocessing))


def _has_validation(records: Records) -> bool:
    in_split = pyarrow.compute.equal(records.column("split"), "validation")  # pyright: ignore
    return (pyarrow.compute.sum(in_split).as_py() or 0) > 1  # pyright: ignore


@dataclasses.dataclass(frozen=True, eq=False)
class _Sample:
    """The recordings of a data set that are probed."""

    records: Records

    @functools.cached_property
    def train(self) -> np.ndarray:
        """Training recordings, [recording]."""
        return _draw(self.records, self.records.split("train"))

    @functools.cached_property
    def validation(self) -> np.ndarray:
        """Validation recordings, [recording]."""
        return _draw(self.records, self.records.split("validation"))

    @functools.cached_property
    def tasks(self) -> dict[str, tuple[Draw, Draw]]:
        """Tasks with enough cases: the training and the validation recordings with targets."""
        pairs = {
            name: (self._targets(name, "train"), self._targets(name, "validation"))
            for name in MAIN_TASKS
        }
        return {name: pair for name, pair in pairs.items() if all(map(_enough, pair))}

    @functools.cached_property
    def visits(self) -> np.ndarray:
        """Validation recordings of patients with several, [recording]; none if there are few."""
        validation = self.records.split("validation")
        patients = self.records.patients[validation]
        _, patient, count = np.unique(patients, return_inverse=True, return_counts=True)
        if (count > 1).sum() < MIN_CASES:
            return np.zeros(0, int)
        return _draw(self.records, validation[count[patient] > 1])

    def _targets(self, name: str, split: str) -> Draw:
        indices = self.train if split == "train" else self.validation
        targets, belongs = TASKS[name].targets(self.records, indices)
        indices = indices[belongs]
        return Draw(indices, targets[belongs], self.records.patients[indices], seed=0)


def _draw(records: Records, indices: np.ndarray) -> np.ndarray:
    """Draws up to `SAMPLE` recordings, patient by patient."""
    no_targets = np.zeros((len(indices), 1), np.float32)
    number = min(SAMPLE, len(indices))
    return indices[draw_labelled(no_targets, records.patients[indices], number, seed=0)]


def _enough(draw: Draw) -> bool:
    cases = draw.targets.sum(0)
    return min(cases.min(), (len(draw.targets) - cases).min()) >= MIN_CASES


def _measure(
    sample: _Sample, module: nn.Module, preprocessing: Preprocessing, state: TrainState
) -> Measurement:
    """Returns the figures of a state and a map of the validation recordings."""
    encoder = Encoder(module, jax.device_get(encoder_variables(state)), preprocessing)
    records = sample.records
    wanted = [sample.validation, sample.visits]
    wanted += [sample.train] if sample.tasks or len(sample.visits) else []
    embeddings = embed(encoder, records, np.concatenate(wanted))
    if not np.isfinite(embeddings.vectors).all():
        raise InputError(
            f"step {int(state.step)}: embeddings of validation recordings are not finite; lower "
            f"--optimizer.learning-rate"
        )
    figures = {
        f"probe/{name}": macro_auroc(test.targets, probe(train, embeddings, test.indices))
        for name, (train, test) in sample.tasks.items()
    }
    if len(sample.visits):
        figures |= _identify(sample, embeddings)
    vectors = embeddings.select(sample.validation)
    return {
        **figures,
        "probe/rank": effective_rank(vectors),
        "probe/map": _draw_map(vectors, records, sample.validation),
    }


def _identify(sample: _Sample, embeddings: Embeddings) -> dict[str, float]:
    """Returns the figures of identification among the sampled validation recordings."""
    searched = np.union1d(sample.validation, sample.visits)
    trained = embeddings.select(sample.train)
    vectors = standardise(embeddings.select(searched), trained)
    found = retrieve(vectors, sample.records.patients[searched])
    return {
        "probe/patient_rank1": float(found.rank1.mean()),
        "probe/patient_map": float(found.average_precision.mean()),
    }


def effective_rank(embeddings: np.ndarray) -> float:
    """Returns RankMe of embeddings [recording, feature]: exp(entropy of the singular values)."""
    values = np.linalg.svd(embeddings, compute_uv=False)
    shares = values / max(values.sum(), 1e-12) + 1e-7
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _draw_map(embeddings: np.ndarray, records: Records, indices: np.ndarray) -> np.ndarray:
    """Draws the first two principal components as a picture, uint8 [height, width, 3].

    Not t-SNE as at the end of a run: it takes longer than all figures together.
    """
    centred = embeddings - embeddings.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    file = io.BytesIO()
    plots.embedding_map(
        left[:, :2] * values[:2],
        first_conditions(records, indices),
        file,
        title=f"embeddings, {records.name}, two principal components",
        patients=records.patients[indices],
    )
    file.seek(0)
    return (matplotlib.image.imread(file)[..., :3] * 255).round().astype(np.uint8)
