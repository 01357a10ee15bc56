"""How views are specified: a preset with changed strengths, or a choice of transformations."""

import math
from dataclasses import fields, replace
from typing import get_args, get_type_hints

from selfsort.augment.transformations import Transformations, choices_from
from selfsort.augment.views import PRESETS, Range, Views
from selfsort.errors import UserError

Augmentation = Views | Transformations


def views_from(spec: str | Augmentation) -> Augmentation:
    """Return the views that a preset's name describes, with strengths changed after a colon.

    "transformations:" is followed by a data set of paper 1, a list, or a file; see `choices_from`.

    >>> views_from("digits:rotation=30,crop_scale=0.5..1").rotation
    30.0
    >>> views_from("transformations:rotation,crop+cutout").choices
    ('rotation', 'crop+cutout')

    Raises
    ------
    UserError
        If a preset, strength or transformation is unknown, or a value is out of range.

    """
    if isinstance(spec, Views):
        return _checked(spec)
    if isinstance(spec, Transformations):
        return spec
    name, _, changes = spec.partition(":")
    if name == "transformations":
        return Transformations(choices_from(changes))
    if name not in PRESETS:
        raise UserError(f"Unknown views {name!r}: choose one of {', '.join(PRESETS)} or transformations:LIST.")
    changed = dict(_strength(item) for item in changes.split(",") if item)
    return _checked(replace(PRESETS[name], **changed))  # type: ignore[arg-type]


def resolved(spec: str) -> str:
    """Return a specification of views in which a file is replaced by its content, since the file may change.

    Raises
    ------
    UserError
        If the file holds no choices of transformations.

    """
    name, _, choices = spec.partition(":")
    return f"{name}:{','.join(choices_from(choices))}" if name == "transformations" else spec


def _strength(item: str) -> tuple[str, float | Range]:
    name, _, text = item.partition("=")
    types = get_type_hints(Views)
    if name not in types:
        raise UserError(f"Views have no strength {name!r}: choose among {', '.join(types)}.")
    try:
        numbers = [float(part) for part in text.split("..")]
    except ValueError:
        raise UserError(f"{item!r} is not a strength: write {name}=0.5, or a range such as 0.5..1.") from None
    if not get_args(types[name]):
        if len(numbers) != 1:
            raise UserError(f"{item!r}: {name} takes one number, not a range.")
        return name, numbers[0]
    low, high = (numbers * 2)[:2]
    return name, (low, high)


_PROBABILITIES = ("horizontal_flip", "vertical_flip", "jitter", "grayscale", "blur")


def _checked(views: Views) -> Views:
    for field in fields(views):
        value = getattr(views, field.name)
        low, high = value if isinstance(value, tuple) else (value, value)
        limit = 1 if field.name in (*_PROBABILITIES, "crop_scale") else math.inf
        positive = isinstance(value, tuple) and low <= 0
        if not (0 <= low <= high <= limit and high < math.inf) or positive:
            raise UserError(f"{field.name}={value} is out of range for views: see `selfsort views --help`.")
    return views
