"""Pictures in an object store, named by a URL such as "s3://bucket/photos": like a folder, or tars or Parquet files.

Listing asks the store for names, sizes and versions only. Each picture is fetched whole when it is decoded, and a
picture in a shard by its range.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from selfsort.data.archives import parts_of, why_passed_over
from selfsort.data.class_folders import class_folders, is_other_file
from selfsort.data.listing import Listing, Originals, Skipped, digest
from selfsort.data.object_store import StoredObject, facts_of, is_url, objects_below, open_object
from selfsort.data.other_files import passed_over
from selfsort.data.request import Request
from selfsort.data.shards import Shard, Shards, expanded
from selfsort.data.sources import parquet, web_dataset
from selfsort.errors import UserError

ORDER = 15


def claims(given: Any) -> bool:
    """Tell whether this is the text of a URL."""
    return is_url(given)


def list_source(given: Any, request: Request) -> Listing:
    """List the objects below a URL, or the pictures in them if they are tars or Parquet files.

    Labels are found as in a folder, or in shards on a disk. A pattern such as "s3://bucket/a-{000..012}.tar" names
    several objects.
    """
    source, found = _objects(str(given))
    if shards := _kind_of_shards(found):
        is_shard = {name: name.lower().endswith(shards.SUFFIXES) for name in found}
        others = tuple(Skipped(name, "not a shard") for name in found if not is_shard[name])
        files = {name: Shard(*each) for name, each in found.items() if is_shard[name]}
        listed: Listing = shards.list_found(Shards(source, files, passed_over=others), request)
        return listed
    return _list_pictures(source, found, request)


def _objects(url: str) -> tuple[str, dict[str, StoredObject]]:
    """Return the source's name, and its objects by their paths below the folder that holds them."""
    urls = expanded(url)
    if len(urls) > 1:
        found = [facts_of(each) for each in urls]
        root = url[: url.index("{")].rpartition("/")[0]
    else:
        url, found = objects_below(url)
        if not found:
            raise UserError(f"{url!r} holds no objects; name a folder of its bucket with pictures in it.")
        root = url.rpartition("/")[0] if found[0].url == url else url
    return url, {each.url[len(root) :].lstrip("/"): each for each in found}


def _kind_of_shards(found: Mapping[str, StoredObject]) -> ModuleType | None:
    """Return the source that lists these objects if they are shards, besides notes and files of other programs."""
    names = [name.rpartition("/")[2] for name in found]
    for kind in (web_dataset, parquet):
        shards = [name for name in names if name.lower().endswith(kind.SUFFIXES)]
        if shards and all(is_other_file(name) or passed_over(name) for name in set(names) - set(shards)):
            return kind
    return None


def _list_pictures(source: str, found: Mapping[str, StoredObject], request: Request) -> Listing:
    request.refuse(f"{source!r}", "fold")
    left_out = {name: why for name in found if (why := why_passed_over(parts_of(name), "bucket"))}
    names = sorted(found.keys() - left_out.keys())
    folders = class_folders(names, source, request.split, request.classes_from)
    ids = tuple(name for name in names if folders.is_in(name, request.split))
    refs = [found[name] for name in ids]
    known = all(each.version for each in refs)
    stamps = [f"{name} {each.size} {each.version}" for name, each in zip(ids, refs, strict=True)] if known else None
    return Listing(
        source,
        ids,
        Originals(refs, open_object, digest(source) if known else None, stamps, remote=True),
        *folders.labels(ids),
        options=request.options("split", "max_pixels", "max_seconds", "classes_from"),
        passed_over=tuple(sorted(Skipped(*each) for each in left_out.items())),
        elsewhere=[name for name in names if not folders.is_in(name, request.split)],
        told=folders.told,
        label=folders.labels,
        split=folders.split,
    )
