"""Settings of an encoder from the command line: `pretrain --encoder-settings widths=[16,32]`."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders import ENCODERS, settings
from ecgjax.errors import InputError, first_line
from ecgjax.preprocessing import Preprocessing


def configured_encoder(name: str, given: Sequence[str]) -> nn.Module:
    """Returns an architecture, with other settings than its own where they are given.

    Args:
      name: a name in `ENCODERS`.
      given: words KEY=VALUE, or JSON objects {"KEY": VALUE, ...}; each value is a JSON literal of
        the setting's type (an array for a tuple).

    Raises:
      InputError: a word cannot be read, names an unknown setting or one twice, or has a value of
        another type.
    """
    module = ENCODERS[name]
    known = settings(module)
    changes = {}
    for key, value in (pair for word in given for pair in _pairs(word)):
        if key not in known or key in changes:
            problem = "is given twice" if key in changes else "is unknown"
            listed = ", ".join(f"{own}={json.dumps(known[own])}" for own in known)
            raise InputError(f"--encoder-settings {key}: {problem}; {name} has {listed}")
        changes[key] = _value(key, value, known[key])
    return module.clone(**changes) if changes else module


def check_encoder(module: nn.Module, given: Sequence[str], preprocessing: Preprocessing) -> None:
    """Checks that an encoder with given settings can be built; costs no computation.

    Raises:
      InputError: it cannot, for example because a layer would be empty.
    """
    if not given:
        return
    signal = jax.ShapeDtypeStruct((1, preprocessing.samples, len(preprocessing.leads)), jnp.float32)
    try:
        jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), signal)
    except Exception as error:  # each layer has its own
        words = f"--encoder-settings {' '.join(given)}"
        raise InputError(f"{words}: {first_line(error)}; give other values") from error


def _pairs(word: str) -> list[tuple[str, Any]]:
    """Returns names and values of a word of the command line."""
    key, equals, text = word.partition("=")
    try:
        if word.lstrip().startswith("{"):
            return list(json.loads(word).items())
        if equals:
            return [(key.strip(), json.loads(text))]
    except json.JSONDecodeError:
        pass
    raise InputError(
        f"--encoder-settings {word}: cannot be read; give KEY=VALUE with a JSON value, such as "
        f"widths=[16,32] or shared=true"
    )


def _value(key: str, value: Any, default: Any) -> Any:
    """Returns a JSON value as a setting of the type of its default."""
    if isinstance(default, tuple) and isinstance(value, list):
        if value and default:
            return tuple(_value(key, entry, default[0]) for entry in value)
    elif isinstance(default, float) and type(value) in (int, float):
        return float(value)
    elif type(value) is type(default):
        return value
    raise InputError(
        f"--encoder-settings {key}={json.dumps(value)}: of another type than its default "
        f"{json.dumps(default)}"
    )
