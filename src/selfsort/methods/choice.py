"""Which method suits a set of pictures if the user names none: what `selfsort fit` chooses, and why."""

import math
from typing import NamedTuple

import numpy as np

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.models.pretrained import DEFAULT, find
from selfsort.models.weights import hubs

BETTER = "dinov2-small"  # used if its weights are on this computer or can be downloaded
_SAMPLE = 32  # pictures examined
_SMALL = 32  # pixels per side: digits, letters and the like
_LEAST = 16  # pixels that the small networks need
_SEEN = 100_000  # pictures seen in a training from scratch, over all epochs


class Choice(NamedTuple):
    """A method with its settings, as texts; the side of its pictures unless it prescribes one; and why."""

    method: str
    settings: dict[str, str]
    size: int | None
    reason: str


def choose(images: ImageSet) -> Choice:
    """Choose a method from a sample of the original pictures.

    Small grey pictures, such as digits, are unlike what pre-trained networks have seen: a small network trained from
    scratch sorts them better, and trains quickly. All others start from pre-trained features.
    """
    side = _largest_grey_side(images)
    if side is None or side > _SMALL:
        backbone, why = choose_backbone()
        return Choice("frozen", {"backbone": backbone}, None, f"features of a network that has seen photographs; {why}")
    epochs = min(100, max(10, math.ceil(_SEEN / max(1, len(images)))))
    settings = {"views": "digits", "epochs": str(epochs)}
    reason = f"grey pictures of at most {_SMALL} pixels are sorted best by a network trained only on them"
    return Choice("simclr", settings, max(_LEAST, side), reason)


def choose_backbone() -> tuple[str, str]:
    """Return the best available network whose weights are free for commercial use, and why it was chosen."""
    if find(BETTER).where() != "download":
        return BETTER, f"{BETTER} is on this computer"
    if hubs.is_reachable():
        return BETTER, f"{BETTER} can be downloaded"
    return DEFAULT, f"{DEFAULT} comes with selfsort, and no hub can be reached for a larger one"


def _largest_grey_side(images: ImageSet) -> int | None:
    """Return the longest side in a sample of pictures; None if one has colour or none can be read."""
    sides: list[int] = []
    for position in np.linspace(0, len(images) - 1, min(_SAMPLE, len(images))).astype(int):
        try:
            picture = images.open(int(position))
        except UserError:  # pictures that cannot be read are listed when all are decoded
            continue
        if picture.mode != "L":
            return None
        sides.append(max(picture.size))
    return max(sides, default=None)
