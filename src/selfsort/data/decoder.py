"""The one decoder: from the bytes of a picture's file to 8-bit grey or RGB, whatever the picture is wanted for.

The memory for one picture is bounded before it is decoded: Pillow's image, and what its decoder needs besides, take at
most four bytes for each of `max_pixels`. Large pictures are converted strip by strip.
"""

import io
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data import jpeg, values
from selfsort.data.eight_bit import Needed, chosen_channels, image_shown, to_image, values_shown, whole_factor
from selfsort.data.limits import Size, check_light, check_memory, check_size, read_content
from selfsort.data.opening import Opened, first_bytes, open_as, open_picture, opened_image, turn_of
from selfsort.data.profiles import conversion
from selfsort.data.reading import Facts, Reading
from selfsort.data.unreadable import no_page
from selfsort.data.values import Values

_USUAL_SCANS = 12  # of a progressive JPEG; each covers all pixels

Content = Image.Image | NDArray[np.uint8]


class AsStored(NamedTuple):
    """A picture as its file stores it: 8-bit grey or RGB, perhaps reduced; its full (width, height); its turn."""

    content: Content
    size: Size
    turn: Image.Transpose | None
    facts: Facts


def decode(stream: BinaryIO, needed: Needed, reading: Reading, max_pixels: int) -> AsStored:
    """Decode a picture to at least the size that is needed, whatever it is needed for."""
    check_light(stream)
    if first_bytes(stream).startswith(jpeg.SIGNATURE):
        return _decode_jpeg(read_content(stream), needed, reading, max_pixels)
    opened = open_picture(stream, reading, max_pixels)
    return _converted(opened, needed, reading)


def header(stream: BinaryIO, reading: Reading, max_pixels: int) -> tuple[Size, bool]:
    """Return a picture's (width, height) and whether it has colour, decoding no more than necessary."""
    if first_bytes(stream).startswith(jpeg.SIGNATURE):
        head = jpeg.read_head(read_content(stream))
        check_size(head.size, max_pixels)
        return head.size, len(reading.channels or head.sampling) > 1
    opened = open_picture(stream, reading, max_pixels)
    if reading.channels:
        return opened.size, len(reading.channels) > 1
    if opened.grey is not None:
        return opened.size, not opened.grey
    content = _converted(opened, lambda size: size, reading).content
    return opened.size, not (isinstance(content, Image.Image) and content.mode == "L")


def sample_values(stream: BinaryIO, reading: Reading, max_pixels: int) -> tuple[str, NDArray[Any]] | None:
    """Return the kind of a picture's values and a sample of them; None if it has at most eight bits."""
    if first_bytes(stream).startswith(jpeg.SIGNATURE):
        return None
    opened = open_picture(stream, reading, max_pixels)
    if not opened.deep:
        return None
    content = opened.load().content
    assert isinstance(content, Values)
    return content.kind, content.sample(chosen_channels(content, reading))


def turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """Return an image turned as it should be shown."""
    return image if turn is None else image.transpose(turn)


def _decode_jpeg(data: bytes, needed: Needed, reading: Reading, max_pixels: int) -> AsStored:
    head = jpeg.read_head(data)
    check_size(head.size, max_pixels)
    least = needed(head.size)
    output = 4 * min(head.size[0] * head.size[1], 4 * least[0] * least[1])
    check_memory(head.size, head.coefficient_bytes + output, max_pixels, head.scans // _USUAL_SCANS)
    if reading.page not in (None, 0, "max"):
        raise no_page(int(reading.page or 0), 1)
    pixels = jpeg.decode_fast(data, head, least)
    if pixels is not None:
        turn = turn_of(open_as(io.BytesIO(data), ("JPEG",))) if head.orientation else None
        stored = AsStored(pixels, head.size, turn, Facts(turned=turn is not None))
        return _finished(stored, reading, head.profile) if head.profile or reading.channels else stored
    guessed = ""
    if len(head.sampling) == 4 and not head.adobe:
        ycck = len(set(head.sampling)) > 1  # colour differences may be subsampled, inks never are
        data = jpeg.marked_as_ycck(data) if ycck else data
        guessed = f"four channels are {'YCCK' if ycck else 'inverted CMYK'}"
    image = open_as(io.BytesIO(data), ("JPEG",))
    image.draft(None, least)
    opened = opened_image(image, io.BytesIO(data), reading, Facts(guessed=guessed))
    return _converted(opened, needed, reading)._replace(size=head.size)


def _converted(opened: Opened, needed: Needed, reading: Reading) -> AsStored:
    """Decode an opened picture."""
    loaded, facts = opened.load(), opened.facts
    content, turn = loaded.content, loaded.turn
    if isinstance(content, Image.Image):
        factor = whole_factor(content.size, needed)
        shown, flattened, profile = image_shown(content, factor, loaded.profile)
        facts = facts._replace(flattened=flattened, profile=profile)
        stored_profile = None if content.mode == "CMYK" else loaded.profile
    else:
        shown, facts = values_shown(content, whole_factor(content.size, needed), reading, facts)
        stored_profile = loaded.profile
        reading = replace(reading, channels=())
    facts = facts._replace(turned=facts.turned or turn is not None)
    return _finished(AsStored(shown, opened.size, turn, facts), reading, stored_profile)


def _finished(stored: AsStored, reading: Reading, profile: bytes | None) -> AsStored:
    """Choose channels of an 8-bit picture, or else convert its colours to sRGB."""
    image = stored.content if isinstance(stored.content, Image.Image) else to_image(stored.content)
    if reading.channels:
        content = values.of_image(image)
        shown, facts = values_shown(content, 1, reading, stored.facts)
        return stored._replace(content=shown, facts=facts)
    convert, name = conversion(profile, image.mode) if reading.profiles else (None, "")
    if convert is None:
        return stored
    return stored._replace(content=convert(image), facts=stored.facts._replace(profile=name))
