"""Import of published weights from a file that the user has: `import-weights`."""

import dataclasses
import functools
import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp

from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder, load_encoder
from ecgjax.signals import lead_name
from ecgjax.train.manifest import encoder_config
from ecgjax.train.model import SavedModel, save_model
from ecgjax.workflows.published.arrays import read_arrays
from ecgjax.workflows.published.catalogue import PUBLISHED, Published
from ecgjax.workflows.published.layouts import to_variables


def import_weights(name: str, file: Path, out: Path, *, lead: str | None = None) -> Encoder:
    """Writes a model folder from a file of published weights.

    Args:
      name: the published encoder, a key of `PUBLISHED`.
      file: the file as published.
      out: the model folder.
      lead: lead of the input of an encoder for one lead; None: lead I, the published one.

    Returns:
      The encoder, read from the new folder.

    Raises:
      InputError: the file is not this encoder's, or the encoder takes more leads than one.
    """
    published = PUBLISHED[name]
    preprocessing = _preprocessing(published, name, lead)
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest").is_dir():
        raise InputError(f"{out}: holds other files; give an empty or a new folder as --out")
    arrays = published.rename(read_arrays(file))
    signal = jnp.zeros((1, preprocessing.samples, len(preprocessing.leads)))
    init = functools.partial(published.module.init, train=False)
    shapes = dict(jax.eval_shape(init, jax.random.key(0), signal))
    variables = to_variables(arrays, shapes, published.layout, published.unused, file)
    config = {
        **encoder_config(published.encoder, published.module, preprocessing),
        "published": {
            "title": published.title,
            "file": file.name,
            "sha256": _sha256(file),
            "licence": published.licence,
            "citation": published.citation,
            "source": published.source,
            "trained_on": published.trained_on,
        },
    }
    model = SavedModel(published.module, variables, preprocessing, config, Seen.none())
    save_model(out, model)
    return load_encoder(out)


def _preprocessing(published: Published, name: str, lead: str | None) -> Preprocessing:
    preprocessing = published.preprocessing
    if lead is None:
        return preprocessing
    if len(preprocessing.leads) > 1:
        raise InputError(f"--lead {lead}: {name} takes {len(preprocessing.leads)} leads; omit it")
    return dataclasses.replace(preprocessing, leads=(lead_name(lead) or lead,))


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
