"""Properties of every objective: it trains, it resumes, and its log would show a collapse."""

import dataclasses
import functools
import json
import runpy
import shutil
from collections.abc import Callable
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
from ecgjax.train.runlog import TIMING, read_metrics
from ecgjax.train.sharding import replicated
from ecgjax.workflows import pretrain as pretraining
from ecgjax.workflows.pretrain import Pretraining, pretrain

SMALL_SETTINGS = {
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
    "directions": 8,
    "discriminator": (8,),
    "augmentation": CROPS,
    "enhanced": CROPS,
    "denoised": CROPS,
}
"""Settings under which the views and heads of a method compile quickly."""
SHORT = Preprocessing(seconds=2.5)


def _small_objective(name: str):
    default = OBJECTIVES[name]()
    fields = {field.name for field in dataclasses.fields(default)}
    small = {
        key: value
        for key, value in SMALL_SETTINGS.items()
        if key in fields and isinstance(getattr(default, key), type(value))
    }
    return dataclasses.replace(default, **small)


def _compiled_once(function: Callable) -> Callable:
    """Compiles a jitted function on its first call."""
    programs = []

    def run(*args):
        if not programs:
            programs.append(function.lower(*args).compile())
        return programs[0](*args)

    return run


@pytest.fixture
def shared_programs(monkeypatch):
    """A resumed run uses the compiled programs of the first; test_end_to_end has two processes."""
    original = pretraining.step_and_state

    @functools.cache
    def step_and_state(settings, *, mesh, **options):
        step, create = original(settings, mesh=mesh, **options)
        create = jax.jit(create, out_shardings=replicated(mesh))
        return _compiled_once(step), _compiled_once(create)

    monkeypatch.setattr(pretraining, "step_and_state", step_and_state)


def _run(settings: Pretraining, mixture, workdir: Path) -> tuple[dict, list[dict]]:
    """Pre-trains; returns the checkpoint's manifest and the log without measured times."""
    pretrain(settings, mixture, workdir, save_every=1, log_every=1)
    manifest = json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())
    log = [
        {name: value for name, value in line.items() if name not in TIMING}
        for line in read_metrics(workdir)
    ]
    return manifest, log


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.usefixtures("tiny_encoders", "shared_programs")
def test_trains_under_its_name_on_eight_devices_and_resumes_bit_for_bit(name, mixture, tmp_path):
    settings = Pretraining(objective=_small_objective(name), batch_size=16, num_steps=2)
    manifest, log = _run(settings, mixture, tmp_path / "whole")
    copy = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints/2")
    assert _run(settings, mixture, copy) == (manifest, log)
    assert [line["step"] for line in log] == [1, 2]
    for line in log:
        assert 0 < line["embedding_std"] < 10
        assert 1 <= line["embedding_rank"] <= 16
        assert all(np.isfinite(value) for value in line.values())


@dataclasses.dataclass(frozen=True)
class Collapse:
    """A loss that always collapses: it attracts all recordings and repels none."""

    examples = "single"

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        variables = encoder.init(key, signal, train=False)
        return {name: {"encoder": tree} for name, tree in variables.items()}

    def loss(self, encoder, variables, batch, key, *, preprocess):
        own = {name: tree["encoder"] for name, tree in variables.items()}
        (_, embedding), updates = encoder.apply(
            own, preprocess(batch["signal"]), train=True, mutable=["batch_stats"]
        )
        loss = jnp.square(embedding - embedding.mean(0, keepdims=True)).mean()
        statistics = {"batch_stats": {"encoder": updates["batch_stats"]}}
        return loss, (collapse_metrics(embedding), statistics)


def test_the_log_shows_a_collapsed_run(mixture, tmp_path, tiny_encoders, capsys):
    settings = Pretraining(
        objective=Collapse(),  # pyright: ignore[reportArgumentType]
        optimizer=Optimizer(learning_rate=0.05),
        batch_size=16,
        num_steps=60,
    )
    pretrain(settings, mixture, tmp_path, save_every=60, log_every=1)
    log = read_metrics(tmp_path)
    assert log[-1]["embedding_std"] < 0.1 * log[0]["embedding_std"]
    assert "the embeddings have collapsed" in capsys.readouterr().err


def test_the_example_of_a_new_method_is_short_and_trains(mixture, tmp_path, tiny_encoders):
    path = Path(__file__).parent.parent / "examples/barlow_twins.py"
    assert path.read_text().count("\n") <= 40
    objective = runpy.run_path(str(path))["BarlowTwins"](projection=(16, 16), augmentation=CROPS)
    # With fewer than four recordings per dimension the correlations are mostly noise.
    settings = Pretraining(
        objective=objective, optimizer=Optimizer(learning_rate=0.01), batch_size=64, num_steps=20
    )
    pretrain(settings, mixture, tmp_path, save_every=20, log_every=1)
    log = read_metrics(tmp_path)
    losses = [line["loss"] for line in log]
    assert max(losses[-3:]) < 0.5 * min(losses[:2])
    assert log[-1]["embedding_std"] > 0.05


# xresnet1d101 is xresnet1d50 with more of the same blocks.
ALL_ENCODERS = sorted(SMALL.keys() - {"xresnet1d101"})
# Embeddings have one shape whatever the encoder: with and without batch statistics, and with
# embeddings of single leads.
KINDS = ("compact_resnet", "vit1d", "lead_branches")
TOKEN_METHODS = ("cpc", "jepa", "masked_autoencoder", "wav2vec_cmsc")
PAIRS = [
    (name, encoder)
    for name in OBJECTIVES
    for encoder in (ALL_ENCODERS if name in TOKEN_METHODS else KINDS)
]


@pytest.mark.parametrize(("name", "encoder"), PAIRS)
def test_every_method_takes_every_encoder(name, encoder):
    """Traces a step: shapes fit, and the updates have the structure that the next step needs."""
    objective = _small_objective(name)
    module = SMALL[encoder]
    if name == "cpc":
        objective = dataclasses.replace(
            objective, steps=1
        )  # some encoders make two tokens of 2.5 s
    views = () if objective.examples == "single" else (2,)
    batch = {
        "signal": jnp.zeros((4, *views, 250, 12), jnp.int16),
        "patient": jnp.zeros((4,), jnp.int32),
        "progress": jnp.zeros(()),
        "num_steps": 4,
    }

    def step(key: jax.Array):
        variables = objective.init(module, key, jnp.zeros((2, 250, 12)))
        return variables, objective.loss(
            module, variables, batch, key, preprocess=Preprocessor(SHORT, 100.0)
        )

    variables, (loss, (metrics, updates)) = jax.eval_shape(step, jax.random.key(0))
    assert loss.shape == ()
    assert {"embedding_std", "embedding_rank"} <= metrics.keys()
    assert {"batch_stats"} & variables.keys() <= updates.keys()
    for collection, tree in updates.items():
        shapes = jax.tree.map(jnp.shape, variables[collection])
        assert jax.tree.map(jnp.shape, tree) == shapes, collection
