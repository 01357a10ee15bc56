"""What was done to a picture's file beyond decoding it: facts for an account of what a model sees."""

from typing import NamedTuple


class Facts(NamedTuple):
    """What a file holds beside the upright 8-bit grey or RGB pixels that are made of it, or had to be changed for them.

    Attributes
    ----------
    pages : how many the file holds: pages, slices or frames of an animation; small versions of one do not count
    channels, used : how many the page holds, and which of them are shown; 0 and none where that is all of them
    depth : type of the values, such as "uint16" or "float32"; "" for 8 bits or fewer
    turned : whether the metadata say that the picture is to be turned or mirrored, and it was
    flattened : whether transparent parts were put on white
    guessed : what the file does not say and had to be guessed, or ""

    """

    pages: int = 1
    channels: int = 0
    used: tuple[int, ...] = ()
    depth: str = ""
    turned: bool = False
    flattened: bool = False
    guessed: str = ""

    def changes(self) -> tuple[str, ...]:
        """Say what of the file is not shown or was converted, a few words each, details in brackets.

        >>> Facts(pages=5, depth="uint16").changes()
        ('first page only (of 5)', 'brought to 8 bits (uint16)')
        """
        said = {
            f"first page only (of {self.pages})": self.pages > 1,
            f"some channels only ({', '.join(map(str, self.used))} of {self.channels})": self.channels > 0,
            f"brought to 8 bits ({self.depth})": bool(self.depth),
            "turned upright": self.turned,
            "transparent parts put on white": self.flattened,
            f"guessed ({self.guessed})": bool(self.guessed),
        }
        return tuple(words for words, holds in said.items() if holds)


PLAIN = Facts()
