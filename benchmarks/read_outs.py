"""Read-outs of frozen encoders: which parts of the network make up the embedding.

own         the encoder's own embedding
blocks      mean and maximum over time of each of the last three blocks
blocks_std  mean, maximum and standard deviation over time of the same

The weights are the same; only the embedding that a probe sees differs.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder

STATISTICS = {
    "blocks": (jnp.mean, jnp.max),
    "blocks_std": (jnp.mean, jnp.max, jnp.std),
}
READ_OUTS = ("own", *STATISTICS)
LAST_BLOCKS = 3
"""Number of blocks that are read, those nearest to the output."""


@dataclasses.dataclass(frozen=True)
class BlockReadOut:
    """An encoder whose embedding is read from its last blocks; used like a Flax module."""

    encoder: nn.Module
    read_out: str

    def apply(
        self, variables: dict, signal: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes signals [batch, time, lead]: tokens, and embedding [batch, dimension].

        Raises:
          InputError: the encoder has no blocks named block1, block2, ...
        """
        outputs: Any = self.encoder.apply(
            variables,
            signal,
            train=train,
            capture_intermediates=lambda module, _: _block_number(module.name or "") > 0,
            mutable=["intermediates"],
        )
        (tokens, _), captured = outputs
        blocks = captured.get("intermediates", {})
        names = [name for name in sorted(blocks, key=_block_number) if _block_number(name)]
        names = names[-LAST_BLOCKS:]
        if not names:
            name = type(self.encoder).__name__
            raise InputError(f"--read-outs {self.read_out}: {name} has no blocks; give own")
        hidden = [blocks[name]["__call__"][0].astype(jnp.float32) for name in names]
        parts = [statistic(h, axis=1) for h in hidden for statistic in STATISTICS[self.read_out]]
        return tokens, jnp.concatenate(parts, axis=-1)


def _block_number(name: str) -> int:
    """Returns the number in the name of a block, from 1; 0 for another part."""
    match = re.fullmatch(r"block(\d+)", name)
    return int(match[1]) if match else 0


def read_through(encoder: Encoder, read_out: str) -> Encoder:
    """Returns an encoder with the same weights and another read-out."""
    if read_out == "own":
        return encoder
    module: Any = BlockReadOut(encoder.module, read_out)
    return dataclasses.replace(encoder, module=module)


def check_read_outs(
    module: nn.Module, preprocessing: Preprocessing, read_outs: Iterable[str]
) -> None:
    """Checks, without computing anything, that an encoder has what is to be read.

    Raises:
      InputError: it has no blocks.
    """
    others = set(read_outs) - {"own"}
    if not others:
        return
    shape = (1, preprocessing.samples, len(preprocessing.leads))
    signal = jax.ShapeDtypeStruct(shape, jnp.float32)
    init = functools.partial(module.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), signal)
    for read_out in others:
        read = BlockReadOut(module, read_out)
        jax.eval_shape(functools.partial(read.apply, train=False), variables, signal)
