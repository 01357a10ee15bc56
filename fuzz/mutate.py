"""Damage as caused by disks, memory cards and interrupted copies, and by somebody malicious."""

import copy
from typing import Any

import numpy as np

_ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**9, 10**400, 1.5, float("nan"), "", "x" * 10_000, "\ud800", "../../x", [], {}, [[1]]),
    *([None] * 1000, {"a": {"b": 1}}),
)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one kind of damage."""
    if not data:
        return bytes(rng.integers(0, 256, 5, np.uint8))
    found, place = bytearray(data), int(rng.integers(0, len(data)))
    kind = rng.integers(0, 8)
    if kind <= 1:
        for place in rng.integers(0, len(found), rng.integers(1, 4)):
            found[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == 2:  # a block of zeros
        length = min(int(rng.integers(1, 300)), len(found) - place)
        found[place : place + length] = bytes(length)
    elif kind == 3:  # cut off
        del found[place:]
    elif kind == 4:  # the end of another file
        found[place:] = rng.integers(0, 256, len(found) - place, np.uint8).tobytes()
    elif kind == 5:  # an extreme number, most often in the header
        place = int(rng.integers(0, min(len(found), 200)))
        width = int(rng.choice([1, 2, 4]))
        number = int(rng.choice(_ODD_NUMBERS)) & (256**width - 1)
        found[place : place + width] = number.to_bytes(width, str(rng.choice(["little", "big"])))  # type: ignore[arg-type]
    elif kind == 6:  # a duplicated piece
        piece = found[place : place + int(rng.integers(1, 200))]
        found[place:place] = piece
    else:  # a missing piece
        del found[place : place + int(rng.integers(1, 50))]
    return bytes(found)


def odd_json(content: Any, rng: np.random.Generator) -> Any:
    """Return a JSON value in which one place is missing, of another type, or extreme."""
    content = copy.deepcopy(content)
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(rng.integers(0, len(keys)))]
        inner = place[key]
        if isinstance(inner, dict | list) and len(inner) and rng.random() < 0.7:
            place = inner
            continue
        if rng.random() < 0.25:
            del place[key]
        elif rng.random() < 0.05:
            place[key] = _deep()
        else:
            place[key] = copy.deepcopy(_ODD_VALUES[int(rng.integers(0, len(_ODD_VALUES)))])
        return content


def _deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(300):
        found = [found]
    return found
