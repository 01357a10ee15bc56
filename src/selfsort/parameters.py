"""Hyper-parameters: checked against a constructor's types, read from the command line, written as JSON."""

import json
import numbers
import types
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin

from selfsort.errors import UserError


def matches(value: object, hint: Any) -> bool:
    """Tell whether a value matches an annotated type.

    >>> matches(3, float), matches("x", int | None), matches((1, 2), tuple[int, ...])
    (True, False, True)
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (Union, types.UnionType):
        return any(matches(value, arg) for arg in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = [args[0]] * len(value) if args[1:] == (...,) else list(args)
        return len(each) == len(value) and all(map(matches, value, each))
    if hint in (int, float):
        number = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    return value is None if hint is type(None) else isinstance(value, hint)


def readable(hint: Any) -> str:
    """Name a type for people.

    >>> readable(Literal["a", "b"]), readable(int | None)
    ("'a' or 'b'", 'int or None')
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(repr(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return " or ".join(readable(arg) for arg in args)
    if origin is tuple:
        return "numbers such as 10,20" if args[1:] == (...,) else f"{len(args)} numbers such as 0.1,0.9"
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))


def parse(name: str, text: str, hint: Any) -> Any:
    """Convert the text given for a parameter to a value of its type.

    >>> parse("head_classes", "20,50", tuple[int, ...])
    (20, 50)

    Raises
    ------
    UserError
        If the text does not fit the type.

    """
    for candidate in _candidates(text):
        if matches(candidate, hint):
            return candidate
    raise UserError(f"{name}={text} is not valid: it must be {readable(hint)}.")


def _candidates(text: str) -> list[Any]:
    """List the possible values of a text: a number, a word, several numbers."""
    words = {"none": None, "true": True, "false": False, "": ()}
    found: list[Any] = [words[text.lower()]] if text.lower() in words else []
    parts = [_number(part) for part in text.split(",") if part]
    return [*found, *parts[: len(parts) == 1], text, tuple(parts)]


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def plain(value: Any) -> Any:
    """Return a hyper-parameter in a form that JSON can hold."""
    if hasattr(value, "get_params"):
        return {"method": value.method, "params": plain_params(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return json.loads(json.dumps(asdict(value)))
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def plain_params(estimator: Any) -> dict[str, Any]:
    """Return all hyper-parameters of an estimator in a form that JSON can hold."""
    return {name: plain(value) for name, value in estimator.get_params(deep=False).items()}


def from_plain(value: Any) -> Any:
    """Turn lists from JSON back into tuples."""
    return tuple(from_plain(item) for item in value) if isinstance(value, list) else value
