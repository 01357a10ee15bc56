"""The nine transformations of paper 1 (section 3, table 1, appendix A), drawn separately for each picture.

A choice is one transformation, such as "crop", or a pair, such as "crop+cutout", applied in random order.
"""

import difflib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from selfsort.augment.views import Draw, Views, warp
from selfsort.errors import UserError
from selfsort.models.split_batch import each_kind

Transformation = Callable[[Tensor, torch.Generator | None], Tensor]

_CROP = 20 / 32  # of the side
_CUTOUT = 10 / 32  # of the side
_ANGLE = 45.0
_SCALE = (0.5, 1.5)
_NOISE = 0.1  # the paper gives none


def _turned(images: Tensor, angle: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Rotate by (B,) degrees and magnify, filling with black."""
    aspect = images.shape[2] / images.shape[3]
    cos, sin = (angle * (math.pi / 180)).cos() / scale, (angle * (math.pi / 180)).sin() / scale
    nothing = torch.zeros_like(cos)
    rows = [cos, -sin * aspect, nothing, sin / aspect, cos, nothing]
    return warp(images, torch.stack(rows, 1).view(-1, 2, 3), "zeros")


def _rotation(images: Tensor, generator: torch.Generator | None) -> Tensor:
    draw = Draw(len(images), images.device, generator)
    return _turned(images, draw.between(-_ANGLE, _ANGLE))


def _affine(images: Tensor, generator: torch.Generator | None) -> Tensor:
    draw = Draw(len(images), images.device, generator)
    return _turned(images, draw.between(-_ANGLE, _ANGLE), draw.between(*_SCALE))


def _crop(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Magnify 20 of 32 pixels of the side to the whole picture."""
    draw = Draw(len(images), images.device, generator)
    side, nothing = torch.full((len(images),), _CROP, device=images.device), torch.zeros(len(images)).to(images.device)
    shift_x, shift_y = ((1 - _CROP) * draw.between(-1, 1) for _ in range(2))
    rows = [side, nothing, shift_x, nothing, side, shift_y]
    return warp(images, torch.stack(rows, 1).view(-1, 2, 3), "reflection")


def _cutout(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Blacken a square of 10 of 32 pixels of the side inside the picture."""
    draw = Draw(len(images), images.device, generator)
    hidden = []
    for length in images.shape[2:]:
        size = max(1, round(_CUTOUT * length))
        start = draw.between(0, length - size + 1).floor()[:, None]
        place = torch.arange(length, device=images.device)
        hidden.append((place >= start) & (place < start + size))  # (B, length)
    square = hidden[0][:, None, :, None] & hidden[1][:, None, None, :]  # (B, 1, H, W)
    return images.masked_fill(square, 0.0)


# Table 1, in its order.
TRANSFORMATIONS: dict[str, Transformation] = {
    "rotation": _rotation,
    "affine": _affine,
    "crop": _crop,
    "cutout": _cutout,
    "noise": Views(noise=_NOISE),
    "jitter": Views(jitter=1.0, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
    "grayscale": Views(grayscale=1.0),
    "horizontal-flip": Views(horizontal_flip=1.0),
    "vertical-flip": Views(vertical_flip=1.0),
}
_ALL = tuple(TRANSFORMATIONS)
ALLOWED = {"mnist": _ALL[:5], "cifar10": _ALL, "svhn": _ALL[:7]}


def pairs_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return every single transformation and every pair: the cells of the paper's heat maps (figures 11 to 13).

    >>> pairs_of(("crop", "cutout"))
    ('crop', 'cutout', 'crop+cutout')
    """
    return names + tuple(f"{first}+{second}" for first, second in combinations(names, 2))


def allowed(dataset: str) -> tuple[str, ...]:
    """Return the transformations that table 1 allows for a data set, or all nine for a data set not in it."""
    return ALLOWED.get(dataset, _ALL)


def check_allowed(dataset: str, choices: tuple[str, ...]) -> None:
    """Raise `UserError` for a transformation that table 1 does not allow for a data set."""
    for name in (name for choice in choices for name in choice.split("+")):
        if name not in allowed(dataset):
            known = ", ".join(allowed(dataset))
            raise UserError(
                f"The transformation {name!r} is not meant for {dataset} (paper 1, table 1): it has {known}."
            )


def choices_from(text: str) -> tuple[str, ...]:
    """Return the choices described by a text.

    It is the name of a data set of table 1, for all that it allows ("mnist"), a list ("rotation,crop+cutout"), a list
    checked against a data set ("svhn:rotation,noise"), or the JSON file that `selfsort search-augmentations` writes.

    >>> choices_from("mnist")[:6]
    ('rotation', 'affine', 'crop', 'cutout', 'noise', 'rotation+affine')

    Raises
    ------
    UserError
        If a transformation is unknown or not allowed for the data set, or a file cannot be read.

    """
    if text in ALLOWED:
        return pairs_of(ALLOWED[text])
    if text.endswith(".json"):
        return _from_file(Path(text))
    dataset, colon, listed = text.rpartition(":")
    choices = _checked(tuple(filter(None, listed.split(","))), text)
    if colon:
        if dataset not in ALLOWED:
            raise UserError(f"Table 1 of paper 1 does not name {dataset!r}: it has {', '.join(ALLOWED)}.")
        check_allowed(dataset, choices)
    return choices


def _checked(choices: tuple[str, ...], source: str) -> tuple[str, ...]:
    if not choices:
        raise UserError(f"{source!r} names no transformation: choose among {', '.join(TRANSFORMATIONS)}.")
    for choice in choices:
        names = choice.split("+")
        for name in names:
            if name not in TRANSFORMATIONS:
                near = difflib.get_close_matches(name, [*TRANSFORMATIONS, *ALLOWED], n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"choose among {', '.join(TRANSFORMATIONS)}."
                raise UserError(f"Unknown transformation {name!r}: {hint}")
        if len(names) > 2 or len(set(names)) < len(names):
            raise UserError(f"{choice!r} must be one transformation or two different ones, such as 'crop+cutout'.")
    return choices


def _from_file(path: Path) -> tuple[str, ...]:
    try:
        choices = json.loads(path.read_text(encoding="utf-8"))["choices"]
        if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
            raise TypeError("no list of choices")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{str(path)!r} holds no choices of transformations: make it with `selfsort search-augmentations`."
        ) from error
    return _checked(tuple(choices), str(path))


@dataclass(frozen=True)
class Transformations:
    """One of several transformations, or pairs of them, drawn for each picture every time it is seen (paper 1).

    Parameters
    ----------
    choices : equally likely: the name of a transformation, or two with "+" between them, applied in random order

    """

    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        _checked(self.choices, "choices")

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return one view of each picture: (B, C, H, W) floats in [0, 1] in, the same shape and range out."""
        for drawn in self._draw(len(images), images.device, generator):
            for code, places in each_kind(drawn, len(_ALL)):
                transform = TRANSFORMATIONS[_ALL[code]]
                images = images.index_copy(0, places, transform(images[places], generator))
        return images

    def _draw(self, n: int, device: torch.device, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw the first and second transformation of each picture: (n,) codes, -1 for none."""
        codes = torch.tensor([self._codes(choice) for choice in self.choices], device=device)  # (choices, 2)
        draw = Draw(n, device, generator)
        pairs = codes[draw.between(0, len(codes)).long().clamp_(max=len(codes) - 1)]
        swapped = draw.happens(0.5).bool()[:, None]
        first, second = torch.where(swapped, pairs.flip(1), pairs).unbind(1)
        return first, second

    @staticmethod
    def _codes(choice: str) -> list[int]:
        return [*(_ALL.index(name) for name in choice.split("+")), -1][:2]
