"""Identification of patients: does the nearest other recording belong to the same patient?

Each recording of a patient with several is a query against all other recordings, those of all
patients. It needs no label, so that it tells how good embeddings are where labels are absent. The
figures are those of person re-identification (Zheng et al. 2015, doi:10.1109/ICCV.2015.133):

  rank-1   share of queries whose most similar recording is of the same patient
  mAP      mean over queries of the average precision with which the patient's other recordings are
           ranked

They depend on the number of recordings that are searched: compare them on one data set only. Equal
similarities count as if their order was drawn (rank-1) or as one rank (average precision, as in
scikit-learn), so that constant embeddings are as good as chance.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from ecgjax.errors import InputError
from ecgjax.evaluate.bootstrap import Bootstrap, resamples

FIGURES = ("rank-1", "mAP")
"""The figures, in the order of the classes of `identification_bootstrap`."""
BLOCK = 2**24
"""Largest number of similarities that are held at once: 64 MB."""


@dataclasses.dataclass(frozen=True, eq=False)
class Retrieval:
    """Result of each query."""

    queries: np.ndarray
    """Numbers of the recordings that are queries, ascending, [query]."""
    rank1: np.ndarray
    """1 if the most similar other recording is of the same patient, else 0; a share if several are
    equally similar, float64 [query]."""
    average_precision: np.ndarray
    """Average precision of the patient's other recordings, float64 [query]."""

    @property
    def figures(self) -> np.ndarray:
        """The figures of each query in the order of `FIGURES`, float64 [query, figure]."""
        return np.stack([self.rank1, self.average_precision], axis=1)


def standardise(embeddings: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns embeddings with the mean and standard deviation of `reference` taken out.

    Without this the similarity of any two embeddings is near 1, because they share a large mean.

    Args:
      embeddings: [recording, feature].
      reference: embeddings of training recordings, [recording, feature]. A feature that is constant
        among them is left out.
    """
    mean = reference.mean(axis=0, dtype=np.float64)
    scale = reference.std(axis=0, dtype=np.float64)
    varies = scale > 1e-6 * np.abs(reference).max(axis=0)
    standardised = (embeddings - mean) / np.where(varies, scale, 1)
    return (standardised * varies).astype(np.float32)


def queries(patients: np.ndarray) -> np.ndarray:
    """Returns the numbers of the recordings whose patient has several, ascending."""
    _, patient, count = np.unique(patients, return_inverse=True, return_counts=True)
    return np.flatnonzero(count[patient] > 1)


def retrieve(embeddings: np.ndarray, patients: np.ndarray, *, block: int = BLOCK) -> Retrieval:
    """Ranks all other recordings by cosine similarity, for each query.

    Args:
      embeddings: [recording, feature].
      patients: patient of each recording, [recording].
      block: largest number of similarities that are held at once.

    Raises:
      InputError: no patient has several recordings, or an embedding is not finite.
    """
    if not np.isfinite(embeddings).all():
        raise InputError("embeddings: some are not finite; give another checkpoint")
    asked = queries(patients)
    if not len(asked):
        raise InputError(
            f"{len(patients)} recordings of as many patients: identification needs patients with "
            f"several recordings; choose another split or data set"
        )
    results = [
        _rank(similarity, np.flatnonzero(patients[others] == patients[query]))
        for query, others, similarity in _similarities(embeddings, asked, block)
    ]
    rank1, precision = np.array(results).T
    return Retrieval(asked, rank1, precision)


def _similarities(
    embeddings: np.ndarray, asked: np.ndarray, block: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields each query, all other recordings, and its cosine similarity to them."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)
    everyone = np.arange(len(embeddings))
    rows = max(1, block // len(embeddings))
    for start in range(0, len(asked), rows):
        chosen = asked[start : start + rows]
        for query, similarity in zip(chosen, directions[chosen] @ directions.T, strict=True):
            yield int(query), np.delete(everyone, query), np.delete(similarity, query)


def _rank(similarity: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """Returns the rank-1 score and the average precision of one query.

    Args:
      similarity: similarity to each other recording, [recording].
      relevant: numbers of those of the same patient.
    """
    ascending = np.sort(similarity)
    scores = np.sort(similarity[relevant])
    at_least = len(ascending) - np.searchsorted(ascending, scores)
    hits = len(scores) - np.searchsorted(scores, scores)
    nearest = ascending[-1]
    tied = len(ascending) - np.searchsorted(ascending, nearest)
    rank1 = (scores == nearest).sum() / tied
    return float(rank1), float((hits / at_least).mean())


def identification_bootstrap(
    retrievals: Mapping[str, Retrieval],
    patients: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Computes rank-1 and mAP of each method with 95 % intervals, resampling patients.

    Patients are drawn with replacement, each with all queries. The recordings that are searched
    stay the same. The methods share the resamples, so that differences are paired.

    Args:
      retrievals: results of each method on the same queries.
      patients: patient of each query, [query].
      draws: number of resamples.
      seed: random seed of the resamples.

    Returns:
      A bootstrap whose classes are `FIGURES`.
    """
    free = np.zeros((len(patients), 0), bool)  # a resample may be of any patients
    blocks = resamples(free, patients, draws=draws, seed=seed)
    weights = np.concatenate(list(blocks), axis=1).astype(np.float64)
    shares = weights / weights.sum(axis=0)
    figures = {name: retrieval.figures for name, retrieval in retrievals.items()}
    return Bootstrap.over(
        patients,
        {name: values.mean(axis=0) for name, values in figures.items()},
        {name: shares.T @ values for name, values in figures.items()},
        0.95,
    )
