"""A copy of a network that follows it slowly, as the target of BYOL, JEPA and the like, or for a queue (MoCo)."""

import jax


def ema_update(slow: dict, own: dict, keep: float | jax.Array) -> dict:
    """The slow parameters after one more step: a share `keep` of themselves and the rest of `own`. Without gradient."""
    moved = jax.tree.map(lambda slow, own: keep * slow + (1 - keep) * own, slow, own)
    return jax.lax.stop_gradient(moved)
