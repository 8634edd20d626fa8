"""Encoders of a comparison in one word: NAME, or NAME:KEY=VALUE/KEY=VALUE with JSON values."""

import re

from ecgjax.encoders import ENCODERS
from ecgjax.errors import InputError
from ecgjax.workflows.encoder_settings import configured_encoder


def split_architecture(text: str) -> tuple[str, tuple[str, ...]]:
    """Returns name and settings of an encoder, as `pretrain` takes them.

    Example:
      >>> split_architecture("lead_branches:shared=true/kernel=7")
      ('lead_branches', ('shared=true', 'kernel=7'))
    """
    name, _, words = text.partition(":")
    return name, tuple(word for word in words.split("/") if word)


def check_architecture(option: str, text: str, *others: str) -> None:
    """Checks an encoder before hours of work.

    Args:
      option: name of the option, for the message.
      text: the encoder.
      *others: words that the option takes besides.

    Raises:
      InputError: an unknown encoder or setting.
    """
    name, words = split_architecture(text)
    if text in others:
        return
    if name not in ENCODERS:
        known = " ".join((*others, *ENCODERS))
        raise InputError(f"--{option} {name}: give one or more of {known}")
    configured_encoder(name, words)


def file_name(*words: str) -> str:
    """Returns the words that are not empty as the name of a folder."""
    return re.sub(r"[^\w.=-]+", "_", "-".join(word for word in words if word))
