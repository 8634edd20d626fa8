"""Manifest and config of a checkpoint: is it undamaged, is it the same run, which encoder is it?"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax import encoders
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.train import config_bounds

FORMAT = 2
"""Version of the checkpoint layout that this ecgjax writes and reads."""
LONGEST_SHOWN = 80
"""Number of characters of a setting in a message."""
EARLIER_PREPROCESSING = {"baseline": "none", "window_s": None, "filters": "none"}
"""Settings that checkpoints of earlier versions lack, which kept the offsets of the leads and
embedded whole recordings."""
EARLIER_ENCODERS = {"pclr_resnet": {"epsilon": 1e-5}}
"""Settings of encoders that checkpoints of earlier versions lack."""
EARLIER_RUNS = {"pretraining.ema_decay": 0.0}
"""Settings of runs that checkpoints of earlier versions lack."""

FREE = {"save_every"}
"""Last words of settings that may change between a run and its resumption."""


class CheckpointDamaged(InputError):
    """A checkpoint whose content differs from what was saved."""


def make_manifest(arrays: dict, config: dict) -> dict[str, str]:
    """Returns the SHA-256 of every array and of the config; `arrays` is {part: tree of arrays}."""
    return {**array_hashes(arrays), "config": json_hash(config)}


def check_arrays(arrays: dict, manifest: dict[str, str], path: Path) -> None:
    """Checks some parts of a checkpoint against its manifest.

    Args:
      arrays: {part: tree of arrays} as read; other parts are not checked.
      manifest: the manifest of the whole checkpoint.
      path: the checkpoint, for the message.

    Raises:
      CheckpointDamaged: an array is missing, is new, or differs.
    """
    parts = tuple(f"['{name}']" for name in arrays)
    saved = {name: digest for name, digest in manifest.items() if name.startswith(parts)}
    if array_hashes(arrays) != saved:
        raise CheckpointDamaged(f"{path}: its content is not what was saved")


def first_not_finite(arrays: dict) -> str:
    """Returns the name of the first array with NaN or infinity in it, "" if there is none."""
    for path, leaf in jax.tree.leaves_with_path(arrays):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(np.asarray(leaf)).all():
            return _words(jax.tree_util.keystr(path))
    return ""


def check_finite(arrays: dict, path: Path) -> None:
    """Raises CheckpointDamaged if an array of a checkpoint holds NaN or infinity."""
    if name := first_not_finite(arrays):
        raise CheckpointDamaged(f"{path}: {name} is not finite; the training had diverged")


def changed_arrays(part: str, arrays: dict, manifest: dict[str, str]) -> list[str]:
    """Returns the names of the arrays of a part that are missing, are new, or differ.

    Args:
      part: name of the part.
      arrays: its arrays as `checkpoint.read_part` returns them.
      manifest: the manifest of the whole checkpoint.
    """
    saved = {_words(name): digest for name, digest in manifest.items()}
    saved = {words: digest for words, digest in saved.items() if words.split(".")[0] == part}
    found = {_words(name): digest for name, digest in array_hashes({part: arrays}).items()}
    names = saved.keys() | found.keys()
    return sorted(name for name in names if saved.get(name) != found.get(name))


def parts_named(manifest: dict[str, str]) -> list[str]:
    """Returns the parts whose arrays a manifest lists."""
    return sorted({_words(name).split(".")[0] for name in manifest} - {"config"})


def _words(path: str) -> str:
    """Returns a path in a tree, such as ['a'][0].b, as a.0.b, whatever the kind of its nodes."""
    return ".".join(re.findall(r"[\w-]+", path))


def check_config(config: dict, manifest: dict[str, str], path: Path) -> dict:
    """Returns the config after checking it against the manifest, with the settings it lacks.

    Raises:
      CheckpointDamaged: it differs from what was saved.
      InputError: another version of ecgjax wrote it in another format.
    """
    if not isinstance(config, dict) or manifest["config"] != json_hash(config):
        raise CheckpointDamaged(f"{path}: its config is not what was saved")
    if config.get("format") != FORMAT:
        found = " ".join(str(config.get("format")).split())[:20]
        raise InputError(
            f"{path}: checkpoint format {found}, this ecgjax reads {FORMAT}; "
            f"train again, or use the ecgjax that wrote it"
        )
    config_bounds.check(config, path)
    encoder = config["encoder"]
    return {
        **config,
        "encoder": {**EARLIER_ENCODERS.get(encoder["name"], {}), **encoder},
        "preprocessing": {**EARLIER_PREPROCESSING, **config["preprocessing"]},
    }


def check_same_run(saved: dict, present: dict, path: Path) -> None:
    """Checks that a run may resume from a checkpoint: both configs must be equal.

    How often checkpoints are saved may differ. A setting of the encoder that is newer than the
    checkpoint has its default, as when the encoder is loaded, and so have those of `EARLIER_RUNS`.

    Raises:
      InputError: they differ. The message names up to four settings.
    """
    saved = flax.traverse_util.flatten_dict(_with_encoder_defaults(saved), sep=".")
    present = flax.traverse_util.flatten_dict(present, sep=".")
    saved = {name: EARLIER_RUNS[name] for name in EARLIER_RUNS.keys() & present.keys()} | saved
    names = sorted(name for name in {*saved, *present} if name.split(".")[-1] not in FREE)
    differences = [
        f"{name} {_saved_value(saved, name)}, now {_short(present.get(name))}"
        for name in names
        if saved.get(name) != present.get(name)
    ]
    if differences:
        raise InputError(
            f"{path}: holds another run ({'; '.join(differences[:4])}); "
            f"give its settings, or another --workdir"
        )


def _with_encoder_defaults(config: dict) -> dict:
    if "encoder" not in config:  # a state without an encoder
        return config
    encoder, preprocessing = encoder_from_config(config)
    return config | encoder_config(config["encoder"]["name"], encoder, preprocessing)


def _saved_value(saved: dict, name: str) -> str:
    if name not in saved:
        return "was unknown to the ecgjax that saved it"
    return f"was {_short(saved[name])}"


def _short(value: Any) -> str:
    """Returns a setting as text; a long one, such as many classes, is cut."""
    text = str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def encoder_config(name: str, encoder: nn.Module, preprocessing: Preprocessing) -> dict:
    """Returns the part of a config from which an encoder can be rebuilt.

    Args:
      name: the architecture's name in `ecgjax.encoders.ENCODERS`.
      encoder: the module, for its settings.
      preprocessing: the encoder's preprocessing.
    """
    config: dict[str, Any] = {
        "format": FORMAT,
        "encoder": {"name": name, **encoders.settings(encoder)},
        "preprocessing": preprocessing.__dict__,
    }
    return json.loads(json.dumps(config))  # tuples become lists, as in a config that was read


def encoder_from_config(config: dict) -> tuple[nn.Module, Preprocessing]:
    """Rebuilds an encoder and its preprocessing from a checkpoint's config."""
    settings = dict(config["encoder"])
    encoder = encoders.build(settings.pop("name"), settings)
    preprocessing = {**config["preprocessing"], "leads": tuple(config["preprocessing"]["leads"])}
    return encoder, Preprocessing(**preprocessing)


def array_hashes(tree: dict) -> dict[str, str]:
    """Returns the SHA-256 of every array, by its path in the tree."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): _hash(np.asarray(leaf).tobytes()) for path, leaf in leaves}


def json_hash(value: Any) -> str:
    """Returns the SHA-256 of a JSON value, as the manifest has it of the config."""
    return _hash(json.dumps(value, sort_keys=True).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
