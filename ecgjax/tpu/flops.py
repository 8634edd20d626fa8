"""Counts the floating-point operations (FLOPs) of a traced function: convolutions, matrix products.

The count uses the jaxpr. The compiler's `cost_analysis` counts the body of a loop only once, and
counts padding as work.
"""

import math
from typing import Any

import jax.extend


def count(jaxpr: Any) -> float:
    """Returns the FLOPs of one call over all devices; a multiply-add is two operations.

    Args:
      jaxpr: the `jaxpr` of `jax.jit(f).trace(...)`. The body of a scan counts once per iteration. A
        cond counts its most expensive branch, or the TPU's branch if branches belong to platforms.
        The body of a while loop counts once, because the jaxpr does not contain its length.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name = equation.primitive.name
        params = equation.params
        if name == "dot_general":
            total += _product_flops(equation)
        elif name == "conv_general_dilated":
            total += _convolution_flops(equation)
        elif name == "cond":
            total += max(map(count, _branches(params)))
        else:
            inner = sum(count(inner) for inner in jax.extend.core.jaxprs_in_params(params))
            total += _repeats(name, params) * inner
    return total


def _repeats(name: str, params: dict) -> int:
    """Returns the number of times that an equation runs its inner jaxpr, over all devices."""
    if name == "scan":
        return params["length"]
    return params["mesh"].size if name == "shard_map" else 1


def _branches(params: dict) -> list:
    """Returns the branches of a cond (`jax.lax.platform_dependent` is one) that a TPU may take."""
    branches = params["branches"]
    platforms = params.get("branches_platforms") or [None] * len(branches)
    pairs = list(zip(branches, platforms, strict=True))
    tpu = [branch for branch, names in pairs if names and "tpu" in names]
    return tpu or [branch for branch, names in pairs if names is None]


def _product_flops(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    products = math.prod(left[axis] for axis in contracted)
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * products


def _convolution_flops(equation: Any) -> float:
    """Returns 2 * outputs * kernel size * input channels.

    The zeros of a dilated input (the gradient of a strided convolution) do not count.
    """
    params = equation.params
    kernel = equation.invars[1].aval.shape
    _, inputs, *space = params["dimension_numbers"].rhs_spec
    taps = math.prod(kernel[axis] for axis in space) * kernel[inputs]
    outputs = math.prod(equation.outvars[0].aval.shape)
    return 2.0 * outputs * taps / math.prod(params["lhs_dilation"])
