"""What clients may send, checked before anything else sees it."""

from typing import Annotated, Literal

from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from selfsort.labelling.core.answers import LONGEST_NAME

_LARGEST = 2**53 - 1  # the integers that JavaScript holds exactly
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Name = Annotated[str, StringConstraints(max_length=2 * LONGEST_NAME)]
Number = Annotated[int, Field(ge=0, le=_LARGEST)]
PathNumber = Annotated[int, InPath(ge=0, le=_LARGEST)]
Indices = Annotated[tuple[Number, ...], Field(max_length=100_000)]


class Body(BaseModel):
    """What every change carries: a key that its sender made up, so that sending it twice counts once."""

    model_config = ConfigDict(extra="forbid")
    key: Key
    client: Key


class AnswerBody(Body):
    """An answer about a group."""

    group: Number
    kind: Literal["name", "mixed", "junk", "skip"]
    name: Name | None = None
    confidence: Annotated[int, Field(ge=1, le=5)] = 5
    excluded: Indices = ()
    distinct: bool = False


class LassoBody(Body):
    """Pictures that are to be one group; with `nearby`, also those not on the map that are nearest to them."""

    pictures: Indices
    nearby: bool = False


class MergeBody(Body):
    """Names that become one."""

    names: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    into: Name


class PullBody(Body):
    """Pictures that do not have a name, and the one that they have instead, if known."""

    name: Name
    pictures: Indices
    to: Name | None = None
    distinct: bool = False


class RefineBody(Body):
    """Passes over the pictures; the usual number when None."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None


class CheckBody(Body):
    """The right name of a picture."""

    picture: Number
    name: Annotated[str, StringConstraints(min_length=1, max_length=2 * LONGEST_NAME)]
