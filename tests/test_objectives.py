"""What holds of every objective: it runs by its name, resumes bit for bit, and the log shows a collapse."""

import dataclasses
import functools
import json
import runpy
import shutil
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.steps import CROPS
from test_encoders import SMALL

from ecgjax.objectives import OBJECTIVES
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.preprocessing import Preprocessing, Preprocessor
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.optimizer import Optimizer
from ecgjax.train.runlog import SPEED, read_metrics
from ecgjax.workflows import pretrain as pretraining
from ecgjax.workflows.pretrain import Pretraining, pretrain

HEADS = {
    "projection": (16, 8),
    "prediction": (16, 8),
    "prototypes": 12,
    "queue": 0,
    "hidden": (),
    "decoder_width": 8,
    "decoder_layers": 1,
    "decoder_heads": 2,
    "predictor_width": 8,
    "predictor_layers": 1,
    "predictor_heads": 2,
    "width": 8,
    "codes": 6,
    "lstm": 6,
    "negatives": 8,
    "small_crops": 2,
    "discriminator": (8,),
    "augmentation": CROPS,
    "enhanced": CROPS,
    "denoised": CROPS,
}
"""Settings under which a method's views and heads compile quickly."""
SHORT = Preprocessing(seconds=2.5)


def _small(name: str):
    fields = {field.name: field for field in dataclasses.fields(OBJECTIVES[name])}
    default = OBJECTIVES[name]()
    alike = {
        key: value
        for key, value in HEADS.items()
        if isinstance(getattr(default, key, None), type(value))
    }
    return dataclasses.replace(
        default, **{key: value for key, value in alike.items() if key in fields}
    )


@pytest.fixture
def compiled_once(monkeypatch):
    """A run that is started again takes the compiled step of the first. That another process may: test_end_to_end."""
    monkeypatch.setattr(pretraining, "step_and_state", functools.cache(pretrain.step_and_state))


def _run(settings, mixture, workdir):
    pretrain(settings, mixture, workdir, save_every=1, log_every=1)
    manifest = json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())
    return manifest, [
        {k: v for k, v in line.items() if k not in SPEED} for line in read_metrics(workdir)
    ]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.usefixtures("tiny_encoders", "compiled_once")
def test_runs_by_its_name_on_eight_devices_and_resumes_bit_for_bit(name, mixture, tmp_path):
    settings = Pretraining(objective=_small(name), batch_size=16, num_steps=2)
    manifest, lines = _run(settings, mixture, tmp_path / "whole")
    copy = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints/2")
    assert _run(settings, mixture, copy) == (manifest, lines)
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert 0 < line["embedding_std"] < 10 and 1 <= line["embedding_rank"] <= 16
        assert all(np.isfinite(value) for value in line.values())


@dataclasses.dataclass(frozen=True)
class Collapse:
    """What no method should come to: all recordings are drawn together, and nothing holds them apart."""

    examples = "single"

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        variables = encoder.init(key, signal, train=False)
        return {name: {"encoder": tree} for name, tree in variables.items()}

    def loss(self, encoder, variables, batch, key, *, preprocess):
        own = {name: tree["encoder"] for name, tree in variables.items()}
        recordings = preprocess(batch["signal"])
        (_, embedding), updates = encoder.apply(
            own, recordings, train=True, mutable=["batch_stats"]
        )
        loss = jnp.square(embedding - embedding.mean(0, keepdims=True)).mean()
        return loss, (
            collapse_metrics(embedding),
            {"batch_stats": {"encoder": updates["batch_stats"]}},
        )


def test_the_log_shows_a_collapsed_run(mixture, tmp_path, tiny_encoders, capsys):
    settings = Pretraining(
        objective=Collapse(),  # pyright: ignore[reportArgumentType]
        optimizer=Optimizer(learning_rate=0.05),
        batch_size=16,
        num_steps=60,
    )
    pretrain(settings, mixture, tmp_path, save_every=60, log_every=1)
    lines = read_metrics(tmp_path)
    assert lines[-1]["embedding_std"] < 0.1 * lines[0]["embedding_std"]
    assert "the embeddings have collapsed" in capsys.readouterr().err


def test_the_example_of_a_method_of_ones_own_is_short_and_trains(mixture, tmp_path, tiny_encoders):
    path = Path(__file__).parent.parent / "examples/barlow_twins.py"
    assert path.read_text().count("\n") <= 45
    own = runpy.run_path(str(path))["BarlowTwins"](projection=(16, 16), augmentation=CROPS)
    # Of fewer recordings than four a dimension the correlations are noise, and so is the loss.
    settings = Pretraining(
        objective=own, optimizer=Optimizer(learning_rate=0.01), batch_size=64, num_steps=20
    )
    pretrain(settings, mixture, tmp_path, save_every=20, log_every=1)
    losses = [line["loss"] for line in read_metrics(tmp_path)]
    assert (
        max(losses[-3:]) < 0.5 * min(losses[:2])
        and read_metrics(tmp_path)[-1]["embedding_std"] > 0.05
    )


@pytest.mark.parametrize(
    "encoder", sorted(SMALL.keys() - {"xresnet1d101"})
)  # xresnet1d50 with more of the same blocks
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_method_takes_every_encoder(name, encoder):
    """As far as shapes and variables go: a step leaves behind what the next one needs."""
    objective, module = _small(name), SMALL[encoder]
    if name == "cpc":
        objective = dataclasses.replace(
            objective, steps=1
        )  # of 2.5 s some encoders make two tokens
    variables = jax.eval_shape(
        functools.partial(objective.init, module), jax.random.key(0), jnp.zeros((2, 250, 12))
    )
    views = () if objective.examples == "single" else (2,)
    batch = {
        "signal": jax.ShapeDtypeStruct((4, *views, 250, 12), jnp.int16),
        "progress": jnp.zeros(()),
    }
    batch["patient"] = jax.ShapeDtypeStruct((4,), jnp.int32)
    loss = functools.partial(objective.loss, module, preprocess=Preprocessor(SHORT, 100.0))
    value, (metrics, updates) = jax.eval_shape(loss, variables, batch, jax.random.key(1))
    assert value.shape == () and {"embedding_std", "embedding_rank"} <= metrics.keys()
    batch_stats = {"batch_stats"} & variables.keys()
    assert batch_stats <= updates.keys()
    for collection, tree in updates.items():
        assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, variables[collection]), (
            collection
        )
