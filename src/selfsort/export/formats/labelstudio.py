"""Names as tasks of Label Studio: what people said as annotations, what the model says as predictions.

The format: https://labelstud.io/guide/tasks. The labelling interface needs an Image "image" with the value "$image",
and Choices "choice" for it. Pictures are named by their ids within a local storage, or in its cloud storage.
"""

import json
from collections.abc import Iterator
from os import fsencode
from typing import Any
from urllib.parse import quote

from selfsort.export.named import NamedPicture, NamedPictures
from selfsort.tables import utf8_text

NAME, SUFFIX, FILE, MEDIA_TYPE = "labelstudio", ".labelstudio.json", "labels.labelstudio.json", "application/json"
NEEDS_PICTURES = False
_LOCAL = "/data/local-files/?d="


def chunks(named: NamedPictures) -> Iterator[bytes]:
    """Yield the JSON array of tasks."""
    separator = b"[\n"
    for row in named.rows():
        yield separator + json.dumps(_task(row), ensure_ascii=False).encode()
        separator = b",\n"
    yield b"\n]\n"


def _task(row: NamedPicture) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {"image": _LOCAL + quote(fsencode(row.id)), "id": utf8_text(row.id)}}
    if row.said is not None:
        task["annotations"] = [{"result": [_choice(row.said)]}]
    name, score = (row.model, row.probability) if row.model is not None else (row.name, row.confidence)
    if name is not None and (row.model is not None or not row.given):
        task["predictions"] = [{"model_version": "selfsort", "score": score, "result": [_choice(name)]}]
    return task


def _choice(name: str) -> dict[str, Any]:
    return {"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": [name]}}
