"""How many pictures per second a network processes on this machine, measured once and kept."""

import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from selfsort.data import cache
from selfsort.errors import UserError
from selfsort.features.network import Extractor
from selfsort.files import write_json
from selfsort.models.pretrained import Card, pretrained

_BATCH_SIZE = 32
_SECONDS = 3.0


def known(card: Card) -> float | None:
    """Return the pictures per second measured on this machine for a network, or None."""
    return _read().get(_key(card))


def measure(card: Card) -> float:
    """Measure the pictures per second of a network, with random weights, and keep the figure."""
    extract = Extractor(pretrained(f"{card.network}=random", card.input), "auto", "auto", _BATCH_SIZE)
    images = np.zeros((_BATCH_SIZE, *card.input.image_shape), np.uint8)
    extract(images)
    count, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < _SECONDS:
        extract(images)
        count += len(images)
    rate = round(count / seconds, 1)
    with suppress(UserError):  # if nothing can be kept, it is measured again next time
        write_json(_path(), _read() | {_key(card): rate})
    return rate


def _path() -> Path:
    return cache.root() / "speed.json"


def _read() -> dict[str, float]:
    with suppress(OSError, ValueError):
        content = json.loads(_path().read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def _key(card: Card) -> str:
    return f"{card.network} {card.input.side} {platform.node()} {os.cpu_count()}"
