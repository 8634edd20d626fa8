"""Self-supervised pre-training of ECG encoders in JAX, and tests of how few labels they need."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecgjax.classifier import Classifier, load
    from ecgjax.outputs import Outputs
    from ecgjax.pretrained import Encoder

__version__ = "0.1.0"
__all__ = ["Classifier", "Encoder", "Outputs", "__version__", "load"]
_ROOMS = {
    "Classifier": "classifier",
    "Encoder": "pretrained",
    "Outputs": "outputs",
    "load": "classifier",
}


def __getattr__(name: str):
    # Imported on first use, so that `import ecgjax` and --help do not wait for JAX and Orbax.
    if name in _ROOMS:
        return getattr(importlib.import_module(f"ecgjax.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'ecgjax' has no attribute {name!r}")
