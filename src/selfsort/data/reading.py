"""How the files of pictures are read that hold more than 8-bit grey or RGB, and facts about what that changed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Self

from selfsort.errors import UserError
from selfsort.spelling import counted

Range = tuple[float, float]
ValueRange = Literal["type", "set", "picture"] | Range
Page = int | Literal["max"]


@dataclass(frozen=True)
class Reading:
    """How pictures are read. A set of pictures has a reading, and so has the model that learnt from it.

    Parameters
    ----------
    value_range : which values become black and white, for numbers of more than eight bits: "set", the range found over
        the set, the same for all of its pictures; "picture", the range of each picture; "type", the range that their
        type stands for; or (low, high)
    page : number of the page, slice or frame, counted from 0, "max" for the largest values over all of them, or None
        for the one that the model takes, or else the first
    channels : numbers of the one, two or three channels that are shown, counted from 0; none for those that the model
        takes, or else all if they are grey or RGB, otherwise the first
    integers, floats : the ranges found over the set, None if there are no such numbers
    profiles : whether colours are converted to sRGB

    Raises
    ------
    UserError
        If a value is out of range.

    """

    value_range: ValueRange = "set"
    page: Page | None = None
    channels: tuple[int, ...] = ()
    integers: Range | None = None
    floats: Range | None = None
    profiles: bool = True

    def __post_init__(self) -> None:
        if not (self.value_range in ("type", "set", "picture") or is_range(self.value_range)):
            raise UserError(
                f"value_range={self.value_range!r} must be 'set', 'picture', 'type', or two numbers, low and high."
            )
        if not (self.page is None or self.page == "max" or _is_number(self.page)):
            raise UserError(f"page={self.page!r} must be the number of a page, counted from 0, or 'max'.")
        if len(self.channels) > 3 or not all(map(_is_number, self.channels)):
            raise UserError(
                f"channels={self.channels!r} must be 1 (grey), 3 (colour), or the numbers of up to three channels, "
                "such as (0, 2, 4), counted from 0."
            )

    def found(self, kind: str) -> ValueRange:
        """Return which values become black and white, for "integers" or "floats"."""
        known: Range | None = getattr(self, kind)
        return self.value_range if known is None else known

    def knowing(self, integers: Range | None, floats: Range | None) -> Self:
        """Return the same reading with ranges found over the set."""
        return replace(self, integers=integers, floats=floats)

    def over(self, model: Self | None) -> Self:
        """Return how a model reads these pictures: its range of values, and its page and channels unless set here."""
        if model is None:
            return self
        return type(self)(
            self.value_range if model.value_range == "set" else model.value_range,
            model.page if self.page is None else self.page,
            self.channels or model.channels,
            model.integers or self.integers,
            model.floats or self.floats,
            model.profiles,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` was given; raise `UserError` or `TypeError` for values that it cannot have returned."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**plain)


def is_range(value: object) -> bool:
    """Tell whether a value is a pair of finite numbers, the first lower than the second."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in value)
        and all(map(math.isfinite, value))
        and value[0] < value[1]
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


ALONE = Reading()  # for a picture on its own
EARLIER = Reading("type", profiles=False)  # for runs that do not say how they read pictures


class Facts(NamedTuple):
    """What a file holds beyond the upright 8-bit grey or RGB pixels made of it, and what was converted for them.

    Attributes
    ----------
    pages : how many pages, slices or frames the file holds; reduced versions of a page do not count
    page : which of them is shown; None for the largest values over all of them
    channels, used : how many the page holds, and which of them are shown; 0 and none if all are
    depth : type of the values, such as "uint16" or "float32"; "" for 8 bits or fewer
    low, high : the values of that type that became black and white
    outside : whether none of the values is within that range
    profile : name of the colour profile that the colours were converted from, "" for none
    turned : whether the picture was turned or mirrored, as its metadata demand
    flattened : whether transparent parts were put on white
    guessed : what the file does not say and had to be guessed, "" for nothing

    """

    pages: int = 1
    page: int | None = 0
    channels: int = 0
    used: tuple[int, ...] = ()
    depth: str = ""
    low: float = 0.0
    high: float = 0.0
    outside: bool = False
    profile: str = ""
    turned: bool = False
    flattened: bool = False
    guessed: str = ""

    def changes(self) -> tuple[str, ...]:
        """Say what of the file is not shown or was converted, in a few words each, with details in brackets.

        >>> Facts(pages=5, depth="uint16").changes()
        ('first page only (of 5)', 'converted to 8 bits (uint16)')
        """
        said = {
            self._page_shown(): self.pages > 1,
            f"some channels only ({', '.join(map(str, self.used))} of {self.channels})": self.channels > 0,
            f"converted to 8 bits ({self.depth})": bool(self.depth),
            "turned upright": self.turned,
            "transparent parts put on white": self.flattened,
            f"guessed ({self.guessed})": bool(self.guessed),
        }
        return tuple(words for words, holds in said.items() if holds)

    def _page_shown(self) -> str:
        if self.page is None:
            return f"largest values of all pages (of {self.pages})"
        return (
            f"first page only (of {self.pages})" if self.page == 0 else f"one page only ({self.page} of {self.pages})"
        )


PLAIN = Facts()


def tell(facts: Iterable[Facts], *, advise: bool = True) -> list[str]:
    """Say, one line each, which pictures have unused parts, had something guessed, or show nothing.

    Pages and channels other than the first were chosen, so they are not mentioned. `advise` also says how to choose.

    >>> tell([Facts(pages=5), Facts(pages=9), Facts(turned=True)])
    ['2 pictures have more pages than the one used (5 to 9 pages): choose with page=…']
    """
    known = list(facts)
    lines = [
        _counted([each.pages for each in known if each.pages > 1 and each.page == 0], "pages", "page=…"),
        _counted(
            [each.channels for each in known if each.channels and each.used == tuple(range(len(each.used)))],
            "channels",
            "channels=…",
        ),
    ]
    if outside := sum(each.outside for each in known):
        what = "picture lies" if outside == 1 else "pictures lie"
        lines.append(f"{outside:,} {what} outside the value range: choose another with value_range=…")
    if not advise:
        lines = [line.partition(": choose ")[0] for line in lines]
    for guess in sorted({each.guessed for each in known} - {""}):
        count = sum(each.guessed == guess for each in known)
        do = "does" if count == 1 else "do"
        lines.append(f"{counted(count, 'picture')} {do} not say how colours are meant: {guess}")
    return [line for line in lines if line]


def _counted(numbers: list[int], what: str, parameter: str) -> str:
    if not numbers:
        return ""
    least, most = min(numbers), max(numbers)
    span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    used = "the one used" if what == "pages" else "those used"
    have = "has" if len(numbers) == 1 else "have"
    return f"{counted(len(numbers), 'picture')} {have} more {what} than {used} ({span} {what}): choose with {parameter}"
