"""HEIC and AVIF files: which of them a file is, and the library that reads HEIC."""

from functools import lru_cache

from PIL import features

from selfsort.data.unreadable import Unreadable

_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIF"
)


def format_of(head: bytes) -> str:
    r"""Return "AVIF" or "HEIF" from a file's first bytes, "" for any other file.

    >>> format_of(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif"), format_of(b"\0\0\0\x18ftypisom")
    ('AVIF', '')
    """
    if head[4:8] != b"ftyp":
        return ""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[place : place + 4] for place in range(16, length - 3, 4))]
    kinds = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if not kinds or brands[0] not in _BRANDS:
        return ""
    return "AVIF" if "AVIF" in kinds else "HEIF"


@lru_cache(maxsize=1)
def register() -> bool:
    """Register HEIC with Pillow and return True, or return False if the library for it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def require(kind: str) -> None:
    """Raise `Unreadable` if a format, "AVIF" or "HEIF", cannot be read here."""
    if kind == "HEIF" and not register():
        raise Unreadable("HEIC; install selfsort[heic]")
    if kind == "AVIF" and not features.check("avif"):
        raise Unreadable("AVIF; install a Pillow that reads it")
