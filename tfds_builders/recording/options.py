"""Options of `prepare` that change the config of a data set; each one becomes part of its name."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, lead_name
from tfds_builders.recording.quality import SHORTEST_S
from tfds_builders.recording.recording import RecordingsConfig

LONGEST_S = 86_400
"""Longest recording of a data set: a day."""


def change(config: RecordingsConfig, options: Mapping[str, Any]) -> RecordingsConfig:
    """Returns the config with the options, whose name lists every one that changes it.

    Args:
      config: a config of the data set.
      options: "seconds", "pad_from", "leads" and "lead_names" as on the command line, and other
        fields of the config. None leaves a field as it is.

    Raises:
      InputError: an option is not valid, or the data set does not have it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    fields = {field.name for field in dataclasses.fields(config)}
    fields -= {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
    known = fields | {"seconds", "pad_from"}
    if unknown := sorted(given.keys() - known):
        choice = ", ".join(sorted(known))
        raise InputError(f"the data set has no option {unknown[0]!r}; choose from {choice}")
    if "seconds" in given:
        given["samples"] = round(_seconds(given.pop("seconds")) * config.rate_hz)
    length_s = given.get("samples", config.samples) / config.rate_hz
    if "pad_from" in given:
        given["pad_from_s"] = _pad_from(given.pop("pad_from"), length_s)
    if "leads" in given:
        given["leads"] = _leads(given["leads"])
    if "lead_names" in given:
        given["lead_names"] = _lead_names(given["lead_names"])
    if "columns" in given:
        given["columns"] = tuple(dict.fromkeys(given["columns"]))
    changed = {name: value for name, value in given.items() if value != getattr(config, name)}
    name = "-".join([config.name, *_words(changed, config.rate_hz)])
    if "samples" in changed:
        changed["description"] = f"{length_s:g} s at {config.rate_hz:g} Hz."
    return dataclasses.replace(config, name=name, **changed)


def _seconds(length_s: float) -> float:
    if not SHORTEST_S <= length_s <= LONGEST_S:
        limits = f"at least {SHORTEST_S:g} and at most {LONGEST_S}"
        raise InputError(f"--seconds {length_s:g}: give the length of a recording, {limits}")
    return length_s


def _pad_from(shortest_s: float, length_s: float) -> float:
    if not SHORTEST_S <= shortest_s < length_s:
        limits = f"at least {SHORTEST_S:g} and less than the {length_s:g} s of the data set"
        raise InputError(f"--pad-from {shortest_s:g}: give the shortest length to keep, {limits}")
    return float(shortest_s)


def _leads(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the leads in the order of LEADS; all of them if none is named."""
    leads = {_lead(name, f"--leads {name}") for name in names}
    return tuple(lead for lead in LEADS if lead in leads or not leads)


def _lead_names(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Parses NAME=LEAD."""
    names: dict[str, str] = {}
    for pair in pairs:
        name, _, lead = (word.strip() for word in pair.rpartition("="))
        if not name:
            raise InputError(f"--lead-names {pair!r}: give NAME=LEAD, as in 'EKG A=I'")
        lead = _lead(lead, f"--lead-names {pair!r}")
        if names.setdefault(name, lead) != lead:
            problem = f"--lead-names: {name!r} is {names[name]} and {lead}"
            raise InputError(f"{problem}; give each name once")
    return tuple(sorted(names.items()))


def _lead(name: str, origin: str) -> str:
    lead = lead_name(name)
    if lead is None:
        raise InputError(f"{origin}: {name!r} is no lead; choose from {', '.join(LEADS)}")
    return lead


def _words(changed: Mapping[str, Any], rate_hz: float) -> list[str]:
    """Returns a word for each changed field, such as 8s, pad7s and leads_I_II."""
    words: dict[str, Callable[[Any], str]] = {
        "samples": lambda samples: f"{samples / rate_hz:g}s",
        "pad_from_s": lambda shortest_s: f"pad{shortest_s:g}s",
        "leads": lambda leads: "_".join(["leads", *leads]),
        "allow_missing_leads": lambda _: "allow_missing_leads",
        "lead_names": lambda names: f"names_{_digest(names)}",
        "columns": lambda names: f"columns_{_digest(names)}",
    }
    first = [word(changed[name]) for name, word in words.items() if name in changed]
    others = sorted(changed.keys() - words.keys())
    return first + [f"{name}{re.sub('[^A-Za-z0-9.]', '_', str(changed[name]))}" for name in others]


def _digest(names: Sequence[Any]) -> str:
    return hashlib.sha256(repr(names).encode()).hexdigest()[:8]
