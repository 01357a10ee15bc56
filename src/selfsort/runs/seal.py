"""Digests that show whether a file of a run is as it was written: inside JSON files, and for all other files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsort.files import write_json
from selfsort.schema import Invalid, parsed

_DIGEST = "digest"
_LENGTH = 64  # of a SHA-256 in hexadecimal


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of itself."""
    write_json(path, {**content, _DIGEST: _digest(content)})


def read_sealed(data: bytes) -> dict[str, Any]:
    """Return the JSON object in a file's bytes, without its digest; earlier versions wrote none.

    Raises
    ------
    Invalid
        If it is not a JSON object, or was changed after it was written.

    """
    content = parsed(data)
    if not isinstance(content, dict):
        raise Invalid("it is not a JSON object")
    written = content.pop(_DIGEST, None)
    if written not in (None, _digest(content)) or (written is None and _has_renamed_digest(content)):
        raise Invalid("it was changed after it was written")
    return content


def _has_renamed_digest(content: Mapping[str, Any]) -> bool:
    """Tell whether the digest is there under another key: a bit may change in the key, too."""
    likely = [key for key, value in content.items() if isinstance(value, str) and len(value) == _LENGTH]
    return any(content[key] == _digest({name: content[name] for name in content if name != key}) for key in likely)


def _digest(content: Mapping[str, Any]) -> str:
    # Of the values, not of the bytes: spaces and the order of keys do not matter.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
