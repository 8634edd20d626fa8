"""The encoder that a pre-training run continues: `pretrain --init`."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder, load_encoder
from ecgjax.train.checkpoint import find_checkpoint, numbered_folders, read_config
from ecgjax.train.manifest import encoder_from_config
from ecgjax.train.origin import origin, unknown_past
from ecgjax.train.runlog import console


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """Weights that a run starts from."""

    name: str
    """Architecture, a name in `ecgjax.encoders.ENCODERS`."""
    module: nn.Module
    """The encoder with its settings."""
    variables: dict
    """Its variables, {"params", "batch_stats"}."""
    preprocessing: Preprocessing
    """Its preprocessing."""
    seen: Seen
    """All that it has seen, in every run before."""
    origin: dict
    """Entry "init" of the run's config."""


def find_start(init: str, workdir: Path, name: str, preprocessing: Preprocessing) -> Start:
    """Returns the weights that a run starts from, and prints their origin.

    A run that has begun keeps its own: `init` may have moved since, but may not be another encoder.

    Args:
      init: a checkpoint, model folder, workdir, or the name of a shipped encoder.
      workdir: folder of the run.
      name: the run's architecture.
      preprocessing: the run's preprocessing; both must be the checkpoint's.

    Raises:
      InputError: there is no such checkpoint, the run in the workdir began with other weights, or
        the run has another architecture or preprocessing.
    """
    start = _read(init, workdir)
    _check_input(init, start, name, preprocessing)
    if warning := unknown_past({"init": start.origin}):
        console.print(warning)
    console.print(f"--init {init}: starts from the weights {start.origin['weights']}")
    return start


def _read(init: str, workdir: Path) -> Start:
    config = begun(workdir)
    try:
        encoder = load_encoder(init)
    except InputError as error:
        if config is None or "init" not in config:
            raise
        console.print(f"--init {error}\nthe run in {workdir} has begun and does not need it")
        return _start(load_encoder(workdir / "checkpoints"), config["init"])
    if config is not None and "init" in config:
        before = config["init"]["weights"]
        if before != encoder.fingerprint:
            problem = f"{workdir}: the run began with the weights {before}"
            raise InputError(
                f"{problem}, --init {init} has {encoder.fingerprint}; give another --workdir"
            )
        return _start(encoder, config["init"])
    return _start(encoder, origin(encoder.config, encoder.fingerprint))


def _start(encoder: Encoder, entry: dict) -> Start:
    name = encoder.config["encoder"]["name"]
    parts = (encoder.module, encoder.variables, encoder.preprocessing, encoder.seen)
    return Start(name, *parts, entry)


def begun(workdir: Path) -> dict | None:
    """Returns the config of the newest checkpoint of the run in a workdir, None if it has none.

    A damaged one is passed over, as the training loop does, which reports it.
    """
    for path in reversed(numbered_folders(workdir / "checkpoints")):
        with contextlib.suppress(InputError):
            return read_config(path)
    return None


def expected_input(init: str, workdir: Path | None) -> tuple[str, Preprocessing] | None:
    """Returns architecture and preprocessing of the weights that a run starts from.

    None: there are no such weights, which `find_start` reports.
    """
    config = begun(workdir) if workdir else None
    if config is None or "init" not in config:
        try:
            config = read_config(find_checkpoint(init))
        except InputError:
            return None
    return config["encoder"]["name"], encoder_from_config(config)[1]


def _check_input(init: str, start: Start, name: str, preprocessing: Preprocessing) -> None:
    differences = {"encoder": (start.name, name)} if name != start.name else {}
    for field in dataclasses.fields(Preprocessing):
        own = getattr(start.preprocessing, field.name)
        given = getattr(preprocessing, field.name)
        if own != given:
            differences[f"preprocessing.{field.name}"] = (own, given)
    if differences:
        words = [
            f"{option} {_shown(own)}, not {_shown(given)}"
            for option, (own, given) in differences.items()
        ]
        raise InputError(f"--init {init}: has {'; '.join(words)}; leave these options out")


def _shown(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def with_encoder(variables: dict, encoder: dict) -> dict:
    """Puts an encoder in the place of every encoder that an objective's variables hold.

    These are the trained one and its copies, such as EMA targets and the collection "result".

    Args:
      variables: the objective's variables at step 0.
      encoder: the encoder's variables, {"params", "batch_stats"}.

    Raises:
      InputError: the objective changes the encoder's architecture.
    """

    def replaced(tree: Any, kind: str) -> Any:
        if not isinstance(tree, dict):
            return tree
        parts = {}
        for name, part in tree.items():
            inside = name if name in ("params", "batch_stats") else kind
            parts[name] = encoder[inside] if name == "encoder" else replaced(part, inside)
        return parts

    result = replaced(variables, "")
    if jax.tree.map(_form, result) != jax.tree.map(_form, variables):
        raise InputError("--init: the objective needs another form of this encoder; use another")
    return result


def _form(leaf: Any) -> tuple:
    return leaf.shape, leaf.dtype
