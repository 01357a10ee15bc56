"""The manifest of a run, `run.json`: describe a run in it, and read it back with checks."""

import json
import platform
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS
from selfsort.data.request import Request
from selfsort.runs.seal import read_sealed
from selfsort.schema import Invalid, Versioned, checked

FORMAT = 1
_LIBRARIES = ("selfsort", "torch", "torchvision", "lightning", "numpy", "scikit-learn", "faiss-cpu", "umap-learn")
# A resumed run may be computed elsewhere, but must compute the same.
_MAY_DIFFER = ("device", "checkpoint_minutes")


Natural = Annotated[int, Field(ge=0, le=2**53)]
_Positive = Annotated[int, Field(ge=1, le=2**53)]
_Side = Annotated[int, Field(ge=1, le=2**16)]
_Amount = Annotated[float, Field(ge=0, le=1e12)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Model(BaseModel):
    """Required fields; a newer version may have written more."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


def _known_options(options: dict[str, Any]) -> dict[str, Any]:
    unknown = options.keys() - {field.name for field in fields(Request)}
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not an option for loading pictures")
    checked(Request, options)
    return options


def _check_size(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if image_shape[0] * image_shape[1] > MAX_PIXELS:
        raise ValueError("its pictures have too many pixels")
    return image_shape


class _Data(_Model):
    """The pictures of a run."""

    source: str
    options: Annotated[dict[str, Any], AfterValidator(_known_options)]
    n_images: _Positive
    image_shape: Annotated[tuple[_Side, _Side, Literal[1, 3]], AfterValidator(_check_size)]
    fingerprint: str
    n_skipped: Natural


class _ClassCount(_Model):
    """An estimated number of clusters."""

    estimate: _Positive


class _TrainingFacts(_Model):
    """What is known once training has ended."""

    minutes: _Amount
    epochs: Natural
    warnings: list[str]
    class_count: _ClassCount | None = None


class _Params(_Model):
    """The hyper-parameters that every method has; the method checks the others."""

    n_classes: _Positive | Literal["auto"]
    random_state: Annotated[int, Field(ge=0, lt=2**32)]


class _Refined(_Model):
    """What is known of the refinements of a model that has learnt names."""

    rounds: Natural
    epochs: Natural
    minutes: _Amount
    pictures_named: Natural


class _Reference(BaseModel):
    """Weights that can be downloaded again."""

    name: str
    sha256: str


class _Manifest(_Model):
    """The manifest of a run: what other code relies on once it has been read."""

    format: _Positive
    status: Literal["training", "complete"]
    method: str
    params: _Params
    data: _Data
    input: InputSpec | None = None
    versions: dict[str, str]
    hardware: str
    started: str
    training: _TrainingFacts | None = None
    refined: _Refined | None = None
    weights: dict[str, _Reference] = {}
    names: list[Annotated[str, Field(min_length=1, max_length=1000)]] = []
    files: dict[str, _Digest] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError("a name occurs twice")
        if self.status == "complete":
            self._check_complete()
        return self

    def _check_complete(self) -> None:
        if self.training is None:
            raise ValueError("it is complete but describes no training")
        estimate = self.training.class_count
        count = self.params.n_classes if estimate is None else estimate.estimate
        if count == "auto":
            raise ValueError("it does not give the number of clusters")
        if count > self.data.n_images:
            raise ValueError(f"{self.data.n_images} pictures cannot form {count} clusters")


class NewerFormatError(Exception):
    """The manifest was written by a newer version; the argument is its format."""


def describe(
    method: str, params: Mapping[str, Any], images: ImageSet, own_input: InputSpec | None = None
) -> dict[str, Any]:
    """Return what is known of a run before it starts.

    For a method whose network has its `own_input`, pictures are identified by the content of their files, not their
    pixels, so nothing is decoded.
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


def parse(data: bytes) -> dict[str, Any]:
    """Return the manifest in a file's bytes.

    Raises
    ------
    Invalid
        If it is not a manifest, or was changed after it was written.
    NewerFormatError
        If a newer version wrote it.

    """
    manifest = read_sealed(data)
    found = checked(Versioned, manifest).format
    if found > FORMAT:
        raise NewerFormatError(found)
    checked(_Manifest, manifest)
    # The schema allows bytes that are not UTF-8, as file names may hold some; what a person typed has none.
    if any("\ud800" <= letter <= "\udfff" for name in manifest.get("names", ()) for letter in name):
        raise Invalid("its names are not valid text")
    return manifest


def first_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Name the first change that prevents an interrupted run from being resumed; None if nothing does."""
    old, new = essentials(before), essentials(now)
    for name, value in new.items():
        if name not in _MAY_DIFFER and json.dumps(old.get(name)) != json.dumps(value):
            return "the pictures" if name == "pictures" else f"{name} (was {old.get(name)}, now {value})"
    return None


def essentials(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides what a run computes: the method, its hyper-parameters, and a digest of the pictures."""
    params: dict[str, Any] = manifest["params"]
    return {"method": manifest["method"], "pictures": manifest["data"]["fingerprint"]} | params
