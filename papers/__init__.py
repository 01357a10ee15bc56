"""Reproductions of the papers' tables and figures: one file for each paper, found by its name."""

import difflib
import pkgutil
from importlib import import_module

from papers.records import keep
from papers.runner import Experiment, Paper, Scale, Where, check_options, reproduce
from selfsort.errors import UserError

__all__ = ["Experiment", "Paper", "Scale", "Where", "check_options", "experiment", "find", "keep", "names", "reproduce"]


def names() -> list[str]:
    """Return the names of the papers: the files whose names begin with "paper"."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("paper"))


def find(name: str) -> Paper:
    """Return a paper by its name.

    Raises
    ------
    UserError
        If the name is unknown.

    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names())}."
        raise UserError(f"Unknown paper {name!r}: {hint}")
    paper: Paper = import_module(f"{__name__}.{name}").PAPER
    return paper


def experiment(paper: Paper, kind: str, number: int) -> Experiment:
    """Return a figure or table of a paper by its number.

    Raises
    ------
    UserError
        If there is none with that number.

    """
    for each in paper.experiments:
        if (each.kind, each.number) == (kind, number):
            return each
    numbers = ", ".join(str(each.number) for each in paper.experiments if each.kind == kind)
    hint = f"it has --{kind} {numbers}." if numbers else f"it has none; `selfsort reproduce {paper.name}` lists it all."
    raise UserError(f"There is no {kind} {number} of {paper.name} to reproduce: {hint}")
