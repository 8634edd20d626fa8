"""Floating-point operations of a traced function: those of its convolutions and matrix products.

Counted on the jaxpr and not asked of the compiler, whose `cost_analysis` counts the body of a loop once and what it
padded as work.
"""

import math
from typing import Any

import jax.extend


def count(jaxpr: Any) -> float:
    """FLOPs of one call, a multiplication and an addition being two; over all devices.

    Args:
      jaxpr: as in `jax.jit(f).trace(...).jaxpr`. A scan counts as often as it runs; of a cond's branches the dearest,
        or the TPU's where platforms have their own; a while loop, whose length is not in the jaxpr, once.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _of_product(equation)
        elif name == "conv_general_dilated":
            total += _of_convolution(equation)
        elif name == "cond":
            total += max(map(count, _branches(params)))
        else:
            times = (
                params["length"]
                if name == "scan"
                else params["mesh"].size
                if name == "shard_map"
                else 1
            )
            total += times * sum(count(inner) for inner in jax.extend.core.jaxprs_in_params(params))
    return total


def _branches(params: dict) -> list:
    """A cond's branches that a TPU may take (`jax.lax.platform_dependent` is a cond as well)."""
    platforms = params.get("branches_platforms") or [None] * len(params["branches"])
    named = [
        branch
        for branch, names in zip(params["branches"], platforms, strict=True)
        if names and "tpu" in names
    ]
    return named or [
        branch for branch, names in zip(params["branches"], platforms, strict=True) if names is None
    ]


def _of_product(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return (
        2.0
        * math.prod(equation.outvars[0].aval.shape)
        * math.prod(left[axis] for axis in contracted)
    )


def _of_convolution(equation: Any) -> float:
    """2 * outputs * kernel * channels in; the zeros that a dilated input (a stride's gradient) brings are no work."""
    kernel, params = equation.invars[1].aval.shape, equation.params
    _, inputs, *space = params["dimension_numbers"].rhs_spec
    taps = math.prod(kernel[axis] for axis in space) * kernel[inputs]
    return (
        2.0 * math.prod(equation.outvars[0].aval.shape) * taps / math.prod(params["lhs_dilation"])
    )
