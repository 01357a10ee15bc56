"""Small shards that several tests share: tars and Parquet files of plain pictures."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(level: int, kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    """Return an encoded picture of one level of grey, which tells pictures apart."""
    stream = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(stream, kind)
    return stream.getvalue()


def noise(seed: int, size: int = 16) -> bytes:
    """Return an encoded picture that hardly compresses."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path: Path, files: list[tuple[str, bytes | str]], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write files, in this order, into a tar; several may have one name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files:
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
