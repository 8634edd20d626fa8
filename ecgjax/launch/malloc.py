"""How the memory of a step is allocated where JAX computes on the CPU."""

import ctypes
import importlib.util
import os

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Parameters of glibc's mallopt."""
MOST = 2**31 - 1


def keep_memory() -> None:
    """Makes glibc keep what a training step frees. To be called before JAX starts its threads.

    XLA allocates the temporaries of a step anew each time. Of that size glibc takes them from the system and gives them
    back, and the system clears every page: 100,000 page faults a step of xresnet1d50 (64 recordings of 10 s), a fifth
    of its CPU time. From one heap that is never trimmed there are none; the process stays as large as it once was. Does
    nothing where there is another C library, or where JAX may compute on something else than a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and _is_cpu_only():
        for parameter, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MOST)):
            mallopt(parameter, value)


def _is_cpu_only() -> bool:
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    # Where JAX looks for what drives a GPU or a TPU. Its entry points name the same packages, and take 50 ms to list.
    return not any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
