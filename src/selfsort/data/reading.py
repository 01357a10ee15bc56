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


PLAIN = Facts()
