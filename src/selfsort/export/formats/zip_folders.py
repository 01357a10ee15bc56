"""Names as a zip with a folder for each name, written while it is sent, never whole in memory or on disk."""

from collections.abc import Iterator
from zipfile import ZipFile, ZipInfo

from selfsort.export.named import NamedPictures
from selfsort.export.sink import Sink
from selfsort.export.sort import contents, places_in_folders

NAME, SUFFIX, FILE, MEDIA_TYPE = "zip", ".zip", "named.zip", "application/zip"
NEEDS_PICTURES = True
MISSING = "missing.txt"


def chunks(named: NamedPictures) -> Iterator[bytes]:
    """Yield the archive; pictures whose file is missing are listed in `missing.txt` inside it."""
    images = named.pictures()
    clusters, names = named.folders()
    sink, missing, content_of = Sink(), list[str](), contents(images)
    with ZipFile(sink, "w") as archive:  # pictures are compressed already
        for place, target in places_in_folders(images, clusters, len(names), names):
            try:
                content = content_of(place)
            except OSError:
                missing.append(images.ids[place])
                continue
            archive.writestr(ZipInfo(target), content)
            yield sink.taken()
        if missing:
            text = "".join(f"{each}\n" for each in missing)
            archive.writestr(ZipInfo(MISSING), text.encode("utf-8", "surrogateescape"))
    yield sink.taken()
