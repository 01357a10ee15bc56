"""What clients may send; it is validated before anything else sees it."""

from typing import Annotated, Literal

from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from selfsort.labelling.core.answers import LONGEST_NAME

_LARGEST = 2**53 - 1  # largest integer that JavaScript represents exactly
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Name = Annotated[str, StringConstraints(max_length=2 * LONGEST_NAME)]
Number = Annotated[int, Field(ge=0, le=_LARGEST)]
PathNumber = Annotated[int, InPath(ge=0, le=_LARGEST)]
Indices = Annotated[tuple[Number, ...], Field(max_length=100_000)]


class Body(BaseModel):
    """What every change carries: a key chosen by the sender, so that sending it twice counts once, and the client."""

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
    """Pictures that form a group; with `nearby`, also the pictures not on the map that are nearest to them.

    `only_unnamed` leaves out pictures that an answer has named.
    """

    pictures: Indices
    nearby: bool = False
    only_unnamed: bool = False


class GatherBody(Body):
    """A day, place or camera whose pictures form a group."""

    fact: Literal["day", "place", "camera"]
    value: Name


class MergeBody(Body):
    """Names to merge into one."""

    names: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    into: Name


class DropBody(Body):
    """A name to treat as if it had never been given."""

    name: Name


class PullBody(Body):
    """Pictures that do not have a name, and the one they have instead, if known."""

    name: Name
    pictures: Indices
    to: Name | None = None
    distinct: bool = False


class PersonBody(Body):
    """The name of the person who sends it."""

    name: Name


class AboutBody(Body):
    """A name, and the facts about it."""

    name: Name
    description: Annotated[str, StringConstraints(max_length=1000)] = ""
    note: Annotated[str, StringConstraints(max_length=10_000)] = ""
    colour: Annotated[str, StringConstraints(max_length=7)] = ""


class AssignBody(Body):
    """Single pictures, and their name."""

    pictures: Annotated[Indices, Field(min_length=1)]
    name: Name
    distinct: bool = False


class ImportBody(Body):
    """A CSV file of ids and names, as text."""

    table: str


class RefineBody(Body):
    """Passes over the pictures; None for the default number."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None


class MoreBody(Body):
    """How many more pictures to check."""

    more: Annotated[int, Field(ge=1, le=100_000)]


class CheckBody(Body):
    """The right name of a picture."""

    picture: Number
    name: Annotated[str, StringConstraints(min_length=1, max_length=2 * LONGEST_NAME)]


class ChoiceBody(BaseModel):
    """Whether a picture of an audit is kept."""

    model_config = ConfigDict(extra="forbid")
    picture: Number
    kept: bool
