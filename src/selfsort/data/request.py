"""What the caller of `load_images` asked for, checked in one place for all kinds of source."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from selfsort.data.input_spec import Resize
from selfsort.data.limits import MAX_PIXELS, MAX_SECONDS
from selfsort.data.reading import Page, Reading, ValueRange
from selfsort.errors import UserError

MAX_SIZE = 4096
_MOST_SECONDS = 86_400


@dataclass(frozen=True)
class Request:
    """The keyword arguments of `load_images`; see there for what they mean."""

    size: int | None = None
    resize: Resize = "crop"
    channels: Literal[1, 3] | tuple[int, ...] | None = None
    split: str | None = None
    fold: int | None = None
    data_root: str | None = None
    download: bool = False
    cache: bool = True
    max_pixels: int = MAX_PIXELS
    max_seconds: float = MAX_SECONDS
    progress: bool = False
    exclude: tuple[str, ...] = ()
    classes_from: str | int | None = None
    listing: int = 2
    value_range: ValueRange | None = None
    page: Page | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not (_is_integer(self.size) and 1 <= self.size <= MAX_SIZE):
            raise UserError(f"size={self.size!r} must be a whole number of pixels from 1 to {MAX_SIZE}.")
        if self.resize not in get_args(Resize):
            raise UserError(f"resize={self.resize!r} must be one of {', '.join(get_args(Resize))}.")
        if self.channels not in (None, 1, 3) and not (isinstance(self.channels, tuple) and self.channels):
            raise UserError(f"channels={self.channels!r} must be 1 (grey) or 3 (colour), or a tuple of numbers.")
        _ = self.reading  # raises for what is wrong with the rest
        if self.split is not None and not isinstance(self.split, str):
            raise UserError(f"split={self.split!r} must be the name of a split, such as 'train'.")
        if self.fold is not None and not (_is_integer(self.fold) and 0 <= self.fold <= 9):
            raise UserError(f"fold={self.fold!r} must be one of STL-10's ten folds, 0 to 9.")
        if not (_is_integer(self.max_pixels) and self.max_pixels >= 1):
            raise UserError(f"max_pixels={self.max_pixels!r} must be a whole number of at least 1.")
        if not (_is_number(self.max_seconds) and 0 < self.max_seconds <= _MOST_SECONDS):
            raise UserError(f"max_seconds={self.max_seconds!r} must be a number above 0, at most {_MOST_SECONDS:,}.")
        if not (self.classes_from is None or isinstance(self.classes_from, str) and self.classes_from) and not (
            _is_integer(self.classes_from) and 1 <= int(self.classes_from or 0)
        ):
            raise UserError(
                f"classes_from={self.classes_from!r} must be 'auto', 'parent', 'none', a level from 1 or a folder."
            )
        if self.listing not in (1, 2):
            raise UserError(f"listing={self.listing!r} must be 1, for files as version 0.1 listed them, or 2.")

    @property
    def reading(self) -> Reading:
        """Return how pictures are to be read."""
        chosen = self.channels if isinstance(self.channels, tuple) else ()
        return Reading("set" if self.value_range is None else self.value_range, self.page, chosen)

    @property
    def n_channels(self) -> Literal[1, 3] | None:
        """Return how many channels pixels are to have, None if the pictures decide."""
        if isinstance(self.channels, tuple):
            return 1 if len(self.channels) == 1 else 3
        return self.channels

    def options(self, *names: str, **resolved: Any) -> dict[str, Any]:
        """Return the arguments called `names` that differ from their defaults, and those given as `resolved`."""
        defaults = Request()
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value != getattr(defaults, name)} | resolved

    def refuse(self, source: str, *names: str) -> None:
        """Raise `UserError` if an argument called one of `names`, none of which applies to `source`, was given."""
        for name in names:
            if (value := getattr(self, name)) is not None:
                has = "class folders" if name == "classes_from" else f"{name}s"
                raise UserError(f"{source} has no {has}, so {name}={value!r} cannot be chosen; leave it out.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
