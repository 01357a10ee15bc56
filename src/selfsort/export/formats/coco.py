"""Names as COCO: a category for each name, and for each named picture an annotation whose box is the whole picture.

The format: https://cocodataset.org/#format-data. The supercategory of a name such as `bird/robin` is `bird`.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from selfsort.data.image_set import ImageSet
from selfsort.export.named import NamedPictures
from selfsort.tables import utf8_text

NAME, SUFFIX, FILE, MEDIA_TYPE = "coco", ".coco.json", "labels.coco.json", "application/json"
NEEDS_PICTURES = True


def chunks(named: NamedPictures) -> Iterator[bytes]:
    """Yield the JSON object."""
    sizes = _sizes(named.pictures())
    images = [
        {"id": number, "file_name": utf8_text(image_id), "width": width, "height": height}
        for number, (image_id, (width, height)) in enumerate(zip(named.ids, sizes, strict=True), 1)
    ]
    categories = [
        {"id": number, "name": name, "supercategory": name.rpartition("/")[0] or "picture"}
        for number, name in enumerate(named.names, 1)
    ]
    yield json.dumps(
        {"images": images, "categories": categories, "annotations": _annotations(named, sizes)}, ensure_ascii=False
    ).encode()


def _annotations(named: NamedPictures, sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return an annotation for each named picture; `score` is the confidence, as in COCO's results."""
    places = [place for place, number in enumerate(named.name_of.tolist()) if number >= 0]
    return [
        {
            "id": number,
            "image_id": place + 1,
            "category_id": int(named.name_of[place]) + 1,
            "bbox": [0, 0, *sizes[place]],
            "area": sizes[place][0] * sizes[place][1],
            "iscrowd": 0,
            "score": float(f"{named.confidence[place]:.4g}"),
            "given": bool(named.given[place]),
        }
        for number, place in enumerate(places, 1)
    ]


def _sizes(images: ImageSet) -> list[tuple[int, int]]:
    """Return the (width, height) of each picture as displayed, that is, upright."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda place: images.open(place).size, range(len(images))))
