"""Encoders: signal [batch, time, lead] -> (tokens [batch, time', width], embedding [batch, dimension]).

An encoder is a Flax module with the call `(signal, *, train)`. A new one is one file, and one line here.
"""

import dataclasses

import flax.linen as nn

from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.pclr_resnet import PclrResnet
from ecgjax.encoders.xresnet1d import XResnet1d

ENCODERS: dict[str, nn.Module] = {
    "compact_resnet": CompactResnet(),
    "pclr_resnet": PclrResnet(),
    "xresnet1d50": XResnet1d(),
}


def settings(encoder: nn.Module) -> dict:
    """An encoder's own fields, as they are saved in a checkpoint."""
    own = (field.name for field in dataclasses.fields(encoder) if field.name not in ("parent", "name"))
    return {name: getattr(encoder, name) for name in own}


def build(name: str, saved: dict) -> nn.Module:
    """The encoder `name` with the settings that a checkpoint holds (JSON makes lists of tuples)."""
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()}
    return type(ENCODERS[name])(**fields)
