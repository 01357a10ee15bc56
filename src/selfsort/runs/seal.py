"""What tells that a file of a run is as it was written: a digest inside of JSON, digests of all other files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsort.files import write_json
from selfsort.schema import Invalid, parsed

_DIGEST = "digest"


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
        When it is none, or another one than was written.

    """
    content = parsed(data)
    if not isinstance(content, dict):
        raise Invalid("it is no JSON object")
    written = content.pop(_DIGEST, None)
    if written not in (None, _digest(content)):
        raise Invalid("it was changed after it was written")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    # Of the values, not of the bytes: spaces and the order of keys mean nothing.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
