"""Layer-wise learning rates: the layers next to the signal learn more slowly than the last ones.

Early layers hold what all ECGs share, and few labels would rather spoil than improve them. Each
layer has a constant factor times the rate of the next one (discriminative fine-tuning, Howard &
Ruder 2018, arXiv:1801.06146; layer-wise decay, arXiv:2003.10555).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

Path = tuple[str, ...]


def layer_paths(encoder: nn.Module, signal: jax.ShapeDtypeStruct) -> list[Path]:
    """Returns the names of the layers with parameters, in the order in which they are called.

    Args:
      encoder: the module.
      signal: shape of its input, [batch, time, lead].
    """
    paths: list[Path] = []

    def init(key: jax.Array, signal: jax.Array) -> dict:
        variables: Any = encoder.init(key, signal, train=False)
        # Here, before JAX sorts the names, parameters are in the order of their creation.
        paths.extend(_layers(variables["params"]))
        return variables

    jax.eval_shape(init, jax.random.key(0), signal)
    return paths


def _layers(tree: dict, path: Path = ()) -> list[Path]:
    found: dict[Path, None] = {}
    for name, part in tree.items():
        inside = _layers(part, (*path, name)) if isinstance(part, dict) else [path]
        found |= dict.fromkeys(inside)
    return list(found)


def layer_rates(paths: list[Path], lowest: float) -> dict[Path, float]:
    """Returns a factor for each layer: `lowest` for the first one, growing geometrically.

    The head would be the layer after the last one, with the factor 1.
    """
    return {
        path: lowest ** ((len(paths) - number) / len(paths)) for number, path in enumerate(paths)
    }


def scale_layers(rates: dict[Path, float]) -> optax.GradientTransformation:
    """Multiplies the updates of each layer of the encoder; everything else stays as it is.

    It comes after the optimizer: Adam's updates do not depend on the scale of gradients.

    Args:
      rates: factor of each layer, by its names below "encoder".
    """

    def factor(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        names = tuple(entry.key for entry in path)
        scale = rates[names[1:-1]] if names[0] == "encoder" else 1.0
        return update * jnp.asarray(scale, update.dtype)

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(factor, updates))
