"""Choice between a form of a function for CPUs and its plain form.

The forms for CPUs are faster there, and have gradients of their own (`jax.custom_vjp`). Exporters
know neither these nor `jax.lax.platform_dependent`, and an exported program may run anywhere.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import jax

_PLAIN = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Traces encoders to plain operations, the same on all platforms, while the context lasts.

    It does not touch functions that were traced before, such as those that `jax.jit` has cached.
    Values differ by rounding (1e-6 of the largest).
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def is_plain() -> bool:
    """Returns whether plain operations are wanted."""
    return _PLAIN.get()


def choose(
    *operands: jax.Array, cpu: Callable[..., jax.Array], default: Callable[..., jax.Array]
) -> jax.Array:
    """Applies `cpu` on CPUs and `default` elsewhere, which is decided when a program is compiled.

    Within `plain`, `default` is applied.
    """
    if is_plain():
        return default(*operands)
    return jax.lax.platform_dependent(*operands, cpu=cpu, default=default)
