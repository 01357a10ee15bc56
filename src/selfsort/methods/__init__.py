"""The methods: one file each, found by its name; to add a method, add a file."""

import difflib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from selfsort import heads, runs
from selfsort.errors import UserError
from selfsort.methods.base import Estimator
from selfsort.parameters import from_plain, matches, parse, plain, readable
from selfsort.schema import Invalid, checked

_SHARED = ("autoencoder", "base", "choice", "halving", "stage", "two_stage")  # code that methods share


def names() -> list[str]:
    """Return the names of all methods."""
    files = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(name.replace("_", "-") for name in files.difference(_SHARED))


def find(name: str) -> type[Estimator]:
    """Return the estimator class of a method.

    Raises
    ------
    UserError
        If the name is unknown; the message suggests the nearest one.

    """
    if name not in names():
        known = sorted({*names(), *heads.names()})
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}."
        raise UserError(f"Unknown method {name!r}: {hint}")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Estimator)]
    return next(cls for cls in classes if cls.__module__ == module.__name__)


def load(path: str | Path) -> Estimator:
    """Return the fitted model in a run folder.

    Raises
    ------
    UserError
        If there is none, or it is unfinished, damaged or of a newer format.

    """
    run, folder = runs.read_run(path), runs.RunFolder(path)
    cls = find(run["method"])
    with folder.reading(folder.manifest):
        params = _params(cls, run["params"])
    return cls.restore(Path(path), run, params)


def _params(cls: type[Estimator], stored: dict[str, Any]) -> dict[str, Any]:
    known = cls().get_params(deep=False)
    unknown = sorted(stored.keys() - known.keys())
    if unknown:
        raise UserError(f"This run sets {unknown[0]!r}, which {cls.method} does not have here: upgrade selfsort.")
    params = {name: _param(value) for name, value in stored.items()}
    hints = get_type_hints(cls)
    for name, value in params.items():
        if not matches(value, hints[name]):
            raise Invalid(f"its params.{name} must be {readable(hints[name])}")
    return params


@dataclass
class _Nested:
    """A method used as a parameter, as stored in a run."""

    method: str
    params: dict[str, Any]


def _param(value: Any) -> Any:
    if isinstance(value, dict) and "method" in value:
        nested = checked(_Nested, value)
        cls = find(nested.method)
        return cls(**_params(cls, nested.params))
    if isinstance(value, dict):
        from selfsort.augment import Transformations, Views

        kind = Transformations if "choices" in value else Views
        if unknown := value.keys() - {field.name for field in fields(kind)}:
            raise Invalid(f"its views have no {min(unknown)!r}")
        return checked(kind, value)
    return from_plain(value)


def make(name: str, settings: Mapping[str, str]) -> Estimator:
    """Return an unfitted estimator from a method's name and the texts of its parameters.

    The name of a head, such as "turtle", stands for pre-trained features with that head.

    Raises
    ------
    UserError
        If a method or parameter is unknown, or a text has the wrong type.

    """
    if name not in names() and name in heads.names():
        return make("frozen", {"head": name, **settings})
    cls = find(name)
    hints = get_type_hints(cls)
    known = list(cls().get_params(deep=False))
    values: dict[str, Any] = {}
    for setting, text in settings.items():
        if setting not in known:
            near = difflib.get_close_matches(setting, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}."
            raise UserError(f"Method {name!r} has no parameter {setting!r}: {hint}")
        values[setting] = _encoder(text) if hints[setting] == Estimator | None else parse(setting, text, hints[setting])
    return cls(**values)


def canonical(name: str, settings: Mapping[str, str], usual: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return settings in one spelling, without those that equal the method's defaults or `usual`.

    >>> canonical("simclr", {"epochs": "100", "learning_rate": "1e-2", "schedule": "constant"})
    {'learning_rate': '0.01', 'schedule': 'constant'}
    """
    chosen, before = make(name, settings), make(name, usual or {})
    values = {each: (getattr(chosen, each), getattr(before, each)) for each in settings}
    return {each: _text(value, settings[each]) for each, (value, old) in values.items() if value != old}


def _text(value: Any, text: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)).removesuffix(".0") if isinstance(value, int | float) else text


def _encoder(text: str) -> Estimator | None:
    """Read a parameter that is another method: a run folder, a method's name, or none."""
    if text.lower() == "none":
        return None
    return load(text) if Path(text).is_dir() else find(text)()


def about(name: str) -> str:
    """Return the line that describes a method."""
    return _docstring(find(name)).partition("\n")[0]


def parameters(name: str) -> list[dict[str, Any]]:
    """Return every parameter of a method: its name, default and meaning, as given in its docstrings.

    `python -OO` removes docstrings, and with them the meanings.
    """
    cls = find(name)
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = _docstring(base).partition("Parameters\n----------\n")[2].partition("\n\n")[0]
        for line in section.splitlines():
            parameter, _, meaning = line.partition(" : ")
            meanings |= {each.strip(): meaning for each in parameter.split(",")}
    defaults = cls().get_params(deep=False)
    return [
        {"parameter": each, "default": plain(defaults[each]), "meaning": meanings.get(each, "")} for each in defaults
    ]


def _docstring(cls: type) -> str:
    written = inspect.cleandoc(cls.__doc__ or "")
    return "" if written.startswith(f"{cls.__name__}(") else written  # a dataclass without one shows its signature
