"""The input of a network: the shape of every picture, and how its values are normalised."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from selfsort.data.reading import EARLIER, Reading
from selfsort.errors import UserError
from selfsort.schema import checked

Resize = Literal["crop", "pad", "squash"]


@dataclass(frozen=True)
class InputSpec:
    """What a network takes: pictures of one shape, with normalised values.

    It belongs to a model and is saved with it, under "input" in `run.json`.

    Parameters
    ----------
    side : height in pixels, and width unless that is given
    channels : 1 (grey) or 3 (RGB)
    resize : how a picture of another shape is fitted to this one: "crop" (the centre), "pad" (with black) or "squash"
    mean, std : one number for each channel, or one for all, in units of [0, 1]: the network gets
        `(pixels / 255 - mean) / std`
    width : width in pixels, if the pictures are not square
    reading : how pictures are read that hold more than 8-bit grey or RGB; None keeps the way they were loaded

    Raises
    ------
    UserError
        If a value is out of range.

    >>> InputSpec(224, 3, mean=(0.5,), std=(0.5,)).image_shape
    (224, 224, 3)

    """

    side: int
    channels: int
    resize: Resize = "crop"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    width: int | None = None
    reading: Reading | None = None

    def __post_init__(self) -> None:
        for name, value in (("side", self.side), ("width", self.width)):
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise UserError(f"{name}={value!r} must be a whole number of pixels, at least 1.")
        if self.channels not in (1, 3):
            raise UserError(f"channels={self.channels!r} must be 1 (grey) or 3 (colour).")
        if self.resize not in get_args(Resize):
            raise UserError(f"resize={self.resize!r} must be one of {', '.join(get_args(Resize))}.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise UserError(f"{name}={values!r} must hold one number, or one for each of {self.channels} channels.")
        if not all(value > 0 for value in self.std):
            raise UserError(f"std={self.std!r} must hold positive numbers.")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels)."""
        return self.side, self.width or self.side, self.channels

    @property
    def normalised(self) -> bool:
        """Tell whether the network takes other values than those in [0, 1]."""
        return any(self.mean) or any(value != 1 for value in self.std)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return found | {"reading": None if self.reading is None else self.reading.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave; raise `Invalid` for values that it cannot have returned."""
        return checked(cls, {"reading": EARLIER.to_json(), **values})

    @classmethod
    def of_shape(
        cls, image_shape: tuple[int, int, int], resize: Resize = "crop", reading: Reading | None = None
    ) -> Self:
        """Return the input of a network that takes pictures of shape (height, width, channels) in [0, 1]."""
        height, width, channels = image_shape
        return cls(height, channels, resize, width=None if width == height else width, reading=reading)

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> Self:
        """Return the input of the model in a run, from the facts in its `run.json`."""
        if "input" in run:
            return cls.from_json(run["input"])
        data = run["data"]  # runs of the first format have no "input"
        return cls.of_shape(tuple(data["image_shape"]), data["options"].get("resize", "crop"), EARLIER)
