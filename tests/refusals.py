"""Code shared by tests of the command line's messages: settings, folders of pictures, and the form of a refusal."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from commands import Answer
from samples import pictures
from selfsort.tables import read_table

KMEANS = ("--method", "kmeans", "--classes", "3")
SIMCLR = (
    *("--method", "simclr", "--classes", "3", "--epochs", "1", "--batch-size", "8"),
    *("--precision", "32", "--views", "none:noise=0.05", "--device", "cpu"),
)
# A small net, so that many epochs and checkpoints take a moment.
LONG = (
    *("--method", "conv-autoencoder", "--classes", "3", "--epochs", "40", "--batch-size", "8"),
    *("--precision", "32", "--views", "none", "--device", "cpu", "--json"),
)

Refused = Callable[..., Answer]


def check_sentence(text: str, naming: str | tuple[str, ...]) -> None:
    assert re.fullmatch(r"selfsort: [^\n]+[.?]\n", text), text
    assert not re.search(r"[.!?] [A-Z]", text.removeprefix("selfsort: ")), f"more than one sentence: {text}"
    assert not re.search(r"Traceback|Warning|Errno|\bNone\b", text)
    for name in (naming,) if isinstance(naming, str) else naming:
        assert name in text


def snapshot(folder: Path) -> dict[str, str]:
    """Describe everything below a folder, hidden files included."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            what = f"link to {os.readlink(path)}"
        elif path.is_file():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            what = "folder" if path.is_dir() else "special"
        found[str(path.relative_to(folder))] = what
    return found


def half_written(cache: Path) -> list[Path]:
    return [path for path in cache.rglob(".*") if path.is_dir()]


def save(folder: Path, n: int = 12, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(pictures(n, 16, **options)):
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(folder / f"{index:02d}.png")
    return folder


def save_classes(folder: Path, n: int = 6) -> Path:
    for index, pixels in enumerate(pictures(n, 16)):
        (folder / f"kind-{index % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"kind-{index % 3}" / f"{index}.png")
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(read_table(path))
