"""Damaged pictures, zips and arrays: both readers agree, nothing is raised, and memory and time stay bounded."""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import selfsort
from fuzz.child import run
from fuzz.journal import Journal, Trial
from fuzz.mutate import damaged
from selfsort.audit import audit

KINDS: dict[str, list[dict[str, Any]]] = {
    "png": [{}, {"mode": "L"}, {"mode": "P"}, {"mode": "I;16"}, {"exif": True}, {"mode": "RGBA"}],
    "jpg": [{"quality": 90}, {"quality": 80, "progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"exif": True}],
    "webp": [{"quality": 80}, {"lossless": True}],
    "tif": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate", "mode": "I;16"}, {"pages": 3}],
    "gif": [{"mode": "P"}, {"mode": "P", "pages": 3}],
    "bmp": [{}, {"mode": "P"}],
    "avif": [{}],
    "zip": [{}],
    "npy": [{}],
    "npz": [{}],
}
_FORMATS = {"jpg": "JPEG", "tif": "TIFF"}
_WEIGHTS = {"png": 4, "jpg": 4, "tif": 3, "avif": 0.5}
MOST_SECONDS = 10.0


def play(journal: Journal, size: float, seed: int, place: Path) -> None:
    """Try 10,000 damaged pictures."""
    kinds = list(KINDS)
    shares = np.array([_WEIGHTS.get(kind, 1.0) for kind in kinds])
    originals = {kind: [encoded(kind, options) for options in KINDS[kind]] for kind in kinds}
    folder = place / "pictures"
    right = {data: _read(_laid_out("png", data, folder), folder) for data in originals["png"]}
    for key in journal.open_keys(map(str, range(round(10_000 * size)))):
        rng = np.random.default_rng((seed, 1, int(key)))
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        original = originals[kind][int(rng.integers(0, len(originals[kind])))]
        data = damaged(original, rng)
        if data == original:
            continue
        journal.add(_trial(key, kind, data, folder, right.get(original)))


def _laid_out(kind: str, data: bytes, folder: Path) -> Path:
    """Return the source of a picture: a zip, an array, or a folder with an intact picture beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sound = folder / "source" / "sound.png"
    sound.parent.mkdir()
    sound.write_bytes(encoded("png", {}))
    odd = sound.with_name(f"odd.{kind}")
    odd.write_bytes(data)
    return odd if kind in ("zip", "npy", "npz") else sound.parent


def _read(source: Path, folder: Path) -> str | None:
    """Return the digest of a picture's pixels."""
    found: dict[str, str] = json.loads(run(_reader(source), folder).out)["load"]["pixels"]
    return found.get("odd.png")


def _trial(key: str, kind: str, data: bytes, folder: Path, right: str | None) -> Trial:
    """Read a damaged picture; if a PNG is accepted, it must be unchanged, because checksums cover it."""
    ended = run(_reader(_laid_out(kind, data, folder)), folder, seconds=6 * MOST_SECONDS)
    outcome, detail = ended.fault, ended.err
    if outcome in (None, "no sentence"):
        outcome, detail = _outcome(ended.out, kind, right)
    if outcome not in ("traceback", "crash") and ended.seconds > MOST_SECONDS:
        outcome = "hang"
    return Trial(key, kind, str(outcome), round(ended.seconds, 3), round(ended.mib), detail[-2000:])


def _outcome(out: str, kind: str, right: str | None) -> tuple[str, str]:
    found = json.loads(out)
    loaded, audited = found["load"], found["audit"]
    if loaded["read"] != audited["read"]:
        return "readers disagree", out
    if not any("odd" in name or kind in ("zip", "npy", "npz") for name in loaded["read"]):
        return "refused", ""
    if kind == "png" and loaded["pixels"]["odd.png"] != right:
        return "wrong result", out
    return "read", ""


def _reader(source: Path) -> Callable[[], None]:
    def work() -> None:
        print(json.dumps({"load": _loaded(source), "audit": _audited(source)}))

    return work


def _loaded(source: Path) -> dict[str, Any]:
    try:
        images = selfsort.load_images(source, cache=False)
    except selfsort.UserError as error:
        return {"read": [], "pixels": {}, "refused": str(error)}
    pixels = {}
    for number, name in enumerate(images.ids):
        if name == "odd.png":
            pixels[name] = _digest(images.open(number))
    return {"read": sorted(images.ids), "pixels": pixels}


def _audited(source: Path) -> dict[str, Any]:
    try:
        found = audit(source)
    except selfsort.UserError as error:
        return {"read": [], "refused": str(error)}
    unread = {name for name, _ in found.unreadable}
    return {"read": sorted(set(found.images.ids) - unread)}


def _digest(image: Image.Image) -> str:
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()


def encoded(kind: str, options: dict[str, Any]) -> bytes:
    """Return a picture with some detail, encoded in one of the variants of a format."""
    options = dict(options)
    mode, pages = options.pop("mode", "RGB"), options.pop("pages", 1)
    image = _picture()
    stream = io.BytesIO()
    if kind in ("npy", "npz"):
        array = np.stack([np.asarray(image)] * 3)
        np.save(stream, array) if kind == "npy" else np.savez_compressed(stream, images=array)
        return stream.getvalue()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as members:
            for number, other in enumerate(("png", "jpg", "bmp")):
                members.writestr(f"kind {number % 2}/{number}.{other}", encoded(other, {}))
        return stream.getvalue()
    if options.pop("exif", False):
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    if pages > 1:
        options |= {"save_all": True, "append_images": [image.rotate(90 * number) for number in range(1, pages)]}
    image.save(stream, _FORMATS.get(kind, kind.upper()), **options)
    return stream.getvalue()


def _picture() -> Image.Image:
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    smooth = np.asarray(small.resize((80, 60), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(smooth + rng.integers(-20, 20, (60, 80, 3)), 0, 255).astype(np.uint8))
