"""Ways to cut the views of a recording, for comparisons of recipes."""

import dataclasses
from typing import Any

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError


def with_crops(objective: Any, crops: str, *, same_views: bool) -> Any:
    """Returns an objective that cuts its views in another way; see `benchmarks.recipe`.

    Raises:
      LookupError: the objective has no such crops.
    """
    if crops == "own" and not same_views:
        return objective
    if not hasattr(objective, "augmentation"):
        if crops == "own":
            return objective
        raise LookupError(crops)
    own = objective.augmentation
    augmentation = dataclasses.replace(Augmentation(), crop_s=own.crop_s) if same_views else own
    changes: dict[str, Any] = {}
    if crops == "multi":
        if not hasattr(objective, "small_crops"):
            raise LookupError(crops)
        augmentation = dataclasses.replace(augmentation, crop_s=5.0)
        changes = {"small_crops": 2, "small_crop_s": 2.5}
    elif crops != "own":
        augmentation = dataclasses.replace(augmentation, crop_s=_seconds(crops))
        changes = {"small_crops": 0} if hasattr(objective, "small_crops") else {}
    return dataclasses.replace(objective, augmentation=augmentation, **changes)


def _seconds(crops: str) -> float:
    try:
        return float(crops)
    except ValueError as error:
        raise InputError(f"--crops {crops}: give own, multi or a number of seconds") from error
