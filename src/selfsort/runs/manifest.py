"""The manifest of a run: what is known of it, as `run.json` keeps it; describing it, and reading it back checked."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec

FORMAT = 1
_LIBRARIES = ("selfsort", "torch", "torchvision", "lightning", "numpy", "scikit-learn", "faiss-cpu", "umap-learn")
# Where a run is computed may change between two sittings; what is computed may not.
_MAY_DIFFER = ("device", "checkpoint_minutes")


class NewerFormatError(Exception):
    """The manifest was written by a newer version; the argument is its format."""


def describe(
    method: str, params: Mapping[str, Any], images: ImageSet, own_input: InputSpec | None = None
) -> dict[str, Any]:
    """Return what is known of a run before it starts.

    A method whose network has an `own_input` needs no pixels at the pictures' own size: they are told by their content.
    """
    spec = own_input or images.input_spec
    data = {
        "source": images.source,
        "options": images.options,
        "n_images": len(images),
        "image_shape": list(spec.image_shape),
        "fingerprint": images.content_fingerprint() if own_input else images.fingerprint(),
        "stamps": images.stamps_fingerprint(),
        "n_skipped": len(images.skipped),
    }
    return {
        "format": FORMAT,
        "status": "training",
        "method": method,
        "params": dict(params),
        "data": data,
        "input": spec.to_json(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES},
        "hardware": f"{platform.machine()}, {platform.processor() or platform.system()}",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def parse(text: str) -> dict[str, Any]:
    """Return the manifest that a text holds.

    Raises
    ------
    ValueError, KeyError, TypeError
        When it is none.
    NewerFormatError
        When a newer version wrote it.

    """
    manifest: dict[str, Any] = json.loads(text)
    found = manifest["format"]
    if not isinstance(found, int) or manifest["status"] not in ("training", "complete"):
        raise ValueError("format and status are not what was written")
    if found > FORMAT:
        raise NewerFormatError(found)
    return manifest


def first_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Name the first thing that keeps an interrupted run from being resumed as it is described now; None if nothing."""
    old, new = _decisive(before), _decisive(now)
    for name, value in new.items():
        if name not in _MAY_DIFFER and json.dumps(old.get(name)) != json.dumps(value):
            return "the pictures" if name == "pictures" else f"{name} ({old.get(name)} then, {value} now)"
    return None


def _decisive(manifest: Mapping[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = manifest["params"]
    return {"method": manifest["method"], "pictures": manifest["data"]["fingerprint"]} | params
