"""Trial of the whole chain in a process of its own: devices, bfloat16, a tiny run, an embedding.

    python -m ecgjax.workflows.doctor.trial

prints one JSON object for each step. JAX's libraries may end the process (an instruction that the
processor lacks, a driver), which must not end `doctor`.
"""

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENTS = 18
"""Simulated patients: about 50 recordings."""


def main() -> None:
    """Runs the steps, and prints what each found or how it failed."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        for step in (trial.devices, trial.bfloat16, trial.data, trial.training, trial.embedding):
            if not _report(step):
                return


def _report(step: Callable[[], dict[str, Any]]) -> bool:
    """Prints the result of a step; returns whether the next one can follow."""
    result: dict[str, Any] = {"step": step.__name__}
    started = time.monotonic()
    print(json.dumps(result | {"begins": True}), flush=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # progress of the workflows
            result |= step()
    except Exception as error:  # whatever is broken here is what the user wants to know
        from ecgjax.errors import first_line

        result["error"] = first_line(error)
    result["seconds"] = time.monotonic() - started
    print(json.dumps(result), flush=True)
    return "error" not in result


@dataclasses.dataclass
class Trial:
    """Steps of the trial, in their order."""

    folder: Path
    """Scratch folder."""
    prepared: Path = Path()
    """Simulated recordings."""
    checkpoint: Path = Path()
    """Result of the training."""

    def devices(self) -> dict[str, Any]:
        """Returns JAX's devices."""
        import jax

        devices = [
            {"kind": device.device_kind, "bytes": (device.memory_stats() or {}).get("bytes_limit")}
            for device in jax.devices()
        ]
        return {"backend": jax.default_backend(), "devices": devices}

    def bfloat16(self) -> dict[str, Any]:
        """Returns the relative error of an encoder in bfloat16."""
        import jax

        from ecgjax.encoders import ENCODERS
        from ecgjax.workflows.precision import bfloat16_deviation

        # No run on a CPU uses bfloat16, and the real encoder takes half a minute to compile there.
        encoder = _tiny_encoder() if jax.default_backend() == "cpu" else ENCODERS["compact_resnet"]
        return {"deviation": bfloat16_deviation(encoder, samples=1000)}

    def data(self) -> dict[str, Any]:
        """Simulates recordings and writes them as a prepared data set."""
        from tfds_builders.prepare import prepare

        self.prepared = prepare("synthetic/100hz", self.folder, patients=PATIENTS)
        return {}

    def training(self) -> dict[str, Any]:
        """Trains a tiny encoder for two steps on all devices and saves a checkpoint."""
        import jax

        from ecgjax import encoders
        from ecgjax.augment import OFF
        from ecgjax.data.mixture import Mixture
        from ecgjax.objectives.patient_contrast import PatientContrast
        from ecgjax.workflows.pretrain import Pretraining, pretrain

        encoders.ENCODERS["compact_resnet"] = _tiny_encoder()
        settings = Pretraining(
            objective=PatientContrast(projection=(16, 8), augmentation=OFF),
            batch_size=4 * jax.device_count(),
            num_steps=2,
        )
        records = Mixture([self.prepared])
        workdir = self.folder / "run"
        self.checkpoint = pretrain(settings, records, workdir, save_every=2, log_every=1)
        return {}

    def embedding(self) -> dict[str, Any]:
        """Loads the checkpoint, embeds recordings and checks that every number is finite."""
        import numpy as np

        import ecgjax
        from ecgjax.data.records import Records

        records = Records(self.prepared)
        encoder = ecgjax.load(self.checkpoint)
        embeddings = encoder.embed_records(records, np.arange(4))
        if not np.isfinite(embeddings).all():
            raise FloatingPointError("embeddings that are not finite")
        return {"dimension": embeddings.shape[1]}


def _tiny_encoder() -> Any:
    from ecgjax.encoders.compact_resnet import CompactResnet

    return CompactResnet(widths=(8,))


if __name__ == "__main__":
    main()
