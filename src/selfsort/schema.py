"""Check the content of a file against a declared type: no values of other types, none that are not finite."""

import json
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Annotated, Any, NoReturn, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

T = TypeVar("T")


class Invalid(ValueError):
    """The content is not as declared; the message names the place and fits into the middle of a sentence."""


class Versioned(BaseModel):
    """The part that files of all versions share."""

    format: Annotated[int, Field(ge=1)]


def parsed(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises
    ------
    Invalid
        If it is not JSON, is nested too deeply, or holds NaN, infinity or a number too large for one.

    """
    try:
        content = json.loads(text, parse_constant=_refuse)
        json.dumps(content, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError) as error:
        raise Invalid("it is not JSON of finite numbers") from error
    return content


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not finite")


def checked(kind: type[T], content: Any) -> T:
    """Return JSON's `content` as a `kind`: a dataclass, a pydantic model, or a type made of plain ones.

    A number in place of a text, a Boolean in place of a number and the like are refused, not converted.

    Raises
    ------
    Invalid
        If it does not match; names the first place that differs.

    >>> checked(dict[str, int], {"a": 1})
    {'a': 1}
    >>> checked(list[int], [1, True])
    Traceback (most recent call last):
    selfsort.schema.Invalid: its [1] should be a valid integer

    """
    # Checked as text, because only then may a list stand for a tuple and an object for a dataclass. Bytes of a file
    # name that are not UTF-8 do not matter to a schema.
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        adapter: TypeAdapter[T] = _adapter(cast(Hashable, kind))
        found = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        raise Invalid(_first(error)) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid("it is not JSON of finite numbers") from error
    return found


def check_arrays(found: Mapping[str, NDArray[Any]], shapes: Mapping[str, str]) -> None:
    """Check that arrays have the declared `shapes`, a letter per dimension, the same for equal lengths.

    Raises
    ------
    Invalid
        If one is missing, unexpected, of another shape, empty, or holds anything but finite numbers.

    >>> check_arrays({"points": np.ones((3, 2)), "labels": np.zeros(4)}, {"points": "ND", "labels": "N"})
    Traceback (most recent call last):
    selfsort.schema.Invalid: its 'labels' is 4, where N is 3

    """
    for name in sorted(found.keys() ^ shapes.keys()):
        raise Invalid(f"it lacks {name!r}" if name in shapes else f"it holds {name!r}, which does not belong there")
    sides: dict[str, int] = {}
    for name, letters in shapes.items():
        shape = found[name].shape
        if len(shape) != len(letters) or 0 in shape:
            raise Invalid(f"its {name!r} is of shape {shape}")
        for letter, side in zip(letters, shape, strict=True):
            if sides.setdefault(letter, side) != side:
                raise Invalid(f"its {name!r} is {side}, where {letter} is {sides[letter]}")
        if found[name].dtype.kind not in "fiu" or not np.isfinite(found[name]).all():
            raise Invalid(f"its {name!r} holds a value that is not a finite number")


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first(error: ValidationError) -> str:
    """Describe the first error."""
    found = error.errors(include_url=False, include_input=False)[0]
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in found["loc"]]
    place = f"its {''.join(steps).removeprefix('.')}" if steps else "it"
    if found["type"] == "missing":
        return f"{place} is missing"
    problem = found["msg"].removeprefix("Value error, ").rstrip(".")
    should = problem.removeprefix("Input ")
    return f"{place} {should}" if should != problem else f"{place} is refused: {problem}"
