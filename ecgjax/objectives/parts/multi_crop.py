"""Multi-crop: two long and several short crops of each recording, encoded together.

Caron et al. 2020 (SwAV, arXiv:2006.09882). Crops of one length are one call of the encoder: two
lengths are two calls, however many crops there are. The two long crops come first.
"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.microbatches import encode_in_microbatches
from ecgjax.preprocessing import Preprocessor

LONG_CROPS = 2
"""Number of long crops of a recording."""


def crop_kinds(
    augmentation: Augmentation, *, small_crops: int, small_crop_s: float
) -> list[tuple[Augmentation, int]]:
    """Returns the augmentation of each length of crop, and the number of crops of that length.

    Args:
      augmentation: augmentation of all crops; its crop_s is the length of the long ones.
      small_crops: number of short crops; may be 0.
      small_crop_s: length of a short crop in seconds.
    """
    kinds = [(augmentation, LONG_CROPS)]
    if small_crops:
        kinds.append((dataclasses.replace(augmentation, crop_s=small_crop_s), small_crops))
    return kinds


def check_crops(small_crops: int, small_crop_s: float) -> None:
    """Checks number and length of the short crops.

    Raises:
      InputError: a negative number, or a length that is not above 0.
    """
    if not (small_crops >= 0 and small_crop_s > 0):  # refuses not-a-number too
        raise InputError(
            f"small_crops {small_crops}, small_crop_s {small_crop_s}: give a number of 0 or more "
            f"and a length above 0"
        )


def encode_crops(
    network: nn.Module,
    variables: dict,
    signal: jax.Array,
    key: jax.Array,
    kinds: Sequence[tuple[Augmentation, int]],
    *,
    preprocess: Preprocessor,
    microbatch: int = 0,
) -> tuple[jax.Array, jax.Array, dict]:
    """Cuts crops of recordings and encodes them, one call of the network for each length.

    The calls follow each other: each updates the batch statistics that the one before has left.

    Args:
      network: views [batch, time, lead] -> embedding and projection, both [batch, dimension].
      variables: variables of the network, and others.
      signal: int16 [recording, time, lead].
      key: random key of the crops.
      kinds: what `crop_kinds` returns.
      preprocess: turns `signal` into the encoder's input.
      microbatch: recordings that are encoded at a time; 0: all.

    Returns:
      The embeddings of the long crops [recording * 2, dimension], the projections of all crops
      [recording, crop, dimension], and the updates of the batch statistics.
    """

    def encode(signal: jax.Array, key: jax.Array):
        recordings = preprocess(signal)
        updates = {}
        embeddings = []
        crops = []
        for augmentation, each in kinds:
            key, view_key = jax.random.split(key)
            views = augmentation.views(recordings, view_key, rate_hz=preprocess.rate_hz, each=each)
            (embedding, projected), updates = network.apply(
                {**variables, **updates}, views, train=True, mutable=["batch_stats"]
            )
            embeddings.append(embedding)
            crops.append(projected.reshape(len(signal), each, -1))
        return {"embedding": embeddings[0], "crops": jnp.concatenate(crops, axis=1)}, updates

    encoded, updates = encode_in_microbatches(encode, signal, key, size=microbatch)
    return encoded["embedding"], encoded["crops"], updates


def centre_distance(crops: jax.Array) -> jax.Array:
    """Returns the mean squared distance of all crops to the mean of the long ones.

    The prediction term of LeJEPA (arXiv:2511.08544, section 5) and of VISReg (arXiv:2606.02572).
    The centre has a gradient too.

    Args:
      crops: projections [recording, crop, dimension], the two long crops first.
    """
    centre = crops[:, :LONG_CROPS].mean(1, keepdims=True)
    return jnp.square(crops - centre).mean()


def random_slices(vectors: jax.Array, key: jax.Array, *, directions: int) -> jax.Array:
    """Projects vectors on random directions of unit length.

    Args:
      vectors: [..., dimension].
      key: random key of the directions; all vectors and all devices share them.
      directions: number of directions.

    Returns:
      [..., direction].
    """
    drawn = jax.random.normal(key, (vectors.shape[-1], directions))
    drawn = drawn / jnp.linalg.norm(drawn, axis=0, keepdims=True)
    return jnp.matmul(vectors, drawn, precision="highest")
