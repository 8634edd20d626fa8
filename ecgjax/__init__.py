"""Self-supervised pre-training of ECG encoders in JAX, and tests of how few labels they need."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecgjax.pretrained import Encoder, load

__version__ = "0.1.0"
__all__ = ["Encoder", "__version__", "load"]


def __getattr__(name: str):
    # Imported on first use, so that `import ecgjax` and --help do not wait for JAX and Orbax.
    if name in ("Encoder", "load"):
        return getattr(importlib.import_module("ecgjax.pretrained"), name)
    raise AttributeError(f"module 'ecgjax' has no attribute {name!r}")
