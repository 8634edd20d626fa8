"""Runs a command of ecgjax with a tiny encoder, and marks or provokes moments of its training.

Started as a program: `python benchmarks/chaos/command.py COMMAND OPTIONS`. Environment variables:

CHAOS_PHASE   a moment, one of PHASES; the file CHAOS_MARK appears when it begins
CHAOS_PACE    seconds to sleep after each step
CHAOS_HASHES  file to which every batch's number and SHA-256 are appended
CHAOS_STOP    number of steps after which the process sends itself SIGTERM
"""

import functools
import hashlib
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

PHASES = ("compile", "first step", "training", "save", "evaluation", "waiting", "last save", "look")
"""Moments of a pre-training, in their order."""
MIDDLE = 12
"""Number of the step in the middle of a run at which its moments begin."""


def _mark() -> None:
    Path(os.environ["CHAOS_MARK"]).touch()


def _before(holder: Any, name: str, act: Any) -> None:
    """Calls `act` with the arguments of a function before each of its calls."""
    real = getattr(holder, name)

    @functools.wraps(real)
    def with_act(*args: Any, **settings: Any) -> Any:
        act(*args)
        return real(*args, **settings)

    setattr(holder, name, with_act)


def _watch_phase(phase: str) -> None:
    from ecgjax.data.batches import Batches
    from ecgjax.train import loop, watch
    from ecgjax.train.checkpoint import Checkpoints

    if phase == "compile":
        _before(loop, "place", lambda *_: _mark())
    elif phase in ("first step", "training"):
        from ecgjax.train.interrupts import Interrupts

        wanted = 1 if phase == "first step" else MIDDLE
        _before(Interrupts, "reached", lambda own: own._dispatches + 1 == wanted and _mark())
    elif phase in ("save", "last save"):
        last = phase == "last save"
        _before(
            Checkpoints,
            "save",
            lambda own, state, config, *_: (
                last == (int(state.step) == config["pretraining"]["num_steps"]) and _mark()
            ),
        )
    elif phase == "evaluation":
        _before(watch.Watching, "_measure", lambda *_: _mark())
    elif phase == "look":
        from ecgjax.workflows import first_look

        _before(first_look, "first_look", lambda *_: _mark())
    elif phase == "waiting":
        _before(Batches, "between", _hang)


def _hang(batches: Any, first: int, *_) -> None:
    """Makes a batch in the middle wait for an hour, as a file system that is gone does."""
    make = batches.make

    def hanging(number: int) -> dict[str, np.ndarray]:
        if number == first + MIDDLE:
            _mark()
            time.sleep(3600)
        return make(number)

    object.__setattr__(batches, "make", hanging)


def _log_hashes(file: str) -> None:
    from ecgjax.data.batches import Batches

    def log(batches: Any, *_) -> None:
        make = batches.make

        def logged(number: int) -> dict[str, np.ndarray]:
            batch = make(number)
            digest = hashlib.sha256(batch["signal"].tobytes()).hexdigest()
            with open(file, "a") as stream:
                stream.write(f"{number} {digest}\n")
            return batch

        object.__setattr__(batches, "make", logged)

    _before(Batches, "between", log)


def _act_on_steps(pace_s: float, stop: int) -> None:
    from ecgjax.train.divergence import Divergence

    def act(_, step: int, *__) -> None:
        time.sleep(pace_s)
        if step == stop:
            signal.raise_signal(signal.SIGTERM)

    _before(Divergence, "add", act)


def main() -> None:
    """Starts the command."""
    # A job in the background ignores Ctrl-C, and so would its processes.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ecgjax import encoders
    from ecgjax.encoders.compact_resnet import CompactResnet
    from ecgjax.launch.command import run

    encoders.ENCODERS["compact_resnet"] = CompactResnet(widths=(8,))
    command = importlib.import_module(f"ecgjax.launch.{sys.argv.pop(1)}")
    environment = os.environ.get
    if phase := environment("CHAOS_PHASE"):
        _watch_phase(phase)
    if file := environment("CHAOS_HASHES"):
        _log_hashes(file)
    pace_s = float(environment("CHAOS_PACE", "0"))
    stop = int(environment("CHAOS_STOP", "0"))
    if pace_s or stop:
        _act_on_steps(pace_s, stop)
    run(command.main)


if __name__ == "__main__":
    main()
